"""Requests divided by a label: which values there are, and which counter belongs to which."""

import pytest

from serinus.core.readings import Grid, Missing, MissingReason, Part, SliceCounts
from serinus.metrics import promql
from serinus.metrics import series as subject
from serinus.metrics.promql import Matcher, Pods, Selector, SelectorError
from serinus.metrics.series import Scrapes
from serinus.metrics.source import ErrorShare, EventRatio, ReadingRequest
from tests.unit.metrics.servers import serving
from tests.unit.metrics.test_prometheus_source import row, source_at, success
from tests.unit.metrics.test_series import request_series, series, values_of

PODS = Pods("prod", ("m-1",))
RATIO = EventRatio("nulls_total{%pods%}", 'predictions_total{%pods%,kind="image"}')
ERRORS = ErrorShare(("5..",), client_errors=True)


def scrapes(label="country"):
    return Scrapes(Grid(100.0, 10.0), "pod", {}, label)


def test_each_value_of_a_users_counter_is_a_counter_of_its_own():
    found = subject.user_counters(
        [series([1, 2], country="DE"), series([5, 9], country="FR"), series([0, 1])], scrapes()
    )
    assert {each.slice: values_of(each) for each in found} == {
        "DE": {0: 1, 1: 2},
        "FR": {0: 5, 1: 9},
        "": {0: 0, 1: 1},
    }
    assert [each.slice for each in subject.parts(found, Part.TOTAL)] == [each.slice for each in found]


def test_without_slices_no_counter_is_told_with_one():
    found = subject.user_counters([series([1, 2], country="DE")], scrapes(None))
    assert [each.slice for each in found] == [""]


@pytest.mark.parametrize("label", ["endpoint", "exported_endpoint"])
def test_an_endpoint_is_a_slice_whatever_the_scrape_made_of_its_label(label):
    renamed = request_series([1, 2], endpoint="http", exported_endpoint="/read")
    found = subject.bentoml_counters([renamed, request_series([3, 4], pod="b")], scrapes(label))
    assert [each.slice for each in found] == ["/read", "/read"]


def test_of_jobs_that_differ_in_a_label_of_the_scrape_only_one_counts():
    """The label is not BentoML's: the pod scraped twice would be in two slices."""
    copies = [request_series([1, 2], job="a", zone="x"), request_series([1, 2, 3], job="b")]
    (counter,) = subject.bentoml_counters(copies, scrapes("zone"))
    assert (counter.slice, values_of(counter)) == ("", {0: 1, 1: 2, 2: 3})


def test_a_label_that_is_none_gets_into_no_query():
    with pytest.raises(SelectorError, match="no label name"):
        promql.increase_by(Selector("a", ()), ('x) or vector(1) or sum by (y"',), 60, 20)


def test_prometheus_adds_the_requests_of_each_value_up():
    counted = Selector("a_total", (Matcher("x", "=", 'a"b'),))
    assert promql.increase_by(counted, ("country",), 3600, 20) == (
        'topk(20, sum by (country) (increase(a_total{x="a\\"b"}[3600s])))'
    )
    assert promql.increase(counted, 3600) == 'sum(increase(a_total{x="a\\"b"}[3600s]))'


def asked(measure=RATIO, label="country", **fields):
    grid = Grid(anchor=1_000.5, step_seconds=3600.0)
    return ReadingRequest(measure, "prod", "m-1", grid, 4_600.5, slice_label=label, **fields)


async def surveyed(answer, request):
    with serving(answer) as server:
        async with source_at(server.url) as source:
            return await source.slices(request, most=20), [parameters for _, parameters, _ in server.seen]


def vector(*rows):
    return success([{"metric": labels, "value": [4_600.5, value]} for labels, value in rows])


async def test_the_values_of_a_label_are_surveyed_at_the_end_of_the_window():
    def answer(_, parameters):
        if parameters["query"].startswith("topk"):
            return vector(({"country": "DE"}, "70.5"), ({"country": 'x"}) or up'}, "20"), ({}, "5"))
        return vector(({}, "100"))

    found, asked_for = await surveyed(answer, asked())
    assert found == SliceCounts(100.0, {"DE": 70.5, 'x"}) or up': 20.0, "": 5.0})
    selector = 'predictions_total{namespace="prod",pod=~"m-1-.+",kind="image"}'
    assert {(each["query"], each["time"]) for each in asked_for} == {
        (f"topk(20, sum by (country) (increase({selector}[3600s])))", "4600.5"),
        (f"sum(increase({selector}[3600s]))", "4600.5"),
    }


async def test_endpoints_are_surveyed_by_both_of_their_labels():
    found, asked_for = await surveyed(
        lambda _, __: vector(({"endpoint": "/a"}, "3"), ({"endpoint": "http", "exported_endpoint": "/a"}, "4")),
        asked(ERRORS, "endpoint"),
    )
    assert found == SliceCounts(7.0, {"/a": 7.0})
    assert any("sum by (endpoint, exported_endpoint)" in each["query"] for each in asked_for)


async def test_a_revision_without_a_past_has_no_slices():
    found, _ = await surveyed(lambda _, __: success([]), asked())
    assert found == SliceCounts(0.0, {})


@pytest.mark.parametrize("label", ["le", "http_response_code", "__name__", "pod", "instance", "job", "namespace"])
async def test_requests_can_not_be_divided_by_how_they_were_answered_or_where_they_were_counted(label):
    found, asked_for = await surveyed(lambda _, __: success([]), asked(ERRORS, label))
    assert isinstance(found, Missing)
    assert found.reason is MissingReason.INVALID_QUERY
    assert f"perSlice: {label} says how" in found.detail
    assert asked_for == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (vector(({"country": "DE"}, "NaN")), MissingReason.NOT_A_NUMBER),
        (vector(({"country": "DE"}, "-3")), MissingReason.NOT_A_NUMBER),
        (success([], warnings=["results may be partial"]), MissingReason.WARNING),
        (success([row([[1.0, "1"]])]), MissingReason.SOURCE_UNAVAILABLE),
    ],
    ids=["NaN", "negative", "a warning", "a range"],
)
async def test_a_survey_that_can_not_be_had_is_missing_with_the_reason(answer, reason):
    found, _ = await surveyed(lambda _, __: answer, asked())
    assert isinstance(found, Missing)
    assert found.reason is reason
