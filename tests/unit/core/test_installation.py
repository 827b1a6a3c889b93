"""What `helm test` says of what it saw: each kind of trouble by its name and with its cure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from serinus.api.gateways import GatewayFeature
from serinus.core.gateways import GatewayState
from serinus.core.installation import (
    CrdSeen,
    Finding,
    Level,
    MetricsExpected,
    MissingRight,
    PodsScraped,
    of_crd,
    of_gateways,
    of_leader,
    of_metrics,
    of_rights,
)

EXPECTED = MetricsExpected("http://prometheus:9090", ("namespace", "pod"), 30, None, None, ready_pods=2)
NO_MODEL_YET = replace(EXPECTED, ready_pods=0)
TRAEFIK = replace(EXPECTED, gateway="Traefik", alive="traefik_config_last_reload_success")
SCRAPED = PodsScraped(targets=12, pods=7, models=2, of_gateway=None, seconds_apart=30)


def told(findings: Iterable[Finding]) -> list[tuple[Level, str]]:
    return [(each.level, each.message) for each in findings]


def test_rights_that_are_all_there_are_one_line() -> None:
    assert told(of_rights(71, ())) == [(Level.FINE, "all 71 that the operator uses are granted")]


def test_rights_that_are_missing_are_named_by_namespace() -> None:
    missing = [
        MissingRight("watch", "pods", "team-b"),
        MissingRight("list", "pods", "team-b"),
        MissingRight("create", "httproutes.gateway.networking.k8s.io", "team-b"),
        MissingRight("list", "gatewayclasses.gateway.networking.k8s.io", ""),
    ]
    cluster, team = told(of_rights(71, missing))
    assert cluster[0] is team[0] is Level.WRONG
    assert cluster[1].startswith("missing in the whole cluster: list gatewayclasses.gateway.networking.k8s.io;")
    assert "in namespace team-b: create httproutes.gateway.networking.k8s.io; list, watch pods; `helm upgr" in team[1]


@pytest.mark.parametrize(
    ("seen", "level", "says"),
    [
        (CrdSeen(3, True, None), Level.FINE, "new enough"),
        (CrdSeen(3, False, None), Level.WRONG, "kubectl apply --server-side"),
        (CrdSeen(3, True, "its schema is of version 2"), Level.WRONG, "its schema is of version 2"),
        (CrdSeen(3, True, None, readable=False), Level.NOTE, "it has to be 3 or newer"),
    ],
)
def test_the_crd_is_there_new_enough_or_neither(seen: CrdSeen, level: Level, says: str) -> None:
    finding = of_crd(seen)
    assert finding.level is level
    assert says in finding.message


@pytest.mark.parametrize(
    ("holder", "obstacle", "level", "says"),
    [
        ("serinus-0", None, Level.FINE, "serinus-0 leads"),
        (None, None, Level.WRONG, "nobody holds Lease ops/serinus: see the log"),
        ("", None, Level.WRONG, "nobody holds Lease ops/serinus"),
        ("serinus-0", "the operator of Lease a/b is older", Level.WRONG, "the operator of Lease a/b is older"),
    ],
)
def test_who_leads_is_told_or_what_is_in_the_way(
    holder: str | None, obstacle: str | None, level: Level, says: str
) -> None:
    finding = of_leader("ops/serinus", holder, obstacle)
    assert finding.level is level
    assert says in finding.message


FAST = replace(EXPECTED, scrape_interval_seconds=0.5)
METRICS: list[tuple[MetricsExpected | None, PodsScraped | str, Level, str]] = [
    (None, "", Level.NOTE, "no prometheus.url is set: canaries are refused unless their analysis is disabled"),
    (EXPECTED, "no answer from http://prometheus:9090", Level.WRONG, "no answer from http://prometheus:9090"),
    (EXPECTED, PodsScraped(0, 0, 0, None, None), Level.WRONG, "has no series `up`, and pods of models are ready (2)"),
    (NO_MODEL_YET, PodsScraped(0, 0, 0, None, None), Level.NOTE, "has no series `up`, and no pod of a model is ready"),
    (EXPECTED, PodsScraped(12, 0, 0, None, None), Level.WRONG, "none with the labels namespace and pod: pods can't"),
    (NO_MODEL_YET, PodsScraped(12, 0, 0, None, None), Level.NOTE, "none with the labels namespace and pod, and no pod"),
    (EXPECTED, SCRAPED, Level.FINE, "7 of its 12 targets are pods with the labels namespace and pod"),
    (EXPECTED, replace(SCRAPED, models=0), Level.NOTE, "no pod with BentoML's counters is scraped yet"),
    (EXPECTED, replace(SCRAPED, seconds_apart=60.004), Level.NOTE, "every 60 s on average lately, where"),
    (FAST, replace(SCRAPED, seconds_apart=2.5), Level.NOTE, "every 2.5 s on average lately, where"),
    (EXPECTED, replace(SCRAPED, seconds_apart="no answer"), Level.NOTE, "how often pods are scraped is not known: "),
    (TRAEFIK, replace(SCRAPED, of_gateway=0), Level.WRONG, "no series traefik_config_last_reload_success"),
]


@pytest.mark.parametrize(("expected", "seen", "level", "says"), METRICS, ids=[each[3] for each in METRICS])
def test_metrics_are_usable_or_it_is_said_why_not(
    expected: MetricsExpected | None, seen: PodsScraped | str, level: Level, says: str
) -> None:
    findings = told(of_metrics(expected, seen))
    (found,) = [each for each in findings if says in each[1]]
    assert found[0] is level
    assert level is Level.WRONG or Level.WRONG not in {each for each, _ in findings}


def test_metrics_as_they_should_be_are_one_line() -> None:
    assert len(told(of_metrics(EXPECTED, SCRAPED))) == 1
    assert len(told(of_metrics(TRAEFIK, replace(SCRAPED, of_gateway=2)))) == 1
    assert len(told(of_metrics(EXPECTED, replace(SCRAPED, seconds_apart=None)))) == 1  # all of them are too young


KNOWN = GatewayState("a.b/c", "shiny", frozenset({GatewayFeature.HEADERS}))
UNKNOWN = GatewayState(None, "dull")


def test_each_gateway_is_told_with_what_it_is_known_to_do() -> None:
    first, second = told(of_gateways(True, {("edge", "public"): KNOWN, ("edge", "inner"): UNKNOWN}))
    assert first[0] is Level.NOTE
    assert "edge/inner splits requests by weight; of its GatewayClass dull nothing is known" in first[1]
    assert second[0] is Level.FINE
    assert second[1] == (
        "edge/public (a.b/c) splits requests by weight; known to lead requests by their headers; "
        "not known to copy requests; not known to copy a part of the requests"
    )


@pytest.mark.parametrize(
    ("installed", "unseen", "level", "says"),
    [
        (False, None, Level.NOTE, "the Gateway API is not installed"),
        (True, None, Level.NOTE, "no Gateway is in sight"),
        (True, "list gateways in namespace edge: forbidden", Level.WRONG, "list gateways in namespace edge"),
    ],
)
def test_no_gateway_is_a_note_and_one_that_may_not_be_seen_is_wrong(
    installed: bool, unseen: str | None, level: Level, says: str
) -> None:
    ((found, message),) = told(of_gateways(installed, {}, unseen=unseen))
    assert found is level
    assert says in message


def test_a_finding_is_a_line_with_a_sign() -> None:
    assert str(Finding(Level.WRONG, "leader", "nobody")) == "✖ leader: nobody"
