"""GPU placement on the real scheduler: the node is given an extended resource and GPU Feature Discovery's labels."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.model import Model, model_in, revision
from e2e.stage import Stage, wait_until
from e2e.watching import condition

GPU = "nvidia.com/gpu"
PRODUCT = "NVIDIA-L4"
OTHER_PRODUCT = "NVIDIA-H100-80GB-HBM3"
LABELS = {"nvidia.com/gpu.product": PRODUCT, "nvidia.com/gpu.memory": "23034"}
DEADLINE_SECONDS = 12


@pytest.fixture(scope="module")
def node_with_gpus(stage: Stage) -> Iterator[str]:
    """The cluster's node, which says that it has four GPUs."""
    node = stage.kubectl.run("get", "nodes", "--output=jsonpath={.items[0].metadata.name}")

    def patch(what: dict[str, object], *flags: str) -> None:
        stage.kubectl.run("patch", "node", node, *flags, "--type=merge", f"--patch={json.dumps(what)}")

    def allocatable() -> str | None:
        return stage.kubectl.try_run("get", "node", node, r"--output=jsonpath={.status.allocatable.nvidia\.com/gpu}")

    amount = {GPU: "4"}
    patch({"status": {"capacity": amount, "allocatable": amount}}, "--subresource=status")
    patch({"metadata": {"labels": LABELS}})
    try:
        wait_until(f"{node} offers GPUs", lambda: allocatable() == "4", 30)
        yield node
    finally:
        patch({"metadata": {"labels": dict.fromkeys(LABELS)}})
        gone = {GPU: None}
        patch({"status": {"capacity": gone, "allocatable": gone}}, "--subresource=status")


@pytest.fixture
def model(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Model]:
    with model_in(stage, f"e2e-{request.param}") as model:
        yield model


def on(*choices: dict[str, object]) -> dict[str, object]:
    return {"accelerator": {"anyOf": list(choices)}}


@pytest.mark.parametrize("model", ["gpu-fits"], indirect=True)
def test_a_model_is_scheduled_on_a_node_that_has_one_of_the_accelerators(model: Model, node_with_gpus: str) -> None:
    model.serve(placement=on({"product": OTHER_PRODUCT}, {"minMemoryGiB": 20}))

    (pod,) = model.objects("pods")
    assert pod["spec"]["nodeName"] == node_with_gpus
    assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    asked = [expression for term in terms["nodeSelectorTerms"] for expression in term["matchExpressions"]]
    assert {"key": "nvidia.com/gpu.product", "operator": "In", "values": [OTHER_PRODUCT]} in asked
    assert {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["20479"]} in asked


@pytest.mark.usefixtures("node_with_gpus")
@pytest.mark.parametrize("model", ["gpu-too-big"], indirect=True)
def test_a_candidate_that_no_node_fits_waits_with_the_schedulers_words_and_its_deadline_does_not_run(
    model: Model,
) -> None:
    model.serve()
    model.apply(
        "2.0.0",
        serving={"startupSeconds": 5},
        placement=on({"product": OTHER_PRODUCT}),
        rollout={"progressDeadlineSeconds": DEADLINE_SECONDS},
    )

    def waits_for_a_node(manifest: dict[str, object]) -> bool:
        return condition(manifest, "Reconciling")[1] == "PodsUnschedulable"

    waiting = model.resource.wait_for("its pods wait for a node", waits_for_a_node, 60)
    assert "didn't match Pod's node affinity/selector" in condition(waiting, "Reconciling")[2], model.told()
    assert condition(waiting, "Available")[0] == "True"
    model.stays("it goes on waiting beyond its deadline", waits_for_a_node, DEADLINE_SECONDS + 8)

    model.apply("1.0.0")
    settled = model.wait_until_ready()
    assert revision(settled, "candidate") == ""
