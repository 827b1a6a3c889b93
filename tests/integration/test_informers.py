"""Informers against a real API server: what changes is seen, and what happens while nobody looks is noticed later."""

import asyncio
import copy
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane
from serinus.api.kinds import HTTP_ROUTE, POD, SECRET, SERVICE, Kind
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.credentials import from_kubeconfig, open_session
from serinus.kube.informers import Informer
from serinus.kube.observation import only_what_is_observed
from serinus.kube.ownership import changed_by, is_booked, only_whether_booked
from tests.integration.conftest import Kubectl
from tests.integration.second_api_server import SecondApiServer
from tests.integration.test_cluster_contract import of, service, version

SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
OURS = "serinus.dev/deployment"


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[HttpCluster]:
    async with open_cluster(from_kubeconfig(plane.kubeconfig)) as cluster:
        yield cluster


class Changes:
    """What an informer has told, by name of the object."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __call__(self, old: Manifest | None, new: Manifest | None) -> None:
        some = new or old
        assert some is not None
        what = "added" if old is None else "gone" if new is None else "changed"
        self.told.append((what, some["metadata"]["name"]))

    def of(self, name: str) -> list[str]:
        return [what for what, told in self.told if told == name]


def cached(informer: Informer, namespace: str, name: str) -> Manifest | None:
    """The object of this name as the cache has it."""
    of = {"namespace": namespace, "name": name}
    return next((manifest for manifest in informer if manifest["metadata"].items() >= of.items()), None)


@asynccontextmanager
async def following(
    cluster: HttpCluster, kind: Kind, on_change: Changes, namespaces: Sequence[str], **options: Any
) -> AsyncIterator[Informer]:
    informer = Informer(cluster, kind, on_change, namespaces=namespaces, **{"label_selector": OURS, **options})
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(60):
            await informer.synced.wait()
        yield informer
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_where_metadata_is_asked_for_nothing_else_of_a_secret_is_sent(cluster: HttpCluster, namespace: str):
    def secret(name: str) -> Manifest:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"token": "aHVudGVyMg=="}}

    sent: list[Manifest] = []

    def keep(manifest: dict[str, Any]) -> Manifest:
        sent.append(manifest)
        return manifest

    await cluster.create(SECRET, namespace, secret("before"))
    changes = Changes()
    how = {"label_selector": None, "metadata_only": True, "strip": keep}
    async with following(cluster, SECRET, changes, [namespace], **how):
        later = await cluster.create(SECRET, namespace, secret("later"))
        await eventually(lambda: changes.of("later") == ["added"])
        changed = {**secret("later"), "data": {"token": "aHVudGVyMw=="}}
        await cluster.apply(SECRET, namespace, of(changed, later), version(later), booked=True)
        await eventually(lambda: "changed" in changes.of("later"))
        await cluster.delete(SECRET, namespace, "later", later["metadata"]["uid"])
        await eventually(lambda: changes.of("later")[-1] == "gone")

    assert changes.of("before") == ["added"]
    assert all(each.keys() <= {"apiVersion", "kind", "metadata"} for each in sent)
    assert "aHVudGVy" not in json.dumps(sent)


async def test_what_is_there_and_what_comes_and_goes_is_seen(cluster: HttpCluster, namespace: str):
    await cluster.create(SERVICE, namespace, service("before"))
    changes = Changes()
    async with following(cluster, SERVICE, changes, [namespace]) as informer:
        assert cached(informer, namespace, "before") is not None
        made = await cluster.create(SERVICE, namespace, service("later"))
        await eventually(lambda: cached(informer, namespace, "later") is not None)
        await cluster.apply(SERVICE, namespace, of(service("later", port=81), made), version(made))
        await eventually(lambda: (cached(informer, namespace, "later") or {})["spec"]["ports"][0]["port"] == 81)
        await cluster.delete(SERVICE, namespace, "later", made["metadata"]["uid"])
        await eventually(lambda: cached(informer, namespace, "later") is None)

    assert changes.of("before") == ["added"]
    assert changes.of("later")[0] == "added"
    assert changes.of("later")[-1] == "gone"
    assert "changed" in changes.of("later")


async def test_objects_are_found_by_their_deployment_and_follow_their_label(
    cluster: HttpCluster, kubectl: Kubectl, namespace: str
):
    for name in ("b", "a"):
        await cluster.create(SERVICE, namespace, service(name))
    async with following(cluster, SERVICE, Changes(), [namespace]) as informer:

        def names(deployment: str) -> list[str]:
            return [each["metadata"]["name"] for each in informer.of_deployment(namespace, deployment)]

        assert names("iris") == ["a", "b"]
        kubectl("label", "-n", namespace, "service/a", f"{OURS}=other", "--overwrite")
        await eventually(lambda: names("iris") == ["b"])
        assert names("other") == ["a"]
        kubectl("label", "-n", namespace, "service/a", f"{OURS}-")
        await eventually(lambda: names("other") == [])
        assert cached(informer, namespace, "a") is None


async def test_objects_without_the_label_or_in_other_namespaces_are_not_kept(cluster: HttpCluster, namespace: str):
    plain = service("plain")
    del plain["metadata"]["labels"]
    await cluster.create(SERVICE, namespace, plain)
    await cluster.create(SERVICE, namespace, service("ours"))
    changes = Changes()

    async with following(cluster, SERVICE, changes, [namespace, "kube-system"]) as informer:
        assert [each["metadata"]["name"] for each in informer] == ["ours"]

    assert changes.told == [("added", "ours")]


async def test_all_namespaces_are_followed_where_none_is_named(cluster: HttpCluster, namespace: str):
    async with following(cluster, SERVICE, Changes(), []) as informer:
        await cluster.create(SERVICE, namespace, service("anywhere"))
        await eventually(lambda: cached(informer, namespace, "anywhere") is not None)


async def test_many_pages_make_one_cache(cluster: HttpCluster, namespace: str):
    for n in range(11):
        await cluster.create(SERVICE, namespace, service(f"s{n}"))

    async with following(cluster, SERVICE, Changes(), [namespace], page_size=4) as informer:
        assert len(informer) == 11


async def test_only_what_is_used_is_kept_of_an_object(cluster: HttpCluster, namespace: str):
    await cluster.create(SERVICE, namespace, service())
    await cluster.create(SERVICE_ACCOUNT, namespace, {"metadata": {"name": "default"}})  # no controller makes it here
    pod = {
        "metadata": {"name": "p", "labels": {OURS: "iris"}},
        "spec": {"containers": [{"name": "model", "image": "x"}]},
    }
    await cluster.create(POD, namespace, pod)

    async with following(cluster, SERVICE, Changes(), [namespace]) as informer:
        kept = cached(informer, namespace, "iris")
        assert kept is not None
        assert "managedFields" not in kept["metadata"]
        assert kept["kind"] == "Service"
    async with following(cluster, POD, Changes(), [namespace], strip=only_what_is_observed) as informer:
        kept = cached(informer, namespace, "p")
        assert kept is not None
        assert set(kept) == {"apiVersion", "kind", "metadata", "status"}


async def test_what_the_cache_knows_of_the_books_saves_calls_and_never_leaves_what_others_added(
    plane: ControlPlane, kubectl: Kubectl, namespace: str
):
    credentials = from_kubeconfig(plane.kubeconfig)
    calls: list[str] = []

    async def called(_: object, __: object, call: aiohttp.TraceRequestStartParams) -> None:
        if call.url.path.endswith("/iris"):
            calls.append(call.method)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(called)
    trace.freeze()
    async with open_session(credentials) as session:
        session.trace_configs.append(trace)
        cluster = HttpCluster(session, credentials.server)
        strip = partial(only_whether_booked, SERVICE)
        async with following(cluster, SERVICE, Changes(), [namespace], strip=strip) as informer:

            def seen() -> Manifest:
                return cached(informer, namespace, "iris") or {"metadata": {"resourceVersion": "0"}, "spec": {}}

            async def applied(port: int) -> list[str]:
                """What it takes to apply over what is seen, which is learned as a pass does."""
                calls.clear()
                booked = is_booked(seen())
                wanted = of(service(port=port), seen())
                informer.learn(await cluster.apply(SERVICE, namespace, wanted, version(seen()), booked=booked))
                assert [each["port"] for each in seen()["spec"]["ports"]] == [port]
                return list(calls)

            informer.learn(await cluster.create(SERVICE, namespace, service()))
            assert await applied(81) == ["GET", "PATCH", "PATCH"]
            assert await applied(82) == ["PATCH"]
            assert await applied(83) == ["PATCH"]
            assert changed_by(seen()) == ""

            edit = {"spec": {"selector": {"app": "other"}}}
            assert kubectl("patch", "-n", namespace, "service/iris", "-p", json.dumps(edit)).returncode == 0
            await eventually(lambda: seen()["spec"].get("selector", {}).get("app") == "other")
            assert changed_by(seen()) == "kubectl-patch", "so that it can be told who did it"
            assert await applied(84) == ["GET", "PATCH", "PATCH"]
            assert "app" not in seen()["spec"]["selector"]
            assert changed_by(seen()) == ""
            assert await applied(85) == ["PATCH"]


async def test_what_vanished_while_the_api_server_was_away_is_swept_out(
    cluster: HttpCluster, second: SecondApiServer, namespace: str
):
    """The restarted API server has forgotten the versions of before: 410, a new list, and a sweep."""
    kept = await cluster.create(SERVICE, namespace, service("kept"))
    edited = await cluster.create(SERVICE, namespace, service("edited"))
    doomed = await cluster.create(SERVICE, namespace, service("doomed"))
    replaced = await cluster.create(SERVICE, namespace, service("replaced"))
    changes = Changes()
    await second.start()
    async with (
        open_cluster(second.credentials) as through_second,
        following(through_second, SERVICE, changes, [namespace]) as informer,
    ):
        assert len(informer) == 4
        contact_before = informer.last_contact_at
        second.kill()
        await cluster.apply(SERVICE, namespace, of(service("edited", port=81), edited), version(edited))
        await cluster.delete(SERVICE, namespace, "doomed", doomed["metadata"]["uid"])
        await cluster.delete(SERVICE, namespace, "replaced", replaced["metadata"]["uid"])
        anew = await cluster.create(SERVICE, namespace, service("replaced"))
        await cluster.create(SERVICE, namespace, service("new"))
        assert len(informer) == 4  # it knows nothing of this yet
        assert informer.last_contact_at == contact_before
        await second.start()
        await eventually(lambda: cached(informer, namespace, "doomed") is None)
        await eventually(lambda: cached(informer, namespace, "new") is not None)
        await through_second.create(SERVICE, namespace, service("later"))
        await eventually(lambda: cached(informer, namespace, "later") is not None)

        found = {each["metadata"]["name"]: each for each in informer}
        assert set(found) == {"kept", "edited", "replaced", "new", "later"}
        assert found["edited"]["spec"]["ports"][0]["port"] == 81
        assert found["replaced"]["metadata"]["uid"] == anew["metadata"]["uid"]
        assert version(found["kept"]) == version(kept)
        assert informer.last_contact_at is not None
        assert contact_before is not None
        assert informer.last_contact_at > contact_before

    assert changes.of("kept") == ["added"]
    assert changes.of("edited") == ["added", "changed"]
    assert changes.of("doomed") == ["added", "gone"]
    assert changes.of("replaced") == ["added", "changed"]
    assert changes.of("new") == ["added"]


async def test_an_informer_waits_for_an_api_server_that_is_not_there_yet(
    cluster: HttpCluster, second: SecondApiServer, namespace: str
):
    await cluster.create(SERVICE, namespace, service())
    async with open_cluster(second.credentials) as through_second:
        informer = Informer(through_second, SERVICE, Changes(), namespaces=[namespace], label_selector=OURS)
        task = asyncio.create_task(informer.run())
        try:
            await asyncio.sleep(0.5)
            assert not informer.synced.is_set()
            assert informer.last_contact_at is None
            await second.start()
            await eventually(informer.synced.is_set)
            assert len(informer) == 1
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_kind_that_is_installed_later_is_found_and_one_that_is_removed_is_empty(
    plane: ControlPlane, cluster: HttpCluster, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    """With the HTTPRoute CRD under another group, so that tests beside this one are not disturbed."""
    group = f"gateway-{namespace}.example.com"
    crd = yaml.safe_load((tools.gateway_api_crds() / "gateway.networking.k8s.io_httproutes.yaml").read_text())
    crd = copy.deepcopy(crd)
    crd["metadata"] = {"name": f"httproutes.{group}"}
    crd["spec"]["group"] = group
    kind = Kind(group, HTTP_ROUTE.version, HTTP_ROUTE.kind, HTTP_ROUTE.plural)
    path = tmp_path / "crd.yaml"
    path.write_text(yaml.safe_dump(crd))
    heard: list[bool] = []

    async with following(
        cluster, kind, Changes(), [namespace], recheck_seconds=0.3, on_installed=heard.append
    ) as informer:
        assert not informer.installed
        assert informer.last_contact_at is not None
        applied = kubectl("apply", "--server-side", "-f", str(path))
        assert applied.returncode == 0, applied.stderr
        await eventually(lambda: informer.installed)
        route = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": "iris", "labels": {OURS: "iris"}},
            "spec": {"rules": [{"backendRefs": [{"name": "iris", "port": 80}]}]},
        }
        await cluster.create(kind, namespace, route)
        await eventually(lambda: cached(informer, namespace, "iris") is not None)
        deleted = kubectl("delete", "crd", crd["metadata"]["name"], "--timeout=50s")
        assert deleted.returncode == 0, deleted.stderr
        await eventually(lambda: len(informer) == 0)
        await eventually(lambda: not informer.installed)

    assert heard == [False, True, False]


async def test_a_fault_in_the_callback_is_not_swallowed(cluster: HttpCluster, namespace: str):
    await cluster.create(SERVICE, namespace, service())

    def broken(old: Manifest | None, new: Manifest | None) -> None:
        raise ZeroDivisionError

    informer = Informer(cluster, SERVICE, broken, namespaces=[namespace])
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(60):
            await informer.run()

    assert caught.group_contains(ZeroDivisionError)
