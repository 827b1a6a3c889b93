"""The contract of `test_cluster_contract.py` where Serinus is not alone with an object, nor alone at the API server.

Others edit, hold with finalizers, delete and make anew what Serinus writes, and keep the API server busy. Every case
runs on a real API server and on the simulated world.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.controlplane import ControlPlane
from serinus.api.kinds import CONTROLLER_REVISION, HTTP_ROUTE, MODEL_DEPLOYMENT, REPLICA_SET, SERVICE, Kind
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.cluster import AlreadyExists, Cluster, Conflict, NotFound, Rejected, Unavailable
from serinus.kube.credentials import Credentials, TokenFile, from_kubeconfig
from tests.integration.conftest import Kubectl
from tests.integration.test_cluster_contract import (
    LABELS,
    deployment,
    of,
    real_or_world,
    replica_set,
    route,
    service,
    version,
)
from tests.world.api_server import ApiServer, Mishap

CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
HELD = {"metadata": {"finalizers": ["example.com/held"]}}
LET_GO = {"metadata": {"finalizers": None}}
LONGEST_WAIT_SECONDS = 60

Patch = Callable[[Kind, str, Manifest], None]
"""A merge patch of an object by somebody else."""


@pytest.fixture(params=["real", "world"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with real_or_world(request) as each:
        yield each


@pytest.fixture
def patched(cluster: Cluster, kubectl: Kubectl, namespace: str) -> Patch:
    def by_kubectl(kind: Kind, name: str, patch: Manifest) -> None:
        what = f"{kind.plural}.{kind.version}.{kind.group}" if kind.group else kind.plural
        text = json.dumps(patch)
        done = kubectl("patch", what, name, "-n", namespace, "--type=merge", "-p", text, "--field-manager=team")
        assert done.returncode == 0, done.stderr

    def in_the_world(kind: Kind, name: str, patch: Manifest) -> None:
        assert isinstance(cluster, ApiServer)
        cluster.edit(kind.kind, namespace, name, lambda manifest: merge(manifest, patch))

    return in_the_world if isinstance(cluster, ApiServer) else by_kubectl


def merge(manifest: dict[str, Any], patch: Manifest) -> None:
    """RFC 7396."""
    for key, value in patch.items():
        if value is None:
            manifest.pop(key, None)
        elif isinstance(value, dict):
            merge(manifest.setdefault(key, {}), value)
        else:
            manifest[key] = value


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


# Edits ----------------------------------------------------------------------------------------------------------------


async def test_an_apply_leaves_others_labels_annotations_finalizers_and_owners(
    cluster: Cluster, patched: Patch, namespace: str
):
    owner = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    other = await cluster.create(SERVICE, namespace, service("other"))
    mine = {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.kind, "name": "iris"}
    mine |= {"uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": False}
    theirs = {"apiVersion": "v1", "kind": "Service", "name": "other", "uid": other["metadata"]["uid"]}
    wanted = service()
    wanted["metadata"]["ownerReferences"] = [mine]
    made = await cluster.create(SERVICE, namespace, wanted)
    beside = {"labels": {"team": "a"}, "annotations": {"team": "b"}, "ownerReferences": [mine, theirs]}
    patched(SERVICE, "iris", {"metadata": {**beside, **HELD["metadata"]}})
    there = await cluster.get(SERVICE, namespace, "iris")

    wanted["spec"]["ports"][0]["port"] = 81
    changed = await cluster.apply(SERVICE, namespace, of(wanted, made), version(there))

    assert changed["spec"]["ports"][0]["port"] == 81
    assert changed["metadata"]["labels"] == LABELS | {"team": "a"}
    assert changed["metadata"]["annotations"] == {"team": "b"}
    assert changed["metadata"]["finalizers"] == HELD["metadata"]["finalizers"]
    assert {each["uid"] for each in changed["metadata"]["ownerReferences"]} == {mine["uid"], theirs["uid"]}


async def test_an_apply_takes_back_what_others_changed_and_what_they_added_to_the_spec(
    cluster: Cluster, patched: Patch, namespace: str
):
    made = await cluster.create(SERVICE, namespace, service())
    patched(SERVICE, "iris", {"metadata": {"labels": {"serinus.dev/deployment": "another"}}})
    patched(SERVICE, "iris", {"spec": {"selector": {"app": "another"}}})
    there = await cluster.get(SERVICE, namespace, "iris")

    changed = await cluster.apply(SERVICE, namespace, of(service(), made), version(there))

    assert changed["metadata"]["labels"] == LABELS
    assert changed["spec"]["selector"] == LABELS


async def test_an_apply_takes_out_a_rule_that_somebody_added_to_a_route(
    cluster: Cluster, patched: Patch, namespace: str
):
    made = await cluster.create(HTTP_ROUTE, namespace, route({"a": 100}, []))
    (rule,) = made["spec"]["rules"]
    more = {**rule, "matches": [{"path": {"type": "PathPrefix", "value": "/more"}}]}
    patched(HTTP_ROUTE, "iris", {"spec": {"rules": [rule, more]}})
    there = await cluster.get(HTTP_ROUTE, namespace, "iris")

    changed = await cluster.apply(HTTP_ROUTE, namespace, of(route({"a": 100}, []), made), version(there))

    assert len(changed["spec"]["rules"]) == 1
    assert changed["metadata"]["generation"] == made["metadata"]["generation"] + 2


async def test_an_edit_of_anything_in_between_makes_a_write_a_conflict(
    cluster: Cluster, patched: Patch, namespace: str
):
    model = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    pods = await cluster.create(REPLICA_SET, namespace, replica_set())
    for kind, made in ((MODEL_DEPLOYMENT, model), (REPLICA_SET, pods)):
        patched(kind, name_of(made), {"metadata": {"annotations": {"note": "of another"}}})

    with pytest.raises(Conflict):
        await cluster.write_status(namespace, "iris", {"moves": 1}, version(model))
    with pytest.raises(Conflict):
        await cluster.scale(REPLICA_SET, namespace, name_of(pods), 0, version(pods))


# Deletion -------------------------------------------------------------------------------------------------------------


async def test_what_is_held_by_a_finalizer_stays_and_keeps_its_name_until_it_is_let_go(
    cluster: Cluster, patched: Patch, namespace: str
):
    made = await cluster.create(SERVICE, namespace, service())
    patched(SERVICE, "iris", HELD)

    await cluster.delete(SERVICE, namespace, "iris", made["metadata"]["uid"])
    await cluster.delete(SERVICE, namespace, "iris", made["metadata"]["uid"])

    leaving = await cluster.get(SERVICE, namespace, "iris")
    assert leaving["metadata"]["deletionTimestamp"]
    with pytest.raises(AlreadyExists):
        await cluster.create(SERVICE, namespace, service())
    patched(SERVICE, "iris", LET_GO)
    with pytest.raises(NotFound):
        await cluster.get(SERVICE, namespace, "iris")


async def test_what_is_leaving_can_still_be_scaled_and_written_to(cluster: Cluster, patched: Patch, namespace: str):
    made = await cluster.create(REPLICA_SET, namespace, replica_set(replicas=2))
    patched(REPLICA_SET, name_of(made), HELD)
    await cluster.delete(REPLICA_SET, namespace, name_of(made), made["metadata"]["uid"])
    leaving = await cluster.get(REPLICA_SET, namespace, name_of(made))

    await cluster.scale(REPLICA_SET, namespace, name_of(made), 3, version(leaving))

    assert (await cluster.get(REPLICA_SET, namespace, name_of(made)))["spec"]["replicas"] == 3


async def test_an_object_made_anew_is_another_one(cluster: Cluster, namespace: str):
    first = await cluster.create(SERVICE, namespace, service())
    await cluster.delete(SERVICE, namespace, "iris", first["metadata"]["uid"])
    second = await cluster.create(SERVICE, namespace, service())

    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert int(version(second)) > int(version(first))
    for booked in (False, True):
        with pytest.raises(Conflict):
            await cluster.apply(SERVICE, namespace, of(service(port=81), first), version(first), booked=booked)
    await cluster.delete(SERVICE, namespace, "iris", first["metadata"]["uid"])
    assert version(await cluster.get(SERVICE, namespace, "iris")) == version(second)


async def test_a_status_of_one_that_was_made_anew_is_a_conflict(cluster: Cluster, namespace: str):
    first = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    await cluster.delete(MODEL_DEPLOYMENT, namespace, "iris", first["metadata"]["uid"])
    await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())

    with pytest.raises(Conflict):
        await cluster.write_status(namespace, "iris", {"moves": 1}, version(first))


# Refusals -------------------------------------------------------------------------------------------------------------


async def test_the_data_of_a_controller_revision_can_not_be_changed(cluster: Cluster, namespace: str):
    manifest = {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": {"name": "iris-0123456789", "labels": dict(LABELS)},
        "revision": 1,
        "data": {"fields": {"image": "registry.example.com/iris:1"}},
    }
    made = await cluster.create(CONTROLLER_REVISION, namespace, manifest)
    other = {**manifest, "data": {"fields": {"image": "registry.example.com/iris:2"}}}

    with pytest.raises(Rejected):
        await cluster.apply(CONTROLLER_REVISION, namespace, of(other, made), version(made))

    held = await cluster.get(CONTROLLER_REVISION, namespace, "iris-0123456789")
    assert held["data"] == manifest["data"]


async def test_the_selector_of_a_replica_set_can_not_be_changed(cluster: Cluster, namespace: str):
    made = await cluster.create(REPLICA_SET, namespace, replica_set())
    other = replica_set(replicas=None)
    other["spec"]["selector"]["matchLabels"] = other["spec"]["template"]["metadata"]["labels"] = {"other": "label"}

    with pytest.raises(Rejected):
        await cluster.apply(REPLICA_SET, namespace, of(other, made), version(made))


# A busy API server ----------------------------------------------------------------------------------------------------

Busy = tuple[Cluster, Callable[[], Awaitable[None]]]
"""An API server that throttles, and what makes it end."""


@pytest.fixture(params=["real", "world"])
async def busy(request: pytest.FixtureRequest, namespace: str, tmp_path: Path) -> AsyncIterator[Busy]:
    if request.param == "world":
        world = ApiServer()
        world.faults.mishap = lambda: Mishap.THROTTLED

        async def over() -> None:
            world.faults.mishap = lambda: None

        yield world, over
        return
    plane, kubectl = request.getfixturevalue("plane"), request.getfixturevalue("kubectl")
    credentials = in_the_crowd(plane, kubectl, namespace, tmp_path)
    async with (
        open_cluster(credentials, timeout_seconds=2) as real,
        open_cluster(credentials, timeout_seconds=LONGEST_WAIT_SECONDS) as patient,
        kept_busy(real, patient, kubectl, namespace) as ended,
    ):
        yield real, ended
    kubectl("delete", "flowschema,prioritylevelconfiguration", namespace)


def in_the_crowd(plane: ControlPlane, kubectl: Kubectl, namespace: str, folder: Path) -> Credentials:
    """Those of a user on whom a priority level without any share is imposed: it lets one request in at a time."""
    group, api = "rbac.authorization.k8s.io", "flowcontrol.apiserver.k8s.io/v1"
    subject = {"kind": "ServiceAccount", "name": "crowd", "namespace": namespace}
    shares = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    crowd = {"kind": "ServiceAccount", "serviceAccount": {"name": "crowd", "namespace": namespace}}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "crowd"}},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "crowd"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [subject],
        },
        {
            "apiVersion": api,
            "kind": "PriorityLevelConfiguration",
            "metadata": {"name": namespace},
            "spec": {"type": "Limited", "limited": {**shares, "limitResponse": {"type": "Reject"}}},
        },
        {
            "apiVersion": api,
            "kind": "FlowSchema",
            "metadata": {"name": namespace},
            "spec": {
                "matchingPrecedence": 50,
                "priorityLevelConfiguration": {"name": namespace},
                "rules": [{"subjects": [crowd], "resourceRules": [everything]}],
            },
        },
    ]
    applied = kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))
    assert applied.returncode == 0, applied.stderr
    token = folder / "token"
    token.write_text(kubectl("create", "token", "crowd", "-n", namespace).stdout)
    admin = from_kubeconfig(plane.kubeconfig)
    assert admin.tls is not None
    tls = admin.tls.__class__(admin.tls.protocol)
    tls.load_verify_locations(cadata=plane.layout.authority.certificate.read_text())
    return Credentials(plane.server, tls, TokenFile(token))


@asynccontextmanager
async def kept_busy(
    cluster: HttpCluster, patient: HttpCluster, kubectl: Kubectl, namespace: str
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A request that hangs in a webhook takes the only place there is: all others are answered 429."""
    released = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    webhook = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = webhook.sockets[0].getsockname()[1]
    rules = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "hangs.example.com",
                "clientConfig": {"url": f"https://127.0.0.1:{port}/"},
                "rules": rules,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Ignore",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 30,
            }
        ],
    }
    applied = kubectl("apply", "-f", "-", stdin=json.dumps(configuration))
    assert applied.returncode == 0, applied.stderr

    async def crowd() -> None:
        """Requests that hang, one after the other."""
        number = 0
        while not released.is_set():
            number += 1
            try:
                manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"crowd-{number}"}}
                await patient.create(CONFIG_MAP, namespace, manifest)
            except Unavailable:
                await asyncio.sleep(0.05)

    async def ended() -> None:
        released.set()
        kubectl("delete", "validatingwebhookconfiguration", namespace)
        await until_throttled(cluster, namespace, throttled=False)

    crowding = asyncio.create_task(crowd())
    try:
        await until_throttled(cluster, namespace, throttled=True)
        yield ended
    finally:
        await ended()
        await crowding
        webhook.close()


async def until_throttled(cluster: HttpCluster, namespace: str, *, throttled: bool) -> None:
    """Until the API server answers 429, or does not any more."""
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while True:
            try:
                async with aclosing(cluster.list_pages(SERVICE, namespace)) as pages:
                    await anext(pages)
            except Unavailable as error:
                if throttled and error.retry_after_seconds is not None:
                    return
            else:
                if not throttled:
                    return
            await asyncio.sleep(0.05)


async def test_a_write_that_is_throttled_says_for_how_long_and_was_not_carried_out(busy: Busy, namespace: str):
    cluster, ended = busy

    with pytest.raises(Unavailable) as refused:
        await cluster.create(SERVICE, namespace, service())

    assert (refused.value.retry_after_seconds or 0.0) >= 1
    await ended()
    with pytest.raises(NotFound):
        await cluster.get(SERVICE, namespace, "iris")
    await cluster.create(SERVICE, namespace, service())
