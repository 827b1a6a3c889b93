"""The client against a real HTTP server on loopback that answers as API servers do, well and badly."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from serinus.api.kinds import MODEL_DEPLOYMENT, REPLICA_SET, SERVICE, Kind
from serinus.kube.client import HttpCluster, lost_fields, open_cluster
from serinus.kube.cluster import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    NotFound,
    Rejected,
    StatusPruned,
    Unavailable,
)
from serinus.kube.credentials import Credentials

LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE_MANIFEST = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "iris"}, "spec": {}}


@asynccontextmanager
async def cluster_answering(handler: Handler, **options: Any) -> AsyncIterator[HttpCluster]:
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with open_cluster(Credentials(f"http://127.0.0.1:{port}"), **options) as cluster:
            yield cluster
    finally:
        await runner.cleanup()


def status(code: int, reason: str, message: str, **details: Any) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return web.json_response(body, status=code)


async def refused(answer: Callable[[], web.Response]) -> ApiError:
    async def handler(_: web.Request) -> web.Response:
        return answer()

    async with cluster_answering(handler) as cluster:
        with pytest.raises(ApiError) as caught:
            await cluster.create(SERVICE, "team", SERVICE_MANIFEST)
    return caught.value


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (404, "NotFound", NotFound),
        (410, "Expired", Expired),
        (400, "BadRequest", Rejected),
        (403, "Forbidden", Forbidden),
        (422, "Invalid", Rejected),
        (401, "Unauthorized", Unavailable),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)
async def test_each_refusal_says_what_was_tried_and_the_servers_words(code: int, reason: str, error: type[ApiError]):
    raised = await refused(lambda: status(code, reason, "the words of the server"))

    assert type(raised) is error
    assert str(raised).startswith(f"create Service team/iris: the API server answered {code} {reason}: the words")
    assert "; " in str(raised)


async def test_a_namespace_that_is_being_deleted_is_no_lack_of_rights():
    causes = [{"reason": "NamespaceTerminating", "message": "namespace team is being terminated"}]
    raised = await refused(lambda: status(403, "Forbidden", "because it is being terminated", causes=causes))

    assert type(raised) is NotFound
    assert "because it is being terminated" in str(raised)


async def test_an_answer_that_is_no_status_object_is_quoted():
    raised = await refused(lambda: web.Response(status=502, text="<html>bad gateway</html>"))

    assert isinstance(raised, Unavailable)
    assert "502: <html>bad gateway</html>" in str(raised)


async def test_a_success_that_is_not_json_is_no_success():
    raised = await refused(lambda: web.Response(text="<html>log in first</html>"))

    assert isinstance(raised, Unavailable)
    assert "log in first" in str(raised)


async def test_a_redirect_is_not_followed():
    raised = await refused(lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}))

    assert isinstance(raised, Unavailable)


async def test_a_throttled_call_is_repeated_after_the_time_the_server_asks_for():
    calls: list[float] = []

    async def handler(_: web.Request) -> web.Response:
        calls.append(time.monotonic())
        if len(calls) == 1:
            return web.json_response(
                {"kind": "Status", "reason": "TooManyRequests"}, status=429, headers={"Retry-After": "1"}
            )
        return web.json_response(SERVICE_MANIFEST)

    async with cluster_answering(handler) as cluster:
        await cluster.get(SERVICE, "team", "iris")

    assert len(calls) == 2
    assert calls[1] - calls[0] >= 0.99


async def test_calls_that_wait_for_a_busy_server_do_not_keep_those_beside_them():
    """A Lease is renewed while everything else is throttled."""
    throttled = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal throttled
        if "leases" in request.path:
            return web.json_response(SERVICE_MANIFEST)
        throttled += 1
        return web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "4"})

    async with cluster_answering(handler, concurrency=2) as cluster:
        waiting = [asyncio.create_task(cluster.get(SERVICE, "team", "iris")) for _ in range(5)]
        while throttled < 2:  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.01)
        async with asyncio.timeout(3.5):  # and not only after the 4 s
            await cluster.beside(1).get(LEASE, "team", "serinus")
        assert throttled == 2, "those that wait keep their places"
        for task in waiting:
            task.cancel()


async def test_calls_that_are_throttled_together_come_back_apart():
    """Each waits a time of its own, so that they come back in another order, however long the machine then takes."""
    calls: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(request.path)
        if len(calls) <= 20:
            return web.json_response({"kind": "Status"}, status=429, headers={"Retry-After": "1"})
        return web.json_response(SERVICE_MANIFEST)

    async with cluster_answering(handler) as cluster:
        await asyncio.gather(*(cluster.get(SERVICE, "team", f"iris-{number}") for number in range(20)))

    before = [calls.index(path) for path in calls[20:]]
    assert sorted(before) == list(range(20))
    overtaken = sum(later < earlier for place, earlier in enumerate(before) for later in before[place:])
    assert overtaken > 25, "of 190 pairs; 95 are to be expected"


async def test_a_call_throttled_for_long_is_handed_back_with_the_time_to_wait():
    raised = await refused(lambda: web.json_response({}, status=429, headers={"Retry-After": "30"}))

    assert isinstance(raised, Unavailable)
    assert raised.retry_after_seconds == 30


async def test_a_server_that_does_not_answer_is_unavailable_after_the_timeout():
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    started = time.monotonic()
    async with cluster_answering(handler, timeout_seconds=0.3) as cluster:
        with pytest.raises(Unavailable, match="read Service team/iris: the API server did not answer in time"):
            await cluster.get(SERVICE, "team", "iris")

    assert time.monotonic() - started < 20


async def test_a_server_that_is_not_there_is_unavailable():
    async with open_cluster(Credentials("http://127.0.0.1:1")) as cluster:
        with pytest.raises(Unavailable, match="no answer"):
            await cluster.get(SERVICE, "team", "iris")


async def test_no_more_calls_are_under_way_than_allowed():
    under_way = most = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return web.json_response(SERVICE_MANIFEST)

    async with cluster_answering(handler, concurrency=3) as cluster:
        await asyncio.gather(*(cluster.get(SERVICE, "team", "iris") for _ in range(20)))

    assert most == 3


async def test_names_never_leave_their_place_in_the_address():
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response(SERVICE_MANIFEST)

    async with cluster_answering(handler) as cluster:
        await cluster.get(SERVICE, "team", "../../secrets/x?y#z")

    assert seen == ["/api/v1/namespaces/team/services/..%2F..%2Fsecrets%2Fx%3Fy%23z"]


async def test_a_list_is_read_page_by_page_and_its_items_know_their_kind():
    asked: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        page = int(request.query.get("continue", "0"))
        metadata = {"resourceVersion": "7", "continue": str(page + 1) if page < 2 else ""}
        return web.json_response({"metadata": metadata, "items": [{"metadata": {"name": f"s{page}"}}]})

    async with cluster_answering(handler) as cluster:
        pages = [page async for page in cluster.list_pages(SERVICE, label_selector="a=b", page_size=1)]

    assert [item["metadata"]["name"] for page in pages for item in page.items] == ["s0", "s1", "s2"]
    assert {(item["apiVersion"], item["kind"]) for page in pages for item in page.items} == {("v1", "Service")}
    assert asked[1] == {"limit": "1", "labelSelector": "a=b", "continue": "1"}


def watching(*chunks: bytes, pause_seconds: float = 0.0) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(pause_seconds)
        return response

    return handler


async def test_a_watch_puts_events_together_however_the_network_cuts_them():
    events = [
        {"type": "ADDED", "object": {"metadata": {"name": f"s{n}", "resourceVersion": str(n)}, "data": "é" * 70_000}}
        for n in range(3)
    ]
    text = b"\n".join(orjson.dumps(event) for event in events) + b"\n"
    cuts = [text[start : start + 100_001] for start in range(0, len(text), 100_001)]

    async with cluster_answering(watching(*cuts, pause_seconds=0.01)) as cluster:
        received = [event async for event in cluster.watch(SERVICE, None, "1")]

    assert [event.manifest for event in received] == [event["object"] for event in events]


async def test_a_watch_that_is_told_410_has_expired():
    error = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}) + b"\n"

    async with cluster_answering(watching(error)) as cluster:
        with pytest.raises(Expired, match=r"watch services in all namespaces: .*too old"):
            [event async for event in cluster.watch(SERVICE, None, "1")]


async def test_a_silent_watch_is_given_up():
    async with cluster_answering(watching(b"", pause_seconds=30)) as cluster:
        with pytest.raises(Unavailable):
            [event async for event in cluster.watch(SERVICE, "team", "1", silence_seconds=0.2)]


def half_open(*, bookmarks_every_seconds: float | None = None, watches_are_granted: bool = True) -> Handler:
    """An API server whose connection carries no answers any more, and of a watch only what is asked for here."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if "watch" in request.query and watches_are_granted:
            await response.prepare(request)
            while bookmarks_every_seconds is not None:
                await asyncio.sleep(bookmarks_every_seconds)
                bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2"}}}
                await response.write(orjson.dumps(bookmark) + b"\n")
        await asyncio.sleep(30)
        return response

    return handler


async def test_a_watch_that_stays_silent_after_a_call_without_an_answer_is_given_up_early():
    async with cluster_answering(half_open(), timeout_seconds=0.2) as cluster:
        watching = asyncio.create_task(anext(cluster.watch(SERVICE, "team", "1")))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="did not answer in time"):
            await cluster.beside(1).get(SERVICE, "team", "iris")

        async with asyncio.timeout(5):  # and not after the 100 s of a silent watch
            with pytest.raises(Unavailable, match=r"watch services in namespace team: no answer: no sign of life"):
                await watching


async def test_a_call_whose_caller_gave_it_up_without_an_answer_puts_watches_in_doubt_too():
    async with cluster_answering(half_open(), timeout_seconds=2.5) as cluster:
        watching = asyncio.create_task(anext(cluster.watch(SERVICE, "team", "1")))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await cluster.get(SERVICE, "team", "iris")

        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await watching


async def test_a_watch_in_doubt_that_stays_silent_is_given_up_early():
    async with cluster_answering(half_open(), timeout_seconds=0.2) as cluster:
        watching = asyncio.create_task(anext(cluster.watch(SERVICE, "team", "1")))
        await asyncio.sleep(0.1)
        cluster.doubt_watches()

        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="watch services in namespace team: "):
                await watching


async def test_a_watch_that_is_heard_after_a_call_without_an_answer_goes_on():
    async with cluster_answering(half_open(bookmarks_every_seconds=0.05), timeout_seconds=0.3) as cluster:
        events = cluster.watch(SERVICE, "team", "1")
        await anext(events)
        with pytest.raises(Unavailable):
            await cluster.get(SERVICE, "team", "iris")

        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert (await anext(events)).type == "BOOKMARK"


async def test_a_watch_that_is_not_granted_in_the_time_of_a_call_is_unavailable():
    async with cluster_answering(half_open(watches_are_granted=False), timeout_seconds=0.2) as cluster:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match=r"watch services in namespace team: .*did not answer in time"):
                await anext(cluster.watch(SERVICE, "team", "1"))


async def test_a_watch_whose_server_dies_is_unavailable():
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return response

    async with cluster_answering(handler) as cluster:
        with pytest.raises(Unavailable):
            [event async for event in cluster.watch(SERVICE, "team", "1")]


async def test_a_status_of_which_a_field_was_dropped_does_not_count():
    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        body["status"]["rollout"].pop("countingSince")
        return web.json_response(body)

    async with cluster_answering(handler) as cluster:
        with pytest.raises(StatusPruned) as caught:
            await cluster.write_status(
                "team", "iris", {"moves": 3, "rollout": {"phase": "Holding", "countingSince": "now"}}, "5"
            )

    assert caught.value.fields == ("status.rollout.countingSince",)
    assert "write the status of ModelDeployment team/iris" in str(caught.value)
    assert "upgrade the CRD" in str(caught.value)


async def test_the_writes_carry_field_manager_and_observed_version():
    seen: list[tuple[str, str, dict[str, str], str, Any]] = []

    observed = {"metadata": {"name": "iris", "uid": "u", "resourceVersion": "41"}}

    async def handler(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(observed)
        body = await request.json()
        seen.append((request.method, request.path, dict(request.query), request.content_type, body))
        return web.json_response(body)

    async with cluster_answering(handler) as cluster:
        await cluster.apply(SERVICE, "team", {**SERVICE_MANIFEST, "metadata": {"name": "iris", "uid": "u"}}, "41")
        await cluster.scale(REPLICA_SET, "team", "iris-a", 3, "42")
        await cluster.write_status("team", "iris", {"moves": 1}, "43")

    apply, scale, write = seen
    assert apply[:4] == (
        "PATCH",
        "/api/v1/namespaces/team/services/iris",
        {"fieldManager": "serinus", "force": "true", "fieldValidation": "Strict"},
        "application/apply-patch+yaml",
    )
    assert apply[4]["metadata"] == {"name": "iris", "uid": "u", "resourceVersion": "41"}
    assert scale[1] == "/apis/apps/v1/namespaces/team/replicasets/iris-a/scale"
    assert scale[4] == {"metadata": {"resourceVersion": "42"}, "spec": {"replicas": 3}}
    assert write[1] == f"/apis/{MODEL_DEPLOYMENT.api_version}/namespaces/team/modeldeployments/iris/status"
    assert write[4]["metadata"]["resourceVersion"] == "43"


@pytest.mark.parametrize(
    ("sent", "held", "lost"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ()),
        ({"a": 1.0}, {"a": 1}, ()),
        ({"a": None}, {}, ()),
        ({"a": 1}, {}, ("status.a",)),
        ({"a": 1}, None, ("status",)),
        ({"a": [{"x": 1}, {"y": 2}]}, {"a": [{"x": 1}, {}]}, ("status.a[1].y",)),
        ({"a": [1, 2]}, {"a": [1]}, ("status.a",)),
        ({"a": {"b": "x"}, "c": "y"}, {"a": {"b": "z"}, "c": "w"}, ("status.a.b", "status.c")),
    ],
)
def test_lost_fields_names_every_path_that_is_not_held(sent: object, held: object, lost: tuple[str, ...]):
    assert lost_fields(sent, held, "status") == lost


async def test_cancelling_a_call_frees_its_place():
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("slow"):
            await asyncio.sleep(30)
        return web.json_response(SERVICE_MANIFEST)

    async with cluster_answering(handler, concurrency=1) as cluster:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await cluster.get(SERVICE, "team", "slow")

        assert await cluster.get(SERVICE, "team", "quick") == SERVICE_MANIFEST
