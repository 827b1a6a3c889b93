"""What stands beside a model: disruption budgets, a network policy, an autoscaler; and its size set from outside.

The cluster serves neither resource metrics nor custom ones. An autoscaler keeps to its bounds all the same, and that is
what is tried here: the real one, which nobody tells of a rollout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.model import NAME, Manifest, Model, model_in, revision, rollout
from e2e.stage import Stage, wait_until
from e2e.watching import condition

BOUNDS_SECONDS = 60
"""Autoscalers look at their targets every 15 s."""


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-capacity-{request.param}") as model:
        yield model


def names(model: Model, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in model.objects(kind)}


def autoscaled(least: int, most: int, **target: int) -> dict[str, Any]:
    return {"replicas": None, "autoscaling": {"minReplicas": least, "maxReplicas": most, **target}}


def size(model: Model, of_revision: str) -> int:
    return int(model.get("replicaset", f"{NAME}-{of_revision}")["spec"]["replicas"])


def scaled(model: Model) -> tuple[str, int, int]:
    """Whose pods the autoscaler sizes, and its bounds."""
    spec = model.get("horizontalpodautoscaler", NAME)["spec"]
    return spec["scaleTargetRef"]["name"].rpartition("-")[2], spec["minReplicas"], spec["maxReplicas"]


@pytest.mark.parametrize("model", ["safeguards"], indirect=True)
def test_safeguards_come_and_go_with_their_revisions_and_are_not_rewritten(model: Model) -> None:
    model.serve()
    old = revision(model.resource.newest or {}, "stable")
    wait_until("its budget is there", lambda: names(model, "poddisruptionbudgets") == {f"{NAME}-{old}"}, 60)

    def allowed() -> int:
        return int(model.get("pdb", f"{NAME}-{old}").get("status", {}).get("disruptionsAllowed", 0))

    wait_until("the budget lets one pod go", lambda: allowed() == 1)
    policy = model.get("networkpolicy", f"{NAME}-serving")

    model.apply("2.0.0", hold_seconds=0, analysis={"disabled": True, "metrics": None})
    promoted = model.wait_until_promoted("2.0.0")
    new = revision(promoted, "stable")
    wait_until(
        "the old revision's budget is gone", lambda: names(model, "poddisruptionbudgets") == {f"{NAME}-{new}"}, 60
    )
    after = model.get("networkpolicy", f"{NAME}-serving")["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (
        policy["metadata"]["uid"],
        policy["metadata"]["resourceVersion"],
    )


@pytest.mark.parametrize("model", ["autoscaler"], indirect=True)
def test_an_autoscaler_sizes_stable_and_leaves_it_as_it_was_until_the_rollout_is_over(model: Model) -> None:
    scaling = autoscaled(1, 2, targetCpuPercent=80)
    model.serve(scaling=scaling)
    old = revision(model.resource.newest or {}, "stable")
    wait_until("there is an autoscaler", lambda: model.objects("horizontalpodautoscalers"))
    assert scaled(model) == (old, 1, 2)
    assert size(model, old) == 1

    # More than it may be: the autoscaler takes it back to its most, and Serinus leaves that alone.
    model.kubectl("scale", "replicaset", f"{NAME}-{old}", "--replicas=3")
    wait_until("the autoscaler keeps to its bounds", lambda: size(model, old) == 2, BOUNDS_SECONDS)
    model.wait_until_ready()
    assert size(model, old) == 2

    model.apply("2.0.0", scaling=scaling, rollout=_held(3600))
    holding = model.resource.wait_for("the candidate has its step", lambda m: rollout(m).get("step") == "half", 180)
    assert rollout(holding)["stableReplicas"] == 2
    wait_until("stable may not shrink", lambda: scaled(model) == (old, 2, 2))
    assert size(model, revision(holding, "candidate")) == 1, "half of two"

    model.kubectl("annotate", "mdep", NAME, f"serinus.dev/promote={revision(holding, 'candidate')}")
    promoted = model.wait_until_promoted("2.0.0")
    new = revision(promoted, "stable")
    wait_until("the autoscaler is handed over, and free again", lambda: scaled(model) == (new, 1, 2))
    assert size(model, new) == 2
    wait_until("the old revision has retired", lambda: size(model, old) == 0)


def _held(seconds: int) -> dict[str, Any]:
    return {"canary": {"steps": [{"name": "half", "weightPercent": 50, "holdSeconds": seconds}]}}


@pytest.mark.parametrize("model", ["custom-metrics"], indirect=True)
def test_a_target_that_needs_custom_metrics_is_stalled_where_there_are_none_and_the_model_goes_on(model: Model) -> None:
    model.serve()
    model.apply("1.0.0", scaling=autoscaled(1, 2, targetInProgressPerPod=4))

    def stalled(manifest: Manifest) -> bool:
        return condition(manifest, "Stalled")[:2] == ("True", "NoCustomMetrics")

    seen = model.resource.wait_for("it says what is missing", stalled, 60)
    assert condition(seen, "Available")[0] == "True"
    assert model.objects("horizontalpodautoscalers") == []
    model.apply("1.0.0")
    model.wait_until_ready()


@pytest.mark.parametrize("model", ["scale"], indirect=True)
def test_the_scale_subresource_sizes_the_model_and_tells_its_pods(model: Model) -> None:
    model.serve()
    model.kubectl("scale", "modeldeployment", NAME, "--replicas=2")
    stable = revision(model.wait_until_ready(), "stable")
    wait_until("two pods are ready", lambda: len(model.ready_pods(stable)) == 2)

    def scale() -> Manifest:
        path = f"/apis/serinus.dev/v1alpha1/namespaces/{model.namespace}/modeldeployments/{NAME}/scale"
        found: Manifest = json.loads(model.stage.kubectl.run("get", f"--raw={path}"))
        return found

    told = wait_until("the status says so too", lambda: (each := scale())["status"]["replicas"] == 2 and each)
    assert told["spec"]["replicas"] == 2
    selected = model.objects("pods", told["status"]["selector"])
    assert {pod["metadata"]["name"] for pod in selected} == set(model.pods(stable))
