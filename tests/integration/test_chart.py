"""The chart against a real API server: objects are accepted, rights are right, a removal keeps what it has to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane, control_plane
from serinus.kube.permissions import Scope, permissions
from tests.integration.established import wait_until_established

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "serinus"
CRD = "modeldeployments.serinus.dev"

Run = Callable[..., subprocess.CompletedProcess[str]]
Values = dict[str, Any]


def helm_for(plane: ControlPlane, folder: Path) -> Run:
    """Helm against this control plane, with its own cache and configuration in the folder."""
    homes = {f"HELM_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    environment = os.environ | homes | {"KUBECONFIG": str(plane.kubeconfig)}

    def run(*arguments: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
        settings = [f"--set-json={name}={json.dumps(value)}" for name, value in (values or {}).items()]
        return subprocess.run(
            [tools.packaged() / "helm", *arguments, *settings],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def helm(plane: ControlPlane, tmp_path: Path) -> Run:
    return helm_for(plane, tmp_path / "helm")


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


GUARDED_PROMETHEUS: Values = {
    "prometheus": {
        "url": "https://prometheus.monitoring:9090",
        "headers": {"X-Scope-OrgID": "team-a|team-b"},
        "auth": {"basicAuth": {"secretName": "login"}},
        "tls": {"ca": {"secretName": "authority"}, "clientCertificate": {"secretName": "client"}},
        "gateway": "Traefik",
    }
}

VARIANTS: list[Values] = [
    {},
    {"replicas": 1, "prometheus": {"url": "http://prometheus.monitoring:9090"}},
    {
        "imagePullSecrets": [{"name": "registry-credentials"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"example.com/team": "ml"},
        "podLabels": {"team": "ml"},
        "serviceAccount": {"annotations": {"example.com/role": "operator"}},
        "resources": {"requests": {"cpu": 1, "memory": "512Mi"}, "limits": {"memory": "2Gi", "cpu": "1.5"}},
    },
    GUARDED_PROMETHEUS,
]


@pytest.mark.parametrize("values", VARIANTS, ids=["defaults", "single replica", "everything about the pod", "secrets"])
def test_api_server_knows_every_field_that_the_chart_renders(
    helm: Run, kubectl: Callable[..., Any], crd: str, namespace: str, values: Values
) -> None:
    done(kubectl("create", "serviceaccount", "serinus", "-n", namespace))  # or the pod of `helm test` is refused
    manifests = done(helm("template", "serinus", str(CHART), f"--namespace={namespace}", values=values))
    strict = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
    result = kubectl(*strict, stdin=manifests)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("serverside-applied (server dry run)") == len(list(yaml.safe_load_all(manifests)))
    assert "Warning" not in result.stderr


@pytest.mark.parametrize("values", [{}, GUARDED_PROMETHEUS], ids=["defaults", "secrets"])
def test_pods_of_operator_and_check_pass_the_restricted_pod_security_standard(
    helm: Run, kubectl: Callable[..., Any], namespace: str, values: Values
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    done(kubectl("label", "namespace", namespace, label))
    done(kubectl("create", "serviceaccount", "serinus", "-n", namespace))
    manifests = done(helm("template", "serinus", str(CHART), f"--namespace={namespace}", values=values))
    (deployment,) = (m for m in yaml.safe_load_all(manifests) if m["kind"] == "Deployment")
    (check,) = (m for m in yaml.safe_load_all(manifests) if m["kind"] == "Pod")
    pod = {"apiVersion": "v1", "kind": "Pod"} | deployment["spec"]["template"]
    pod["metadata"]["name"] = "operator"
    for each in (check, pod):
        accepted = kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", stdin=json.dumps(each))
        assert accepted.returncode == 0, accepted.stderr

    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert "violates PodSecurity" in refused.stderr


Right = tuple[str, str, str, str, str]
"""Verb, group, resource (with subresource), namespace, name."""


def allowed(kubectl: Callable[..., Any], user: str, rights: Iterable[Right]) -> dict[Right, bool]:
    """What the API server's authorizer says to each."""
    asked = list(rights)
    reviews = []
    for verb, group, resource, namespace, name in asked:
        plural, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
        attributes |= {"subresource": subresource, "name": name}
        spec = {"user": user, "resourceAttributes": {key: value for key, value in attributes.items() if value}}
        reviews.append({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
    stream = "\n---\n".join(json.dumps(review) for review in reviews)
    answers = done(kubectl("create", "-f", "-", "-o", "json", stdin=stream))
    decoder, verdicts = json.JSONDecoder(), []
    while answers := answers.lstrip():
        answer, end = decoder.raw_decode(answers)
        answers = answers[end:]
        verdicts += [each["status"]["allowed"] for each in answer.get("items", [answer])]
    return dict(zip(asked, verdicts, strict=True))


def wait_for(heard: Callable[[], bool], seconds: float = 30) -> None:
    """The authorizer watches the rights, so it hears of a change a moment later: wait until it has or should have."""
    deadline = time.monotonic() + seconds
    while not heard() and time.monotonic() < deadline:
        time.sleep(0.2)


def declared(own: str, watched: str, name: str, *, namespaced: bool = False) -> set[Right]:
    """Every right of the table, with the operator's namespace, one it watches, and the chart's full name filled in."""
    places = {Scope.OWN_NAMESPACE: own, Scope.WATCHED_NAMESPACES: watched, Scope.CLUSTER: ""}
    places[Scope.GATEWAY_NAMESPACES] = watched
    rights: set[Right] = set()
    for permission in permissions(namespaced=namespaced):
        where = places[permission.scope]
        narrowed = (CRD if permission.scope is Scope.CLUSTER else name) if permission.own_names_only else ""
        rights |= {(verb, permission.group, permission.resource, where, narrowed) for verb in permission.verbs}
    return rights


BESIDE_OTHERS: Values = {"crds": {"install": False}, "refuseOverlap": False}
"""Several tests at once install into one cluster."""


def test_operator_may_do_what_it_needs_and_nothing_beside(
    helm: Run, kubectl: Callable[..., Any], crd: str, namespace: str
) -> None:
    name = f"{namespace}-serinus"
    done(helm("install", namespace, str(CHART), f"--namespace={namespace}", values=BESIDE_OTHERS))
    user = f"system:serviceaccount:{namespace}:{name}"

    needed = declared(namespace, "default", name)
    wait_for(lambda: all(allowed(kubectl, user, needed).values()))
    assert {right for right, yes in allowed(kubectl, user, needed).items() if not yes} == set()

    beside: set[Right] = {
        ("get", "", "secrets", namespace, ""),
        ("get", "", "configmaps", "default", ""),
        ("update", "", "namespaces", "", ""),
        ("list", "", "nodes", "", ""),
        ("create", "", "pods", "default", ""),
        ("create", "", "pods/exec", "default", ""),
        ("delete", "", "pods", "default", ""),
        ("update", "serinus.dev", "modeldeployments", "default", ""),
        ("patch", "serinus.dev", "modeldeployments", "default", ""),
        ("delete", "serinus.dev", "modeldeployments", "default", ""),
        ("create", "apps", "deployments", "default", ""),
        ("get", "coordination.k8s.io", "leases", "kube-system", name),
        ("update", "coordination.k8s.io", "leases", namespace, "of-another"),
        ("get", "apiextensions.k8s.io", "customresourcedefinitions", "", "httproutes.gateway.networking.k8s.io"),
        ("patch", "apiextensions.k8s.io", "customresourcedefinitions", "", CRD),
        ("create", "rbac.authorization.k8s.io", "clusterroles", "", ""),
    }
    assert {right for right, yes in allowed(kubectl, user, beside).items() if yes} == set()

    done(helm("uninstall", namespace, f"--namespace={namespace}"))
    wait_for(lambda: not any(allowed(kubectl, user, needed).values()))
    assert not any(allowed(kubectl, user, needed).values())


def test_operator_of_some_namespaces_may_do_nothing_in_others(
    helm: Run, kubectl: Callable[..., Any], crd: str, namespace: str
) -> None:
    watched = f"{namespace}-team"
    done(kubectl("create", "namespace", watched))
    values = BESIDE_OTHERS | {"watchNamespaces": [watched]}
    done(helm("install", namespace, str(CHART), f"--namespace={namespace}", values=values))
    name = f"{namespace}-serinus"
    user = f"system:serviceaccount:{namespace}:{name}"
    wait_for(lambda: all(allowed(kubectl, user, declared(namespace, watched, name)).values()))
    assert all(allowed(kubectl, user, declared(namespace, watched, name)).values())
    elsewhere = {right for right in declared(namespace, "default", name) if right[3] == "default"}
    assert not any(allowed(kubectl, user, elsewhere).values())
    done(helm("uninstall", namespace, f"--namespace={namespace}"))


def test_with_rights_in_namespaces_only_it_needs_no_administrator_and_may_do_nothing_elsewhere(
    helm: Run, kubectl: Callable[..., Any], crd: str, namespace: str
) -> None:
    watched, edge = f"{namespace}-team", f"{namespace}-edge"
    for each in (watched, edge):
        done(kubectl("create", "namespace", each))
    values = BESIDE_OTHERS | {
        "watchNamespaces": [watched],
        "gatewayNamespaces": [edge],
        "gatewayClasses": {"traefik": "traefik.io/gateway-controller"},
        "rbac": {"namespaced": True},
    }
    done(helm("install", namespace, str(CHART), f"--namespace={namespace}", values=values))
    made = json.loads(done(kubectl("get", "clusterroles,clusterrolebindings", "-o", "json")))["items"]
    release = {"app.kubernetes.io/instance": namespace}.items()
    assert [each["metadata"]["name"] for each in made if release <= each["metadata"].get("labels", {}).items()] == []

    name = f"{namespace}-serinus"
    user = f"system:serviceaccount:{namespace}:{name}"
    needed = declared(namespace, watched, name, namespaced=True)
    needed |= {(verb, "gateway.networking.k8s.io", "gateways", edge, "") for verb in ("list", "watch")}
    wait_for(lambda: all(allowed(kubectl, user, needed).values()))
    assert {right for right, yes in allowed(kubectl, user, needed).items() if not yes} == set()
    beside = {right for right in declared(namespace, "default", name) if right[3] in {"default", ""}}
    assert {right for right, yes in allowed(kubectl, user, beside).items() if yes} == set()
    done(helm("uninstall", namespace, f"--namespace={namespace}"))


def test_admins_of_the_namespaces_can_install_it_with_what_the_page_gives_them(
    helm: Run, kubectl: Callable[..., Any], crd: str, namespace: str
) -> None:
    page = (ROOT / "docs" / "install-in-namespaces.md").read_text()
    (role,) = (
        each
        for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
        if (each := yaml.safe_load(block)).get("kind") == "ClusterRole"
    )
    name, installer = f"{namespace}-installers", f"--user={namespace}-installer"
    role["metadata"]["name"] = name
    done(kubectl("create", "-f", "-", stdin=json.dumps(role)))
    watched, edge = f"{namespace}-team", f"{namespace}-edge"
    for each in (watched, edge):
        done(kubectl("create", "namespace", each))
    # no controller runs here that would put the last ones together as `admin`
    roles = [name, *(f"system:aggregate-to-{part}" for part in ("admin", "edit", "view"))]
    for each in (namespace, watched, edge):
        for of in roles:
            done(kubectl("create", "rolebinding", of, f"--clusterrole={of}", installer, "-n", each))
    values: Values = {
        "crds": {"install": False},
        "watchNamespaces": [watched],
        "gatewayNamespaces": [edge],
        "rbac": {"namespaced": True},
    }
    release = (f"--namespace={namespace}", f"--kube-as-user={namespace}-installer")
    wait_for(lambda: helm("install", "mine", str(CHART), *release, "--dry-run=server", values=values).returncode == 0)
    done(helm("install", "mine", str(CHART), *release, values=values))
    done(helm("upgrade", "mine", str(CHART), *release, values=values | {"logLevel": "debug"}))
    done(helm("uninstall", "mine", *release))
    done(kubectl("delete", "clusterrole", name))


def test_viewers_read_and_editors_write_but_neither_touches_the_status(
    helm: Run, kubectl: Callable[..., Any], crd: str, namespace: str
) -> None:
    done(helm("install", namespace, str(CHART), f"--namespace={namespace}", values=BESIDE_OTHERS))
    for role in ("view", "edit"):
        bind = ("create", "rolebinding", role, f"--clusterrole={namespace}-serinus-{role}", f"--user={role}er")
        done(kubectl(*bind, "-n", namespace))
    rights = [
        (verb, "serinus.dev", resource, namespace, "")
        for verb, resource in [
            ("list", "modeldeployments"),
            ("create", "modeldeployments"),
            ("patch", "modeldeployments/scale"),
            ("update", "modeldeployments/status"),
        ]
    ]
    may = {"viewer": [True, False, False, False], "editer": [False, True, True, False]}
    for user, expected in may.items():
        wait_for(lambda user=user: any(allowed(kubectl, user, rights).values()))
        assert list(allowed(kubectl, user, rights).values()) == expected
    done(helm("uninstall", namespace, f"--namespace={namespace}"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "No metric source"),
        ({"prometheus": {"url": "http://prometheus:9090"}}, "kubectl get mdep -A"),
        ({"replicas": 1}, "One replica"),
        ({"crds": {"install": False}}, "The CRD is not managed by this release"),
        ({"watchNamespaces": ["default"]}, "namespace: default"),
    ],
    ids=str,
)
def test_notes_say_what_matters_for_these_values(helm: Run, namespace: str, values: Values, says: str) -> None:
    crd_is_there = {"crds": {"install": False}}
    dry = ("install", "serinus", str(CHART), "--dry-run=client", f"--namespace={namespace}")
    notes = done(helm(*dry, values=crd_is_there | values)).split("NOTES:")[1]
    assert says in notes
    assert ("No metric source" in notes) is ("prometheus" not in values)


def test_refused_values_install_nothing(helm: Run, kubectl: Callable[..., Any], namespace: str) -> None:
    result = helm("install", "serinus", str(CHART), f"--namespace={namespace}", values={"replicas": 0})
    assert "replicas: Must be greater than or equal to 1" in result.stderr
    assert json.loads(done(helm("list", f"--namespace={namespace}", "--all", "--output=json"))) == []
    assert done(kubectl("get", "deployments,serviceaccounts", "-n", namespace, "-o", "name")).strip() in {
        "",
        "serviceaccount/default",
    }


def test_a_second_release_is_refused_unless_the_two_share_nothing(tmp_path: Path) -> None:
    with control_plane(tmp_path / "plane") as plane:
        helm = helm_for(plane, tmp_path / "helm")
        first = ("serinus", str(CHART), "--namespace=ops", "--create-namespace")
        shard_a: Values = {"selector": "shard=a"}
        done(helm("install", *first, values=shard_a))
        done(helm("upgrade", *first, values=shard_a))

        def refused(release: str, values: Values) -> str:
            place = (f"--namespace={release}", "--create-namespace")
            result = helm("install", release, str(CHART), *place, values={"crds": {"install": False}} | values)
            return "" if result.returncode == 0 else result.stderr

        message = "release ops/serinus serves ModelDeployments in all namespaces that match shard=a already"
        assert message in refused("second", {})
        assert message in refused("second", {"selector": "shard=a"})
        assert message in refused("second", {"watchNamespaces": ["default"]})
        assert refused("second", {"selector": "shard=b"}) == ""

        widened = helm("upgrade", *first, values={"watchNamespaces": ["default"]})
        assert "release second/second serves ModelDeployments in all namespaces that match shard=b" in widened.stderr
        done(helm("uninstall", "second", "--namespace=second"))
        done(helm("upgrade", *first, values={"watchNamespaces": ["default"]}))
        namespaced = {"rbac": {"namespaced": True}, "watchNamespaces": ["kube-public"]}
        assert refused("third", namespaced) == ""
        assert "release third/third serves" in refused("fourth", namespaced)
        assert refused("fifth", {"watchNamespaces": ["default"], "refuseOverlap": False}) == ""


def test_release_brings_upgrades_and_keeps_the_crd(tmp_path: Path) -> None:
    with control_plane(tmp_path / "plane") as plane:
        helm = helm_for(plane, tmp_path / "helm")

        def kubectl(*arguments: str, stdin: str | None = None) -> str:
            command = [str(plane.kubectl), f"--kubeconfig={plane.kubeconfig}", *arguments]
            environment = os.environ | {"KUBECACHEDIR": str(tmp_path / "kubectl")}
            return done(
                subprocess.run(
                    command, input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
                )
            )

        release = ("serinus", "--namespace=serinus-system")
        done(helm("install", release[0], str(CHART), release[1], "--create-namespace"))
        wait_until_established(kubectl, CRD)
        assert kubectl("get", "deployment", "serinus", "-n", "serinus-system", "-o", "jsonpath={.spec.replicas}") == "2"

        model = {
            "apiVersion": "serinus.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "iris", "namespace": "default"},
            "spec": {"serving": {"image": "registry.example.com/iris:1.0.0"}},
        }
        kubectl("create", "-f", "-", stdin=json.dumps(model))

        newer = tmp_path / "newer"
        shutil.copytree(CHART, newer)
        file = newer / "files" / "serinus.dev_modeldeployments.yaml"
        file.write_text(
            file.read_text().replace("    shortNames:\n    - mdep\n", "    shortNames:\n    - mdep\n    - md\n")
        )
        done(helm("upgrade", release[0], str(newer), release[1]))
        assert json.loads(kubectl("get", "crd", CRD, "-o", "json"))["spec"]["names"]["shortNames"] == ["mdep", "md"]

        done(helm("uninstall", *release))
        assert kubectl("get", "mdep", "-A", "-o", "name").strip() == "modeldeployment.serinus.dev/iris"
        assert kubectl("get", "deployments", "-A", "-o", "name") == ""

        done(helm("install", release[0], str(CHART), release[1]))
        assert json.loads(kubectl("get", "crd", CRD, "-o", "json"))["spec"]["names"]["shortNames"] == ["mdep"]
