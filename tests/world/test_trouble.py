"""Pods, the gateway, Prometheus and the API server misbehave."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from serinus.api.kinds import Kind
from serinus.core.observation import Capabilities
from tests.world.api_server import ApiServer
from tests.world.invariants import check
from tests.world.test_edits import holding
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of


def test_a_candidate_that_never_gets_ready_gets_no_traffic_and_is_rolled_back_at_the_deadline() -> None:
    behaviour = Behaviour(never_ready=True, trouble="OOMKilled")
    world = serving(behaviours={"model:2": behaviour})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    stalled = next(c for c in world.status.conditions if c.type == "Stalled")
    assert "OOMKilled" in stalled.message
    assert all(world.revision_of("model:2") not in moment.weights for moment in world.moments)
    check(world)


def test_a_first_revision_that_never_gets_ready_stalls_and_recovers_with_a_new_spec() -> None:
    world = World(behaviours={"model:1": Behaviour(never_ready=True)})
    world.deploy(spec_of("model:1"))
    world.run(200)
    assert world.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    assert world.condition("Available") == ("False", "NoReadyPods")
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run(30)
    assert world.condition("Ready") == ("True", "Stable")


def test_a_candidate_that_crashes_twice_after_readiness_is_rolled_back() -> None:
    world = holding()
    world.behaviours["model:2"] = Behaviour(crash_every_seconds=20)
    world.run_until_phase("Rejected")
    assert world.condition("Stalled")[1] in {"ContainerRestarted", "ReadinessLost"}
    assert stable_is(world, "model:1")
    check(world, pods_crash=True)


def test_losing_the_candidates_last_pod_takes_its_weight_off_at_once() -> None:
    world = holding()
    candidate = world.revision_of("model:2")
    pod = next(p for p in world.api.of("Pod") if p["metadata"]["labels"]["serinus.dev/revision"] == candidate)
    world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.run(2)
    assert candidate not in world.weights()
    assert world.status.rollout.counting_since is None
    world.run_until(lambda: world.weights().get(candidate, 0) == 5)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_stable_without_a_ready_pod_lends_its_traffic_and_nothing_advances() -> None:
    world = holding()
    stable, candidate = world.revision_of("model:1"), world.revision_of("model:2")
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"]["serinus.dev/revision"] == stable:
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    world.behaviours["model:1"] = Behaviour(never_ready=True)
    world.run(200)
    assert world.weights() == {candidate: 100}
    assert stable_is(world, "model:1")
    assert world.status.rollout.step == "five"
    world.behaviours.clear()
    world.run(20)
    assert world.weights() == {stable: 95, candidate: 5}
    world.run_until(lambda: stable_is(world, "model:2"))


def test_an_outage_of_prometheus_holds_and_touches_nothing() -> None:
    world = holding()
    world.prometheus.down = True
    world.run(300)
    assert world.weights() == {world.revision_of("model:1"): 95, world.revision_of("model:2"): 5}
    assert world.status.rollout.counting_since is None
    assert world.condition("Reconciling") == ("True", "EvidenceMissing")
    world.prometheus.down = False
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_long_outage_of_prometheus_rolls_back_only_where_the_spec_says_so() -> None:
    world = serving()
    spec = spec_of("model:2")
    spec["analysis"]["missing"] = {"afterSeconds": 60, "action": "Rollback"}
    world.deploy(spec)
    world.run_until_phase("Holding").run(20)
    world.prometheus.down = True
    world.run_until_phase("Rejected")
    assert world.condition("Stalled") == ("True", "EvidenceMissingTooLong")


def test_a_candidate_that_is_silent_loses_its_weight_until_it_reports_again() -> None:
    world = holding()
    candidate = world.revision_of("model:2")
    pods = [
        p["metadata"]["name"]
        for p in world.api.of("Pod")
        if p["metadata"]["labels"]["serinus.dev/revision"] == candidate
    ]
    world.prometheus.deaf_to = frozenset(pods)
    world.run(120)
    assert world.status.rollout.step == "five"
    assert world.status.rollout.counting_since is None
    assert candidate not in world.weights(), "a candidate that reports nothing gets nothing"
    world.prometheus.deaf_to = frozenset()
    world.run_until(lambda: world.weights().get(candidate, 0) == 5)
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_without_a_metric_source_a_canary_is_refused() -> None:
    world = World(capabilities=Capabilities(metric_source=False))
    world.deploy(spec_of("model:1"))
    world.run(20)
    assert world.condition("Stalled") == ("True", "NoMetricSource")


def test_a_route_that_the_gateway_refuses_starts_no_clock_and_is_quoted() -> None:
    world = serving()
    world.gateway_accepts = False
    world.deploy(spec_of("model:2"))
    world.run(300)
    assert stable_is(world, "model:1")
    assert world.status.rollout.counting_since is None
    assert world.condition("Reconciling") == ("True", "RouteNotAccepted")
    reconciling = next(c for c in world.status.conditions if c.type == "Reconciling")
    assert "NoMatchingListenerHostname" in reconciling.message
    world.gateway_accepts = True
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_the_api_server_gone_for_minutes_changes_nothing_in_the_end() -> None:
    world = holding()
    world.api.faults.down = True
    world.run(180)
    world.api.faults.down = False
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


@pytest.mark.parametrize("lag_seconds", [1, 3])
def test_stale_caches_lead_to_the_same_end(lag_seconds: int) -> None:
    world = serving(lag_seconds=lag_seconds)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"), 900).run(200)
    assert world.weights() == {world.revision_of("model:2"): 100}
    assert world.replicas() == {world.revision_of("model:1"): 0, world.revision_of("model:2"): 3}
    check(world)


@dataclasses.dataclass
class Diary(ApiServer):
    """An API server that remembers what it was asked to make."""

    asked_to_make: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    async def create(self, kind: Kind, namespace: str, manifest: Any) -> dict[str, Any]:
        self.asked_to_make.append((kind.kind, manifest["metadata"]["name"]))
        return await super().create(kind, namespace, manifest)


def test_what_was_made_is_not_made_again_because_the_caches_are_behind() -> None:
    server = Diary()
    world = serving(api=server, lag_seconds=3)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"), 900)
    assert len(server.asked_to_make) == len(set(server.asked_to_make)) == 11


def test_stale_caches_do_not_hide_a_broken_candidate() -> None:
    world = serving(lag_seconds=2, behaviours={"model:2": Behaviour(error_share=0.3)})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected", 900)
    assert world.weights() == {world.revision_of("model:1"): 100}
    check(world)


def test_restarting_the_operator_all_the_time_never_advances_a_step_early() -> None:
    world = holding()
    for _ in range(30):
        world.restart_operator()
        world.run(4)
    assert world.status.rollout.step == "five"
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_a_restart_in_a_long_hold_loses_about_a_minute_of_it_at_most() -> None:
    world = serving()
    spec = spec_of("model:2")
    spec["rollout"]["canary"]["steps"][0]["holdSeconds"] = 600
    world.deploy(spec)
    world.run_until(lambda: world.status.rollout.counting_since is not None)
    started = world.now
    world.run(500)
    world.restart_operator()
    world.run_until(lambda: world.status.rollout.step == "half", 300)
    assert 600 <= (world.now - started).total_seconds() <= 680


def test_time_in_which_the_operator_was_down_does_not_count_as_held() -> None:
    world = holding()
    world.operator_is_up = False
    world.run(600)
    world.restart_operator()
    world.run(3)
    assert world.status.rollout.step == "five"
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


@pytest.mark.parametrize("meanwhile", ["a pause is asked for", "the gateway refuses", "the clock is set"])
def test_time_in_which_nobody_looked_does_not_count_whatever_is_found_afterwards(meanwhile: str) -> None:
    """The hold used to be stopped, for the pause or the gateway, with all the time counted since the last pass."""
    world = holding(requests_per_second=2000)
    world.run(10)
    if meanwhile == "the clock is set":
        world.clock_offset = timedelta(seconds=600)
        world.annotate(pause="true")
        world.run(3).clock_offset = timedelta(0)
        world.run(3)
    else:
        world.stop_operator()
        world.run(600)
        world.annotate(pause="true" if meanwhile == "a pause is asked for" else None)
        world.gateway_accepts = meanwhile != "the gateway refuses"
        world.api.edit("HTTPRoute", NAMESPACE, NAME, lambda m: m["metadata"].update(generation=7))
        world.run(5)
        world.restart_operator()
        world.run(5)
    assert world.status.rollout.counting_since is None
    assert world.status.rollout.held_seconds <= 20
    world.gateway_accepts = True
    world.annotate(pause=None)
    world.api.edit("HTTPRoute", NAMESPACE, NAME, lambda m: m["metadata"].update(generation=8))
    world.run(30)
    assert world.status.rollout.step == "five"
    world.run_until(lambda: stable_is(world, "model:2"))


def test_a_new_operator_version_with_other_defaults_makes_no_revision() -> None:
    world = serving()
    replica_sets = [r["metadata"]["name"] for r in world.api.of("ReplicaSet")]

    def as_an_older_version_rendered(revision: dict) -> None:  # type: ignore[type-arg]
        revision["data"]["template"]["spec"]["terminationGracePeriodSeconds"] = 999

    def with_its_template(replica_set: dict) -> None:  # type: ignore[type-arg]
        replica_set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 999

    for name in replica_sets:
        world.api.edit("ControllerRevision", NAMESPACE, name, as_an_older_version_rendered)
        world.api.edit("ReplicaSet", NAMESPACE, name, with_its_template)
    world.restart_operator()
    writes = len(world.api.writes)
    world.run(60)
    assert len(world.api.writes) == writes
    assert [r["metadata"]["name"] for r in world.api.of("ReplicaSet")] == replica_sets


def test_a_thawed_leaders_late_pass_is_refused_by_its_fence() -> None:
    world = holding()
    frozen = world.operator
    seen = dict(world.api.objects)
    world.restart_operator()
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: world.status.candidate is None).run(5)
    before = dict(world.api.objects)
    frozen.view = _Frozen(frozen.view, seen)  # type: ignore[assignment]
    import asyncio

    asyncio.run(frozen.pass_over((NAMESPACE, NAME)))
    assert world.api.objects == before


@dataclasses.dataclass
class _Frozen:
    view: object
    objects: dict  # type: ignore[type-arg]

    def deployment(self, key: tuple[str, str]) -> object:
        return self.objects["ModelDeployment", *key]

    def is_overtaken(self, _: object) -> bool:
        return False

    def children(self, key: tuple[str, str], uid: str) -> object:
        from serinus.kube.observation import observe_children

        return observe_children(key[1], uid, [o for (k, _, _), o in self.objects.items() if k != "Pod"], ())

    def capabilities(self) -> Capabilities:
        return Capabilities()

    def taken_address(self, _: object) -> None:
        return None

    def refusing_gateway(self, _: object, gateway: object) -> None:
        return None

    def configuration(self, _: object) -> None:
        return None

    def policies(self, _: str) -> tuple[()]:
        return ()
