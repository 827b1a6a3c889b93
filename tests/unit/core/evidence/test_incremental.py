"""Who saw the readings grow says what somebody says who sees them for the first time, bit by bit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.api.analysis import AbsentBad, MetricMode
from serinus.core.evidence import shares
from serinus.core.evidence.judge import Judge, judge
from serinus.core.evidence.policy import ShareKind, SharePolicy
from serinus.core.readings import Counters, CounterSeries, Grid, Missing, MissingReason, Part, PodStart, Sample
from serinus.core.verdicts import Counts
from tests.unit.core.evidence.traffic import ANCHOR, STEP_SECONDS, circumstances, errors_policy

BY_CODE = (Part.TOTAL, Part.TOTAL, Part.BAD, Part.CLIENT_ERROR)
BY_BUCKET = (Part.TOTAL, Part.GOOD_BELOW_LOWER, Part.GOOD_BELOW_UPPER)
ERRORS = errors_policy(max_increase=0.005, max_refused_increase=0.01)
LATENCY = SharePolicy("latency", ShareKind.LATENCY, MetricMode.ENFORCE, 0.3, 0.1, None, 0.2, 1, AbsentBad.ZERO)


def scraped(random, revision, *, looks, parts):
    """Counters of two pods and two endpoints with everything that happens: gaps, restarts, late series, silence."""
    found = []
    gone = random.random(looks + 1) < 0.05
    for pod in range(2):
        absent = gone | (random.random(looks + 1) < 0.05)
        restart = int(random.integers(1, looks + 1)) if random.random() < 0.7 else -1
        for stratum in ("/a", "/b"):
            for at, part in enumerate(parts):
                begins = int(random.integers(0, looks)) if random.random() < 0.3 else 0
                ends = int(random.integers(begins, looks)) if random.random() < 0.1 else looks
                mean = 3.0 if part in {Part.TOTAL, *BY_BUCKET} and at != 1 else 0.3
                value, samples = 0.0, []
                missed = random.random(looks + 1) < (0.4 if random.random() < 0.4 else 0.0)
                for look in range(looks + 1):
                    value = 0.0 if look == restart else value + float(random.poisson(mean))
                    if begins <= look <= ends and not (absent[look] or missed[look]):
                        samples.append(Sample(ANCHOR + look * STEP_SECONDS, value))
                found.append(CounterSeries(f"{revision}-{pod}", part, stratum, tuple(samples)))
    return Counters(tuple(found), Grid(ANCHOR, STEP_SECONDS))


def until(counters, look):
    """What had been scraped by then. Series that have no sample yet are not there."""
    end = ANCHOR + look * STEP_SECONDS
    seen = (
        dataclasses.replace(each, samples=tuple(s for s in each.samples if s.at <= end)) for each in counters.series
    )
    return Counters(tuple(each for each in seen if each.samples), counters.grid)


def at_look(look, **changes):
    inside = PodStart("candidate-1", ANCHOR + 4 * STEP_SECONDS, weighted=False)
    first = PodStart("candidate-0", ANCHOR - 60, weighted=False)
    fields = {"candidate_pods": (first, inside), "alpha_fail": 0.05, "alpha_pass": 0.1}
    return dataclasses.replace(circumstances(look), **{**fields, **changes})


@given(
    seed=st.integers(0, 2**32 - 1),
    latency=st.booleans(),
    stable_stops=st.booleans(),
    skipped=st.sets(st.integers(1, 30), max_size=15),
    steps=st.sets(st.integers(1, 29), max_size=3),
)
def test_a_judge_that_saw_every_reading_agrees_with_one_that_sees_the_last(seed, latency, stable_stops, skipped, steps):
    random = np.random.default_rng(seed)
    policy, parts = (LATENCY, BY_BUCKET) if latency else (ERRORS, BY_CODE)
    candidate = scraped(random, "candidate", looks=30, parts=parts)
    stable = scraped(random, "stable", looks=30, parts=parts)
    if stable_stops:
        stable = until(stable, 12)
    lasting = Judge(policy)
    for look in sorted(set(range(1, 31)) - skipped):
        began = ANCHOR + max((step for step in steps if step < look), default=0) * STEP_SECONDS
        now = at_look(look, step_started_at=began, stale_after_seconds=1000.0)
        own, other = until(candidate, look), until(stable, look)
        assert lasting.judge(own, other, now) == judge(policy, own, other, now)


def counters(*, looks, bad=0.0, pod="candidate-0", value=10.0):
    samples = [(Part.TOTAL, value), (Part.BAD, bad)]
    return Counters(
        tuple(
            CounterSeries(pod, part, "/", tuple(Sample(ANCHOR + k * STEP_SECONDS, k * rise) for k in range(looks + 1)))
            for part, rise in samples
        ),
        Grid(ANCHOR, STEP_SECONDS),
    )


def other_past(reading):
    total, bad = reading.series
    moved = (Sample(total.samples[3].at, total.samples[3].value + 1),)
    return Counters(
        (dataclasses.replace(total, samples=total.samples[:3] + moved + total.samples[4:]), bad), reading.grid
    )


def late_series(reading):
    return Counters((*reading.series, *counters(looks=6, pod="candidate-9").series), reading.grid)


def other_grid(reading):
    return Counters(reading.series, Grid(ANCHOR - STEP_SECONDS, STEP_SECONDS))


@pytest.mark.parametrize("changed", [other_past, late_series, other_grid], ids=lambda each: each.__name__)
def test_a_past_that_has_changed_is_read_anew(changed):
    lasting = Judge(ERRORS)
    stable = counters(looks=20, pod="stable-0")
    lasting.judge(counters(looks=10, bad=0.5), until(stable, 10), at_look(10))
    later = changed(counters(looks=20, bad=0.5))
    if changed is other_grid:
        stable = other_grid(stable)
    assert lasting.judge(later, stable, at_look(20)) == judge(ERRORS, later, stable, at_look(20))


@pytest.mark.parametrize(
    "changes",
    [
        {"step_started_at": ANCHOR + 3 * STEP_SECONDS},
        {"alpha_fail": 0.001},
        {"alpha_pass": 0.001},
        {"baseline": Counts(1.0, 1000.0)},
        {"candidate_pods": (PodStart("candidate-0", ANCHOR, weighted=False),)},
    ],
    ids=["step", "alpha_fail", "alpha_pass", "baseline", "pod start"],
)
def test_circumstances_that_change_the_past_make_it_be_read_anew(changes):
    lasting = Judge(ERRORS)
    lasting.judge(counters(looks=10, bad=0.5), None, at_look(10))
    later = counters(looks=20, bad=0.5)
    assert lasting.judge(later, None, at_look(20, **changes)) == judge(ERRORS, later, None, at_look(20, **changes))


def test_a_reading_that_could_not_be_had_loses_nothing():
    lasting = Judge(ERRORS)
    lasting.judge(counters(looks=10), None, at_look(10))
    lost = Missing(MissingReason.TIMEOUT, "Prometheus did not answer.")
    assert lasting.judge(lost, None, at_look(11)).verdict == lost
    assert lasting.judge(counters(looks=12), None, at_look(12)) == judge(ERRORS, counters(looks=12), None, at_look(12))


def test_what_was_read_once_is_not_read_again():
    """The n-th look takes in one interval, not n."""
    lasting = Judge(ERRORS)
    taken_in = []
    for look in (200, 201, 202):
        lasting.judge(counters(looks=look, bad=0.1), counters(looks=look, pod="stable-0"), at_look(look))
        seen = lasting._judged._seen
        assert isinstance(seen, shares._Seen)
        taken_in.append(seen.evidence.possibly._intervals)
    assert taken_in == [200, 201, 202]
    kept = lasting._judged._seen
    lasting.judge(counters(looks=203, bad=0.1), counters(looks=203, pod="stable-0"), at_look(203))
    assert lasting._judged._seen is kept
