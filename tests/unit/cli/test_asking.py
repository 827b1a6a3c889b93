"""What the plugin's actions foretell is what the operator does with them, in the simulated world."""

from __future__ import annotations

import re

import pytest

from serinus.api.kinds import CONTROLLER_REVISION, MODEL_DEPLOYMENT, REPLICA_SET
from serinus.cli.asking import (
    AlreadySo,
    Ask,
    DoesNothing,
    Verb,
    ask,
    is_paused,
    known_revision,
    new_token,
    pause,
    resume,
)
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import report, situation_of
from serinus.cli.terminal import as_text
from serinus.cli.tree import tree
from serinus.core.rollout.situation import Situation
from tests.golden.stories import NEW, OLD, Behaviour, deploy, started
from tests.world.world import World, spec_of

Asked = Ask | AlreadySo | DoesNothing


def seen(world: World) -> Situation:
    (resource,) = world.api.of(MODEL_DEPLOYMENT.kind)
    objects = [each for kind in (REPLICA_SET, CONTROLLER_REVISION) for each in world.api.of(kind.kind)]
    return situation_of(resource, objects, world.api.of("Pod"), world.now)


def asked(world: World, verb: Verb, **named: str) -> Asked:
    return ask(seen(world), verb, new_token(world.now), **named)


def set_by_plugin(world: World, what: Asked) -> World:
    """The annotation as the plugin would write it."""
    assert isinstance(what, Ask), what
    name = what.annotation.removeprefix("serinus.dev/").replace("-", "_")
    world.annotate(**{name: what.value})
    return world.run(3)


def carried_out(world: World, verb: Verb) -> bool:
    return next(each.carried_out for each in world.status.actions if each.action == verb.value)


@pytest.fixture
def holding() -> World:
    world = World()
    list(started(world))
    deploy(world, NEW)
    return world.run(30)


@pytest.fixture
def awaiting() -> World:
    world = World()
    list(started(world))
    spec = spec_of(NEW)
    five, half = spec["rollout"]["canary"]["steps"]
    spec["rollout"]["canary"]["steps"] = [five, {"name": "sign-off", "approval": {}}, half]
    world.deploy(spec)
    return world.run_until_phase("AwaitingApproval")


@pytest.fixture
def rejected() -> World:
    world = World()
    world.behaviours[NEW] = Behaviour(error_share=0.3)
    list(started(world))
    deploy(world, NEW)
    return world.run_until_phase("Rejected").run(5)


def test_a_promotion_names_the_candidate_and_takes_effect(holding: World):
    what = asked(holding, Verb.PROMOTE)

    assert isinstance(what, Ask)
    assert what.value.startswith(f"{holding.revision_of(NEW)}#")
    assert "all requests" in what.foreseen or "all traffic" in what.foreseen
    set_by_plugin(holding, what).run_until_phase("Watching")
    assert carried_out(holding, Verb.PROMOTE)


def test_an_approval_names_revision_and_step(awaiting: World):
    what = asked(awaiting, Verb.APPROVE)

    assert isinstance(what, Ask)
    assert what.value.split("#")[0] == f"{awaiting.revision_of(NEW)}/sign-off"
    set_by_plugin(awaiting, what)
    assert carried_out(awaiting, Verb.APPROVE)
    assert awaiting.status.rollout.step == "half"


def test_a_skipped_step_ends(holding: World):
    set_by_plugin(holding, asked(holding, Verb.SKIP_STEP))
    assert holding.status.rollout.step == "half"


def test_an_abort_rolls_back_and_during_the_watch_returns(holding: World):
    set_by_plugin(holding, asked(holding, Verb.PROMOTE)).run_until_phase("Watching")
    what = asked(holding, Verb.ABORT)

    assert isinstance(what, Ask)
    assert what.value.startswith(holding.revision_of(NEW)), "the one that is watched"
    set_by_plugin(holding, what).run_until_phase("Rejected")
    assert holding.weights() == {holding.revision_of(OLD): 100}


def test_a_retry_is_for_the_revision_in_the_spec(rejected: World):
    set_by_plugin(rejected, asked(rejected, Verb.RETRY))
    assert carried_out(rejected, Verb.RETRY)
    assert rejected.status.candidate is not None


def test_a_return_goes_to_the_last_revision_that_was_stable_or_the_one_that_is_named(holding: World):
    holding.run_until_phase("Watching").run_until_phase("Idle")
    by_itself, by_version = asked(holding, Verb.RETURN_TO), asked(holding, Verb.RETURN_TO, revision="1")

    assert isinstance(by_itself, Ask)
    assert isinstance(by_version, Ask)
    assert by_itself.value.split("#")[0] == by_version.value.split("#")[0] == holding.revision_of(OLD)
    set_by_plugin(holding, by_itself).run(60)
    assert holding.weights() == {holding.revision_of(OLD): 100}


def test_the_same_action_takes_effect_again(rejected: World):
    set_by_plugin(rejected, asked(rejected, Verb.RETRY)).run_until_phase("Rejected").run(5)
    before = rejected.status.moves
    set_by_plugin(rejected, asked(rejected, Verb.RETRY))
    assert rejected.status.moves > before


def test_a_pause_stops_and_a_resume_goes_on(holding: World):
    asked_for = pause(seen(holding))
    assert isinstance(asked_for, Ask)
    assert asked_for.pauses
    assert not is_paused(holding.status)
    set_by_plugin(holding, asked_for)
    assert is_paused(holding.status)
    assert holding.status.rollout.phase == "Paused"
    assert isinstance(pause(seen(holding)), AlreadySo)
    waits = asked(holding, Verb.SKIP_STEP)
    assert isinstance(waits, Ask)
    assert "a pause is on" in waits.foreseen
    goes_on = resume(seen(holding))
    assert isinstance(goes_on, Ask)
    assert goes_on.pauses is False
    set_by_plugin(holding, goes_on)
    assert not is_paused(holding.status)
    assert holding.status.rollout.phase == "Holding"
    assert isinstance(resume(seen(holding)), AlreadySo)


def test_the_time_that_a_paused_step_was_held_is_the_same_wherever_it_is_told(holding: World):
    holding.run(13)
    set_by_plugin(holding, pause(seen(holding)))
    (resource,) = holding.api.of(MODEL_DEPLOYMENT.kind)
    of = as_text(tree(report(resource, (), holding.api.of("Pod"), holding.now), holding.now))
    assert len(re.findall(r"held \d+ of 60 s", of)) == 2
    assert len(set(re.findall(r"held \d+ of 60 s", of))) == 1


def test_a_pause_that_stops_nothing_says_so(holding: World):
    holding.run_until_phase("Watching")
    what = pause(seen(holding))
    assert isinstance(what, Ask)
    assert "the watch goes on" in what.foreseen
    assert "progress stops" not in what.foreseen
    assert what.pauses is None, "nothing to wait for"


def test_a_pause_halts_a_promotion_that_nobody_asked_for_by_name(holding: World):
    holding.run_until_phase("Promoting")
    what = pause(seen(holding))
    assert isinstance(what, Ask)
    assert "progress stops" in what.foreseen
    set_by_plugin(holding, what)
    assert holding.status.rollout.phase == "Paused"


NOTHING: tuple[tuple[str, Verb, dict[str, str], type, str], ...] = (
    ("idle", Verb.PROMOTE, {}, AlreadySo, "is stable already"),
    ("idle", Verb.ABORT, {}, DoesNothing, "no rollout is under way"),
    ("idle", Verb.RETRY, {}, AlreadySo, "is stable already"),
    ("idle", Verb.APPROVE, {}, DoesNothing, "no rollout is under way"),
    ("idle", Verb.RETURN_TO, {}, DoesNothing, "no revision is known that was stable before"),
    ("holding", Verb.APPROVE, {}, DoesNothing, "step five is no approval"),
    ("holding", Verb.SKIP_STEP, {"step": "half"}, DoesNothing, "the rollout is in another step, five"),
    ("holding", Verb.PROMOTE, {"revision": "stable"}, DoesNothing, "it is stable already"),
    ("holding", Verb.RETRY, {}, AlreadySo, "is being rolled out already"),
    ("awaiting", Verb.SKIP_STEP, {}, DoesNothing, "which is not skipped but given"),
    ("rejected", Verb.PROMOTE, {}, DoesNothing, "no rollout is under way"),
)


@pytest.mark.parametrize("where", ["idle", "holding", "awaiting", "rejected"])
def test_what_would_do_nothing_says_why(where: str, request: pytest.FixtureRequest):
    world: World = request.getfixturevalue(where)
    for _, verb, named, kind, why in (case for case in NOTHING if case[0] == where):
        what = asked(world, verb, **named)

        assert isinstance(what, kind), verb
        assert isinstance(what, AlreadySo | DoesNothing)
        assert why in what.message


@pytest.fixture
def idle() -> World:
    world = World()
    list(started(world))
    return world


def test_a_revision_is_named_by_its_beginning_its_version_or_its_role(holding: World):
    new, old = holding.revision_of(NEW), holding.revision_of(OLD)
    named: dict[str, str] = {new: new, new[:6]: new, "2": new, "1": old, "stable": old, "candidate": new, "spec": new}
    assert {each: known_revision(seen(holding), each) for each in named} == named
    with pytest.raises(CommandFailed, match="'nonsense' is none of its revisions; there are"):
        known_revision(seen(holding), "nonsense")


def test_a_token_makes_every_value_new():
    now = World().now
    assert new_token(now) != new_token(now)
