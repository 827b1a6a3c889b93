"""Each decision is told to each receiver once, in order, whatever becomes of the operator, its writes and its posts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serinus.api.notifications import EVENTS, Receiver
from serinus.api.reasons import Happening
from serinus.core.gateways import GatewayState
from serinus.core.observation import Capabilities
from serinus.kube.cluster import Unavailable
from serinus.shell.notifications import GIVE_UP_AFTER
from tests.world.api_server import ApiServer, Faults
from tests.world.many_walks import LONGEST_REST_SECONDS, at_rest
from tests.world.post import Post
from tests.world.random_walk import IMAGES, KINDS, Walk
from tests.world.test_crashes import BEHAVIOURS, FAULT_FREE, end_of, story
from tests.world.world import ABLE, World, spec_of

GATEWAYS: dict[tuple[str, str], GatewayState] = {("gateways", "public"): ABLE}
RECEIVERS = {"chat": Receiver(), "pager": Receiver(events=(Happening.ROLLED_BACK,))}


def telling(receivers: dict[str, Receiver] | None = None, **more: Any) -> World:
    """A world in which a first resource is there, with the annotation, and nothing has happened yet."""
    capabilities = Capabilities(gateways=GATEWAYS, receivers=RECEIVERS if receivers is None else receivers)
    return World(requests_per_second=400, behaviours=dict(BEHAVIOURS), capabilities=capabilities, **more)


def played(world: World, names: str = "chat,pager") -> World:
    """The story of `test_crashes`, with the receivers named from the beginning."""
    deploy = world.deploy

    def deploy_annotated(spec: dict[str, Any]) -> None:
        deploy(spec)
        world.annotate(notify=names)

    world.deploy = deploy_annotated  # type: ignore[method-assign] # people apply both with one manifest
    return story(world)


def decided(world: World) -> list[tuple[str, str]]:
    return [(entry.event, entry.revision) for entry in reversed(world.status.history)]


def times(world: World) -> list[tuple[str, Any]]:
    return [(entry.event, entry.at) for entry in world.status.history]


TOLD = played(telling())
POSTS = TOLD.post.attempts
WRITES = len(TOLD.api.writes)


def test_every_decision_is_told_once_and_in_order() -> None:
    assert TOLD.post.told("chat") == decided(TOLD)
    assert len(decided(TOLD)) >= 9
    assert {event for event, _ in decided(TOLD)} <= set(EVENTS)
    assert TOLD.post.told("pager") == [each for each in decided(TOLD) if each[0] == "RolledBack"]
    assert len(TOLD.post.told("pager")) == 1
    assert TOLD.post.doubles() == 0
    assert TOLD.post.results == {("chat", "Sent"): len(decided(TOLD)), ("pager", "Sent"): 1}


def test_telling_changes_nothing_else_and_costs_a_write_for_each_event_at_most() -> None:
    assert times(TOLD) == times(FAULT_FREE)
    assert end_of(TOLD) == end_of(FAULT_FREE)
    assert WRITES - len(FAULT_FREE.api.writes) <= len(decided(TOLD))


def test_all_that_was_told_is_recorded_and_then_there_is_quiet() -> None:
    world = played(telling())
    newest = world.status.history[0].number
    assert {each.receiver: each.up_to for each in world.status.notified}["chat"] == newest
    assert world.notifier.waiting == 0
    writes = len(world.api.writes)
    world.run(120)
    assert len(world.api.writes) == writes


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_killed_after_a_write_nothing_is_forgotten_and_at_most_one_is_told_again(number: int) -> None:
    world = played(telling(api=ApiServer(faults=Faults(kill_after=frozenset({number})))))
    assert world.kills == 1
    assert world.post.told("chat") == TOLD.post.told("chat")
    assert world.post.told("pager") == TOLD.post.told("pager")
    assert world.post.doubles() <= len(RECEIVERS)


def test_killed_after_every_third_write_every_decision_is_told_in_order() -> None:
    world = played(telling(api=ApiServer(faults=Faults(kill_after=frozenset(range(1, 400, 3))))))
    world.run(300)
    assert world.kills >= 15
    assert world.post.told("chat") == decided(world)


def test_killed_after_every_post_that_arrived_each_is_told_again_with_its_id() -> None:
    world = played(telling({"chat": Receiver()}, post=Post(kill_after=frozenset(range(1, 200, 2)))), "chat")
    assert world.post.told("chat") == decided(world) == TOLD.post.told("chat")
    assert world.post.doubles() == world.kills == len(decided(world))


def test_a_death_makes_one_event_at_most_come_twice_to_each_receiver() -> None:
    world = played(telling(post=Post(kill_after=frozenset(range(1, 200, 3)))))
    assert world.post.told("chat") == decided(world) == TOLD.post.told("chat")
    assert world.post.told("pager") == TOLD.post.told("pager")
    assert 0 < world.post.doubles() <= world.kills * len(RECEIVERS)


def test_with_the_answer_lost_it_is_sent_again_with_its_id_before_what_came_later() -> None:
    world = played(telling(post=Post(lose_answer_of=frozenset(range(1, 200, 2)))))
    assert world.kills == 0
    assert world.post.told("chat") == TOLD.post.told("chat")
    assert world.post.doubles() == world.post.results["chat", "Failed"] + world.post.results["pager", "Failed"] > 0


def test_with_the_answers_to_all_writes_of_status_lost_nothing_is_told_twice() -> None:
    class Mute(ApiServer):
        async def write_status(self, *what: Any) -> dict[str, Any]:
            await super().write_status(*what)
            raise Unavailable("the connection broke after the request was sent")

    world = played(telling(api=Mute()))
    assert world.post.told("chat") == TOLD.post.told("chat")
    assert world.post.doubles() == 0


def test_a_frozen_leader_that_thaws_late_sends_again_under_the_same_id() -> None:
    """Until it learns that it no longer leads; the reconcile loop and the Lease see to that within seconds."""
    world = telling({"chat": Receiver()})
    world.post.away = {"chat"}
    played(world, "chat")
    frozen = world.notifier
    world.restart_operator()
    world.post.away = set()
    world.run(30)
    assert world.post.told("chat") == decided(world)
    assert world.post.doubles() == 0

    asyncio.run(frozen.step("chat"))
    assert world.post.doubles() == 1
    assert world.post.told("chat") == decided(world)


def test_a_receiver_that_is_away_delays_neither_the_rollout_nor_the_other_and_is_told_when_it_is_back() -> None:
    world = telling()
    world.post.away = {"chat"}
    played(world)
    assert times(world) == times(FAULT_FREE)
    assert world.post.told("chat") == []
    assert world.post.told("pager") == TOLD.post.told("pager")
    assert world.post.results["chat", "Failed"] < 20, "it is left alone for longer and longer"

    world.post.away = set()
    world.run(700)
    assert world.post.told("chat") == TOLD.post.told("chat")
    assert world.post.doubles() == 0


def test_what_nobody_took_within_a_day_is_dropped_and_counted_and_the_next_is_told() -> None:
    world = telling({"chat": Receiver()})
    world.post.away = {"chat"}
    played(world, "chat")
    waited = world.notifier.waiting
    assert waited == len(decided(world))

    world.post.away = set()
    world.now += GIVE_UP_AFTER
    world.run(30)
    assert world.post.told("chat") == []
    assert world.post.results["chat", "Dropped"] == waited
    assert world.status.notified[0].up_to == world.status.history[0].number


def test_a_receiver_named_late_is_told_of_what_comes_then_and_nothing_is_written_for_it() -> None:
    world = story(telling())
    assert world.post.arrived == []
    before, writes = len(decided(world)), len(world.api.writes)
    world.annotate(notify="chat")
    world.run(30)
    assert len(world.api.writes) == writes

    world.annotate(notify="chat", retry=world.status.rejected[0].revision)
    world.run(60)
    assert world.post.told("chat") == decided(world)[before:]
    assert world.post.told("chat") != []


def test_a_policy_has_a_receiver_told_of_all_that_it_holds_for_beside_those_of_the_resource() -> None:
    world = telling({"chat": Receiver(), "own": Receiver()})
    world.govern({"notify": ["chat"]})
    played(world, "own")
    assert world.post.told("chat") == world.post.told("own") == decided(world)
    assert [policy.notify for policy in world.status.policies] == [("chat",)]
    assert times(world) == times(FAULT_FREE)
    assert world.post.doubles() == 0


def test_a_policy_that_names_a_receiver_late_has_it_told_of_what_comes_then_until_the_policy_goes() -> None:
    world = story(telling({"chat": Receiver()}))
    world.govern({"notify": ["chat"]})
    world.run(30)
    assert world.post.arrived == []

    before = len(decided(world))
    world.annotate(retry=world.status.rejected[0].revision)
    world.run(60)
    assert world.post.told("chat") == decided(world)[before:]
    told = len(world.post.told("chat"))
    assert told > 0

    world.govern(None)
    world.deploy(spec_of("model:9"))
    world.run(60)
    assert world.status.history[0].revision == world.revision_of("model:9")
    assert len(world.post.told("chat")) == told
    assert world.status.notified == ()


def test_after_a_loss_of_the_status_the_history_begins_anew_and_its_events_have_new_ids() -> None:
    world = played(telling({"chat": Receiver()}), "chat")
    known = {each.id for each in world.post.arrived}
    told = len(world.post.arrived)
    world.lose_status()
    world.run(30)
    assert world.status.history[-1].number == 1
    assert [(each.event, each.revision) for each in world.post.arrived[told:]] == decided(world)
    assert not known & {each.id for each in world.post.arrived[told:]}


def test_an_unknown_receiver_is_told_in_a_condition_and_stops_nothing() -> None:
    world = played(telling({"chat": Receiver()}), "chat,chatt")
    assert world.condition("ReceiversUnknown") == ("True", "NoSuchReceiver")
    assert world.post.told("chat") == TOLD.post.told("chat")
    assert times(world) == times(FAULT_FREE)


def test_of_a_resource_that_is_gone_nothing_is_kept() -> None:
    world = telling({"chat": Receiver()})
    world.post.away = {"chat"}
    played(world, "chat")
    assert world.notifier.waiting > 0
    world.api.remove("ModelDeployment", "models", "fraud")
    world.run(5)
    assert world.notifier.waiting == 0


# At random ------------------------------------------------------------------------------------------------------------


def walked_and_told(seed: int) -> tuple[Walk, int]:
    """A random walk with a receiver named all along, and how often a process ended or was frozen in it."""
    world = World(requests_per_second=400, tester_share=0.25, behaviours=dict(IMAGES))
    world.capabilities = Capabilities(gateways=GATEWAYS, receivers={"chat": Receiver()})
    world.operator = world._new_operator()
    deploy, restart, ends = world.deploy, world.restart_operator, [0]

    def deploy_annotated(spec: dict[str, Any]) -> None:
        deploy(spec)
        world.annotate(notify="chat")

    def restart_counted() -> None:
        ends[0] += 1
        restart()

    world.deploy = deploy_annotated  # type: ignore[method-assign]
    world.restart_operator = restart_counted  # type: ignore[method-assign]
    walk = Walk(seed, world=world)
    walk.go().settle()
    world.run(3).run_until(lambda: at_rest(walk), LONGEST_REST_SECONDS).run(60)
    return walk, ends[0]


def decisions(world: World) -> dict[str, int]:
    """Ids of all decisions that ever stood in the status, with their place in the order in which they came."""
    found: dict[str, int] = {}
    for moment in world.moments:
        uid = moment.life[0]
        for entry in reversed(moment.status.history):
            found.setdefault(f"{uid}-{entry.number}-{int(entry.at.timestamp())}", len(found))
    return found


def check_telling(seed: int) -> None:
    walk, ends = walked_and_told(seed)
    world, made = walk.world, decisions(walk.world)
    arrived = [each.id for each in world.post.arrived]
    firsts = list(dict.fromkeys(arrived))
    assert set(firsts) <= set(made), "told, and never decided"
    assert firsts == sorted(firsts, key=made.__getitem__), "not in order"
    assert len(arrived) - len(firsts) <= ends, "told twice without a reason"

    status, life = world.status, world.moments[-1].life
    marks = [each.up_to for m in world.moments if m.life == life for each in m.status.notified]
    mine = [entry for entry in status.history if entry.number > min(marks)]
    missing = [e for e in mine if f"{life[0]}-{e.number}-{int(e.at.timestamp())}" not in arrived]
    assert len(missing) <= world.post.results["chat", "Dropped"], "decided, and never told"
    assert {each.receiver: each.up_to for each in status.notified} == {"chat": status.history[0].number}


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_on_a_random_walk_every_decision_is_told_in_order_and_once_but_for_ends(seed: int) -> None:
    check_telling(seed)


@pytest.mark.exhaustive
@pytest.mark.full
@pytest.mark.parametrize("first", range(len(KINDS), 300, 50))
def test_on_many_random_walks_every_decision_is_told_in_order_and_once_but_for_ends(first: int) -> None:
    for seed in range(first, first + 50):
        try:
            check_telling(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
