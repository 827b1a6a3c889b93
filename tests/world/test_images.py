"""A tag that is pushed again while a model serves is seen, and is over with the next version."""

from __future__ import annotations

from typing import Any

from tests.world.test_rollouts import serving, stable_is
from tests.world.world import NAMESPACE, World, spec_of


def pull(world: World, pod: dict[str, Any], digest: str) -> None:
    image = f"registry.example.com/iris@sha256:{digest * 64}"
    name = pod["metadata"]["name"]
    world.api.edit("Pod", NAMESPACE, name, lambda m: m["status"]["containerStatuses"][0].update(imageID=image))


def test_pods_of_one_revision_that_run_different_images_are_told_until_another_version_serves() -> None:
    world = serving()
    first, *others = world.api.of("Pod")
    for pod in (first, *others):
        pull(world, pod, "a")
    world.run(3)
    assert world.condition("ImagesDiffer") == ("Unknown", "")

    writes = len(world.api.writes)
    pull(world, first, "b")
    world.run(60)
    assert world.condition("ImagesDiffer") == ("True", "TagPushedAgain")
    assert world.condition("Ready") == ("True", "Stable"), "nothing is kept from going on"
    assert len(world.api.writes) == writes + 1

    world.deploy(spec_of("model:2"))
    world.run_until(lambda: stable_is(world, "model:2")).run_until_phase("Idle").run(90)
    assert world.condition("ImagesDiffer") == ("False", "SameImage")
