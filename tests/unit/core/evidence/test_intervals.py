"""Raw counters become counts per interval: differences, resets, starts, outages, warm-up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.api.analysis import AbsentBad
from serinus.core.evidence.intervals import Interval, Tally, intervals_of, total_of
from serinus.core.readings import Counters, CounterSeries, Grid, Missing, MissingReason, Part, PodStart, Sample
from tests.unit.core.evidence.traffic import ANCHOR, STEP_SECONDS, counters, joined

GRID = Grid(ANCHOR, STEP_SECONDS)
OLD = PodStart("a", ANCHOR - 600)
YOUNG = PodStart("a", ANCHOR + 20)


def line(part: Part, values: dict[int, float], *, pod: str = "a", stratum: str = "") -> CounterSeries:
    """A counter with a value at each given grid point."""
    samples = tuple(Sample(ANCHOR + point * STEP_SECONDS, value) for point, value in values.items())
    return CounterSeries(pod, part, stratum, samples)


def counted(*series: CounterSeries, pods: tuple[PodStart, ...] = (OLD,), **options: object) -> list[Interval]:
    result = intervals_of(Counters(series, GRID), pods, **options)  # type: ignore[arg-type]
    assert not isinstance(result, Missing), result
    return list(result)


def totals(intervals: list[Interval]) -> dict[int, float]:
    return {interval.point: total_of(interval.strata.values()).total for interval in intervals}


def bads(intervals: list[Interval]) -> dict[int, float]:
    return {interval.point: total_of(interval.strata.values()).surely_bad for interval in intervals}


def test_the_first_sample_of_an_older_pod_is_only_a_base():
    assert totals(counted(line(Part.TOTAL, {0: 500, 1: 510, 2: 530}))) == {1: 10, 2: 20}


def test_a_pod_that_started_inside_the_window_counts_from_zero():
    assert totals(counted(line(Part.TOTAL, {2: 7, 3: 10}), pods=(YOUNG,))) == {2: 7, 3: 3}


def test_a_pod_whose_start_is_unknown_does_not_count_from_zero():
    assert totals(counted(line(Part.TOTAL, {2: 7, 3: 10}), pods=())) == {3: 3}


def test_a_counter_that_falls_has_been_reset_and_counts_from_zero():
    assert totals(counted(line(Part.TOTAL, {0: 500, 1: 510, 2: 4, 3: 6}))) == {1: 10, 2: 4, 3: 2}


def test_a_restart_resets_all_counters_of_its_pod_even_those_that_have_caught_up():
    intervals = counted(line(Part.TOTAL, {0: 500, 1: 510, 2: 9}), line(Part.BAD, {0: 2, 1: 2, 2: 7}))
    assert intervals == [Interval(1, {"": Tally(10, 0, 0, 0)}), Interval(2, {"": Tally(9, 7, 7, 0)})]


def test_a_restart_of_one_pod_leaves_the_counters_of_others_alone():
    series = (line(Part.TOTAL, {0: 500, 1: 510, 2: 9}), line(Part.TOTAL, {0: 500, 1: 510, 2: 530}, pod="b"))
    assert totals(counted(*series)) == {1: 20, 2: 29}


def test_a_container_that_restarted_inside_the_window_does_not_make_its_older_requests_count():
    restarted = PodStart("a", ANCHOR + 2.5 * STEP_SECONDS)
    assert totals(counted(line(Part.TOTAL, {0: 500, 1: 510, 3: 6}), pods=(restarted,))) == {1: 10, 3: 6}


def test_an_outage_becomes_one_long_interval_and_loses_nothing():
    assert totals(counted(line(Part.TOTAL, {0: 0, 1: 10, 6: 60, 7: 70}))) == {1: 10, 6: 50, 7: 10}


def test_a_status_code_seen_for_the_first_time_counts_from_zero():
    intervals = counted(line(Part.TOTAL, {0: 0, 1: 10, 2: 20, 3: 30}), line(Part.BAD, {2: 3, 3: 4}))
    assert bads(intervals) == {1: 0, 2: 3, 3: 1}


def test_a_status_code_that_comes_back_after_a_restart_counts_from_zero_even_if_it_is_higher_than_before():
    intervals = counted(line(Part.TOTAL, {0: 100, 1: 110, 2: 2, 3: 20}), line(Part.BAD, {0: 5, 1: 5, 3: 7}))
    assert bads(intervals) == {1: 0, 2: 0, 3: 7}


def test_a_status_code_that_was_not_read_in_an_outage_goes_on_where_it_was():
    intervals = counted(line(Part.TOTAL, {0: 100, 1: 110, 4: 140}), line(Part.BAD, {0: 5, 1: 5, 4: 7}))
    assert bads(intervals) == {1: 0, 4: 2}


def test_several_codes_and_several_pods_are_added_and_strata_are_kept_apart():
    intervals = counted(
        line(Part.TOTAL, {0: 0, 1: 10}, stratum="/a"),
        line(Part.TOTAL, {0: 0, 1: 30}, pod="b", stratum="/a"),
        line(Part.TOTAL, {0: 0, 1: 5}, stratum="/b"),
        line(Part.BAD, {0: 0, 1: 1}, stratum="/a"),
        line(Part.BAD, {0: 9, 1: 11}, stratum="/a"),
        line(Part.BAD, {0: 0, 1: 4}, pod="b", stratum="/a"),
    )
    assert intervals == [Interval(1, {"/a": Tally(40, 7, 7, 0), "/b": Tally(5, 0, 0, 0)})]


def test_fractions_are_never_rounded():
    assert totals(counted(line(Part.TOTAL, {0: 0.25, 1: 1.5}))) == {1: 1.25}


def test_4xx_answers_are_kept_apart_from_bad_ones():
    intervals = counted(
        line(Part.TOTAL, {0: 0, 1: 10}), line(Part.BAD, {0: 0, 1: 2}), line(Part.CLIENT_ERROR, {0: 0, 1: 3})
    )
    assert intervals == [Interval(1, {"": Tally(10, 2, 2, 3)})]


def test_what_only_the_gateway_counted_is_a_bad_request_beside_those_of_the_model():
    intervals = counted(
        line(Part.TOTAL, {0: 0, 1: 90, 2: 100}),
        line(Part.BAD, {0: 0, 1: 0, 2: 2}),
        line(Part.AT_GATEWAY, {0: 0, 1: 0, 2: 0, 3: 0}, pod="gateway-1"),
        line(Part.AT_GATEWAY, {1: 10, 2: 13, 3: 18}, pod="gateway-1"),
    )
    assert totals(intervals) == {1: 100, 2: 13, 3: 5}
    assert bads(intervals) == {1: 10, 2: 5, 3: 5}


def test_what_the_gateway_counted_before_it_was_first_read_is_only_a_base():
    intervals = counted(line(Part.TOTAL, {0: 0, 1: 90}), line(Part.AT_GATEWAY, {0: 500, 1: 510}, pod="gateway-1"))
    assert totals(intervals) == {1: 100}


def test_a_threshold_between_two_bounds_counts_few_for_fail_and_many_for_pass():
    intervals = counted(
        line(Part.TOTAL, {0: 0, 1: 100}),
        line(Part.GOOD_BELOW_LOWER, {0: 0, 1: 90}),
        line(Part.GOOD_BELOW_UPPER, {0: 0, 1: 96}),
        latency=True,
    )
    assert intervals == [Interval(1, {"": Tally(100, 4, 10, 0)})]


def test_a_latency_without_a_single_good_answer_is_all_bad():
    assert counted(line(Part.TOTAL, {0: 0, 1: 100}), latency=True) == [Interval(1, {"": Tally(100, 100, 100, 0)})]


def test_bad_ones_that_are_read_before_their_requests_join_the_next_interval():
    intervals = counted(line(Part.TOTAL, {0: 0, 1: 10, 2: 10, 3: 30}), line(Part.BAD, {0: 0, 1: 0, 2: 1, 3: 1}))
    assert intervals == [Interval(1, {"": Tally(10, 0, 0, 0)}), Interval(3, {"": Tally(20, 1, 1, 0)})]


def test_requests_counted_just_before_the_window_whose_answers_come_in_it_do_not_join_all_later_intervals():
    intervals = counted(
        line(Part.TOTAL, {0: 501, 1: 600, 2: 700, 3: 800}),
        line(Part.GOOD_BELOW_UPPER, {0: 500, 1: 600, 2: 700, 3: 800}),
        line(Part.GOOD_BELOW_LOWER, {0: 500, 1: 600, 2: 700, 3: 800}),
        latency=True,
    )
    assert totals(intervals) == {1: 99, 2: 100, 3: 100}
    assert bads(intervals) == {1: 0, 2: 0, 3: 0}


def test_a_request_that_is_read_before_its_answer_is_made_up_for_by_the_next_interval():
    intervals = counted(
        line(Part.TOTAL, {0: 500, 1: 600, 2: 700, 3: 800}),
        line(Part.GOOD_BELOW_UPPER, {0: 500, 1: 600, 2: 699, 3: 795}),
        line(Part.GOOD_BELOW_LOWER, {0: 500, 1: 600, 2: 699, 3: 795}),
        latency=True,
    )
    assert bads(intervals) == {1: 0, 2: 1, 3: 4}
    later = counted(
        line(Part.TOTAL, {0: 501, 1: 600, 2: 700, 3: 800}),
        line(Part.GOOD_BELOW_UPPER, {0: 500, 1: 600, 2: 696, 3: 796}),
        line(Part.GOOD_BELOW_LOWER, {0: 500, 1: 600, 2: 696, 3: 796}),
        latency=True,
    )
    assert bads(later) == {1: 0, 2: 3, 3: 0}


def test_bad_ones_without_requests_at_the_end_join_the_interval_before():
    intervals = counted(line(Part.TOTAL, {0: 0, 1: 10, 2: 10}), line(Part.BAD, {0: 0, 1: 0, 2: 1}))
    assert intervals == [Interval(1, {"": Tally(10, 1, 1, 0)})]


@pytest.mark.parametrize(
    ("series", "options", "reason"),
    [
        ((), {}, MissingReason.EMPTY),
        ((line(Part.BAD, {0: 0, 1: 1}),), {}, MissingReason.EMPTY),
        ((line(Part.TOTAL, {0: 0, 1: math.nan}),), {}, MissingReason.NOT_A_NUMBER),
        ((line(Part.TOTAL, {0: 0, 1: math.inf}),), {}, MissingReason.NOT_A_NUMBER),
        ((line(Part.TOTAL, {0: 0, 1: 5}), line(Part.BAD, {0: 0, 1: 9})), {}, MissingReason.INCONSISTENT),
        ((line(Part.TOTAL, {0: 0, 1: 5}),), {"absent_bad": AbsentBad.MISSING}, MissingReason.EMPTY),
    ],
)
def test_what_makes_no_sense_is_missing(series, options, reason):
    result = intervals_of(Counters(series, GRID), (OLD,), **options)
    assert isinstance(result, Missing)
    assert result.reason is reason


def test_an_absent_bad_series_is_zero_where_that_is_what_it_means():
    assert bads(counted(line(Part.TOTAL, {0: 0, 1: 5}), absent_bad=AbsentBad.ZERO)) == {1: 0}


@st.composite
def served_by_a_pod(draw):
    totals_seen = draw(st.lists(st.integers(0, 50), min_size=1, max_size=30))
    return [(draw(st.integers(0, total)), total) for total in totals_seen]


@given(served_by_a_pod(), st.integers(0, 1000), st.sets(st.integers(1, 30)))
def test_however_the_window_is_cut_the_same_requests_are_counted(served, base, unread):
    """Grid points that are not read move requests to a later interval; none is lost and none is counted twice."""
    whole = counters(served, base=base)
    kept = {0, len(served)} | (set(range(len(served))) - unread)
    cut = Counters(
        tuple(
            CounterSeries(s.pod, s.part, s.stratum, tuple(p for k, p in enumerate(s.samples) if k in kept))
            for s in whole.series
        ),
        whole.grid,
    )
    expected = Tally(sum(n for _, n in served), *[sum(b for b, _ in served)] * 2, 0)
    for read in (whole, cut):
        result = intervals_of(read)
        assert not isinstance(result, Missing)
        assert total_of(t for interval in result for t in interval.strata.values()) == expected


@given(st.lists(served_by_a_pod(), min_size=1, max_size=3), st.integers(1, 30))
def test_later_readings_do_not_change_earlier_intervals(pods, length):
    whole = joined(*(counters(served, pod=f"p{k}") for k, served in enumerate(pods)))
    begun = Counters(
        tuple(CounterSeries(s.pod, s.part, s.stratum, s.samples[: length + 1]) for s in whole.series), whole.grid
    )
    late, early = intervals_of(whole), intervals_of(begun)
    assert not isinstance(late, Missing)
    assert not isinstance(early, Missing)
    assert tuple(interval for interval in late if interval.point <= length) == early


@given(served_by_a_pod(), st.data())
def test_a_restart_loses_only_what_was_not_read_before_it(served, data):
    """Everything is counted if the restart can be seen; else never more than there was."""
    at = data.draw(st.integers(0, len(served)))
    before, after = counters(served[:at], pod="a"), served[at:]
    samples = []
    for k, series in enumerate(before.series):
        value, tail = 0.0, []
        for n, (bad, total) in enumerate(after, start=at + 1):
            value += (total, bad)[k]
            tail.append(Sample(ANCHOR + n * STEP_SECONDS, value))
        samples.append(CounterSeries("a", series.part, series.stratum, series.samples + tuple(tail)))
    result = intervals_of(Counters(tuple(samples), GRID))
    all_bad, everything = sum(bad for bad, _ in served), sum(total for _, total in served)
    seen_to_fall = any(
        before.series[k].samples[-1].value > samples[k].samples[at + 1].value for k in (0, 1) if len(after) > 0
    )
    if seen_to_fall:
        assert not isinstance(result, Missing)
        assert total_of(t for interval in result for t in interval.strata.values()) == (everything, all_bad, all_bad, 0)
    elif isinstance(result, Missing):
        assert result.reason is MissingReason.INCONSISTENT
    else:
        seen = total_of(t for interval in result for t in interval.strata.values())
        assert seen.total <= everything
        assert seen.surely_bad <= all_bad
