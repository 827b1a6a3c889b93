"""Every example is applied, and rolls a new image out in the way that it is there to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.kinds import MODEL_DEPLOYMENT, POLICY_KINDS
from tests.world.invariants import no_request_is_lost
from tests.world.test_blue_green import stable_is
from tests.world.world import NAMESPACE, World

EXAMPLES = {path.stem: path for path in (Path(__file__).parents[2] / "examples").glob("*.yaml")}
STEPS = {
    "approval": ["tenth", "sign-off", "half"],
    "autoscaling": ["tenth", "half"],
    "blue-green": ["preview"],
    "canary": ["five", "quarter", "half"],
    "canary-plain-service": ["one-pod", "half"],
    "configuration": ["preview"],
    "gpu": [],
    "manual": ["before-promotion"],
    "minimal": [],
    "policies": ["five", "half", "before-promotion"],
    "preflight": ["ten", "half"],
    "recreate": [],
    "return": ["tenth", "half"],
    "shadow": ["shadow", "five", "half"],
    "supervised": ["five", "half", "before-promotion"],
    "testers": ["testers", "tenth", "half"],
}
"""The steps that a new image goes through, those that people end included."""
NEXT = "registry.example.com/next:2"
LONGEST_SECONDS = 4000


def read(example: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(EXAMPLES[example].read_text()))


def spec_of(example: str) -> dict[str, Any]:
    """What the resource of the file asks for."""
    return next(dict(each["spec"]) for each in read(example) if each["kind"] == MODEL_DEPLOYMENT.kind)


def is_ready(world: World) -> bool:
    return world.condition("Ready") == ("True", "Stable")


def applied(example: str) -> World:
    """The example serves, in a cluster that has what it names."""
    world = World(requests_per_second=400, tester_share=0.3, tester_header=("x-cohort", "beta"))
    for kind, name in (("ConfigMap", "classifier-settings"), ("Secret", "classifier-feature-store")):
        world.api.put(kind, NAMESPACE, {"kind": kind, "metadata": {"name": name}, "data": {"a": "b"}})
    for each in read(example):
        if each["kind"] in {
            kind.kind for kind in POLICY_KINDS
        }:  # the world has one namespace, which all of them select
            asked = {field: value for field, value in each["spec"].items() if field != "namespaceSelector"}
            world.govern(asked, each["metadata"]["name"])
    world.deploy(spec_of(example))
    return world.run_until(lambda: is_ready(world)).run(30)


def rolled_out(world: World, spec: dict[str, Any]) -> World:
    """A new image is stable; people have approved what they were asked to."""
    world.deploy({**spec, "serving": {**spec["serving"], "image": NEXT}})
    beginning = len(world.moments)
    while not stable_is(world, NEXT):
        rollout, candidate = world.status.rollout, world.status.candidate
        if rollout.phase == "AwaitingApproval" and candidate is not None:
            world.annotate(approve=f"{candidate.revision}/{rollout.step}")
        assert world.status.rollout.phase not in {"Rejected", "Paused"}, world.describe()
        assert len(world.moments) < beginning + LONGEST_SECONDS, world.describe()
        world.run(10)
    return world


def test_every_example_is_told_here() -> None:
    assert set(EXAMPLES) == set(STEPS)


@pytest.mark.parametrize("example", sorted(STEPS))
def test_a_new_image_goes_through_the_steps_that_the_example_shows(example: str) -> None:
    world = applied(example)
    beginning = len(world.moments)
    rolled_out(world, spec_of(example))
    assert (
        list(dict.fromkeys(m.status.rollout.step for m in world.moments[beginning:] if m.status.rollout.step))
        == (STEPS[example])
    )
    world.run_until(lambda: is_ready(world), LONGEST_SECONDS)
    assert any(moment.copied for moment in world.moments) is (example == "shadow")
    assert any(moment.by_headers for moment in world.moments) is (example == "testers")
    assert bool(list(world.api.of("HorizontalPodAutoscaler"))) is (example == "autoscaling")
    assert any(write.kind == "Job" for write in world.api.writes) is (example == "preflight")
    if example != "recreate":  # nobody is served meanwhile, as it says
        no_request_is_lost(world.moments)


def test_the_example_of_a_return_serves_the_old_image_again_within_seconds() -> None:
    spec = spec_of("return")
    world = rolled_out(applied("return"), spec).run_until_phase("Idle", 600)
    world.deploy(spec)
    world.run_until(lambda: world.weights() == {world.revision_of(spec["serving"]["image"]): 100}, 5)
    world.run_until(lambda: is_ready(world), 600)
    no_request_is_lost(world.moments)
