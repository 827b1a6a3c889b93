"""Candidates that are not heard, evidence that is missing: whatever else stands still, it is heeded."""

from __future__ import annotations

from typing import Any

from tests.world.invariants import check
from tests.world.prometheus import Prometheus
from tests.world.test_edits import holding
from tests.world.test_midway import pods_of, with_analysis
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import PodCounters
from tests.world.world import World, spec_of


class DeafToNewcomers(Prometheus):
    """Scrapes only the revision that it saw first."""

    first: str = ""

    def scrape(self, at: float, pods: dict[str, PodCounters]) -> None:
        if pods and not self.first:
            self.first = min(pods).rpartition("-")[0]
        super().scrape(at, {name: seen for name, seen in pods.items() if name.startswith(self.first)})


class FirstEventFirst(Prometheus):
    """A pod's counters appear with its first request, as users' own often do."""

    def scrape(self, at: float, pods: dict[str, PodCounters]) -> None:
        super().scrape(at, {name: seen for name, seen in pods.items() if seen.total >= 1})


def loses_its_weight(world: World) -> World:
    candidate = world.revision_of("model:2")
    return world.run_until(lambda: candidate not in world.weights(), 120)


def test_a_candidate_that_was_never_scraped_loses_its_weight() -> None:
    world = serving(prometheus=DeafToNewcomers())
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2")) == 5)
    loses_its_weight(world).run_until_phase("Rejected", 3600)
    check(world)


def test_a_candidate_whose_pods_fall_silent_one_after_the_other_loses_its_weight() -> None:
    world = serving(requests_per_second=400)
    spec = spec_of("model:2")
    spec["rollout"]["canary"]["steps"][1]["holdSeconds"] = 3000
    world.deploy(spec)
    world.run_until(lambda: world.weights().get(world.revision_of("model:2")) == 50).run(60)
    world.prometheus.deaf_to = frozenset(pods_of(world, "model:2")[:1])
    world.run(60)
    world.prometheus.deaf_to = frozenset(pods_of(world, "model:2"))
    loses_its_weight(world)


def test_a_candidate_that_falls_silent_while_a_person_pauses_loses_its_weight() -> None:
    world = holding()
    world.annotate(pause="true")
    world.run(5)
    world.prometheus.deaf_to = frozenset(pods_of(world, "model:2"))
    loses_its_weight(world)
    assert world.status.rollout.phase == "Paused"


def test_a_candidate_that_falls_silent_during_an_outage_loses_its_weight_when_that_ends() -> None:
    world = holding()
    world.prometheus.down = True
    world.run_until(lambda: world.status.rollout.missing_since is not None)
    world.prometheus.deaf_to = frozenset(pods_of(world, "model:2"))
    world.prometheus.down = False
    loses_its_weight(world)


def quiet_ratio() -> dict[str, Any]:
    ratio = {"bad": "nulls_total{%pods%}", "total": "predictions_total{%pods%}"}
    metric = {"name": "nulls", "ratio": ratio, "limit": {"maxPercent": "1"}, "absentBad": "Zero"}
    missing = {"afterSeconds": 200, "action": "Rollback"}
    return {"intervalSeconds": 5, "metrics": [metric], "missing": missing}


def test_a_quiet_candidate_whose_own_counters_appear_late_is_not_silent() -> None:
    world = World(requests_per_second=0.2, prometheus=FirstEventFirst())
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: stable_is(world, "model:1")).run(60)
    world.deploy(spec_of("model:2", analysis=quiet_ratio()))
    world.run(600)
    assert world.status.rejected == ()
    assert world.weights()[world.revision_of("model:2")] == 5


# Missing for too long -------------------------------------------------------------------------------------------------


def in_an_outage() -> World:
    """With a candidate that is rolled back after a minute without evidence."""
    world = serving()
    world.deploy(with_analysis(missing={"afterSeconds": 60, "action": "Rollback"}))
    world.run_until(lambda: world.weights().get(world.revision_of("model:2"), 0) == 5).run(10)
    world.prometheus.down = True
    return world.run_until(lambda: world.status.rollout.missing_since is not None)


def test_an_outage_that_ends_while_a_person_pauses_rolls_nothing_back() -> None:
    world = in_an_outage()
    world.annotate(pause="true")
    world.run(5)
    world.prometheus.down = False
    world.run(120)
    assert world.status.rollout.phase == "Paused"
    assert world.status.rejected == ()


def test_an_outage_that_ends_while_the_gateway_refuses_rolls_nothing_back() -> None:
    world = in_an_outage()
    world.gateway_accepts = False
    world.run(2)
    world.prometheus.down = False
    world.run(120)
    assert world.status.rejected == ()


def test_an_outage_that_ends_while_the_operator_is_down_rolls_nothing_back() -> None:
    world = in_an_outage()
    world.operator_is_up = False
    world.run(5)
    world.prometheus.down = False
    world.run(100)
    world.restart_operator()
    world.run(20)
    assert world.status.rejected == ()


def test_two_short_outages_do_not_add_up_to_a_long_one() -> None:
    world = in_an_outage()
    world.annotate(pause="true")
    world.run(5)
    world.prometheus.down = False
    world.run(100)
    world.prometheus.down = True
    world.run(40)
    assert world.status.rejected == ()
