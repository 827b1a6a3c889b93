"""What holds of every verdict, whatever was read."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.evidence.confidence import always_valid_interval
from serinus.core.evidence.judge import judge
from serinus.core.readings import Counters
from serinus.core.verdicts import Counts, Fail, Pass
from tests.unit.core.evidence.traffic import ANCHOR, STEP_SECONDS, circumstances, counters, errors_policy

POLICIES = (
    errors_policy(),
    errors_policy(max_share=None, max_increase=0.05, tolerance=0.1),
    errors_policy(max_increase=0.005, max_refused_increase=0.01),
)
ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), min_size=2, max_size=25).map(
    lambda rows: [(min(bad, total), total) for bad, total in rows]
)


def without(reading, dropped):
    """The same counters where some scrapes in between were missed."""
    kept = (
        dataclasses.replace(each, samples=tuple(s for at, s in enumerate(each.samples) if at not in dropped))
        for each in reading.series
    )
    return Counters(tuple(kept), reading.grid)


@given(ROWS, st.data(), st.sampled_from(POLICIES))
def test_the_estimate_does_not_depend_on_how_the_window_is_cut(rows, data, policy):
    dropped = data.draw(st.sets(st.integers(1, len(rows) - 1)))
    stable = counters([(1, 300)] * len(rows), pod="stable-a")
    whole, cut = (
        judge(policy, reading, without(stable, gone), circumstances(len(rows)))
        for reading, gone in ((counters(rows), set()), (without(counters(rows), dropped), dropped))
    )
    assert whole.candidate == cut.candidate
    assert whole.stable is None or cut.stable is None or whole.stable.total <= cut.stable.total
    assert whole.estimate == cut.estimate


@given(ROWS, st.sampled_from(POLICIES), st.booleans(), st.integers(0, 3))
def test_without_a_request_in_the_step_nothing_passes(rows, policy, beside, later):
    """All requests came before the step, which may have begun between two looks or a few looks ago."""
    began = ANCHOR + (len(rows) + later) * STEP_SECONDS
    idle = [(0, 0)] * (later + 3)
    stable = counters([(0, 300)] * (len(rows) + later + 3), pod="stable-a") if beside else None
    now = circumstances(len(rows) + later + 3, step_started_at=began, alpha=0.4)
    assert not isinstance(judge(policy, counters([*rows, *idle]), stable, now).verdict, Pass)


@given(ROWS, st.sampled_from(POLICIES))
def test_more_bad_requests_never_turn_a_fail_of_the_limit_into_a_pass(rows, policy):
    stable = counters([(1, 300)] * len(rows), pod="stable-a")
    worse = [(total, total) for _, total in rows]
    verdicts = [judge(policy, counters(each), stable, circumstances(len(rows))).verdict for each in (rows, worse)]
    if isinstance(verdicts[0], Fail):
        assert not isinstance(verdicts[1], Pass)


@given(st.integers(0, 5000), st.integers(0, 5000), st.floats(1, 50), st.floats(0.001, 0.3))
def test_swapping_bad_and_good_mirrors_the_estimate(bad, good, clustering, alpha):
    total = float(bad + good)
    lower, upper = always_valid_interval(Counts(float(bad), total), alpha, alpha / 2, clustering)
    other_lower, other_upper = always_valid_interval(Counts(float(good), total), alpha / 2, alpha, clustering)
    assert other_lower == pytest.approx(1 - upper, abs=1e-9)
    assert other_upper == pytest.approx(1 - lower, abs=1e-9)
    if total:
        assert Counts(float(bad), total).share == pytest.approx(1 - Counts(float(good), total).share)
