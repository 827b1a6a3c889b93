"""Status names the query behind a verdict, so that people can look at the same counters."""

import pytest

from serinus.core.readings import Grid
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import ErrorShare, EventRatio, Measure, QueryValue, ReadingRequest, SlowShare


@pytest.mark.parametrize(
    ("measure", "part"),
    [
        (ErrorShare(("5..",), client_errors=True), "bentoml_service_request_total{"),
        (SlowShare(0.5, compared=False), "bentoml_service_request_duration_seconds_bucket{"),
        (EventRatio("nulls_total{%pods%}", "all_total{%pods%}"), "nulls_total{"),
        (QueryValue("max(memory_bytes{%pods%})"), "max(memory_bytes{"),
    ],
)
async def test_the_query_names_the_counter_and_the_pods_of_one_revision(measure: Measure, part: str):
    source = PrometheusSource("http://127.0.0.1:1")
    query = source.query(ReadingRequest(measure, "models", "fraud-abc", Grid(0.0, 5.0), 10.0))
    await source.close()
    assert part in query
    assert 'namespace="models"' in query
    assert "fraud-abc-" in query


async def test_a_selector_that_is_none_gives_no_query_and_no_error():
    source = PrometheusSource("http://127.0.0.1:1")
    request = ReadingRequest(EventRatio("rate(x[5m])", "y{%pods%}"), "models", "fraud-abc", Grid(0.0, 5.0), 10.0)
    assert source.query(request) == ""
    await source.close()
