"""Users are protected whatever else stands still: bad specs, refused writes, loans, zero pods."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.kinds import HTTP_ROUTE, Kind
from serinus.kube.cluster import Rejected, Unavailable
from tests.world.api_server import ApiServer
from tests.world.invariants import check
from tests.world.test_edits import holding
from tests.world.test_midway import pods_of
from tests.world.test_rollouts import serving, stable_is
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

UNREADABLE = {"scaling": {"replicas": -1}}
BROKEN = Behaviour(error_share=0.5)


class Strict(ApiServer):
    """An API server that refuses every write of one kind and name."""

    refuses: tuple[str, str] | None = None

    async def create(self, kind: Kind, namespace: str, manifest: Any) -> dict[str, Any]:
        if self.refuses == (kind.kind, manifest["metadata"]["name"]):
            raise Rejected(f"create {kind.kind} {manifest['metadata']['name']}: forbidden")
        return await super().create(kind, namespace, manifest)

    async def apply(
        self, kind: Kind, namespace: str, manifest: Any, resource_version: str, *, booked: bool = False
    ) -> dict[str, Any]:
        if self.refuses == (kind.kind, manifest["metadata"]["name"]):
            raise Rejected(f"apply {kind.kind} {manifest['metadata']['name']}: forbidden")
        return await super().apply(kind, namespace, manifest, resource_version, booked=booked)


class Overloaded(ApiServer):
    """An API server that answers 500 to some writes."""

    overloaded: frozenset[str] = frozenset()
    attempts: int = 0
    """Writes that were answered so."""

    async def apply(
        self, kind: Kind, namespace: str, manifest: Any, resource_version: str, *, booked: bool = False
    ) -> dict[str, Any]:
        if kind.kind in self.overloaded:
            self.attempts += 1
            raise Unavailable(f"apply {kind.kind} {manifest['metadata']['name']}: internal error")
        return await super().apply(kind, namespace, manifest, resource_version, booked=booked)

    async def write_status(self, namespace: str, name: str, status: Any, resource_version: str) -> dict[str, Any]:
        if "ModelDeployment" in self.overloaded:
            self.attempts += 1
            raise Unavailable(f"write the status of {name}: internal error")
        return await super().write_status(namespace, name, status, resource_version)


def only_stable_serves(world: World) -> bool:
    return world.weights() == {world.revision_of("model:1"): 100}


# Specs that can't be carried out --------------------------------------------------------------------------------------


def test_a_failing_candidate_is_rolled_back_while_the_spec_is_unreadable() -> None:
    world = holding()
    world.deploy(spec_of("model:2") | UNREADABLE)
    world.run(3)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    world.behaviours["model:2"] = BROKEN
    world.run_until(lambda: only_stable_serves(world)).run(60)
    assert world.status.candidate is None
    check(world)


def test_a_good_candidate_is_not_promoted_while_the_spec_is_unreadable() -> None:
    world = holding()
    world.deploy(spec_of("model:2") | UNREADABLE)
    world.run(400)
    assert world.status.rollout.step == "five"
    assert world.condition("Available") == ("True", "Serving")
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_children_are_put_back_while_the_spec_is_unreadable() -> None:
    world = serving()
    world.deploy(spec_of("model:1") | UNREADABLE)
    world.run(3)
    world.api.remove("HTTPRoute", NAMESPACE, NAME)
    world.run(3)
    assert only_stable_serves(world)


def test_a_process_that_never_could_read_the_spec_touches_nothing_but_the_conditions() -> None:
    world = holding()
    world.deploy(spec_of("model:2") | UNREADABLE)
    world.run(3).restart_operator()
    before = world.status
    writes = len(world.api.writes)
    world.run(60)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.status.rollout == before.rollout
    assert len(world.api.writes) == writes


def test_a_status_of_a_newer_version_is_left_as_it_is_and_told() -> None:
    world = holding()
    world.operator_is_up = False

    def written_by_a_newer_version(manifest: dict[str, Any]) -> None:
        manifest["status"]["rollout"]["phase"] = "Meditating"
        manifest["status"]["novelty"] = {"kept": True}

    world.api.edit("ModelDeployment", NAMESPACE, NAME, written_by_a_newer_version)
    weights = world.weights()
    world.operator = world._new_operator()
    world._dirty, world.operator_is_up = True, True
    import asyncio

    asyncio.run(world.operator.pass_over((NAMESPACE, NAME)))
    status = world.api.find("ModelDeployment", NAMESPACE, NAME)["status"]  # type: ignore[index]
    stalled = next(c for c in status["conditions"] if c["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "StatusUnreadable")
    assert "status.rollout.phase" in stalled["message"]
    assert status["rollout"]["phase"] == "Meditating"
    assert status["novelty"] == {"kept": True}
    assert world.weights() == weights


def test_a_person_can_abort_while_the_spec_is_unsupported() -> None:
    world = holding()
    spec = spec_of("model:2")
    spec["rollout"]["capacity"] = "InPlace"
    world.deploy(spec)
    world.run(3)
    world.annotate(promote=world.revision_of("model:2"))
    world.run(3)
    assert world.status.rollout.phase == "Holding"
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until(lambda: only_stable_serves(world))
    check(world)


def test_a_lost_status_beside_an_unsupported_spec_scales_nothing_down() -> None:
    world = serving()
    world.operator_is_up = False
    world.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.pop("status"))
    world.api.remove("Service", NAMESPACE, NAME)
    spec = spec_of("model:1")
    spec["rollout"]["capacity"] = "InPlace"
    world.deploy(spec)
    world.restart_operator()
    world.run(30)
    assert world.condition("Stalled") == ("True", "StatusLost")
    assert world.replicas() == {world.revision_of("model:1"): 3}


def test_an_action_that_was_handled_before_the_status_was_lost_is_not_carried_out_again() -> None:
    world = holding()
    second = world.revision_of("model:2")
    world.annotate(promote=second)
    world.run_until(lambda: stable_is(world, "model:2")).run(200)
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: stable_is(world, "model:1")).run(200)
    world.behaviours["model:2"] = BROKEN
    world.api.edit("ModelDeployment", NAMESPACE, NAME, lambda m: m.pop("status"))
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")


# Writes that are refused ----------------------------------------------------------------------------------------------


def test_a_write_that_is_refused_does_not_keep_the_traffic_on_a_failing_candidate() -> None:
    world = holding(api=Strict())
    world.api.refuses = ("Service", NAME)  # type: ignore[attr-defined]
    world.api.remove("Service", NAMESPACE, NAME)
    world.run(20)
    assert world.condition("Stalled") == ("True", "WriteRejected")
    world.behaviours["model:2"] = BROKEN
    world.run_until(lambda: only_stable_serves(world), 120)


def test_a_foreign_object_in_the_way_does_not_keep_the_traffic_on_a_failing_candidate() -> None:
    world = holding()
    world.api.remove("Service", NAMESPACE, NAME)
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": {"selector": {"app": "x"}}}
    world.api.put("Service", NAMESPACE, foreign)
    world.run(20)
    assert world.condition("Stalled") == ("True", "NameTaken")
    world.behaviours["model:2"] = BROKEN
    world.run_until(lambda: only_stable_serves(world), 120)


@pytest.mark.parametrize("overloaded", ["HTTPRoute", "ModelDeployment"])
def test_after_minutes_of_errors_the_traffic_of_a_failing_candidate_goes_within_seconds(overloaded: str) -> None:
    server = Overloaded()
    world = holding(api=server)
    server.overloaded = frozenset({overloaded})
    world.behaviours["model:2"] = BROKEN
    world.run(240)
    assert not only_stable_serves(world)
    server.overloaded = frozenset()
    world.run_until(lambda: only_stable_serves(world), 8)
    check(world)


def test_what_protects_nobody_waits_longer_and_longer_while_the_api_server_errs() -> None:
    server = Overloaded()
    world = serving(api=server)
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Promoting")
    server.overloaded = frozenset({"HTTPRoute"})
    world.run(300)
    assert 5 <= server.attempts <= 15


def test_a_fence_that_somebody_wrote_by_hand_does_not_stop_the_operator_for_ever() -> None:
    world = serving()
    world.api.edit(
        "HTTPRoute",
        NAMESPACE,
        NAME,
        lambda m: m["metadata"]["annotations"].update({"serinus.dev/moves": "99999"}),
    )
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world)


def test_weights_that_somebody_wrote_by_hand_make_no_pods() -> None:
    world = holding()
    world.api.edit(
        HTTP_ROUTE.kind, NAMESPACE, NAME, lambda m: m["spec"]["rules"][0]["backendRefs"][1].update(weight=100_000)
    )
    sizes = [max(world.run(1).replicas().values()) for _ in range(10)]
    assert max(sizes) <= 3
    assert world.weights()[world.revision_of("model:2")] == 5


# Loans ----------------------------------------------------------------------------------------------------------------


def deaf(world: World, image: str) -> None:
    """All pods of an image go, and no new one gets ready."""
    world.behaviours[image] = Behaviour(never_ready=True)
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"]["serinus.dev/revision"] == world.revision_of(image):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])


def test_a_ready_candidate_that_serves_on_loan_is_not_rolled_back_as_late() -> None:
    world = serving()
    deaf(world, "model:1")
    world.run(5)
    world.deploy(spec_of("model:2"))
    world.run(400)
    assert world.weights() == {world.revision_of("model:2"): 100}
    assert world.status.rollout.phase == "Starting"
    assert world.status.rejected == ()


def test_a_person_can_promote_a_ready_candidate_while_stable_is_dead() -> None:
    world = serving()
    deaf(world, "model:1")
    world.run(5)
    world.deploy(spec_of("model:2"))
    world.run(30)
    world.annotate(promote=world.revision_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"), 60)
    assert world.status.rollout.judged_by == "Person"


def test_the_old_revision_is_not_retired_while_it_serves_on_loan() -> None:
    world = serving()
    spec = spec_of("model:2")
    spec["rollout"]["scaleDownDelaySeconds"] = 120
    world.deploy(spec)
    world.run_until_phase("Watching").run_until_phase("Idle")
    old = world.revision_of("model:1")
    assert world.status.previous is not None
    deaf(world, "model:2")
    world.run(400)
    assert world.weights() == {old: 100}, "it serves although its time was up"
    world.behaviours.clear()
    world.run_until(lambda: world.weights() == {world.revision_of("model:2"): 100})
    assert world.replicas()[old] == 3, "requests may still be under way"
    world.run_until(lambda: world.replicas()[old] == 0, 160)


def test_a_revision_that_dies_in_its_watch_gives_way_to_the_old_one_for_good() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(5)
    deaf(world, "model:2")
    world.run_until_phase("Rejected")
    assert stable_is(world, "model:1")
    assert world.condition("Stalled") == ("True", "ReadinessLost")
    check(world, pods_crash=True)


# Nothing to serve -----------------------------------------------------------------------------------------------------


def test_scaled_to_zero_after_a_promotion_nothing_serves_in_its_place() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(3)
    world.deploy(spec_of("model:2", scaling={"replicas": 0}))
    world.run(10)
    assert world.replicas() == {world.revision_of("model:1"): 0, world.revision_of("model:2"): 0}
    assert world.weights() == {world.revision_of("model:2"): 100}


def test_a_rollout_of_a_resource_that_was_scaled_to_zero_goes_on_when_it_is_scaled_up() -> None:
    world = serving()
    world.deploy(spec_of("model:1", scaling={"replicas": 0}))
    world.run(5)
    world.deploy(spec_of("model:2", scaling={"replicas": 0}))
    world.run(200)
    assert stable_is(world, "model:1")
    assert sum(world.replicas().values()) == 0
    assert world.status.rejected == ()
    world.deploy(spec_of("model:2", scaling={"replicas": 2}))
    world.run_until(lambda: stable_is(world, "model:2"))


def test_a_first_revision_that_never_had_a_pod_is_replaced_by_the_first_that_is_ready() -> None:
    world = World(behaviours={"model:1": Behaviour(never_ready=True)})
    world.deploy(spec_of("model:1", scaling={"replicas": 0}))
    world.run(5)
    world.deploy(spec_of("model:1"))
    world.run(30)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"), 60).run(10)
    assert world.replicas()[world.revision_of("model:1")] == 0


# Endpoints ------------------------------------------------------------------------------------------------------------


def test_a_candidate_gets_no_requests_before_gateways_know_of_its_pods() -> None:
    world = serving(endpoints_delay_seconds=7)
    before = len(world.moments)
    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert sum(moment.failed for moment in world.moments[before:]) == 0
    check(world)


# Loans and people -----------------------------------------------------------------------------------------------------


def test_while_stable_is_dead_the_revision_that_served_before_it_comes_before_an_unjudged_candidate() -> None:
    world = serving()
    spec = spec_of("model:2")
    spec["rollout"]["scaleDownDelaySeconds"] = 600
    world.deploy(spec)
    world.run_until_phase("Watching").run_until_phase("Idle")
    world.behaviours["model:3"] = Behaviour(error_share=0.9)
    world.deploy({**spec, "serving": {**spec["serving"], "image": "model:3"}})
    world.run(6)
    assert world.status.candidate is not None
    deaf(world, "model:2")
    world.run(10)
    assert world.weights() == {world.revision_of("model:1"): 100}


def test_a_new_spec_before_any_gateway_accepted_the_first_revision_takes_no_pods_away() -> None:
    world = World(gateway_accepts=False)
    world.deploy(spec_of("model:1"))
    world.run(60)
    before = len(world.moments)
    world.deploy(spec_of("model:2"))
    world.run(30)
    assert sum(moment.failed for moment in world.moments[before:]) == 0
    assert stable_is(world, "model:1")


def test_a_pod_that_is_replaced_in_the_watch_and_keeps_restarting_returns_to_the_old_revision() -> None:
    world = serving()
    spec = spec_of("model:2")
    spec["rollout"] |= {"watchSeconds": 600, "scaleDownDelaySeconds": 600}
    world.deploy(spec)
    world.run_until_phase("Watching").run(5)
    old = set(pods_of(world, "model:2"))
    world.api.remove("Pod", NAMESPACE, min(old))
    world.run(15)
    (new,) = set(pods_of(world, "model:2")) - old
    for _ in range(3):
        world.restart(new)
        world.run(20)
    assert [each.reason for each in world.status.rejected] == ["ContainerRestarted"]


def test_a_rollback_that_waits_for_the_gateway_quotes_it() -> None:
    world = holding()
    world.gateway_accepts = False
    world.run(2)
    world.annotate(abort=world.revision_of("model:2"))
    world.run(120)
    (reconciling,) = (c for c in world.status.conditions if c.type == "Reconciling")
    assert reconciling.reason == "RollingBack"
    assert reconciling.message.count("Gateway gateways/public says Accepted=False") == 1
    world.gateway_accepts = True
    world.run_until_phase("Rejected")


def test_history_says_what_a_person_decided() -> None:
    world = holding()
    world.annotate(promote=f"{world.revision_of('model:2')}#1")
    world.run_until(lambda: stable_is(world, "model:2"))
    assert [(e.event, e.by) for e in world.status.history][:1] == [("Promoted", "person")]
    world.annotate(abort=world.revision_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:1"))
    assert ("Returned", "person") in [(entry.event, entry.by) for entry in world.status.history]


def test_a_promotion_without_analysis_is_not_told_as_undecided() -> None:
    world = serving()
    world.deploy(spec_of("model:2", analysis={"disabled": True, "intervalSeconds": 5}))
    world.run_until(lambda: stable_is(world, "model:2"))
    assert "PromotedUndecided" not in [entry.event for entry in world.status.history]


# The truth of status --------------------------------------------------------------------------------------------------


def test_a_resource_whose_route_every_gateway_refuses_is_not_available() -> None:
    world = serving()
    world.gateway_accepts = False
    elsewhere = {"gateway": {"parentRefs": [{"name": "other"}], "hostnames": ["b.example"]}}
    world.deploy(spec_of("model:1", traffic=elsewhere))
    world.run(30)
    assert world.condition("Available") == ("False", "RouteNotAccepted")
    world.gateway_accepts = True
    world.deploy(spec_of("model:1"))
    world.run(30)
    assert world.condition("Available") == ("True", "Serving")


def test_a_resource_whose_route_no_gateway_has_ever_answered_is_not_available() -> None:
    """A gateway without a controller carries no request, though pods are ready."""
    world = serving()
    world.gateway_delay_seconds = 3600
    elsewhere = {"gateway": {"parentRefs": [{"name": "other"}], "hostnames": ["b.example"]}}
    world.deploy(spec_of("model:1", traffic=elsewhere))
    world.run(30)
    assert world.condition("Available") == ("False", "RouteNotAccepted")
    world.gateway_delay_seconds = 1
    world.deploy(spec_of("model:1"))
    world.run(30)
    assert world.condition("Available") == ("True", "Serving")


def test_a_watch_that_was_not_measured_says_so() -> None:
    world = serving()
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Watching").run(1)
    world.prometheus.down = True
    world.run(80)
    ended = next(entry for entry in world.status.history if entry.event == "WatchEnded")
    assert "not measured in the end: errors" in ended.because


def test_reasons_that_a_newer_version_wrote_are_told_as_they_are() -> None:
    world = serving(behaviours={"model:2": BROKEN})
    world.deploy(spec_of("model:2"))
    world.run_until_phase("Rejected")
    key = ("ModelDeployment", NAMESPACE, NAME)
    world.api.edit(*key, lambda m: m["status"]["rejected"][0].update(reason="DriftFound"))
    world.run(5)
    assert world.condition("Stalled") == ("True", "DriftFound")


def test_a_route_that_is_refused_does_not_keep_pods_from_being_made() -> None:
    world = World(api=Strict())
    world.deploy(spec_of("model:1"))
    world.run_until(lambda: stable_is(world, "model:1")).run(10)
    world.api.refuses = ("HTTPRoute", NAME)  # type: ignore[attr-defined]
    elsewhere = {"gateway": {"parentRefs": [{"name": "other"}], "hostnames": ["b.example"]}}
    world.deploy(spec_of("model:1", scaling={"replicas": 6}, traffic=elsewhere))
    world.run(60)
    assert world.replicas() == {world.revision_of("model:1"): 6}
    assert world.condition("Stalled") == ("True", "WriteRejected")


def test_a_spec_that_is_not_carried_out_is_told_in_one_event() -> None:
    world = serving()
    before = len(world.notes)
    spec = spec_of("model:2")
    spec["rollout"]["capacity"] = "InPlace"
    world.deploy(spec)
    world.run(60)
    (told,) = world.notes[before:]
    assert told.happening == "Stalled"
    assert "spec.rollout.capacity" in told.message
