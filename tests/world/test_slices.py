"""Metrics that are judged in slices: which there are is fixed once, before the evidence counts, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world.api_server import Faults
from tests.world.invariants import check
from tests.world.test_crashes import end_of
from tests.world.test_rollouts import stable_is
from tests.world.traffic import Behaviour
from tests.world.world import World, spec_of

HOLD_SECONDS = 20
BAD_IN_FRANCE = {"model:3": Behaviour(errors_in={"FR": 0.2})}
ERRORS = {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}, "tolerancePercent": "4"}


def sliced(image: str, *, label: str | None = "country", watch_seconds: int = 10) -> dict[str, Any]:
    """A canary whose errors are judged by the countries that the requests come from."""
    metric = ERRORS | ({"perSlice": label} if label else {})
    spec = spec_of(image, analysis={"intervalSeconds": 5, "metrics": [metric]})
    spec["rollout"] |= {"watchSeconds": watch_seconds, "scaleDownDelaySeconds": 10}
    for step in spec["rollout"]["canary"]["steps"]:
        step["holdSeconds"] = HOLD_SECONDS
    return spec


def served(requests_per_second: float = 2000) -> World:
    """A world in which a revision has served for some minutes."""
    world = World(requests_per_second=requests_per_second, behaviours=dict(BAD_IN_FRANCE))
    world.deploy(sliced("model:1"))
    return world.run(90)


def told(world: World) -> list[str]:
    return [note.message for note in world.notes if note.happening == "SlicesFixed"]


def test_the_countries_with_enough_requests_are_fixed_before_anything_is_judged() -> None:
    world = served()
    world.deploy(sliced("model:2"))
    world.run_until(lambda: bool(world.status.rollout.slices))
    (fixed,) = world.status.rollout.slices
    assert (fixed.metric, fixed.label, fixed.values) == ("errors", "country", ("DE", "FR"))
    assert fixed.rest_percent == "0.5"
    assert told(world) == ["errors is judged by country: DE, FR, and all others (0.5 %) as one"]
    assert world.status.rollout.phase == "Holding"
    world.run_until(lambda: stable_is(world, "model:2"))
    assert world.status.rollout.slices == (fixed,), "in the watch too"
    assert len(told(world)) == 1
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_candidate_that_fails_in_one_country_is_rolled_back_and_the_country_is_named() -> None:
    world = served()
    world.deploy(sliced("model:3"))
    world.run_until(lambda: bool(world.status.rejected))
    (rejected,) = world.status.rejected
    assert rejected.reason == "MetricFailed"
    assert "country=FR" in rejected.message
    assert world.status.analysis[0].slices[0].value == "FR"
    assert world.status.analysis[0].slices[0].verdict == "Fail"
    newest = next(entry for entry in world.status.history if entry.event == "RolledBack")
    assert "country=FR" in newest.because
    assert len(newest.model_dump_json(by_alias=True)) < 1024
    check(world, hold_seconds=HOLD_SECONDS)


def test_little_traffic_is_judged_together_and_that_is_said() -> None:
    world = served(50)
    spec = sliced("model:2")
    spec["analysis"]["undecided"] = {"afterSeconds": 1}
    world.deploy(spec)
    world.run_until(lambda: bool(world.status.rollout.slices))
    assert world.status.rollout.slices[0].values == ()
    assert told(world) == ["errors: too few requests to judge any country by itself"]


def test_while_prometheus_is_away_no_slices_are_fixed_and_nothing_is_held() -> None:
    world = served()
    world.deploy(sliced("model:2"))
    world.run_until(lambda: world.status.rollout.evidence_started_at is not None)
    world.prometheus.down = True
    world.run(40)
    assert world.status.rollout.slices == ()
    assert world.status.rollout.missing_since is not None
    world.prometheus.down = False
    world.run_until(lambda: stable_is(world, "model:2"))
    assert len(told(world)) == 1
    check(world, hold_seconds=HOLD_SECONDS)


def test_another_label_is_fixed_anew_and_the_old_one_forgotten() -> None:
    world = served()
    world.deploy(sliced("model:2"))
    world.run_until(lambda: bool(world.status.rollout.slices))
    world.deploy(sliced("model:2", label="region"))
    world.run_until(lambda: any(each.label == "region" for each in world.status.rollout.slices))
    assert [each.label for each in world.status.rollout.slices] == ["region"]
    world.run_until(lambda: stable_is(world, "model:2"))
    check(world, hold_seconds=HOLD_SECONDS)


def test_a_later_attempt_fixes_its_own() -> None:
    world = served()
    for image in ("model:3", "model:2"):
        world.deploy(sliced(image))
        world.run_until(lambda: bool(world.status.rollout.slices))
        world.run_until(lambda: world.status.candidate is None, 400)
    assert len(told(world)) == 2
    world.run_until_phase("Idle")
    assert world.status.rollout.slices == ()


def played(faults: Faults) -> World:
    """A good revision that is promoted, and one that is bad in one country alone."""
    world = World(requests_per_second=2000, behaviours=dict(BAD_IN_FRANCE))
    world.api.faults = faults
    for image in ("model:1", "model:2", "model:3"):
        world.deploy(sliced(image))
        world.run(60 if image == "model:1" else 170)
    return world


FAULT_FREE = played(Faults())


def test_the_story_ends_as_told() -> None:
    assert end_of(FAULT_FREE)["weights"] == {FAULT_FREE.revision_of("model:2"): 100}
    assert end_of(FAULT_FREE)["phase"] == "Rejected"
    assert len(told(FAULT_FREE)) == 2
    check(FAULT_FREE, hold_seconds=HOLD_SECONDS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(1, len(FAULT_FREE.api.writes) + 1))
def test_killed_after_a_write_the_end_is_the_same(number: int) -> None:
    world = played(Faults(kill_after=frozenset({number})))
    assert world.kills == 1
    assert end_of(world) == end_of(FAULT_FREE)
    check(world, hold_seconds=HOLD_SECONDS)


@pytest.mark.exhaustive
@pytest.mark.full
@pytest.mark.parametrize("number", range(1, len(FAULT_FREE.api.writes) + 1))
def test_with_the_answer_to_a_write_lost_the_end_is_the_same(number: int) -> None:
    world = played(Faults(lose_response_of=frozenset({number})))
    assert end_of(world) == end_of(FAULT_FREE)
    check(world, hold_seconds=HOLD_SECONDS)


def test_killed_after_every_third_write_the_end_is_the_same() -> None:
    world = played(Faults(kill_after=frozenset(range(1, 400, 3))))
    ended = end_of(world.run(300))
    assert {**ended, "events": []} == {**end_of(FAULT_FREE), "events": []}
    check(world, hold_seconds=HOLD_SECONDS)
