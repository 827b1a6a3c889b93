"""Series become the counters of pods: once each, as fresh as they are, in their parts."""

import math

import pytest

from serinus.core.readings import Grid, MissingReason, Part
from serinus.metrics import series as subject
from serinus.metrics.answers import Series, UnreadableError
from serinus.metrics.series import Counter, Scrapes

GRID = Grid(anchor=100.0, step_seconds=10.0)


def scrapes(**newest):
    return Scrapes(grid=GRID, pod_label="pod", newest=newest)


def series(values, *, start=0, **labels):
    points = tuple((GRID.anchor + 10 * (start + place), float(value)) for place, value in enumerate(values))
    return Series({"pod": "a", **labels}, points)


def request_series(values, *, start=0, endpoint="/read", code="200", **labels):
    return series(values, start=start, endpoint=endpoint, http_response_code=code, service_name="Digits", **labels)


def values_of(counter):
    return {int((sample.at - GRID.anchor) / 10): sample.value for sample in counter.samples}


def test_a_counter_keeps_its_samples_on_the_grid():
    (counter,) = subject.bentoml_counters([request_series([1, 2, 5])], scrapes())
    assert (counter.pod, counter.path, counter.code, counter.bound) == ("a", "/read", "200", None)
    assert values_of(counter) == {0: 1, 1: 2, 2: 5}


def test_a_pod_scraped_by_two_jobs_counts_once_with_the_newest_value():
    copies = [request_series([1, 2, 5], job="annotations"), request_series([1, 3, 4], job="podmonitor", container="m")]
    (counter,) = subject.bentoml_counters(copies, scrapes())
    assert values_of(counter) == {0: 1, 1: 3, 2: 5}


def test_a_counter_goes_on_when_a_label_of_the_scrape_changes():
    before, after = request_series([7, 9], team="x"), request_series([9, 12], start=1, team="y")
    (counter,) = subject.bentoml_counters([before, after], scrapes())
    assert values_of(counter) == {0: 7, 1: 9, 2: 12}


def test_pods_paths_codes_and_services_are_counters_of_their_own():
    found = subject.bentoml_counters(
        [
            request_series([1]),
            request_series([1], pod="b"),
            request_series([1], endpoint="/other"),
            request_series([1], code="500"),
            request_series([1], runner_name="Other"),
        ],
        scrapes(),
    )
    assert len(found) == 5


def test_the_path_is_found_where_the_prometheus_operator_renames_it():
    renamed = request_series([1], endpoint="http", exported_endpoint="/read")
    plain = request_series([2], endpoint="/read")
    (counter,) = subject.bentoml_counters([renamed, plain], scrapes())
    assert counter.path == "/read"
    assert values_of(counter) == {0: 2}


def test_bounds_are_numbers_however_they_are_written():
    (counter,) = subject.bentoml_counters(
        [request_series([1], le="1"), request_series([2], le="1.0", start=1)], scrapes()
    )
    assert counter.bound == 1.0
    assert values_of(counter) == {0: 1, 1: 2}


def test_grid_points_long_after_the_last_scrape_are_left_out():
    stale, fresh = request_series([1, 2, 2, 2]), request_series([1, 2, 3, 4], pod="b")
    counters = subject.bentoml_counters([stale, fresh], scrapes(a=108.0, b=129.0))
    assert [values_of(each) for each in counters] == [{0: 1, 1: 2}, {0: 1, 1: 2, 2: 3, 3: 4}]


def test_a_series_without_a_pod_is_ambiguous_and_says_what_to_do():
    with pytest.raises(UnreadableError) as caught:
        subject.bentoml_counters([Series({"job": "x"}, ((100.0, 1.0),))], scrapes())
    assert caught.value.missing.reason is MissingReason.AMBIGUOUS
    assert "labels.pod" in caught.value.missing.detail


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_counter_that_is_not_a_number_is_no_reading(value):
    with pytest.raises(UnreadableError) as caught:
        subject.bentoml_counters([request_series([1, value])], scrapes())
    assert caught.value.missing.reason is MissingReason.NOT_A_NUMBER


def test_a_gauge_in_place_of_a_counter_is_recognised_by_its_sign():
    with pytest.raises(UnreadableError, match="gauge") as caught:
        subject.user_counters([series([1, -1])], scrapes())
    assert caught.value.missing.reason is MissingReason.INCONSISTENT


def test_a_bucket_bound_that_is_no_number_is_no_reading():
    with pytest.raises(UnreadableError, match="bucket"):
        subject.bentoml_counters([request_series([1], le="many")], scrapes())


def test_users_counters_keep_their_own_labels_apart():
    found = subject.user_counters([series([1], kind="x"), series([2], kind="y"), series([4], endpoint="/z")], scrapes())
    assert sorted(values_of(each)[0] for each in found) == [1, 2, 4]
    assert {each.path for each in found} == {""}


def test_users_counters_scraped_by_two_jobs_count_once_for_each_pod():
    found = subject.user_counters(
        [
            series([1, 2], kind="x", job="new", rack="7"),
            series([1, 2, 3], kind="x", job="old"),
            series([5, 5, 5], kind="y", job="old"),
            series([8], pod="b", job="new"),
        ],
        scrapes(),
    )
    assert [(each.pod, values_of(each)) for each in found] == [
        ("a", {0: 1, 1: 2, 2: 3}),
        ("a", {0: 5, 1: 5, 2: 5}),
        ("b", {0: 8}),
    ]


def test_a_label_service_is_the_scrapes_under_the_prometheus_operator_and_the_users_otherwise():
    operator = [series([3], service=name, endpoint="http", job="same") for name in ("fraud", "fraud-91b2f0c4de")]
    users = [series([3], service=name, job="same") for name in ("billing", "search")]
    assert [values_of(each) for each in subject.user_counters(operator, scrapes())] == [{0: 3}]
    assert [values_of(each) for each in subject.user_counters(users, scrapes())] == [{0: 3}, {0: 3}]


def counter(code="200", path="/read", bound=None):
    return Counter(pod="a", path=path, code=code, bound=bound, samples=())


def parts_of(code, codes=("5..", "429"), client_errors=True):
    return {each.part for each in subject.request_parts([counter(code)], codes, client_errors=client_errors)}


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("200", {Part.TOTAL}),
        ("302", {Part.TOTAL}),
        ("400", {Part.TOTAL, Part.CLIENT_ERROR}),
        ("429", {Part.TOTAL, Part.BAD}),
        ("500", {Part.TOTAL, Part.BAD}),
        ("504", {Part.TOTAL, Part.BAD}),
        ("5000", {Part.TOTAL}),
        ("", {Part.TOTAL}),
    ],
)
def test_status_codes_decide_the_parts_of_a_counter(code, parts):
    assert parts_of(code) == parts


def test_with_codes_of_the_users_nothing_else_is_reported():
    assert parts_of("400", codes=("404",), client_errors=False) == {Part.TOTAL}
    assert parts_of("404", codes=("404",), client_errors=False) == {Part.TOTAL, Part.BAD}


def test_paths_that_only_ever_gave_404_do_not_exist():
    counters = [counter(), counter("404", "/read"), counter("404", "/nope"), counter("404", "/gone")]
    assert subject.known_paths(counters, {"/gone"}) == {"/read", "/gone"}


def test_a_threshold_on_a_bound_gives_both_parts_of_the_same_bucket():
    parts = [each.part for each in subject.good_parts([counter(bound=0.5), counter(bound=1.0)], 0.5, 0.5)]
    assert parts == [Part.GOOD_BELOW_LOWER, Part.GOOD_BELOW_UPPER]
