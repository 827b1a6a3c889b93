"""The question that each kind of metric asks."""

import pytest

from serinus.api.analysis import Limit, Metric, MetricLabels
from serinus.api.defaults import METRICS
from serinus.api.measures import Errors, Latency, Ratio, Value
from serinus.api.values import Percent, SignedDecimalText
from serinus.core.readings import Grid
from serinus.metrics.source import ErrorShare, EventRatio, QueryValue, SlowShare, measure_of, request_for

SHARE = Limit(max_percent=Percent("1"))
SELECTORS = {"bad": "a{%pods%}", "total": "b{%pods%}"}


def test_errors_count_the_usual_codes_and_report_other_client_errors():
    assert measure_of(Metric(name="m", errors=Errors(), limit=SHARE)) == ErrorShare(("5..", "429"), client_errors=True)


def test_errors_with_codes_count_those_only():
    metric = Metric(name="m", errors=Errors(codes=("503",)), limit=SHARE)
    assert measure_of(metric) == ErrorShare(("503",), client_errors=False)


@pytest.mark.parametrize(("limit", "compared"), [(SHARE, False), (Limit(max_increase_percent=Percent("1")), True)])
def test_latency_is_compared_where_an_increase_is_limited(limit, compared):
    metric = Metric(name="m", latency=Latency(threshold_milliseconds=500), limit=limit)
    assert measure_of(metric) == SlowShare(0.5, compared=compared)


def test_ratio_and_value_carry_the_users_text():
    assert measure_of(Metric(name="m", ratio=Ratio(**SELECTORS), limit=SHARE)) == EventRatio(**SELECTORS)
    value = Metric(name="m", value=Value(query="max(c{%pods%})"), limit=Limit(max=SignedDecimalText("1")))
    assert measure_of(value) == QueryValue("max(c{%pods%})")


def test_the_default_metrics_can_be_asked_for():
    assert [type(measure_of(metric)) for metric in METRICS] == [ErrorShare, SlowShare]


def test_a_request_carries_the_metrics_own_labels():
    grid = Grid(100.0, 15.0)
    metric = Metric(name="m", ratio=Ratio(**SELECTORS), limit=SHARE, labels=MetricLabels(pod="exported_pod"))
    request = request_for(metric, namespace="prod", pod_prefix="a-1", grid=grid, end=400.0, peer_prefixes=("a-2",))
    assert (request.pod_label, request.namespace_label) == ("exported_pod", None)
    assert (request.namespace, request.pod_prefix, request.peer_prefixes) == ("prod", "a-1", ("a-2",))
    assert (request.grid, request.end) == (grid, 400.0)
