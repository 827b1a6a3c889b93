"""Policies on a real API server: their CRDs, and what the chart's admission policies refuse by them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.controlplane import ControlPlane
from serinus.api.kinds import POLICY_KINDS
from tests.integration.conftest import Kubectl
from tests.integration.test_chart import BESIDE_OTHERS, CHART, done, helm_for, wait_for
from tests.unit.api.bad_policies import BAD_POLICIES, BadPolicy
from tests.unit.api.bad_specs import IMAGE
from tests.unit.core.platform.policies import NULLS
from tests.unit.core.platform.violations import VIOLATIONS, Case

ROOT = Path(__file__).parents[2]
REVISION = "91b2f0c4de"
pytestmark = pytest.mark.usefixtures("crd")


def manifest(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> str:
    made = {"apiVersion": "serinus.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
    return json.dumps(made)


def model(name: str = "iris", annotations: dict[str, str] | None = None, **sections: Any) -> str:
    gateway = {"gateway": {"parentRefs": [{"name": "public"}]}}
    spec = {"serving": {"image": IMAGE}, "traffic": gateway, **sections}
    return manifest("ModelDeployment", name, spec, annotations=annotations or {})


# The CRDs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD_POLICIES, ids=lambda bad: bad.title)
def test_a_bad_policy_is_refused_with_field_and_rule(kubectl: Kubectl, bad: BadPolicy) -> None:
    refused = kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest("ClusterRolloutPolicy", "bad", bad.spec))

    assert refused.returncode != 0
    assert bad.field in refused.stderr
    assert bad.says in refused.stderr
    assert "no such key" not in refused.stderr


def test_an_empty_policy_asks_for_nothing_and_gets_no_defaults_that_a_resource_would_take(
    kubectl: Kubectl, namespace: str
) -> None:
    spec = {"defaults": {"rollout": {"watchSeconds": 5}, "analysis": {}}}
    made = kubectl("create", "-n", namespace, "-o", "json", "-f", "-", stdin=manifest("RolloutPolicy", "team", spec))

    stored = json.loads(done(made))["spec"]
    assert stored["defaults"] == spec["defaults"]
    assert stored["bounds"]["mode"] == "Enforce"


def test_explain_is_the_manual(kubectl: Kubectl) -> None:
    for kind in POLICY_KINDS:
        fields = kubectl("explain", f"{kind.plural}.spec", "--recursive")
        assert fields.returncode == 0, fields.stderr
        assert "requiredMetrics" in fields.stdout


# Admission ------------------------------------------------------------------------------------------------------------


class Platform:
    """A namespace in which the API server refuses by policies."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def govern(self, spec: dict[str, Any], kind: str = "RolloutPolicy", name: str = "team") -> None:
        """Apply a policy; the API server goes by it a moment later."""
        where = ("-n", self.namespace) if kind == "RolloutPolicy" else ()
        done(self.kubectl("apply", *where, "-f", "-", stdin=manifest(kind, name, spec)))

    def ungovern(self, kind: str = "RolloutPolicy", name: str = "team") -> None:
        where = ("-n", self.namespace) if kind == "RolloutPolicy" else ()
        done(self.kubectl("delete", kind.lower(), name, "--ignore-not-found", *where))

    def refusal(self, stdin: str, *words: str) -> str:
        """What the API server says against a resource; "" where it would take it."""
        result = self.kubectl("apply", "-n", self.namespace, "--dry-run=server", *words, "-f", "-", stdin=stdin)
        return "" if result.returncode == 0 else result.stderr

    def patch_refusal(self, name: str, changes: dict[str, Any], *words: str) -> str:
        patch = ("patch", "mdep", name, "-n", self.namespace, "--type=merge", "--dry-run=server")
        result = self.kubectl(*patch, f"--patch={json.dumps(changes)}", *words)
        return "" if result.returncode == 0 else result.stderr


@pytest.fixture(scope="module")
def platform(
    plane: ControlPlane, kubectl: Kubectl, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    helm, namespace = helm_for(plane, tmp_path_factory.mktemp("helm")), f"test-{uuid.uuid4().hex[:10]}"
    done(kubectl("create", "namespace", namespace))
    values = BESIDE_OTHERS | {"rolloutPolicies": {"admission": True}, "watchNamespaces": [namespace]}
    done(helm("install", namespace, str(CHART), f"--namespace={namespace}", values=values))
    made = Platform(kubectl, namespace)
    made.govern({"bounds": {"analysis": {"forbidDisabled": True}}}, name="probe")
    wait_for(lambda: "forbids true" in made.refusal(model(analysis={"disabled": True})))
    assert "RolloutPolicy probe forbids true" in made.refusal(model(analysis={"disabled": True}))
    made.ungovern(name="probe")
    wait_for(lambda: made.refusal(model(analysis={"disabled": True})) == "")
    yield made
    done(helm("uninstall", namespace, f"--namespace={namespace}"))
    done(kubectl("delete", "namespace", namespace, "--wait=false"))


@pytest.mark.parametrize("case", VIOLATIONS, ids=lambda case: case.title)
def test_the_api_server_refuses_what_the_operator_would_hold(platform: Platform, case: Case) -> None:
    platform.govern({"bounds": case.bounds})
    try:
        if case.refused:
            wait_for(lambda: platform.refusal(model(**case.outside)) != "")
            assert "RolloutPolicy team " in platform.refusal(model(**case.outside))
            assert f"{case.field.split('.')[0]}." in platform.refusal(model(**case.outside))
        else:
            assert platform.refusal(model(**case.outside)) == ""
        assert platform.refusal(model(**case.within)) == ""
    finally:
        platform.ungovern()
        wait_for(lambda: platform.refusal(model(**case.outside)) == "")


def test_a_required_metric_has_to_be_named_by_who_names_metrics(platform: Platform) -> None:
    platform.govern({"bounds": {"analysis": {"requiredMetrics": ["nulls"]}}, "metrics": [NULLS]})
    own = [{"name": "own", "errors": {}, "limit": {"maxPercent": "1"}}]
    wait_for(lambda: platform.refusal(model(analysis={"metrics": own})) != "")
    assert "requires the metrics nulls as it defines them" in platform.refusal(model(analysis={"metrics": own}))
    assert platform.refusal(model(analysis={"metrics": own, "sharedMetrics": ["nulls"]})) == ""
    assert platform.refusal(model()) == "", "a default may name it: that is for the operator to know"
    platform.ungovern()


def test_a_policy_in_audit_refuses_nothing(platform: Platform) -> None:
    where = ("-n", platform.namespace)
    audit = {"bounds": {"mode": "Audit", "analysis": {"forbidDisabled": True}}}
    done(platform.kubectl("apply", *where, "-f", "-", stdin=manifest("RolloutPolicy", "team", audit)))
    assert platform.refusal(model(analysis={"disabled": True})) == ""
    platform.ungovern()


def test_who_does_not_touch_rollout_and_analysis_is_not_held_up_by_a_later_bound(platform: Platform) -> None:
    where = ("-n", platform.namespace)
    done(platform.kubectl("apply", *where, "-f", "-", stdin=model("older", analysis={"disabled": True})))
    platform.govern({"bounds": {"analysis": {"forbidDisabled": True}, "rollout": {"minWatchSeconds": 1}}})
    wait_for(lambda: platform.refusal(model(analysis={"disabled": True})) != "")
    abort = {"metadata": {"annotations": {"serinus.dev/abort": REVISION}}}
    image = {"spec": {"serving": {"image": f"{IMAGE}-2"}, "scaling": {"replicas": 5}}}
    assert platform.patch_refusal("older", abort) == platform.patch_refusal("older", image) == ""
    assert "forbids true" in platform.patch_refusal("older", {"spec": {"rollout": {"watchSeconds": 9}}})
    assert platform.patch_refusal("older", {"spec": {"analysis": {"disabled": False}}}) == ""
    platform.ungovern()


def test_a_cluster_policy_refuses_in_the_namespaces_that_it_selects(platform: Platform) -> None:
    bound = {"analysis": {"forbidDisabled": True}}
    key = "kubernetes.io/metadata.name"
    disabled = model(analysis={"disabled": True})
    selectors: list[tuple[dict[str, Any], bool]] = [
        ({"matchLabels": {key: platform.namespace}}, True),
        ({"matchLabels": {key: "elsewhere"}}, False),
        ({"matchExpressions": [{"key": key, "operator": "In", "values": [platform.namespace, "b"]}]}, True),
        ({"matchExpressions": [{"key": key, "operator": "NotIn", "values": [platform.namespace]}]}, False),
        ({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, False),
    ]
    name = f"house-{platform.namespace}"
    try:
        for selector, refuses in selectors:
            platform.govern({"namespaceSelector": selector, "bounds": bound}, "ClusterRolloutPolicy", name)
            wait_for(lambda refuses=refuses: (platform.refusal(disabled) != "") is refuses)
            said = platform.refusal(disabled)
            assert (f"ClusterRolloutPolicy {name} forbids true" in said) is refuses, (selector, said)
    finally:
        platform.ungovern("ClusterRolloutPolicy", name)


def test_only_members_of_the_group_approve(platform: Platform) -> None:
    where = ("-n", platform.namespace)
    done(platform.kubectl("apply", *where, "-f", "-", stdin=model("asked")))
    platform.govern({"bounds": {"rollout": {"approverGroups": ["risk-officers", "leads"]}}})
    decides = {"metadata": {"annotations": {"serinus.dev/approve": f"{REVISION}/sign-off"}}}
    admin, officer = ("--as=jo", "--as-group=system:masters"), ("--as=kim", "--as-group=system:masters")
    officer = (*officer, "--as-group=leads")
    wait_for(lambda: platform.patch_refusal("asked", decides, *admin) != "")
    said = platform.patch_refusal("asked", decides, *admin)
    assert "the annotation serinus.dev/approve may only be set by members of risk-officers or leads" in said
    assert "says RolloutPolicy team; jo is not one of them" in said
    assert platform.patch_refusal("asked", decides, *officer) == ""
    for action in ("abort", "pause", "retry"):
        asked = {"metadata": {"annotations": {f"serinus.dev/{action}": REVISION}}}
        assert platform.patch_refusal("asked", asked, *admin) == ""
    platform.ungovern()


@pytest.mark.parametrize("kind", POLICY_KINDS, ids=lambda kind: kind.kind)
def test_the_api_server_finds_nothing_wrong_with_what_is_generated(platform: Platform, kind: Any) -> None:
    name = f"{platform.namespace}-serinus-{kind.plural}.serinus.dev"
    policy = json.loads(done(platform.kubectl("get", "validatingadmissionpolicy", name, "-o", "json")))
    assert policy.get("status", {}).get("typeChecking", {}).get("expressionWarnings", []) == []


def test_the_example_is_taken_by_an_api_server_that_goes_by_it(platform: Platform) -> None:
    text = (ROOT / "examples" / "policies.yaml").read_text()
    kinds = [each["kind"] for each in yaml.safe_load_all(text)]
    assert kinds == ["ClusterRolloutPolicy", "RolloutPolicy", "ModelDeployment"]
    assert platform.refusal(text) == ""


def test_a_policy_in_use_is_not_deleted_and_says_who_uses_it(platform: Platform) -> None:
    where = ("-n", platform.namespace)
    platform.govern({"defaults": {"rollout": {"watchSeconds": 9}}, "metrics": [NULLS]}, name="used")
    done(platform.kubectl("apply", *where, "-f", "-", stdin=model("user")))

    def take(*fields: str, metrics: tuple[str, ...] = ()) -> None:
        given = [{"field": each, "value": "9"} for each in fields]
        held = {"kind": "RolloutPolicy", "name": "used", "fields": given, "metrics": list(metrics), "violations": []}
        patch = json.dumps({"status": {"policies": [held]}})
        done(platform.kubectl("patch", "mdep", "user", *where, "--subresource=status", "--type=merge", "-p", patch))

    def refusal(*words: str, stdin: str | None = None) -> str:
        result = platform.kubectl(*words, *where, "--dry-run=server", stdin=stdin)
        return "" if result.returncode == 0 else result.stderr

    delete = ("delete", "rolloutpolicy", "used")
    without = manifest("RolloutPolicy", "used", {"defaults": {"rollout": {"watchSeconds": 9}}})
    take("spec.rollout.watchSeconds")
    wait_for(lambda: refusal(*delete) != "")
    assert "ModelDeployment user takes spec.rollout.watchSeconds from RolloutPolicy used" in refusal(*delete)
    take(metrics=("nulls",))
    wait_for(lambda: "nulls" in refusal(*delete))
    assert "ModelDeployment user is judged by nulls of RolloutPolicy used" in refusal(*delete)
    assert "is judged by nulls" in refusal("replace", "-f", "-", stdin=without)
    take()
    wait_for(lambda: refusal(*delete) == "")
    assert refusal(*delete) == refusal("replace", "-f", "-", stdin=without) == ""
