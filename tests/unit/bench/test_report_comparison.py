"""Two runs side by side: figures, ratios, and whether a goal is met."""

from __future__ import annotations

import pytest

from bench.audit import BUILT_IN, OPERATOR
from bench.figures import ABORTED, ACTED_SECONDS, EVENTS_EMITTED, EVENTS_LOST, ProcessFigures, RequestCount, Run
from bench.report.comparison import MEASURES, Row, compare, comparison, pairs
from bench.report.table import figure
from tests.unit.bench.runs import ACCOUNT, a_phase, a_run, the_peer


def whole(run: Run, *, seconds: float, writes: int, lost: int, aborted: int, acted: float) -> Run:
    rss = {"operator": ProcessFigures(1.0, 1.0, 100.0)}
    requests = [
        RequestCount(OPERATOR, ACCOUNT, "update", "leases", 200, 30),
        RequestCount(BUILT_IN, "system:kube-scheduler", "update", "leases", 200, 99),
    ]
    rollout = a_phase(
        "rollout",
        wall_seconds=seconds,
        writes={OPERATOR: writes, BUILT_IN: 200},
        tally={EVENTS_EMITTED: 50, EVENTS_LOST: lost},
    )
    phases = [
        *run.phases,
        rollout,
        a_phase("outage", facts={ABORTED: aborted}, tally={EVENTS_EMITTED: 9, EVENTS_LOST: 9}),
        a_phase("idle", wall_seconds=120.0, requests=requests, processes=rss),
        a_phase("restart", facts={ACTED_SECONDS: acted}),
    ]
    return a_run(**{name: getattr(run, name) for name in run.__slots__} | {"phases": phases})


OURS = whole(a_run(), seconds=40.0, writes=120, lost=0, aborted=0, acted=2.004)
THEIRS = whole(the_peer(), seconds=50.0, writes=200, lost=30, aborted=5, acted=16.5)


@pytest.fixture
def found() -> dict[str, Row]:
    return {row.name: row for row in compare(OURS, THEIRS)}


def test_a_ratio_is_ours_by_theirs(found):
    row = found["new version: until all are Ready, s"]
    assert (row.ours, row.theirs, row.ratio, row.limit, row.is_met) == (40, 50, 0.8, 40, True)


def test_writes_are_counted_for_each_resource(found):
    row = found["new version: operator's writes for each"]
    assert (row.ours, row.theirs, row.ratio) == (12, 20, 0.6)


def test_objects_that_the_peer_leaves_to_its_user_may_be_written_too(found):
    row = found["create: operator's writes for each"]
    assert (row.ours, row.theirs) == (11.2, 11.2)
    assert row.limit == pytest.approx(11.2 + 3)  # three Services each; a refused route is no object


def test_only_requests_of_the_operator_are_idle_ones(found):
    assert found["idle: operator's requests a minute"].ours == 15


def test_events_are_compared_where_both_count_them(found):
    assert found["create and new version: Events emitted"].ours == 72
    assert found["create and new version: Events lost"].theirs == 32


def test_a_goal_is_met_to_the_digits_that_are_shown(found):
    assert found["restart: until the standby acts, s"].is_met
    assert found["outage of Prometheus: healthy ones aborted"].is_met
    assert not found["create and new version: Events lost"].is_met


def test_a_figure_that_was_not_measured_is_blank(found):
    row = found["fail-over: until the standby acts, s"]
    assert (row.ours, row.ratio, row.is_met) == (None, None, None)


def test_just_as_many_are_not_fewer():
    assert Row("a", 20.0, 20.0, 20.0).is_met
    assert not Row("a", 20.0, 20.0, 20.0, is_strict=True).is_met


def test_nothing_has_no_ratio():
    assert Row("a", 1.0, 0.0, None).ratio is None


def test_only_runs_of_one_call_are_compared():
    ours, peer = a_run(), the_peer()
    assert pairs(
        [ours, peer, the_peer(size=20), the_peer(label="Argo Rollouts 40/80", invoked_at="2026-01-02T00:00:00Z")]
    ) == [(ours, peer)]


def test_a_peer_with_traffic_routing_is_compared_with_ours_behind_a_gateway():
    plain, routed, peer = a_run(), a_run(routed=True), the_peer(routed=True)
    assert pairs([plain, routed, peer]) == [(routed, peer)]


def test_peers_alone_are_not_compared():
    assert pairs([the_peer(), the_peer(label="Argo Rollouts 40/80")]) == []


def test_the_table_names_both_and_has_every_measure():
    head, _, *rows = comparison(OURS, THEIRS)
    assert [cell.strip() for cell in head.split("|")][1:4] == ["10 resources", "Serinus", "Argo Rollouts 400/800"]
    assert len(rows) == len(MEASURES)
    (line,) = [" ".join(row.split()) for row in rows if "healthy ones aborted" in row]
    assert line.endswith("| 0 | 5 | 0 | ≤ 0 | yes |")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0"), (0.123, "0.12"), (1.5, "1.50"), (5.0, "5"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_a_figure_has_as_many_digits_as_it_is_good_for(value, text):
    assert figure(value) == text
