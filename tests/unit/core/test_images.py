"""A tag that was pushed again is told, and only that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serinus.api.status import Condition, ModelDeploymentStatus
from serinus.core.conditions import conditions
from serinus.core.images import mixed_images
from serinus.core.observation import Children
from serinus.kube.observation import pod_state
from tests.unit.core.situations import CANDIDATE, STABLE, children, holding, pod, situation, status

ONE, OTHER = "registry.example.com/iris@sha256:" + "a" * 64, "registry.example.com/iris@sha256:" + "b" * 64
LOCAL, OTHER_LOCAL = "sha256:" + "c" * 64, "sha256:" + "d" * 64


def running(*images: str, of: str = STABLE) -> Children:
    pods = tuple(replace(pod(of, number), image_id=image) for number, image in enumerate(images))
    return children({STABLE: 4, CANDIDATE: 1}, {STABLE: 95, CANDIDATE: 5}, pods=pods)


@pytest.mark.parametrize(
    ("images", "mixed"),
    [
        ((), 0),
        ((ONE,), 0),
        ((ONE, ONE), 0),
        ((ONE, OTHER), 2),
        ((ONE, "docker-pullable://" + ONE), 0),
        ((ONE, ""), 0),
        ((ONE, LOCAL), 0),
        ((LOCAL, LOCAL), 0),
        ((LOCAL, OTHER_LOCAL), 2),
        ((ONE, LOCAL, OTHER), 2),
    ],
    ids=[
        *("no pods", "one pod", "the same", "another", "by another runtime", "not pulled yet"),
        *("not to be compared", "the same from a file", "another from a file", "another among others"),
    ],
)
def test_images_are_told_apart_by_digests_of_one_sort(images: tuple[str, ...], mixed: int):
    assert len(mixed_images(running(*images), STABLE)) == mixed


def test_pods_that_are_going_or_gone_do_not_count():
    seen = running(ONE, OTHER)
    kept, other = seen.pods
    assert mixed_images(replace(seen, pods=(kept, replace(other, deleting=True))), STABLE) == {}
    assert mixed_images(replace(seen, pods=(kept, replace(other, ended=True))), STABLE) == {}


def told(of: ModelDeploymentStatus, seen: Children) -> Condition | None:
    found = conditions(situation(of, seen), None)
    return next((each for each in found if each.type == "ImagesDiffer"), None)


@pytest.mark.parametrize("revision", [STABLE, CANDIDATE])
def test_the_condition_names_the_revision_and_what_its_pods_run(revision: str):
    found = told(holding(), running(ONE, ONE, OTHER, of=revision))
    assert found is not None
    assert (found.status, found.reason) == ("True", "TagPushedAgain")
    assert f"revision {revision} " in found.message
    assert "sha256:aaaaaaaaaaaa in 2 pods, sha256:bbbbbbbbbbbb in 1 pod" in found.message


def test_there_is_no_condition_before_it_was_ever_so_and_it_ends_with_the_mixture():
    assert told(status(), running(ONE, ONE)) is None
    mixed = status().model_copy(update={"conditions": conditions(situation(status(), running(ONE, OTHER)), None)})
    over = told(mixed, running(OTHER, OTHER))
    assert over is not None
    assert (over.status, over.reason) == ("False", "SameImage")


def test_what_a_pod_runs_is_read_from_its_models_container():
    statuses = [{"name": "beside", "imageID": OTHER}, {"name": "model", "imageID": ONE, "restartCount": 0}]
    metadata = {"name": "a", "labels": {"serinus.dev/revision": STABLE}}
    assert pod_state({"metadata": metadata, "status": {"containerStatuses": statuses}}).image_id == ONE
