"""The client against a real API server: what the port does not promise, but Serinus relies on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from e2e.cluster.controlplane import ControlPlane
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import CUSTOM_METRICS_GROUP, HTTP_ROUTE, MODEL_DEPLOYMENT, POD_MONITOR, REPLICA_SET, SERVICE
from serinus.core.observation import Children, Observation
from serinus.core.plan import Create, Plan, Realise
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.cluster import NotFound, Rejected, StatusPruned, Unavailable
from serinus.kube.credentials import Credentials, TokenFile, from_kubeconfig
from serinus.shell.carry_out import Done, carry_out
from tests.integration.conftest import Kubectl
from tests.integration.test_cluster_contract import deployment, of, replica_set, service, version

pytestmark = pytest.mark.usefixtures("crd")


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[HttpCluster]:
    async with open_cluster(from_kubeconfig(plane.kubeconfig)) as cluster:
        yield cluster


async def test_a_status_field_that_the_crd_does_not_know_is_named_and_nothing_is_written(
    cluster: HttpCluster, namespace: str
):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())

    with pytest.raises(StatusPruned) as caught:
        await cluster.write_status(
            namespace, "iris", {"moves": 1, "rollout": {"phase": "Idle", "later": 1}, "newer": {"a": 1}}, version(made)
        )

    assert set(caught.value.fields) == {"status.newer", "status.rollout.later"}
    held = await cluster.get(MODEL_DEPLOYMENT, namespace, "iris")
    assert held["status"] == {"observedGeneration": -1}, "what the CRD gives to a new one"


async def test_a_status_that_breaks_a_rule_is_rejected_with_the_servers_words(cluster: HttpCluster, namespace: str):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())

    with pytest.raises(Rejected, match=r"status\.rollout\.phase.*Unsupported value: .Nowhere.") as caught:
        await cluster.write_status(namespace, "iris", {"rollout": {"phase": "Nowhere"}}, version(made))

    assert not isinstance(caught.value, StatusPruned)


async def test_a_misspelt_field_of_a_child_is_refused_and_named(cluster: HttpCluster, namespace: str):
    manifest = service()
    manifest["spec"]["ports"][0]["tarrgetPort"] = "http"

    with pytest.raises(Rejected, match=r"create Service .*unknown field .spec\.ports\[0\]\.tarrgetPort"):
        await cluster.create(SERVICE, namespace, manifest)
    with pytest.raises(NotFound):
        await cluster.get(SERVICE, namespace, "iris")


async def test_an_invalid_child_is_rejected_with_the_servers_words(cluster: HttpCluster, namespace: str):
    with pytest.raises(Rejected, match=r"422 Invalid.*port"):
        await cluster.create(SERVICE, namespace, service(port=99_999))


async def test_kinds_that_are_installed_are_told_from_those_that_are_not(cluster: HttpCluster):
    assert await cluster.discover(MODEL_DEPLOYMENT)
    assert await cluster.discover(SERVICE)
    assert not await cluster.discover(POD_MONITOR)


async def test_a_write_of_a_kind_that_is_not_installed_finds_nothing(cluster: HttpCluster, namespace: str):
    with pytest.raises(NotFound, match="create PodMonitor"):
        await cluster.create(POD_MONITOR, namespace, {"metadata": {"name": "iris"}})


async def test_the_scale_subresource_takes_no_field_from_an_autoscaler(cluster: HttpCluster, namespace: str):
    """Serinus creates with replicas, an autoscaler scales, Serinus applies without: the autoscaler's number stays."""
    made = await cluster.create(REPLICA_SET, namespace, replica_set(replicas=2))
    name = made["metadata"]["name"]
    await cluster.scale(REPLICA_SET, namespace, name, 7, version(made))
    scaled = await cluster.get(REPLICA_SET, namespace, name)

    wanted = replica_set(replicas=None, image="registry.example.com/iris:2")
    first = await cluster.apply(REPLICA_SET, namespace, of(wanted, scaled), version(scaled))
    second = await cluster.apply(
        REPLICA_SET,
        namespace,
        of(replica_set(replicas=None, image="registry.example.com/iris:3"), first),
        version(first),
    )

    assert (first["spec"]["replicas"], second["spec"]["replicas"]) == (7, 7)


async def test_a_label_that_a_later_apply_leaves_out_goes(cluster: HttpCluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service())
    labelled = service()
    labelled["metadata"]["labels"]["extra"] = "x"
    first = await cluster.apply(SERVICE, namespace, of(labelled, made), version(made))

    second = await cluster.apply(SERVICE, namespace, of(service(), made), version(first))

    assert first["metadata"]["labels"]["extra"] == "x"
    assert "extra" not in second["metadata"]["labels"]


async def test_a_service_of_another_port_has_only_that_port(cluster: HttpCluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service(port=80))

    changed = await cluster.apply(SERVICE, namespace, of(service(port=8080), made), version(made))

    assert [port["port"] for port in changed["spec"]["ports"]] == [8080]
    assert {(entry["manager"], entry["operation"]) for entry in changed["metadata"]["managedFields"]} == {
        ("serinus", "Apply")
    }


async def test_what_somebody_added_to_the_spec_goes(cluster: HttpCluster, kubectl: Kubectl, namespace: str):
    """A selector that was added to selects no pod any more."""
    await cluster.create(SERVICE, namespace, service())
    edit = {"spec": {"selector": {"app": "other"}, "ports": [{"name": "x", "port": 9}, {"name": "http", "port": 80}]}}
    assert kubectl("patch", "-n", namespace, "service/iris", "-p", json.dumps(edit)).returncode == 0
    edited = await cluster.get(SERVICE, namespace, "iris")
    assert edited["spec"]["selector"]["app"] == "other"

    restored = await cluster.apply(SERVICE, namespace, of(service(), edited), version(edited))

    assert restored["spec"]["selector"] == service()["spec"]["selector"]
    assert [port["port"] for port in restored["spec"]["ports"]] == [80]


async def test_a_selector_is_replaced_whole_by_one_apply_without_books(
    cluster: HttpCluster, kubectl: Kubectl, namespace: str
):
    await cluster.create(SERVICE, namespace, service())
    edit = {"spec": {"selector": {"app": "other"}}}
    assert kubectl("patch", "-n", namespace, "service/iris", "-p", json.dumps(edit)).returncode == 0
    edited = await cluster.get(SERVICE, namespace, "iris")
    wanted = service()
    wanted["spec"]["selector"] = {"serinus.dev/revision": "another"}

    changed = await cluster.apply(SERVICE, namespace, of(wanted, edited), version(edited), booked=True)

    assert changed["spec"]["selector"] == wanted["spec"]["selector"]


async def test_an_adopted_service_sends_its_traffic_where_serinus_says(
    cluster: HttpCluster, kubectl: Kubectl, namespace: str
):
    made = await cluster.create(MODEL_DEPLOYMENT, namespace, deployment())
    legacy = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "iris", "annotations": {"serinus.dev/adopt": "iris", "team": "blue"}},
        "spec": {"selector": {"app": "legacy"}, "ports": [{"name": "http", "port": 8080}]},
    }
    assert kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(legacy)).returncode == 0
    before = await cluster.get(SERVICE, namespace, "iris")
    wanted = service()
    owner = {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.kind, "name": "iris"}
    wanted["metadata"]["ownerReferences"] = [{**owner, "uid": made["metadata"]["uid"], "controller": True}]
    observation = Observation(datetime.now(UTC), ModelDeployment.parse(made), Children())

    outcome = await carry_out(Plan(Realise((Create(SERVICE, wanted),))), observation, cluster)

    assert outcome == Done(None)
    adopted = await cluster.get(SERVICE, namespace, "iris")
    assert adopted["spec"]["selector"] == wanted["spec"]["selector"]
    assert [port["port"] for port in adopted["spec"]["ports"]] == [80]
    assert adopted["spec"]["clusterIP"] == before["spec"]["clusterIP"]
    assert adopted["metadata"]["uid"] == before["metadata"]["uid"]
    assert adopted["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert adopted["metadata"]["annotations"]["team"] == "blue"


async def test_what_somebody_else_put_on_a_child_stays(cluster: HttpCluster, kubectl: Kubectl, namespace: str):
    await cluster.create(SERVICE, namespace, service())
    assert kubectl("annotate", "-n", namespace, "service/iris", "team=blue").returncode == 0
    made = await cluster.get(SERVICE, namespace, "iris")

    changed = await cluster.apply(SERVICE, namespace, of(service(port=8080), made), version(made))

    assert changed["metadata"]["annotations"] == {"team": "blue"}


async def test_pages_hold_every_object_once_and_know_their_kind(cluster: HttpCluster, namespace: str):
    for n in range(7):
        await cluster.create(SERVICE, namespace, service(f"s{n}"))

    pages = [page async for page in cluster.list_pages(SERVICE, namespace, page_size=3)]

    names = [item["metadata"]["name"] for page in pages for item in page.items]
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert sorted(names) == [f"s{n}" for n in range(7)]
    assert {item["kind"] for page in pages for item in page.items} == {"Service"}


async def test_a_watch_misses_nothing_after_the_list(cluster: HttpCluster, namespace: str):
    pages = [
        page async for page in cluster.list_pages(SERVICE, namespace, label_selector="serinus.dev/deployment=iris")
    ]
    made = await cluster.create(SERVICE, namespace, service())
    await cluster.apply(SERVICE, namespace, of(service(port=81), made), version(made))
    await cluster.delete(SERVICE, namespace, "iris", made["metadata"]["uid"])

    watch = cluster.watch(
        SERVICE,
        namespace,
        pages[-1].resource_version,
        label_selector="serinus.dev/deployment=iris",
        timeout_seconds=30,
    )
    seen: list[str] = []
    async with aclosing(watch):
        async for event in watch:
            seen += [] if event.type == "BOOKMARK" else [event.type]
            if event.type == "DELETED":
                break

    assert list(dict.fromkeys(seen)) == ["ADDED", "MODIFIED", "DELETED"]


async def granted(cluster: HttpCluster, namespace: str) -> None:
    """Wait until the API server has heard of new rights: its authorizer watches them."""
    async with asyncio.timeout(30):
        while True:
            try:
                assert [page async for page in cluster.list_pages(SERVICE, namespace)]
            except Rejected:
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_service_account_may_do_what_it_is_granted_and_hears_what_it_is_not(
    plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]}]
    objects = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "reader"},
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
        },
    ]
    applied = kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))
    assert applied.returncode == 0, applied.stderr
    token = tmp_path / "token"
    token.write_text(kubectl("create", "token", "reader", "-n", namespace).stdout)
    admin = from_kubeconfig(plane.kubeconfig)
    assert admin.tls is not None
    tls = admin.tls.__class__(admin.tls.protocol)
    tls.load_verify_locations(cadata=plane.layout.authority.certificate.read_text())

    async with open_cluster(Credentials(plane.server, tls, TokenFile(token))) as cluster:
        await granted(cluster, namespace)
        with pytest.raises(Rejected, match=r"403 Forbidden: .*reader.* cannot create resource"):
            await cluster.create(SERVICE, namespace, service())
        token.write_text("no.token.at-all")
        assert [page async for page in cluster.list_pages(SERVICE, namespace)]  # the last one is good for a while

    async with open_cluster(Credentials(plane.server, tls, TokenFile(token))) as cluster:
        with pytest.raises(Unavailable, match="401 Unauthorized"):
            await cluster.get(SERVICE, namespace, "iris")


async def test_a_server_with_another_authority_is_not_spoken_to(plane: ControlPlane):
    async with open_cluster(Credentials(plane.server)) as cluster:
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await cluster.discover(HTTP_ROUTE)


async def test_an_api_group_that_nobody_serves_is_told_from_one_that_is_served(cluster: HttpCluster):
    assert await cluster.serves_group("apps")
    assert not await cluster.serves_group(CUSTOM_METRICS_GROUP)
