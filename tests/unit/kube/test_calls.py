"""Requests to the API server, counted in its own words."""

import asyncio

import pytest
from aiohttp import web
from yarl import URL

from serinus.api.kinds import SERVICE
from serinus.kube.calls import Call, verb_and_resource
from serinus.kube.client import open_cluster
from serinus.kube.cluster import Conflict, Unavailable
from serinus.kube.credentials import Credentials
from tests.unit.kube.test_client import SERVICE_MANIFEST, cluster_answering, status, watching

SERVER = "https://api.example.com/clusters/7"
APPS = "/apis/apps/v1/namespaces/team/replicasets"


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/api/v1/services", ("list", "services")),
        ("GET", "/api/v1/services?watch=true&timeoutSeconds=60", ("watch", "services")),
        ("GET", "/api/v1/namespaces/team/services?limit=500", ("list", "services")),
        ("GET", "/api/v1/namespaces/team/services/iris", ("get", "services")),
        ("GET", "/api/v1/namespaces/team/services/services", ("get", "services")),
        ("POST", APPS, ("create", "replicasets")),
        ("PATCH", f"{APPS}/iris-1/scale", ("patch", "replicasets/scale")),
        ("DELETE", f"{APPS}/iris-1", ("delete", "replicasets")),
        (
            "PUT",
            "/apis/serinus.dev/v1/namespaces/t/modeldeployments/a%2Fb/status",
            ("update", "modeldeployments/status"),
        ),
        ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x", ("get", "customresourcedefinitions")),
        ("GET", "/apis/serinus.dev/v1alpha1", ("get", "discovery")),
        ("GET", "/api", ("get", "discovery")),
        ("GET", "/version", ("get", "discovery")),
    ],
)
def test_request_is_named_as_in_a_role(method: str, path: str, said: tuple[str, str]) -> None:
    assert verb_and_resource(method, URL(f"https://10.0.0.1{path}", encoded=True)) == said
    assert verb_and_resource(method, URL(f"{SERVER}{path}", encoded=True)) == said


def told(calls: list[Call]) -> list[tuple[str, str, str]]:
    return [(call.verb, call.resource, call.code) for call in calls]


async def test_every_try_of_a_throttled_request_is_told() -> None:
    calls: list[Call] = []

    async def handler(_: web.Request) -> web.Response:
        if not calls:
            return web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "0.1"})
        return web.json_response(SERVICE_MANIFEST)

    async with cluster_answering(handler, on_call=calls.append) as cluster:
        await cluster.beside(1).get(SERVICE, "team", "iris")
    assert told(calls) == [("get", "services", "429"), ("get", "services", "200")]


async def test_refusal_is_told_with_its_code() -> None:
    calls: list[Call] = []

    async def handler(_: web.Request) -> web.Response:
        return status(409, "Conflict", "somebody was faster")

    async with cluster_answering(handler, on_call=calls.append) as cluster:
        with pytest.raises(Conflict):
            await cluster.replace(SERVICE, "team", SERVICE_MANIFEST)
    assert told(calls) == [("update", "services", "409")]


async def test_watch_is_told_when_it_begins_and_takes_no_longer_for_being_open() -> None:
    calls: list[Call] = []
    async with cluster_answering(watching(b"\n", b"\n", pause_seconds=0.3), on_call=calls.append) as cluster:
        async for _ in cluster.watch(SERVICE, None, "1"):
            pass
    assert told(calls) == [("watch", "services", "200")]
    assert 0 < calls[0].seconds < 0.3


async def test_request_that_is_not_answered_is_told_with_the_time_it_was_waited_for() -> None:
    calls: list[Call] = []

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with cluster_answering(handler, on_call=calls.append, timeout_seconds=0.2) as cluster:
        with pytest.raises(Unavailable):
            await cluster.get(SERVICE, "team", "iris")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await cluster.get(SERVICE, "team", "iris")
    assert told(calls) == [("get", "services", "timeout"), ("get", "services", "cancelled")]
    assert calls[0].seconds >= 0.2


async def test_server_that_is_not_there_is_told() -> None:
    calls: list[Call] = []
    async with open_cluster(Credentials("http://127.0.0.1:1"), on_call=calls.append) as cluster:
        with pytest.raises(Unavailable):
            await cluster.get(SERVICE, "team", "iris")
    assert told(calls) == [("get", "services", "unreachable")]
