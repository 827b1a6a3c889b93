"""The chart's approval policy on a real API server: what needs the verb `approve`, and what stays free."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster.controlplane import ControlPlane
from tests.integration.conftest import Kubectl
from tests.integration.test_chart import BESIDE_OTHERS, CHART, done, helm_for, wait_for

STEPS = [
    {"name": "five", "weightPercent": 5},
    {"name": "sign-off", "approval": {}},
    {"name": "half", "weightPercent": 50},
]
REVISION = "91b2f0c4de"


def spec(image: str = "registry.example.com/iris:1", **rollout: Any) -> dict[str, Any]:
    gateway = {"parentRefs": [{"name": "public"}], "hostnames": ["iris.example.com"]}
    rollout = {"automation": "Supervised", "canary": {"steps": STEPS}} | rollout
    return {"serving": {"image": image}, "traffic": {"gateway": gateway}, "rollout": rollout}


def iris(name: str = "iris", annotations: dict[str, str] | None = None, **sections: Any) -> str:
    metadata = {"name": name, "annotations": annotations or {}}
    kind = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment"}
    return json.dumps(kind | {"metadata": metadata, "spec": spec(**sections)})


class People:
    """An editor, and an approver who may edit too, in a namespace with the policy."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def refusal(self, user: str, *words: str, stdin: str | None = None) -> str:
        """What the API server says against a request that would change nothing; "" where it would carry it out."""
        result = self.kubectl(*words, "-n", self.namespace, f"--as={user}", "--dry-run=server", stdin=stdin)
        return "" if result.returncode == 0 else result.stderr

    def annotate(self, user: str, action: str, value: str) -> str:
        return self.refusal(user, "annotate", "mdep", "iris", "--overwrite", f"serinus.dev/{action}={value}")

    def edit(self, user: str, **changes: Any) -> str:
        return self.refusal(user, "patch", "mdep", "iris", "--type=merge", f"--patch={json.dumps({'spec': changes})}")


@pytest.fixture(scope="module")
def people(
    plane: ControlPlane, kubectl: Kubectl, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[People]:
    helm, namespace = helm_for(plane, tmp_path_factory.mktemp("helm")), f"test-{uuid.uuid4().hex[:10]}"
    done(kubectl("create", "namespace", namespace))
    values = {**BESIDE_OTHERS, "approvalPolicy": {"enabled": True}, "watchNamespaces": [namespace]}
    done(helm("install", namespace, str(CHART), f"--namespace={namespace}", values=values))
    for user, roles in {"editor": ("view", "edit"), "approver": ("view", "edit", "approve")}.items():
        for role in roles:
            role_name = f"{namespace}-serinus-{role}"
            bind = ("create", "rolebinding", f"{user}-{role}", f"--clusterrole={role_name}", f"--user={user}")
            done(kubectl(*bind, "-n", namespace))
    done(kubectl("create", "-n", namespace, "-f", "-", stdin=iris()))
    people = People(kubectl, namespace)

    def are_known() -> bool:
        refused = people.annotate("editor", "approve", f"{REVISION}/sign-off")
        return "needs the verb" in refused and not people.annotate("approver", "approve", f"{REVISION}/sign-off")

    wait_for(are_known)
    assert are_known(), people.annotate("editor", "approve", f"{REVISION}/sign-off")
    yield people
    done(helm("uninstall", namespace, f"--namespace={namespace}"))


def test_who_decides_needs_the_verb_approve_and_who_protects_does_not(people: People) -> None:
    value = {"approve": f"{REVISION}/sign-off", "skip-step": f"{REVISION}/five", "promote": REVISION}
    for action, asked in value.items():
        refused = people.annotate("editor", action, asked)
        assert f"the annotation serinus.dev/{action} needs the verb approve on modeldeployments" in refused
        assert "editor does not have" in refused
        assert people.annotate("approver", action, asked) == ""
    for action in ("pause", "abort", "retry", "return-to"):
        assert people.annotate("editor", action, REVISION) == ""


def test_an_approval_is_not_got_rid_of_by_who_may_not_give_it(people: People) -> None:
    weights = {"canary": {"steps": [step for step in STEPS if "approval" not in step]}}
    lowered = {"automation": "Automatic"}
    for less in (weights, {"canary": None, "blueGreen": {}}):
        assert "to take an approval out of spec.rollout.canary.steps needs" in people.edit("editor", rollout=less)
    assert "to lower spec.rollout.automation needs" in people.edit("editor", rollout=lowered)
    assert people.edit("approver", rollout=weights) == people.edit("approver", rollout=lowered) == ""
    assert people.edit("editor", rollout={"automation": "Manual"}) == ""
    assert people.edit("editor", serving={"image": "registry.example.com/iris:2"}) == ""


def test_an_annotation_that_an_approver_has_set_hinders_no_editor(people: People, kubectl: Kubectl) -> None:
    where = ("-n", people.namespace)
    asked = f"serinus.dev/approve={REVISION}/sign-off"
    done(kubectl("annotate", "mdep", "iris", asked, "--as=approver", *where))
    assert people.refusal("editor", "label", "mdep", "iris", "team=a") == ""
    assert people.refusal("editor", "annotate", "mdep", "iris", "serinus.dev/approve-") == ""
    assert "needs the verb approve" in people.annotate("editor", "approve", f"{REVISION}/sign-off#2")


def test_a_new_resource_can_not_bring_an_approval_along(people: People) -> None:
    asked = {"serinus.dev/promote": REVISION}
    assert "needs the verb approve" in people.refusal("editor", "create", "-f", "-", stdin=iris("rose", asked))
    assert people.refusal("editor", "create", "-f", "-", stdin=iris("rose")) == ""


def test_the_policy_ends_at_the_namespaces_that_are_watched(people: People, kubectl: Kubectl) -> None:
    elsewhere = f"{people.namespace}-elsewhere"
    done(kubectl("create", "namespace", elsewhere))
    bind = ("create", "rolebinding", "edit", f"--clusterrole={people.namespace}-serinus-edit", "--user=editor")
    done(kubectl(*bind, "-n", elsewhere))
    create = ("create", "-n", elsewhere, "--as=editor", "--dry-run=server", "-f", "-")
    done(kubectl(*create, stdin=iris("rose", {"serinus.dev/promote": REVISION})))


def test_the_api_server_finds_nothing_wrong_with_the_policy(people: People, kubectl: Kubectl) -> None:
    name = f"{people.namespace}-serinus-approvals.serinus.dev"
    policy = json.loads(done(kubectl("get", "validatingadmissionpolicy", name, "-o", "json")))
    assert policy.get("status", {}).get("typeChecking", {}).get("expressionWarnings", []) == []
