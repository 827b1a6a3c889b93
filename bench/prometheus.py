"""A stub that speaks as much of Prometheus' HTTP API as the operator's readings need. Run by `bench.stage`.

    python -m bench.prometheus KUBECONFIG PORT LABEL

LABEL is the pod label that holds the name of the resource that a pod belongs to.

It knows the pods from the API server, as Prometheus does, and makes BentoML's counters up: every pod has answered
`REQUESTS_PER_SECOND` requests in every second since it started, all of them fast. Two calls of its own change that:

    POST /stub/bad      {"image": "…", "deployments": ["namespace/name", …]}   from now on pods of these fail often
    POST /stub/refuse   {"seconds": 60}                                        breaks every connection for that long
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from bench.api import Manifest, open_api

REQUESTS_PER_SECOND: Final = 400
BAD_SHARE: Final = 0.3
"""Share of the requests of a bad pod that are answered with 500."""

_PATH: Final = "/predict"
_BOUNDS: Final = ("0.1", "0.5", "1.0", "+Inf")
"""Upper bounds of the histogram. Every answer is faster than the first."""
_REQUESTS: Final = "bentoml_service_request_total"
_BUCKETS: Final = "bentoml_service_request_duration_seconds_bucket"
_SHARE: Final = "sum(increase("
_SHARE_SECONDS: Final = 60
_PODS: Final = re.compile(r'namespace="([^"]+)",pod=~"\(?([^")]+)\)?-\.\+"')
_LE: Final = re.compile(r',le=~"([^"]+)"')

Labels = dict[str, str]
Counter = tuple[Labels, Callable[[float], float]]
"""Labels, and the value at a time in Unix seconds."""


def success_share(namespace: str, name: str) -> str:
    """The usual query for the share of a resource's requests that did not fail in the last minute."""
    pods = f'namespace="{namespace}",pod=~"{name}-.+"'
    good, every = (
        f"sum(increase({_REQUESTS}{{{matchers}}}[{_SHARE_SECONDS}s]))"
        for matchers in (f'{pods},http_response_code!~"5.."', pods)
    )
    return f"{good} / {every}"


class UnknownQueryError(ValueError):
    """A query that the operator was not known to ask."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod."""

    namespace: str
    name: str
    deployment: str
    image: str
    started_at: float
    """Unix seconds."""


class World:
    """The pods, and which of them are bad since when."""

    def __init__(self) -> None:
        self._pods: defaultdict[str, dict[str, Pod]] = defaultdict(dict)
        self._bad: dict[tuple[str, str], float] = {}

    def put(self, pod: Pod) -> None:
        self._pods[pod.namespace][pod.name] = pod

    def drop(self, namespace: str, name: str) -> None:
        self._pods[namespace].pop(name, None)

    def turn_bad(self, image: str, deployment: str, at: float) -> None:
        """From `at` on the pods of `namespace/name` with this image fail often."""
        self._bad[image, deployment] = at

    def instant(self, query: str, at: float) -> list[dict[str, Any]]:
        """The survey, when each pod was scraped last, or a `success_share`. Raises `UnknownQueryError`."""
        if query.startswith(_SHARE):
            return self._share(query, at)
        if f"timestamp({_REQUESTS}" not in query:
            raise UnknownQueryError(query)
        return [
            {"metric": {"pod": pod.name, "endpoint": _PATH}, "value": [at, f"{at:.3f}"]}
            for pod in self._matching(query)
            if pod.started_at <= at
        ]

    def over_range(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Counters of requests, or of the buckets of their durations. Raises `UnknownQueryError`."""
        points = [start + number * step for number in range(int((end - start) / step + 1e-6) + 1)]
        result = []
        for pod in self._matching(query):
            present = [point for point in points if point >= pod.started_at]
            for labels, value_at in self._counters(pod, query):
                values = [[point, f"{value:.0f}"] for point in present if (value := value_at(point)) > 0]
                if values:
                    scraped = {"namespace": pod.namespace, "pod": pod.name, "job": "pods", "endpoint": _PATH}
                    result.append({"metric": scraped | labels, "values": values})
        return result

    def _share(self, query: str, at: float) -> list[dict[str, Any]]:
        good = every = 0.0
        for pod in self._matching(query):
            if pod.started_at >= at:
                continue
            since = max(at - _SHARE_SECONDS, pod.started_at)
            for labels, value_at in self._counters(pod, _REQUESTS):
                grown = value_at(at) - value_at(since)
                every += grown
                good += 0 if labels["http_response_code"].startswith("5") else grown
        return [{"metric": {}, "value": [at, f"{good / every:.6f}"]}] if every else []

    def _counters(self, pod: Pod, query: str) -> Iterator[Counter]:
        def failed(at: float) -> float:
            since = self._bad.get((pod.image, f"{pod.namespace}/{pod.deployment}"))
            return 0 if since is None else BAD_SHARE * REQUESTS_PER_SECOND * max(0, at - max(since, pod.started_at))

        def answered(at: float) -> float:
            return REQUESTS_PER_SECOND * (at - pod.started_at) - failed(at)

        if query.startswith(_REQUESTS):
            yield {"http_response_code": "200"}, answered
            yield {"http_response_code": "500"}, failed
        elif query.startswith(_BUCKETS) and (wanted := _LE.search(query)):
            for bound in _BOUNDS:
                if re.fullmatch(wanted[1].replace("\\\\", "\\"), bound):
                    yield {"http_response_code": "200", "le": bound}, answered
        else:
            raise UnknownQueryError(query)

    def bounds(self, selector: str) -> list[str]:
        """The values of `le` where there is a pod that has any."""
        return list(_BOUNDS) if selector.startswith(_BUCKETS) and any(self._matching(selector)) else []

    def _matching(self, query: str) -> Iterator[Pod]:
        found = _PODS.search(query)
        if found is None:
            raise UnknownQueryError(query)
        prefixes = tuple(f"{prefix}-" for prefix in found[2].split("|"))
        return (pod for name, pod in self._pods[found[1]].items() if name.startswith(prefixes))


class Server:
    """Answers over HTTP."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._refuses_until = 0.0
        self.app = web.Application(middlewares=[self._refusing])
        for method in ("GET", "POST"):
            self.app.router.add_route(method, "/api/v1/query", self._query)
            self.app.router.add_route(method, "/api/v1/query_range", self._query_range)
        self.app.router.add_get("/api/v1/label/le/values", self._values)
        self.app.router.add_post("/stub/bad", self._bad)
        self.app.router.add_post("/stub/refuse", self._refuse)

    @web.middleware
    async def _refusing(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        if time.time() < self._refuses_until and not request.path.startswith("/stub/"):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        try:
            response: web.StreamResponse = await handler(request)
        except UnknownQueryError as error:
            return _answer({"status": "error", "errorType": "bad_data", "error": f"not known here: {error}"}, 400)
        return response

    async def _query(self, request: web.Request) -> web.Response:
        asked = await _parameters(request)
        result = self._world.instant(asked["query"], float(asked["time"]))
        return _answer({"status": "success", "data": {"resultType": "vector", "result": result}})

    async def _query_range(self, request: web.Request) -> web.Response:
        asked = await _parameters(request)
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        result = self._world.over_range(asked["query"], start, end, step)
        return _answer({"status": "success", "data": {"resultType": "matrix", "result": result}})

    async def _values(self, request: web.Request) -> web.Response:
        return _answer({"status": "success", "data": self._world.bounds(request.query["match[]"])})

    async def _bad(self, request: web.Request) -> web.Response:
        asked = await request.json()
        for deployment in asked["deployments"]:
            self._world.turn_bad(asked["image"], deployment, time.time())
        return _answer({})

    async def _refuse(self, request: web.Request) -> web.Response:
        self._refuses_until = time.time() + float((await request.json())["seconds"])
        return _answer({})


async def play(kubeconfig: Path, port: int, label: str) -> None:
    """Answer until cancelled."""
    world = World()
    runner = web.AppRunner(Server(world).app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with open_api(kubeconfig) as api:
        print("ready", flush=True)
        async for change in api.follow("/api/v1/pods", {"labelSelector": label}):
            pod = pod_of(change.manifest, label)
            if change.type == "DELETED":
                metadata = change.manifest["metadata"]
                world.drop(metadata["namespace"], metadata["name"])
            elif pod is not None:
                world.put(pod)


def pod_of(manifest: Manifest, label: str) -> Pod | None:
    """What is kept of a pod, whose label names its resource; None before it runs."""
    metadata, containers = manifest["metadata"], manifest.get("status", {}).get("containerStatuses")
    if not containers:
        return None
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        deployment=metadata["labels"][label],
        image=manifest["spec"]["containers"][0]["image"],
        started_at=datetime.fromisoformat(containers[0]["state"]["running"]["startedAt"]).timestamp(),
    )


async def _parameters(request: web.Request) -> dict[str, str]:
    posted = await request.post() if request.method == "POST" else {}
    return {name: str(value) for name, value in (*request.query.items(), *posted.items())}


def _answer(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _main() -> None:
    parser = argparse.ArgumentParser(description="Answer the operator's queries in Prometheus' place.")
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("label")
    arguments = parser.parse_args()
    asyncio.run(play(arguments.kubeconfig, arguments.port, arguments.label))


if __name__ == "__main__":
    _main()
