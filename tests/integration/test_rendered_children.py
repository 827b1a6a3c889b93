"""A real API server takes the rendered children as they are, and a pod made from the template is admitted."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.controlplane import ControlPlane
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import ANNOTATION_MOVES, AUTOSCALER, HTTP_ROUTE, REPLICA_SET, SERVICE, Kind
from serinus.core import render
from serinus.core.diff import covers
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.credentials import from_kubeconfig
from serinus.kube.ownership import takes_nothing_out
from tests.golden.render_all import RESOURCES, children_of, deployment_of
from tests.integration.conftest import Kubectl
from tests.unit.core.render.resources import deployment

ids = {"ids": lambda path: path.stem}


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[HttpCluster]:
    """The operator's own client."""
    async with open_cluster(from_kubeconfig(plane.kubeconfig)) as client:
        yield client


@pytest.fixture
def restricted(kubectl: Kubectl, namespace: str) -> str:
    """A namespace that enforces the `restricted` pod security standard, with what the resources refer to."""
    label = kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    assert label.returncode == 0, label.stderr
    for account in ("default", "digits"):
        made = kubectl("create", "serviceaccount", account, "-n", namespace)
        assert made.returncode == 0, made.stderr
    return namespace


def create(kubectl: Kubectl, manifest: Mapping[str, Any], *flags: str) -> dict[str, Any]:
    created = kubectl("create", "-o", "json", "-f", "-", *flags, stdin=json.dumps(manifest))
    assert (created.returncode, created.stderr) == (0, ""), created.stderr
    result: dict[str, Any] = json.loads(created.stdout)
    return result


def children_in(namespace: str, path: Path) -> dict[str, dict[str, Any]]:
    """All children but the PodMonitor, whose kind is not installed here."""
    rendered = children_of(deployment_of(path, namespace))
    return {name: child for name, child in rendered.items() if child["kind"] != "PodMonitor"}


@pytest.mark.usefixtures("gateway_api")
@pytest.mark.parametrize("path", RESOURCES, **ids)
def test_children_are_accepted_without_warning_and_read_back_as_written(kubectl: Kubectl, restricted: str, path: Path):
    for name, child in children_in(restricted, path).items():
        observed = create(kubectl, child, "--dry-run=server")

        assert covers(observed, child), f"{name} would look edited: {observed}"


@pytest.mark.parametrize("path", RESOURCES, **ids)
def test_a_pod_of_the_template_meets_the_restricted_standard(kubectl: Kubectl, restricted: str, path: Path):
    resource = deployment_of(path, restricted)
    template = dict(render.pod_template(resource, resource.revision))
    spec = dict(template["spec"])
    for cluster_wide in ("priorityClassName", "runtimeClassName"):  # not installed here
        spec.pop(cluster_wide, None)
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": template["metadata"] | {"generateName": "a-"}}

    admitted = create(kubectl, pod, "-n", restricted, "--dry-run=server")

    assert covers(admitted["spec"], {key: value for key, value in spec.items() if key != "tolerations"})


def test_a_pod_that_breaks_the_standard_is_refused_there(kubectl: Kubectl, restricted: str):
    overlay = {"spec": {"containers": [{"name": "model", "securityContext": {"allowPrivilegeEscalation": True}}]}}
    resource = deployment({"serving": {"podTemplate": overlay}})
    template = dict(render.pod_template(resource, resource.revision))
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": template["metadata"] | {"name": "a"}}

    refused = kubectl("create", "-n", restricted, "--dry-run=server", "-f", "-", stdin=json.dumps(pod))

    assert refused.returncode != 0
    assert "violates PodSecurity" in refused.stderr


@pytest.mark.usefixtures("gateway_api")
async def test_a_route_is_changed_in_one_write_and_reads_back_as_wanted(cluster: HttpCluster, namespace: str):
    gateway = {"parentRefs": [{"name": "public"}], "hostnames": ["a.example.com"], "rewritePrefix": "/"}
    before = deployment({"traffic": {"gateway": gateway}})
    after = deployment({"traffic": {"port": 8080, "gateway": {"parentRefs": [{"name": "other", "sectionName": "x"}]}}})

    applied = await written_over(
        cluster,
        HTTP_ROUTE,
        namespace,
        render.http_route(before, {"a": 100}, 1),
        render.http_route(after, {"a": 95, "b": 5}, 2),
    )

    (rule,) = applied["spec"]["rules"]
    assert [(each["name"], each["port"], each["weight"]) for each in rule["backendRefs"]] == [
        ("iris-a", 8080, 95),
        ("iris-b", 8080, 5),
    ]
    assert not applied["spec"].get("hostnames")
    assert not rule.get("filters")


@pytest.mark.usefixtures("gateway_api")
async def test_what_stands_beside_the_weights_is_gone_after_one_write(cluster: HttpCluster, namespace: str):
    resource = deployment({"traffic": {"gateway": {"parentRefs": [{"name": "public"}], "rewritePrefix": "/"}}})
    matches = {"b": ((("x-cohort", "beta"),), (("x-cohort", "gamma"), ("x-region", "eu")))}
    weights = {"a": 95, "b": 5}

    applied = await written_over(
        cluster,
        HTTP_ROUTE,
        namespace,
        render.http_route(resource, weights, 1, matches=matches, mirrors={"b": 20}),
        render.http_route(resource, {"b": 100}, 2),
    )

    (rule,) = applied["spec"]["rules"]
    assert [each["type"] for each in rule["filters"]] == ["URLRewrite"]
    assert not any(match.get("headers") for match in rule["matches"])


async def test_a_service_follows_a_new_selector_and_port_and_keeps_its_address(cluster: HttpCluster, namespace: str):
    before = render.stable_service(deployment(), "a", 1)
    after = render.stable_service(deployment({"traffic": {"port": 8080}}), "b", 2)

    applied = await written_over(cluster, SERVICE, namespace, before, after)

    assert applied["spec"]["selector"] == {"serinus.dev/deployment": "iris", "serinus.dev/revision": "b"}
    assert [each["port"] for each in applied["spec"]["ports"]] == [8080]
    assert applied["metadata"]["annotations"][ANNOTATION_MOVES] == "2"


async def test_an_autoscaler_is_handed_over_and_keeps_the_pace_that_people_gave_it(
    cluster: HttpCluster, kubectl: Kubectl, namespace: str
):
    resource = deployment({"scaling": {"autoscaling": {"maxReplicas": 8, "targetInProgressPerPod": 4}}})
    by_cpu = deployment({"scaling": {"autoscaling": {"maxReplicas": 8}}})

    def of(which: ModelDeployment, revision: str, bounds: tuple[int, int]) -> Mapping[str, Any]:
        autoscaling = which.spec.scaling.autoscaling
        assert autoscaling is not None
        return render.autoscaler(which, autoscaling, revision, bounds, 1)

    await cluster.create(AUTOSCALER, namespace, _in(namespace, of(resource, "a", (1, 8))))
    patch = json.dumps({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}})
    edited = kubectl("patch", "hpa", "iris", "-n", namespace, "--type=merge", "-p", patch)
    assert edited.returncode == 0, edited.stderr
    observed = await cluster.get(AUTOSCALER, namespace, "iris")
    wanted = _in(namespace, of(by_cpu, "b", (3, 9)))
    wanted["metadata"]["uid"] = observed["metadata"]["uid"]
    assert takes_nothing_out(AUTOSCALER, observed, wanted), "one call will do"

    applied = await cluster.apply(AUTOSCALER, namespace, wanted, observed["metadata"]["resourceVersion"], booked=True)

    assert covers(applied, wanted)
    assert applied["spec"]["scaleTargetRef"]["name"] == "iris-b"
    assert applied["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
    assert [each["type"] for each in applied["spec"]["metrics"]] == ["ContainerResource"]


async def test_an_edited_template_is_put_back_without_touching_the_replicas(cluster: HttpCluster, namespace: str):
    resource = deployment()
    template = render.pod_template(resource, resource.revision)
    edited = json.loads(json.dumps(template))
    edited["spec"]["containers"][0]["image"] = "registry.example.com/other:1"
    edited["spec"]["containers"][0]["env"].append({"name": "EXTRA", "value": "1"})

    applied = await written_over(
        cluster,
        REPLICA_SET,
        namespace,
        render.replica_set(resource, resource.revision, edited, 3, 1),
        render.replica_set(resource, resource.revision, template, None, 2),
    )

    assert applied["spec"]["replicas"] == 3
    assert covers(applied["spec"]["template"], template)
    assert "EXTRA" not in json.dumps(applied)


def test_a_controller_revision_keeps_the_template_to_the_letter(kubectl: Kubectl, namespace: str):
    resource = deployment({"serving": {"resources": {"limits": {"cpu": 0.5}}, "env": [{"name": "A", "value": ""}]}})
    record = _in(namespace, render.controller_revision(resource, resource.revision, 1, 1))

    kept = create(kubectl, record)

    assert kept["data"] == record["data"]
    assert render.identity_of(kept) == render.identity_of(record)


def _in(namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


async def written_over(
    cluster: HttpCluster, kind: Kind, namespace: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """The object after it was made as `before` and then applied as `after`, as Serinus carries a plan out."""
    observed = (await cluster.create(kind, namespace, _in(namespace, before)))["metadata"]
    wanted = _in(namespace, after)
    wanted["metadata"]["uid"] = observed["uid"]
    applied = await cluster.apply(kind, namespace, wanted, observed["resourceVersion"])
    assert covers(applied, wanted)
    return applied
