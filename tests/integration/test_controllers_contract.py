"""What Kubernetes' own controllers do with what Serinus makes, shown on the real ones and on those of the world alike.

The control plane has no nodes: the tests say which pods are ready, as a kubelet would.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

import pytest

from e2e.cluster.controlplane import Programs, control_plane
from serinus.api.kinds import LABEL_DEPLOYMENT, LABEL_REVISION, LABEL_ROLE, ROLE_REVISION
from serinus.core.plan import Manifest
from serinus.kube.observation import job_state
from tests.integration.conftest import Kubectl, kubectl_of
from tests.integration.test_cluster_contract_beside_others import HELD, LET_GO, merge
from tests.world.traffic import Behaviour
from tests.world.world import NAMESPACE, World

CONTROLLERS = (
    "replicaset-controller",
    "job-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
)
LONGEST_WAIT_SECONDS = 60
NODE = "node-1"
IMAGE = "registry.example.com/iris:1"


class Stage(Protocol):
    """A namespace, and whoever acts in it."""

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]: ...

    def patch(self, manifest: Manifest, patch: Manifest) -> None: ...

    def delete(self, manifest: Manifest) -> None: ...

    def all(self, kind: str) -> list[dict[str, Any]]: ...

    def get_ready(self, pods: Collection[str]) -> None:
        """The kubelet says of these pods that they are."""

    def until(self, reached: Callable[[], Any]) -> None: ...


class RealStage:
    def __init__(self, kubectl: Kubectl) -> None:
        self._run = kubectl
        self._namespace = f"test-{uuid.uuid4().hex[:10]}"
        self._kubectl("create", "namespace", self._namespace)
        self.until(lambda: self.all("ServiceAccount"))  # without it no pod is let in
        self._addresses = iter(range(1, 250))

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == "ReplicaSet":  # scheduled, or no slice has its pods, and gone without a kubelet
            manifest["spec"]["template"]["spec"] |= {"nodeName": NODE, "terminationGracePeriodSeconds": 0}
        return self._json("create", "-f", "-", stdin=json.dumps(manifest))

    def patch(self, manifest: Manifest, patch: Manifest) -> None:
        self._json("patch", *self._named(manifest), "--type=merge", "-p", json.dumps(patch))

    def delete(self, manifest: Manifest) -> None:
        self._kubectl("delete", *self._named(manifest), "--wait=false", "-n", self._namespace)

    def all(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._json("get", kind.lower())["items"]
        return [each for each in found if each["metadata"]["name"] != "kube-root-ca.crt"]

    def get_ready(self, pods: Collection[str]) -> None:
        for pod in pods:
            address = f"10.1.1.{next(self._addresses)}"
            running = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
            status = json.dumps({"status": {**running, "conditions": [{"type": "Ready", "status": "True"}]}})
            self._json("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", status)

    def until(self, reached: Callable[[], Any]) -> None:
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while not reached():
            assert time.monotonic() < deadline, f"not so within {LONGEST_WAIT_SECONDS} s"
            time.sleep(0.1)

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = self._run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _json(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self._kubectl(*arguments, "-n", self._namespace, "-o", "json", stdin=stdin))

    @staticmethod
    def _named(manifest: Manifest) -> tuple[str, str]:
        return manifest["kind"].lower(), manifest["metadata"]["name"]


class WorldStage:
    def __init__(self) -> None:
        self._world = World(behaviours={IMAGE: Behaviour(never_ready=True)})
        self._world.stop_operator()

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        return self._world.api.put(manifest["kind"], NAMESPACE, manifest)

    def patch(self, manifest: Manifest, patch: Manifest) -> None:
        self._world.api.edit(manifest["kind"], NAMESPACE, manifest["metadata"]["name"], lambda m: merge(m, patch))

    def delete(self, manifest: Manifest) -> None:
        self._world.api.remove(manifest["kind"], NAMESPACE, manifest["metadata"]["name"])

    def all(self, kind: str) -> list[dict[str, Any]]:
        return list(self._world.api.of(kind))

    def get_ready(self, pods: Collection[str]) -> None:
        self._world.steady |= frozenset(pods)

    def until(self, reached: Callable[[], Any]) -> None:
        self._world.run_until(lambda: bool(reached()), LONGEST_WAIT_SECONDS)


@pytest.fixture(scope="module")
def kubectl_with_controllers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Of a control plane of this file's own, with the controllers that Serinus works with."""
    programs = Programs(controller_manager_flags=(f"--controllers={','.join(CONTROLLERS)}",))
    with control_plane(programs=programs) as plane:
        kubectl = kubectl_of(plane, tmp_path_factory.mktemp("kubectl-cache"))
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        made = kubectl("create", "-f", "-", stdin=json.dumps(node))
        assert made.returncode == 0, made.stderr
        yield kubectl


@pytest.fixture(params=["real", "world"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "world":
        return WorldStage()
    return RealStage(request.getfixturevalue("kubectl_with_controllers"))


def replica_set(replicas: int, revision: str = "0123456789", owners: Collection[Manifest] = ()) -> dict[str, Any]:
    labels = {LABEL_DEPLOYMENT: "iris", LABEL_REVISION: revision}
    container = {"name": "model", "image": IMAGE}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": f"iris-{revision}", "labels": dict(labels), "ownerReferences": list(owners)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container]}},
        },
    }


def service(revision: str = "0123456789", owners: Collection[Manifest] = ()) -> dict[str, Any]:
    labels = {LABEL_DEPLOYMENT: "iris", LABEL_REVISION: revision}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"iris-{revision}",
            "labels": {**labels, LABEL_ROLE: ROLE_REVISION},
            "ownerReferences": list(owners),
        },
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80}]},
    }


def owner(name: str = "owner") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def owned_by(manifest: Manifest, *, controller: bool = True) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": controller,
    }


def pods(stage: Stage) -> dict[str, dict[str, Any]]:
    """Those that stay, by name."""
    there = stage.all("Pod")
    return {each["metadata"]["name"]: each for each in there if "deletionTimestamp" not in each["metadata"]}


def status(stage: Stage, manifest: Manifest) -> dict[str, Any]:
    name = manifest["metadata"]["name"]
    found = next(each for each in stage.all(manifest["kind"]) if each["metadata"]["name"] == name)
    counted: dict[str, Any] = found.get("status") or {}
    seen = counted.get("observedGeneration") == found["metadata"]["generation"]
    return {"seen": seen, "replicas": counted.get("replicas", 0), "ready": counted.get("readyReplicas", 0)}


# Jobs -----------------------------------------------------------------------------------------------------------------


def test_a_job_that_does_not_end_in_time_has_failed_and_says_so(stage: Stage) -> None:
    container = {"name": "try", "image": IMAGE}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    labels = {LABEL_DEPLOYMENT: "iris", LABEL_REVISION: "0123456789"}
    spec = {"activeDeadlineSeconds": 1, "backoffLimit": 0, "template": template}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "try", "labels": labels}, "spec": spec}
    stage.create(job)

    stage.until(lambda: all(job_state(each).finished for each in stage.all("Job")))
    (state,) = map(job_state, stage.all("Job"))
    assert state.failed
    assert state.words.startswith("DeadlineExceeded: ")


# ReplicaSets ----------------------------------------------------------------------------------------------------------


def test_a_replica_set_gets_its_pods_and_counts_them(stage: Stage) -> None:
    made = stage.create(replica_set(3))

    stage.until(lambda: status(stage, made) == {"seen": True, "replicas": 3, "ready": 0})
    for pod in pods(stage).values():
        (controller,) = pod["metadata"]["ownerReferences"]
        assert (controller["uid"], controller["controller"]) == (made["metadata"]["uid"], True)
        assert pod["metadata"]["labels"] == made["spec"]["template"]["metadata"]["labels"]
        assert pod["metadata"]["name"].startswith("iris-0123456789-")
    stage.get_ready(list(pods(stage))[:2])
    stage.until(lambda: status(stage, made) == {"seen": True, "replicas": 3, "ready": 2})


def test_of_a_replica_set_that_shrinks_pods_that_are_not_ready_go_first(stage: Stage) -> None:
    made = stage.create(replica_set(3))
    stage.until(lambda: len(pods(stage)) == 3)
    ready = sorted(pods(stage))[1]
    stage.get_ready([ready])
    stage.until(lambda: status(stage, made)["ready"] == 1)

    stage.patch(made, {"spec": {"replicas": 1}})

    stage.until(lambda: status(stage, made) == {"seen": True, "replicas": 1, "ready": 1})
    assert set(pods(stage)) == {ready}


def test_a_pod_that_goes_is_replaced_by_one_of_another_name(stage: Stage) -> None:
    made = stage.create(replica_set(2))
    stage.until(lambda: len(pods(stage)) == 2)
    first, second = pods(stage).values()

    stage.delete(first)

    stage.until(lambda: len(set(pods(stage)) - {first["metadata"]["name"]}) == 2)
    assert second["metadata"]["name"] in pods(stage)
    stage.patch(made, {"spec": {"replicas": 0}})
    stage.until(lambda: not pods(stage) and status(stage, made)["replicas"] == 0)


def test_a_replica_set_that_is_leaving_gets_no_new_pods(stage: Stage) -> None:
    made = stage.create(replica_set(2))
    stage.until(lambda: len(pods(stage)) == 2)
    stage.patch(made, HELD)
    stage.delete(made)
    stage.delete(next(iter(pods(stage).values())))

    stage.create(replica_set(1, revision="9876543210"))
    stage.until(lambda: [name for name in pods(stage) if name.startswith("iris-9876543210")])

    assert len([name for name in pods(stage) if name.startswith("iris-0123456789")]) == 1
    stage.patch(made, LET_GO)
    stage.until(lambda: not [name for name in pods(stage) if name.startswith("iris-0123456789")])


# EndpointSlices -------------------------------------------------------------------------------------------------------


def endpoints(stage: Stage) -> set[str]:
    """Uids of the pods that gateways are told of as ready."""
    told = [endpoint for each in stage.all("EndpointSlice") for endpoint in each.get("endpoints") or ()]
    return {each["targetRef"]["uid"] for each in told if each["conditions"].get("ready")}


def test_a_slice_has_its_service_s_labels_and_the_pods_that_are_ready(stage: Stage) -> None:
    made = stage.create(service())
    stage.create(replica_set(3))
    stage.until(lambda: len(pods(stage)) == 3)
    first, second, _ = pods(stage).values()

    stage.get_ready([first["metadata"]["name"], second["metadata"]["name"]])
    stage.until(lambda: endpoints(stage) == {first["metadata"]["uid"], second["metadata"]["uid"]})
    stage.delete(first)
    stage.until(lambda: endpoints(stage) == {second["metadata"]["uid"]})

    (found,) = stage.all("EndpointSlice")
    labels = found["metadata"]["labels"]
    assert labels.items() >= made["metadata"]["labels"].items()
    assert labels["kubernetes.io/service-name"] == made["metadata"]["name"]
    (controller,) = found["metadata"]["ownerReferences"]
    assert (controller["uid"], controller["controller"]) == (made["metadata"]["uid"], True)
    stage.delete(made)
    stage.until(lambda: not stage.all("EndpointSlice"))


# Garbage --------------------------------------------------------------------------------------------------------------


def test_with_an_object_all_that_it_owns_goes(stage: Stage) -> None:
    above = stage.create(owner())
    stage.create(service(owners=[owned_by(above)]))
    stage.create(replica_set(2, owners=[owned_by(above)]))
    stage.until(lambda: len(pods(stage)) == 2 and stage.all("EndpointSlice"))

    stage.delete(above)

    stage.until(lambda: not [each for kind in KINDS for each in stage.all(kind)])


KINDS = ("Service", "EndpointSlice", "ReplicaSet", "Pod")


def test_what_has_another_owner_stays_and_what_is_made_for_an_owner_that_is_gone_goes(stage: Stage) -> None:
    gone, other = stage.create(owner("gone")), stage.create(owner("other"))
    both = [owned_by(gone), owned_by(other, controller=False)]
    stage.create(service("0123456789", owners=both))
    stage.delete(gone)
    stage.until(lambda: len(stage.all("ConfigMap")) == 1)
    stage.create(service("9876543210", owners=[owned_by(gone)]))

    stage.until(lambda: [each["metadata"]["name"] for each in stage.all("Service")] == ["iris-0123456789"])
