"""The Job that tries a candidate: the user's template with a deadline, least rights, and none of the model's labels."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.revision import preflight_job_name
from serinus.core import render
from serinus.core.render import ReservedField
from tests.unit.core.render.resources import deployment

CONTAINERS = {"containers": [{"name": "try", "image": "try:1"}]}


def of(template: dict[str, Any], **rollout: Any) -> Any:
    return deployment({"rollout": {"preflight": {"jobTemplate": template}, **rollout}})


def job(pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The Job for a pod spec, with more fields of the Job's spec."""
    resource = of({"spec": {"template": {"spec": CONTAINERS | (pod or {})}, **spec}}, progressDeadlineSeconds=900)
    return dict(render.preflight_job(resource, "5c1e0a9b77", "iris-5c1e0a9b77-preflight-3", 3))


def test_what_the_template_leaves_out_is_filled_in() -> None:
    made = job()["spec"]
    assert (made["activeDeadlineSeconds"], made["backoffLimit"]) == (900, 2)
    (rule,) = made["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    pod = made["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_what_the_template_says_counts() -> None:
    pod = {"securityContext": {"runAsUser": 7}, "restartPolicy": "OnFailure", "serviceAccountName": "judge"}
    made = job(pod, backoffLimit=0, activeDeadlineSeconds=60, completions=2)["spec"]
    assert (made["activeDeadlineSeconds"], made["backoffLimit"], made["completions"]) == (60, 0, 2)
    assert "podFailurePolicy" not in made, "which Kubernetes takes with restartPolicy Never only"
    assert made["template"]["spec"]["securityContext"]["runAsUser"] == 7
    assert made["template"]["spec"]["serviceAccountName"] == "judge"


def test_it_belongs_to_the_resource_and_its_pods_carry_nothing_that_services_select_by() -> None:
    resource = of({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": CONTAINERS}}})
    made = dict(render.preflight_job(resource, resource.revision, "iris-preflight-3", 3))
    assert made["metadata"]["ownerReferences"][0]["uid"] == "7f0c"
    assert made["metadata"]["labels"]["serinus.dev/revision"] == resource.revision
    assert made["metadata"]["labels"]["a"] == "b"
    of_pods = made["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        render.revision_service(resource, resource.revision, 1)["spec"]["selector"],
        render.stable_service(resource, resource.revision, 1)["spec"]["selector"],
        render.shared_service(resource, resource.revision, 1)["spec"]["selector"],
        render.candidate_service(resource, resource.revision, 1)["spec"]["selector"],
        render.network_policy(resource, 1)["spec"]["podSelector"]["matchLabels"],
        render.pod_monitor(resource, 1)["spec"]["selector"]["matchLabels"],
    ):
        assert not selector.items() <= of_pods


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ({"status": {}}, ".status"),
        ({"spec": {"suspend": True}}, ".spec.suspend"),
        ({"spec": {"ttlSecondsAfterFinished": 0}}, ".spec.ttlSecondsAfterFinished"),
        ({"spec": {"selector": {}}}, ".spec.selector"),
        ({"spec": {"manualSelector": True}}, ".spec.manualSelector"),
        ({"spec": {"managedBy": "x.y/z"}}, ".spec.managedBy"),
        ({"spec": []}, ".spec"),
        ({}, ".spec.template.spec.containers"),
        ({"spec": {"template": {"spec": {"containers": "try"}}}}, ".spec.template.spec.containers"),
        ({"spec": {"template": {"spec": {"containers": ["try"]}}}}, ".spec.template.spec.containers"),
        ({"metadata": {"name": "mine"}}, ".metadata.name"),
        ({"metadata": {"labels": {"serinus.dev/deployment": "iris"}}}, ".metadata.labels[serinus.dev/deployment]"),
        (
            {"spec": {"template": {"metadata": {"labels": {"serinus.dev/revision": "x"}}, "spec": CONTAINERS}}},
            ".spec.template.metadata.labels[serinus.dev/revision]",
        ),
        (
            {"spec": {"template": {"metadata": {"annotations": {"a.serinus.dev/b": "x"}}, "spec": CONTAINERS}}},
            ".spec.template.metadata.annotations[a.serinus.dev/b]",
        ),
    ],
)
def test_what_serinus_keeps_for_itself_is_refused_by_its_path(template: dict[str, Any], path: str) -> None:
    resource = of(template)
    with pytest.raises(ReservedField) as refused:
        render.preflight_job(resource, resource.revision, "x", 1)
    assert refused.value.path == f"spec.rollout.preflight.jobTemplate{path}"


@pytest.mark.parametrize("name", ["iris", "a-very-long-name-of-a-model-deployment-that-goes-on-x"])
def test_its_name_is_a_label_and_tells_revisions_and_attempts_apart(name: str) -> None:
    names = {
        preflight_job_name(name, revision, attempt)
        for revision in ("5c1e0a9b77", "91b2f0c4de")
        for attempt in (1, 2, 12345)
    }
    assert len(names) == 6
    assert all(len(each) <= 63 for each in names)
    assert all(each.startswith(name[:20]) for each in names)
