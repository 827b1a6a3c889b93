"""A metric that is judged in slices: all requests together, and each slice by itself."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.api.status import MetricSlices
from serinus.core.evidence.baseline import slice_baselines
from serinus.core.evidence.judge import Judge, judge
from serinus.core.evidence.policy import Slices, alpha_of_slice
from serinus.core.evidence.slices import chosen, fewest_requests, place_of, pooled, status_of
from serinus.core.readings import Counters, CounterSeries, Grid, Missing, Part, SliceCounts
from serinus.core.verdicts import Counts, Fail, FailReason, Pass, Undecided, UndecidedReason
from tests.unit.core.evidence.test_incremental import BY_CODE, at_look, scraped, until
from tests.unit.core.evidence.traffic import ANCHOR, STEP_SECONDS, circumstances, errors_policy, series

COUNTRIES = Slices("country", ("DE", "FR"), 0.05)
GRID = Grid(ANCHOR, STEP_SECONDS)
LOOKS = 60


def policy(slices=COUNTRIES, **limits):
    return dataclasses.replace(errors_policy(**limits), slices=slices)


def by_country(shares, *, pod, looks=LOOKS, requests=None, seed=1):
    """Counters of one pod: by country its share of bad requests, and how many requests it gets in an interval."""
    random, found = np.random.default_rng(seed), []
    for country, share in shares.items():
        totals = np.full(looks, float((requests or {}).get(country, 60)))
        bad = random.binomial(totals.astype(int), share).astype(float)
        for part, counted in ((Part.TOTAL, totals), (Part.BAD, bad)):
            found.append(dataclasses.replace(series(part, counted, pod=pod), slice=country))
    return Counters(tuple(found), GRID)


def judged(candidate, stable, *, slices=COUNTRIES, looks=LOOKS, at=None, **limits):
    return judge(policy(slices, **limits), candidate, stable, at or circumstances(looks))


# What is judged by itself ---------------------------------------------------------------------------------------------


def chosen_of(by_value, *, total=None, exposure_seconds=3600.0, window_seconds=3600.0):
    served = SliceCounts(sum(by_value.values()) if total is None else total, by_value)
    return chosen(
        errors_policy(),
        "country",
        served,
        window_seconds=window_seconds,
        exposure_seconds=exposure_seconds,
        alpha_pass=0.01,
    )


def test_values_with_enough_requests_are_slices_the_most_frequent_first():
    found = chosen_of({"FR": 20_000.0, "DE": 70_000.0, "LI": 3.0})
    assert found.values == ("DE", "FR")


def test_a_slice_gets_twice_what_a_faultless_candidate_needs_to_pass_in_the_time_of_a_step():
    needed = fewest_requests(errors_policy(), 0.01)
    assert 200 < needed < 400
    just, less = 2 * needed + 1, 2 * needed - 1
    assert chosen_of({"DE": 10_000.0 - just, "FR": just}).values == ("DE", "FR")
    assert chosen_of({"DE": 10_000.0 - less, "FR": less}).values == ("DE",)
    assert chosen_of({"DE": 10_000.0 - just, "FR": just}, exposure_seconds=360.0).values == ("DE",)


def test_little_traffic_has_no_slices():
    found = chosen_of({"DE": 90.0, "FR": 10.0})
    assert (found.values, found.least_share) == ((), 1.0)


def test_a_hundred_thousand_values_make_no_more_than_twenty_slices():
    found = chosen_of({f"c{at}": 1e6 - at for at in range(100)}, exposure_seconds=1e9)
    assert len(found.values) == 19
    assert found.count == 20
    assert found.values[0] == "c0"


@pytest.mark.parametrize("value", ["", "x" * 65], ids=["no label", "too long for status"])
def test_what_has_no_name_that_status_can_keep_is_of_the_rest(value):
    assert chosen_of({value: 50_000.0, "DE": 50_000.0}).values == ("DE",)


@pytest.mark.parametrize("served", [{}, {"DE": 0.0}], ids=["nothing read", "nothing served"])
def test_a_stable_revision_without_requests_has_no_slices(served):
    assert chosen_of(served).values == ()


# Fail -----------------------------------------------------------------------------------------------------------------


def test_a_candidate_that_is_worse_in_one_slice_fails_and_the_slice_is_named():
    candidate = by_country({"DE": 0.002, "FR": 0.09}, pod="candidate-a", requests={"DE": 570, "FR": 30})
    stable = by_country({"DE": 0.002, "FR": 0.002}, pod="stable-a", requests={"DE": 570, "FR": 30}, seed=2)
    verdict = judged(candidate, stable)
    assert verdict.verdict == Fail(FailReason.ABOVE_LIMIT)
    assert verdict.message.startswith("errors[country=FR]: failed, above the limit")
    assert (verdict.slices[0].value, verdict.slices[0].verdict) == ("FR", Fail(FailReason.ABOVE_LIMIT))
    together = judge(errors_policy(), candidate, stable, circumstances(LOOKS))
    assert not isinstance(together.verdict, Fail)


def test_a_candidate_that_is_worse_everywhere_fails_nearly_as_soon_as_without_slices():
    many = Slices("country", tuple(f"c{at}" for at in range(19)), 0.02)
    shares = dict.fromkeys(many.values, 0.05)
    candidate = by_country(shares, pod="candidate-a", requests=dict.fromkeys(shares, 5))
    stable = by_country(dict.fromkeys(shares, 0.002), pod="stable-a", requests=dict.fromkeys(shares, 50), seed=2)

    def first_fail(slices):
        looks = range(1, LOOKS + 1)
        judging = Judge(policy(slices))
        return next(
            look
            for look in looks
            if isinstance(judging.judge(until(candidate, look), until(stable, look), circumstances(look)).verdict, Fail)
        )

    assert first_fail(many) <= first_fail(None) + 2


def test_values_that_nobody_knew_are_judged_as_the_rest():
    candidate = by_country({"DE": 0.002, "XX": 0.2, "YY": 0.2}, pod="candidate-a", requests={"XX": 10, "YY": 10})
    stable = by_country({"DE": 0.002, "XX": 0.0}, pod="stable-a", requests={"XX": 100}, seed=2)
    verdict = judged(candidate, stable)
    assert isinstance(verdict.verdict, Fail)
    assert (verdict.slices[0].value, verdict.slices[0].candidate.total) == (None, 20.0 * LOOKS)


def test_the_slices_share_the_chance_of_a_false_fail():
    assert alpha_of_slice(0.01, COUNTRIES) * COUNTRIES.count + 0.005 == pytest.approx(0.01)


def test_an_increase_is_compared_slice_by_slice():
    """Simpson: the candidate gets more of a difficult slice than stable, and is as good in each."""
    shares = {"DE": 0.002, "FR": 0.04}
    candidate = by_country(shares, pod="candidate-a", requests={"DE": 100, "FR": 500})
    stable = by_country(shares, pod="stable-a", requests={"DE": 500, "FR": 100}, seed=2)
    limits = {"max_share": None, "max_increase": 0.005}
    assert not isinstance(judged(candidate, stable, **limits).verdict, Fail)
    assert isinstance(judged(candidate, stable, slices=None, **limits).verdict, Fail)


def test_after_a_switch_each_slice_is_compared_with_itself_before():
    limits = {"max_share": None, "max_increase": 0.005}
    before = by_country({"DE": 0.002, "FR": 0.04}, pod="stable-a", looks=200, seed=2)
    at = dataclasses.replace(
        circumstances(LOOKS),
        baseline=Counts(504.0, 24_000.0),
        slice_baselines=slice_baselines(policy(**limits), before),
    )
    assert [each and each.total for each in at.slice_baselines] == [12_000.0, 12_000.0, None]
    same = by_country({"DE": 0.002, "FR": 0.04}, pod="candidate-a")
    assert not isinstance(judged(same, None, at=at, **limits).verdict, Fail)
    worse = by_country({"DE": 0.1, "FR": 0.0}, pod="candidate-a")
    verdict = judged(worse, None, at=at, **limits)
    assert verdict.verdict == Fail(FailReason.ABOVE_STABLE)
    assert verdict.slices[0].value == "DE"


# Pass -----------------------------------------------------------------------------------------------------------------


def test_every_slice_with_enough_requests_has_to_pass():
    requests = {"DE": 600, "FR": 40}
    candidate, stable = (
        by_country({"DE": 0.0, "FR": 0.0}, pod=pod, requests=requests) for pod in ("candidate-a", "stable-a")
    )

    def verdict(look, slices):
        return judged(until(candidate, look), until(stable, look), slices=slices, looks=look).verdict

    look = next(each for each in range(1, LOOKS) if isinstance(verdict(each, None), Pass))
    assert verdict(look, COUNTRIES) == Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
    assert isinstance(verdict(LOOKS, COUNTRIES), Pass)


def test_a_slice_that_waits_is_named_with_what_it_needs_of_all_requests():
    slow = Slices("country", ("DE", "FR"), 0.01)
    requests = {"DE": 990, "FR": 10}
    candidate = by_country({"DE": 0.0, "FR": 0.0}, pod="candidate-a", requests=requests)
    stable = by_country({"DE": 0.0, "FR": 0.0}, pod="stable-a", requests=requests)
    verdict = judged(until(candidate, 20), until(stable, 20), slices=slow, looks=20)
    assert verdict.verdict == Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
    assert verdict.message.startswith("errors[country=FR]: undecided, 200 of about")
    assert "1 of 2 slices by country passed by themselves" in verdict.message
    assert verdict.needed is not None
    assert verdict.needed > 5_000, "a hundred requests of all for each of the slice"


def test_a_value_that_the_candidate_makes_up_never_passes_for_those_that_stable_has():
    candidate = by_country({"unknown": 0.0}, pod="candidate-a", requests={"unknown": 600})
    stable = by_country({"DE": 0.0, "FR": 0.0}, pod="stable-a", requests={"DE": 300, "FR": 300})
    verdict = judged(candidate, stable)
    assert verdict.verdict == Undecided(UndecidedReason.NO_TRAFFIC)
    assert "country=" in verdict.message


def test_a_slice_whose_traffic_has_gone_everywhere_is_not_waited_for_and_that_is_said():
    candidate = by_country({"DE": 0.0}, pod="candidate-a", requests={"DE": 100})
    stable = by_country({"DE": 0.0, "FR": 0.0}, pod="stable-a", requests={"DE": 1000, "FR": 1})
    verdict = judged(candidate, stable)
    assert isinstance(verdict.verdict, Pass)
    assert "1 of 1 slices by country passed by themselves, too thin for that: country=FR" in verdict.message
    assert {each.value: each.decides for each in verdict.slices} == {"DE": True, "FR": False, None: False}


def test_a_rest_that_is_thin_is_judged_with_all_others_and_a_large_one_by_itself():
    def with_rest(requests):
        counted = {"DE": 100, "FR": 100, "XX": requests}
        candidate = by_country({"DE": 0.0, "FR": 0.0, "XX": 0.3}, pod="candidate-a", requests=counted, seed=4)
        stable = by_country({"DE": 0.0, "FR": 0.0, "XX": 0.3}, pod="stable-a", requests=counted, seed=5)
        return judged(candidate, stable)

    thin, large = with_rest(1), with_rest(30)
    assert isinstance(thin.verdict, Pass)
    assert "too thin for that: other country" in thin.message
    assert large.verdict == Undecided(UndecidedReason.STABLE_BREAKS_LIMIT)
    assert isinstance(with_rest(0).verdict, Pass)


def test_without_stable_beside_it_the_candidates_own_requests_say_which_slices_there_are():
    testers = by_country({"DE": 0.0}, pod="candidate-a", requests={"DE": 100})
    assert isinstance(judged(testers, None).verdict, Pass)


def test_too_little_traffic_for_any_slice_is_judged_together():
    none = Slices("country", (), 1.0)
    candidate, stable = (
        by_country({"DE": 0.0, "FR": 0.0}, pod=pod, requests={"DE": 9, "FR": 9}) for pod in ("candidate-a", "stable-a")
    )
    verdict, plain = (
        judged(candidate, stable, slices=none),
        judge(errors_policy(), candidate, stable, circumstances(LOOKS)),
    )
    assert verdict.message == f"{plain.message}; too few requests to judge any country by itself"
    assert dataclasses.replace(verdict, message=plain.message) == plain


def test_min_samples_are_of_all_slices_together():
    candidate, stable = (by_country({"DE": 0.0, "FR": 0.0}, pod=pod) for pod in ("candidate-a", "stable-a"))
    assert isinstance(judged(candidate, stable, min_samples=120 * LOOKS).verdict, Pass)
    few = judged(candidate, stable, min_samples=120 * LOOKS + 1)
    assert few.verdict == Undecided(UndecidedReason.TOO_FEW_SAMPLES)


# Readings -------------------------------------------------------------------------------------------------------------


def test_what_only_a_gateway_counted_is_of_all_requests_and_of_no_slice():
    candidate, stable = (by_country({"DE": 0.0, "FR": 0.0}, pod=pod) for pod in ("candidate-a", "stable-a"))
    lost = series(Part.AT_GATEWAY, [60.0] * LOOKS, pod="gateway-0", stratum="")
    verdict = judged(Counters((*candidate.series, lost), GRID), stable)
    assert verdict.verdict == Fail(FailReason.ABOVE_LIMIT)
    assert verdict.candidate == Counts(60.0 * LOOKS, 180.0 * LOOKS)
    assert sum(each.candidate.total for each in verdict.slices) == 120.0 * LOOKS


def test_counters_that_contradict_each_other_are_told_by_the_slice():
    broken = Counters(
        (
            dataclasses.replace(series(Part.TOTAL, [1.0]), slice="FR"),
            dataclasses.replace(series(Part.BAD, [5.0]), slice="FR"),
        ),
        GRID,
    )
    verdict = judged(broken, None, looks=1).verdict
    assert isinstance(verdict, Missing)
    assert "(country=FR) /predict show 5 bad ones among 1" in verdict.detail


def test_slices_and_endpoints_with_names_like_each_other_are_not_mixed_up():
    """Whoever sends requests may choose the label's value."""
    odd = Slices("country", ("1 (country=2) /a", "2"), 0.05)
    names = {
        pooled(Counters((CounterSeries("p", Part.TOTAL, endpoint, (), value),), GRID), odd).series[0].stratum
        for value in (*odd.values, "rest")
        for endpoint in ("/a", "/b", "", " (country=2) /a")
    }
    assert len(names) == 12
    assert {place_of(name) for name in names} == {0, 1, 2}


def sliced_at_random(random, revision, looks):
    whole = scraped(random, revision, looks=looks, parts=BY_CODE)
    values = [*COUNTRIES.values, "XX", ""]
    found = [dataclasses.replace(each, slice=values[int(random.integers(len(values)))]) for each in whole.series]
    return Counters(tuple(found), whole.grid)


@given(
    seed=st.integers(0, 2**32 - 1),
    skipped=st.sets(st.integers(1, 30), max_size=15),
    steps=st.sets(st.integers(1, 29), max_size=3),
    compares=st.booleans(),
)
def test_a_judge_that_saw_every_reading_agrees_with_one_that_sees_the_last(seed, skipped, steps, compares):
    random = np.random.default_rng(seed)
    limits = {"max_increase": 0.005, "max_refused_increase": 0.01} if compares else {}
    candidate, stable = (sliced_at_random(random, each, 30) for each in ("candidate", "stable"))
    lasting = Judge(policy(**limits))
    for look in sorted(set(range(1, 31)) - skipped):
        began = ANCHOR + max((step for step in steps if step < look), default=0) * STEP_SECONDS
        now = at_look(look, step_started_at=began, stale_after_seconds=1000.0)
        own, other = until(candidate, look), until(stable, look)
        assert lasting.judge(own, other, now) == judge(policy(**limits), own, other, now)


@given(seed=st.integers(0, 2**32 - 1), looks=st.integers(1, 20))
def test_a_metric_passes_only_if_all_together_and_every_slice_that_decides_do(seed, looks):
    random = np.random.default_rng(seed)
    counted = {country: int(random.integers(0, 80)) for country in ("DE", "FR", "XX")}
    shares = {country: float(random.choice([0.0, 0.01, 0.3])) for country in counted}
    candidate = by_country(shares, pod="candidate-a", looks=looks, requests=counted, seed=seed % 1000)
    stable = by_country(dict.fromkeys(shares, 0.0), pod="stable-a", looks=looks, requests=counted, seed=7)
    verdict = judged(candidate, stable, looks=looks)
    if isinstance(verdict.verdict, Pass):
        assert isinstance(judge(errors_policy(), candidate, stable, circumstances(looks)).verdict, Pass)
        assert all(isinstance(each.verdict, Pass) for each in verdict.slices if each.decides)
        assert any(each.decides for each in verdict.slices)
        assert verdict.candidate.total > 0
        assert verdict.needed == 0
    if any(isinstance(each.verdict, Fail) for each in verdict.slices):
        assert isinstance(verdict.verdict, Fail)


def test_status_keeps_what_a_later_process_needs_to_judge_by_the_same_slices():
    served = SliceCounts(100_000.0, {"FR": 20_000.0, "DE": 70_000.0, "LI": 3.0})
    found = chosen(errors_policy(), "country", served, window_seconds=3600.0, exposure_seconds=3600.0, alpha_pass=0.01)
    kept = MetricSlices.model_validate_json(status_of("errors", found, served).model_dump_json(by_alias=True))
    assert (kept.metric, kept.label, kept.values, kept.rest_percent) == ("errors", "country", ("DE", "FR"), "10")
    assert float(kept.least_percent.share) == found.least_share


# Thin slices and odd labels -------------------------------------------------------------------------------------------


def counted(rows, *, pod):
    """Counters by country of (bad, total) in each interval."""
    found = []
    for country, served in rows.items():
        for part, values in ((Part.TOTAL, [total for _, total in served]), (Part.BAD, [bad for bad, _ in served])):
            found.append(dataclasses.replace(series(part, values, pod=pod), slice=country))
    return Counters(tuple(found), GRID)


LIMITED = {"max_share": 0.01}
INCREASED = {"max_share": None, "max_increase": 0.005}


@pytest.mark.parametrize("limits", [LIMITED, INCREASED], ids=["limit", "increase"])
def test_an_incident_that_hits_both_is_not_held_against_a_slice_in_which_stable_had_no_request_by_chance(limits):
    calm, incident = 20, 12
    both = [(0, 100)] * calm + [(33, 100)] * incident + [(0, 100)] * calm
    thin = [(0, 6)] * calm + [(3, 6)] * incident + [(0, 6)] * calm
    none_then = [(0, 1)] * calm + [(0, 0)] * incident + [(0, 1)] * calm
    candidate, stable = counted({"DE": both, "FR": thin}, pod="c"), counted({"DE": both, "FR": none_then}, pod="s")
    lasting = Judge(policy(**limits))
    for look in range(1, len(both) + 1):
        at = dataclasses.replace(circumstances(look), candidate_pods=())
        assert not isinstance(lasting.judge(until(candidate, look), until(stable, look), at).verdict, Fail), look


@pytest.mark.parametrize("limits", [LIMITED, INCREASED], ids=["limit", "increase"])
@pytest.mark.parametrize("labelled_so", [1.0, 0.3], ids=["all requests", "some requests"])
def test_a_candidate_whose_failures_get_a_label_that_stable_never_has_fails_all_the_same(limits, labelled_so):
    odd = 100 * labelled_so
    candidate = counted({"": [(odd / 2, odd)] * 30, "DE": [(0, 100 - odd)] * 30}, pod="c")
    stable = counted({"DE": [(0, 400)] * 30, "FR": [(0, 400)] * 30}, pod="s")
    at = dataclasses.replace(circumstances(30), candidate_pods=())
    assert isinstance(judged(candidate, stable, at=at, **limits).verdict, Fail)
