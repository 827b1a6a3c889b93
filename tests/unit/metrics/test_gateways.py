"""What gateways count for each backend: found under all their names, for one backend only, as far as it was scraped."""

import re

import pytest

from serinus.api.gateways import Gateway
from serinus.core.readings import Counters, Grid, Missing, MissingReason, Part
from serinus.metrics import gateways
from serinus.metrics.answers import Series
from serinus.metrics.gateways import Backend
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.series import Scrapes, gateway_counters
from serinus.metrics.source import ErrorShare, ReadingRequest
from tests.unit.metrics.servers import serving

BACKEND = Backend("team-a", "fraud", "fraud-91b2f0c4de")
GRID = Grid(anchor=100.0, step_seconds=10.0)
ROUTE = "httproute-team-a-fraud-gw-gateway-system-public-ep-web-0"

NAMES = {
    Gateway.TRAEFIK: [
        "team-a-fraud-91b2f0c4de-80@kubernetesgateway",
        "team-a-fraud-91b2f0c4de-http-80@kubernetesgateway",
        f"{ROUTE}-svc-team-a-fraud-91b2f0c4de-1@kubernetesgateway",
        f"{ROUTE}-0123abcdef-svc-team-a-fraud-91b2f0c4de-0@kubernetesgateway",
    ],
    Gateway.ENVOY_GATEWAY: ["service/team-a/fraud-91b2f0c4de/80", "service/team-a/fraud-91b2f0c4de/80/grpc"],
}
OTHERS = {
    Gateway.TRAEFIK: [
        "team-a-fraud-91b2f0c4de-80@kubernetescrd",
        "team-a-fraud-0000000000-http-80@kubernetesgateway",
        "team-b-fraud-91b2f0c4de-http-80@kubernetesgateway",
        "x-team-a-fraud-91b2f0c4de-http-80@kubernetesgateway",
        "team-a-fraud-91b2f0c4de-http-80-more@kubernetesgateway",
        f"{ROUTE}-svc-team-a-fraud-0000000000-1@kubernetesgateway",
        f"{ROUTE}-wrr@kubernetesgateway",
        "httproute-evil-x-gw-a-b-ep-web-0-svc-evil-y-svc-team-a-fraud-91b2f0c4de-0@kubernetesgateway",
    ],
    Gateway.ENVOY_GATEWAY: [
        "httproute/team-a/fraud/rule/0",
        "service/team-b/fraud-91b2f0c4de/80",
        "service/team-a/fraud-91b2f0c4de-2/80",
    ],
}


@pytest.mark.parametrize("gateway", list(Gateway))
def test_a_backend_is_found_under_each_of_its_names_and_no_other_is(gateway):
    pattern = re.compile(gateways.backend_pattern(gateway, BACKEND))
    assert [name for name in NAMES[gateway] if not pattern.fullmatch(name)] == []
    assert [name for name in OTHERS[gateway] if pattern.fullmatch(name)] == []


def test_traefik_joins_words_with_single_dashes():
    pattern = gateways.backend_pattern(Gateway.TRAEFIK, Backend("a--b", "c.d", "c-d-1"))
    assert re.fullmatch(pattern, "a-b-c-d-1-http-80@kubernetesgateway")
    assert re.fullmatch(pattern, "httproute-a-b-c-d-gw-g-g-ep-web-0-svc-a--b-c-d-1-0@kubernetesgateway")


@pytest.mark.parametrize("gateway", list(Gateway))
def test_names_are_quoted_whatever_they_are(gateway):
    query = gateways.backend_requests(gateway, Backend('a"} or up{x="', "r|.*", "s\n\\"))
    harmless = gateways.backend_requests(gateway, BACKEND)
    outside_of_strings = [re.sub(r'"(\\.|[^"\\])*"', "…", each) for each in (query, harmless)]
    assert outside_of_strings[0] == outside_of_strings[1]
    assert "\n" not in query


def series(values, *, start=0, **labels):
    points = tuple((GRID.anchor + 10 * (start + place), float(value)) for place, value in enumerate(values))
    return Series(labels, points)


def counts(found, scraped):
    present = gateways.presence(scraped, GRID, "pod")
    counters = gateway_counters(found, Scrapes(GRID, present.label, present.newest), "code")
    parts = gateways.gateway_parts(counters, present, gateways.UNANSWERED_CODES, GRID)
    assert {each.part for each in parts} <= {Part.AT_GATEWAY}
    return [(each.pod, {int((s.at - GRID.anchor) / 10): s.value for s in each.samples}) for each in parts]


def test_only_answers_in_a_models_place_count_beside_a_zero_for_each_scraped_point():
    scraped = [series([99, 109, 119], pod="traefik-a")]
    found = [
        series([5, 9, 12], pod="traefik-a", code="200"),
        series([1, 4], start=1, pod="traefik-a", code="502"),
        series([7, 7, 7], pod="traefik-a", code="500"),
        series([2], start=2, pod="traefik-a", code="503", method="POST"),
    ]
    assert counts(found, scraped) == [
        ("traefik-a", {0: 0, 1: 0, 2: 0}),
        ("traefik-a", {1: 1, 2: 4}),
        ("traefik-a", {2: 2}),
    ]


def test_points_that_only_repeat_an_older_scrape_are_left_out():
    scraped = [series([99, 99, 99, 129], pod="traefik-a")]
    found = [series([1, 1, 1, 5], pod="traefik-a", code="502")]
    assert counts(found, scraped) == [("traefik-a", {0: 0, 3: 0}), ("traefik-a", {0: 1, 3: 5})]


def test_a_gateway_scraped_twice_counts_once_and_one_without_pods_by_its_address():
    scraped = [series([99, 109], instance=name, job=name) for name in ("10.0.0.1:9100", "10.0.0.2:9100")]
    found = [series([1, 2], instance=name, job=name, code="502") for name in ("10.0.0.1:9100", "10.0.0.2:9100")]
    assert len(counts(found, scraped)) == 4
    twice = [series([1, 2], pod="traefik-a", job=name, code="502") for name in ("one", "two")]
    scraped = [series([99, 109], pod="traefik-a", job=name) for name in ("one", "two")]
    assert counts(twice, scraped) == [("traefik-a", {0: 0, 1: 0}), ("traefik-a", {0: 1, 1: 2})]


ERRORS = ErrorShare(("5..", "429"), client_errors=True)


def answering(traefik, scraped_until=3, model=None):
    """A Prometheus that knows one pod of a model, and what Traefik counted: values on the grid by status code."""
    model = model or {("/read", "200"): [0, 90, 100, 100], ("/read", "504"): [0, 1, 2, 3], ("/b", "500"): [0, 1, 1, 1]}

    def points(values):
        return [[GRID.anchor + 10 * place, str(value)] for place, value in enumerate(values)]

    def answer(path, parameters):
        query = parameters["query"]
        if path.endswith("/query"):
            rows = [({"pod": "m-1-a", "endpoint": at}, {"value": [130, "129"]}) for at in ("/read", "/b")]
        elif query.startswith("timestamp(traefik_config_last_reload_success"):
            scrapes = [GRID.anchor + 10 * min(place, scraped_until) - 1 for place in range(4)]
            rows = [({"pod": "traefik-a"}, {"values": points(scrapes)})] if scraped_until >= 0 else []
        elif query.startswith("traefik_service_requests_total"):
            rows = [({"pod": "traefik-a", "code": code}, {"values": points(of)}) for code, of in traefik.items()]
        else:
            rows = [
                ({"pod": "m-1-a", "endpoint": endpoint, "http_response_code": code}, {"values": points(of)})
                for (endpoint, code), of in model.items()
            ]
        return {"status": "success", "data": {"result": [{"metric": labels} | of for labels, of in rows]}}

    return answer


async def read_from(answer, measure=ERRORS, route="m", gateway=Gateway.TRAEFIK, end=130.0):
    with serving(answer) as server:
        source = PrometheusSource(server.url, timeout_seconds=20, gateway=gateway)
        request = ReadingRequest(measure, "prod", "m-1", GRID, end, route=route)
        try:
            return await source.read(request), [parameters["query"] for _, parameters, _ in server.seen]
        finally:
            await source.close()


def newest(reading, part):
    assert isinstance(reading, Counters), reading
    found = [each for each in reading.series if each.part is part]
    return sum(each.samples[-1].value for each in found), {each.stratum for each in found}


async def test_answers_in_the_models_place_come_from_the_gateway_and_all_others_from_the_model():
    reading, _ = await read_from(answering({"200": [0, 90, 99, 99], "502": [0, 4, 4, 4], "504": [0, 1, 2, 5]}))
    assert newest(reading, Part.TOTAL) == (101, {""})
    assert newest(reading, Part.BAD) == (1, {""})
    assert newest(reading, Part.AT_GATEWAY) == (9, {""})


@pytest.mark.parametrize(
    "question",
    [{"gateway": None}, {"route": None}, {"measure": ErrorShare(("500", "429"), client_errors=False)}],
    ids=["no gateway is scraped", "no route", "its answers are not bad"],
)
async def test_where_a_gateway_has_nothing_to_say_it_is_not_asked(question):
    reading, asked = await read_from(answering({"502": [0, 4, 4, 4]}), **question)
    assert newest(reading, Part.AT_GATEWAY) == (0, set())
    assert newest(reading, Part.TOTAL)[1] == {"/read", "/b"}
    assert not any("traefik" in query for query in asked)


async def test_only_the_codes_of_the_metric_come_from_the_gateway():
    reading, _ = await read_from(
        answering({"502": [0, 4, 4, 4], "503": [0, 1, 2, 5]}), ErrorShare(("503",), client_errors=False)
    )
    assert newest(reading, Part.AT_GATEWAY)[0] == 5
    assert newest(reading, Part.TOTAL)[0] == 104


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (answering({"502": [0, 4, 4, 4]}, scraped_until=-1), MissingReason.EMPTY, "is it scraped"),
        (answering({}), MissingReason.NOT_COVERED, "no traefik_service_requests_total"),
    ],
    ids=["not scraped", "without this backend"],
)
async def test_a_gateway_that_should_be_there_and_is_not_makes_the_reading_missing(answer, reason, said):
    reading, _ = await read_from(answer)
    assert isinstance(reading, Missing)
    assert reading.reason is reason
    assert said in reading.detail


async def test_a_gateway_that_is_no_longer_scraped_makes_the_reading_missing():
    def answer(path, parameters):
        if parameters["query"].startswith("timestamp(traefik"):
            scrapes = {"traefik-a": ["99"] * 7, "traefik-of-others": ["99", "109", "119", "129", "139", "149", "159"]}
            rows = [
                {"metric": {"pod": pod}, "values": [[GRID.anchor + 10 * place, at] for place, at in enumerate(of)]}
                for pod, of in scrapes.items()
            ]
            return {"status": "success", "data": {"result": rows}}
        return answering({"502": [0, 4, 4, 4]})(path, parameters)

    reading, _ = await read_from(answer, end=160.0)
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.TOO_OLD
    assert "61 s" in reading.detail


async def test_a_backend_without_requests_needs_no_counts_of_a_gateway():
    reading, _ = await read_from(answering({}, model={("/read", "200"): [0, 0, 0, 0]}))
    assert newest(reading, Part.TOTAL) == (0, {""})


async def test_status_names_both_counters_where_both_decide():
    source = PrometheusSource("http://127.0.0.1:1", gateway=Gateway.TRAEFIK)
    query = source.query(ReadingRequest(ERRORS, "prod", "m-1", GRID, 130.0, route="m"))
    alone = source.query(ReadingRequest(ERRORS, "prod", "m-1", GRID, 130.0))
    await source.close()
    assert query.startswith(f"{alone} or traefik_service_requests_total{{")
    assert len(query) < 1000
