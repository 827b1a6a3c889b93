"""The pages for those who come from elsewhere: each manifest and its translation say the same, and every field exists.

What the manifests of others say is read here field by field, so that a page whose two sides have come apart fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api.kinds import MODEL_DEPLOYMENT
from tests.contract.fenced import blocks, prose
from tests.contract.test_documented_manifests import COMING_FROM, FOREIGN, KNOWN

PAGES = sorted(path for path in COMING_FROM.glob("*.md") if path.stem != "moving")
Documents = Mapping[str, Mapping[str, Any]]


def sides(page: Path) -> tuple[Documents, Mapping[str, Any]]:
    """The manifests of others by their kinds, and the ModelDeployment's spec."""
    before, after = (list(yaml.safe_load_all(block.text)) for block in blocks(page) if block.language == "yaml")
    (ours,) = after
    assert ours["kind"] == MODEL_DEPLOYMENT.kind
    return {document["kind"]: document["spec"] for document in before}, ours["spec"]


def container(template: Mapping[str, Any]) -> dict[str, Any]:
    (only,) = template["spec"]["containers"]
    return {"image": only["image"], "resources": only["resources"]}


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def of_argo_rollouts(theirs: Documents) -> Iterator[tuple[str, Any]]:
    rollout, canary = theirs["Rollout"], theirs["Rollout"]["strategy"]["canary"]
    weights = [step["setWeight"] for step in canary["steps"] if "setWeight" in step]
    holds = [seconds(step["pause"]["duration"]) for step in canary["steps"] if step.get("pause")]
    yield from container(rollout["template"]).items()
    yield "replicas", rollout["replicas"]
    yield (
        "steps",
        [*zip(weights, holds, strict=True), *["approval" for step in canary["steps"] if step == {"pause": {}}]],
    )
    yield "deadline", rollout["progressDeadlineSeconds"]
    yield "warm", canary["scaleDownDelaySeconds"]
    yield "history", rollout["revisionHistoryLimit"]
    yield "gateway", [theirs["HTTPRoute"][key] for key in ("parentRefs", "hostnames")]
    (metric,) = theirs["AnalysisTemplate"]["metrics"]
    yield "most errors", 100 * float(metric["successCondition"].removeprefix("result[0] <= "))


def of_flagger(theirs: Documents) -> Iterator[tuple[str, Any]]:
    deployment, canary = theirs["Deployment"], theirs["Canary"]
    analysis, service = canary["analysis"], canary["service"]
    yield from container(deployment["template"]).items()
    yield "replicas", deployment["replicas"]
    yield "steps", [(weight, seconds(analysis["interval"])) for weight in analysis["stepWeights"]]
    yield "deadline", canary["progressDeadlineSeconds"]
    yield "gateway", [service["gatewayRefs"], service["hosts"]]
    yield "port", service["port"]
    yield "container's port", service["targetPort"]
    (metric,) = analysis["metrics"]
    yield "most errors", float(metric["thresholdRange"]["max"])
    assert [hook["type"] for hook in analysis["webhooks"]] == ["confirm-promotion"]
    yield "automation", "Supervised"


def of_kserve(theirs: Documents) -> Iterator[tuple[str, Any]]:
    predictor = theirs["InferenceService"]["predictor"]
    yield from container({"spec": predictor}).items()
    yield "sizes", (predictor["minReplicas"], predictor["maxReplicas"])
    assert predictor["scaleMetric"] == "concurrency"
    yield "in progress", predictor["scaleTarget"]
    yield "concurrency", predictor["containerConcurrency"]
    yield "timeout", predictor["timeout"]
    yield "first weight", predictor["canaryTrafficPercent"]
    yield "container's port", predictor["containers"][0]["ports"][0]["containerPort"]


def of_seldon(theirs: Documents) -> Iterator[tuple[str, Any]]:
    experiment, model = theirs["Experiment"], theirs["Model"]
    default, candidate = experiment["candidates"]
    assert default["name"] == experiment["default"]
    assert default["weight"] + candidate["weight"] == 100
    yield "first weight", candidate["weight"]
    yield "memory", model["memory"]
    yield "version", model["storageUri"].rpartition("/")[2]


def of_yatai(theirs: Documents) -> Iterator[tuple[str, Any]]:
    deployment = theirs["BentoDeployment"]
    yield "image", theirs["Bento"]["image"]
    yield "resources", deployment["resources"]
    yield "sizes", (deployment["autoscaling"]["minReplicas"], deployment["autoscaling"]["maxReplicas"])
    yield "environment", deployment["envs"]
    yield "is reached from outside", deployment["ingress"]["enabled"]


def of_serinus(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts of a ModelDeployment."""
    serving, rollout, scaling = spec["serving"], spec["rollout"], spec["scaling"]
    steps = rollout["canary"]["steps"]
    autoscaling, gateway = scaling.get("autoscaling", {}), spec["traffic"]["gateway"]
    (metric,) = spec["analysis"]["metrics"]
    return {
        "image": serving["image"],
        "version": serving["image"].rpartition(":")[2],
        "resources": serving["resources"],
        "memory": serving["resources"]["requests"]["memory"],
        "environment": serving.get("env"),
        "container's port": serving.get("port", 3000),
        "concurrency": serving.get("bentoml", {}).get("maxConcurrency"),
        "timeout": serving.get("bentoml", {}).get("requestTimeoutSeconds"),
        "replicas": scaling.get("replicas"),
        "sizes": (autoscaling.get("minReplicas"), autoscaling.get("maxReplicas")),
        "in progress": autoscaling.get("targetInProgressPerPod"),
        "gateway": [gateway["parentRefs"], gateway["hostnames"]],
        "is reached from outside": bool(gateway),
        "port": spec["traffic"].get("port", 80),
        "steps": ["approval" if "approval" in step else (step["weightPercent"], step["holdSeconds"]) for step in steps],
        "first weight": steps[0]["weightPercent"],
        "automation": rollout.get("automation", "Automatic"),
        "deadline": rollout.get("progressDeadlineSeconds"),
        "warm": rollout.get("scaleDownDelaySeconds"),
        "history": rollout.get("revisionHistoryLimit"),
        "most errors": float(metric["limit"]["maxPercent"]),
    }


READERS = {
    "argo-rollouts": of_argo_rollouts,
    "flagger": of_flagger,
    "kserve": of_kserve,
    "seldon": of_seldon,
    "yatai": of_yatai,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_translated_manifest_says_what_the_original_says(page: Path) -> None:
    theirs, ours = sides(page)
    said = dict(READERS[page.stem](theirs))
    facts = of_serinus(ours)
    assert len(said) > 2
    assert {name: facts[name] for name in said} == said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_field_of_ours_in_the_tables_exists(page: Path) -> None:
    named: list[str] = []
    for table in re.findall(r"^\| [^\n]+ \| Serinus \|.*?(?=\n\n|\Z)", prose(page), re.MULTILINE | re.DOTALL):
        for row in table.splitlines()[2:]:
            ours = re.split(r"(?<!\\) \| ", row)[1]
            named += re.findall(r"`([a-z][\w.\[\]]+)(?=`|: )", ours)
    fields = [name.replace("[]", "") for name in named if "." in name and not FOREIGN.match(name)]
    assert len(fields) >= 8
    assert [name for name in fields if not any(path in {name, f"spec.{name}"} for path in KNOWN)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_serinus_does_not_have(page: Path) -> None:
    assert "\n## What Serinus does not have\n" in page.read_text()
    assert page.read_text().rstrip().endswith("Then [move without a gap](moving.md).")
