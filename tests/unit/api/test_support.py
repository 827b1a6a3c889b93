"""What this version does not carry out is refused by name, and only that."""

import re
from typing import Any

import pytest

from serinus.api.crd import structural_schema
from serinus.api.spec import ModelDeploymentSpec
from serinus.api.support import unsupported
from tests.unit.api.bad_specs import GATEWAY, IMAGE


def refused(**sections: Any) -> list[str]:
    spec = ModelDeploymentSpec.model_validate({"serving": {"image": IMAGE}} | sections)
    return [each.field for each in unsupported(spec)]


def canary(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"canary": {"steps": [{"name": f"step-{position}", **step} for position, step in enumerate(steps)]}}


METRIC = {"name": "a", "errors": {}, "limit": {"maxPercent": "1"}}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"suspend": True},
        {"scaling": {"replicas": 3}},
        {"scaling": {"autoscaling": {"maxReplicas": 2}}},
        {"scaling": {"autoscaling": {"maxReplicas": 2, "targetInProgressPerPod": 4}}},
        {"rollout": {"blueGreen": {}}},
        {"rollout": {"blueGreen": {}}, "traffic": GATEWAY},
        {"rollout": {"blueGreen": {"holdSeconds": 5}}},
        {"rollout": {"blueGreen": {"shadowPercent": 5}}, "traffic": GATEWAY},
        {"rollout": {"recreate": {}}},
        {"rollout": canary({"weightPercent": 5})},
        {"rollout": {"rollbackWindowSeconds": 60}},
        {"rollout": {"capacity": "Surge"}},
        {"rollout": {"automation": "Automatic"}},
        {"rollout": {"automation": "Supervised"}},
        {"rollout": {"automation": "Manual"}},
        {"rollout": canary({"weightPercent": 5}, {"approval": {}}), "traffic": GATEWAY},
        {"rollout": canary({"weightPercent": 5, "holdSeconds": 60}, {"weightPercent": 50}), "traffic": GATEWAY},
        {"rollout": canary({"match": {"headers": [{"name": "a", "value": "b"}]}}), "traffic": GATEWAY},
        {"rollout": canary({"shadowPercent": 5}), "traffic": GATEWAY},
        {"serving": {"image": IMAGE, "configChecksum": "Ignore"}},
        {"placement": {"accelerator": {"count": 2, "anyOf": [{"minMemoryGiB": 40}]}}},
        {"analysis": {"disabled": True}},
        {"analysis": {"metrics": [METRIC | {"labels": {"pod": "exported_pod"}, "absentBad": "Missing"}]}},
        {"analysis": {"metrics": [METRIC | {"perSlice": "country"}]}},
    ],
)
def test_what_is_carried_out_is_not_refused(sections: dict[str, Any]):
    assert refused(**sections) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"rollout": {"capacity": "InPlace"}}, "spec.rollout.capacity"),
    ({"monitoring": {}}, "spec.monitoring"),
]


@pytest.mark.parametrize(("sections", "field"), REFUSED)
def test_what_is_not_carried_out_is_refused_by_name(sections: dict[str, Any], field: str):
    assert refused(**sections) == [field]


@pytest.mark.parametrize(("sections", "field"), REFUSED)
def test_what_is_not_carried_out_says_so_in_its_description(sections: dict[str, Any], field: str):
    names = re.sub(r"\[\d+\]", "", field).split(".")[1:]
    described = structural_schema(ModelDeploymentSpec)
    for name in names:
        described = described.get("items", described)["properties"][name]
    assert "ot carried out by this version" in described["description"]


@pytest.mark.parametrize(("count", "fields"), [(15, []), (16, ["spec.rollout.canary.steps"])])
def test_match_steps_beside_a_rewritten_prefix_are_as_many_as_a_route_has_rules_for(count: int, fields: list[str]):
    match = {"headers": [{"name": "a", "value": "b"}]}
    steps = canary(*({"match": match} for _ in range(count)))
    rewritten = {"gateway": {**GATEWAY["gateway"], "pathPrefix": "/a", "rewritePrefix": "/"}}
    assert refused(rollout=steps, traffic=rewritten) == fields
    assert refused(rollout=steps, traffic=GATEWAY) == []


def test_a_refusal_says_what_to_do():
    spec = ModelDeploymentSpec.model_validate({"serving": {"image": IMAGE}, "rollout": {"capacity": "InPlace"}})

    (refusal,) = unsupported(spec)

    assert str(refusal) == (
        "spec.rollout.capacity: an in-place rollout is not carried out by this version; remove it, or set Auto or "
        "Surge, which both put the candidate beside the stable revision"
    )
