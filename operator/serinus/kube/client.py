"""Kubernetes over HTTP: one session, plain dicts, a bounded number of calls at once, errors that say what to do.

`HttpCluster` implements the port `serinus.kube.cluster.Cluster`, and beyond it what the informers, the lease and the
Events need. Nothing here is typed by a Kubernetes version: typed models drop the fields that they do not know.
"""

from __future__ import annotations

import asyncio
import gc
import random
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import aiohttp
import orjson

from serinus.api.kinds import FIELD_MANAGER, MODEL_DEPLOYMENT, Kind
from serinus.core.plan import Manifest
from serinus.kube.calls import OnCall
from serinus.kube.cluster import ApiError, Conflict, NotFound, Rejected, StatusPruned, Unavailable
from serinus.kube.credentials import Credentials, CredentialsError, open_session
from serinus.kube.depth import decoded
from serinus.kube.ownership import booked_as_apply
from serinus.kube.refusals import describe, refusal
from serinus.kube.silence import OpenWatch, Silence, SilentError

JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"  # JSON is YAML
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_ONLY_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"

_LONGEST_PATIENCE_SECONDS: Final = 5.0
"""A 429 is known not to have been carried out; it is repeated here if the API server asks for no longer wait."""
_RETRY_SPREAD: Final = 0.2
"""Those that are throttled together come back by so much apart: between what was asked for and a fifth more."""
WATCH_SILENCE_SECONDS: Final = 100.0
"""A watch without a byte for this long is dead: its end, for which the informers ask after a minute, is overdue."""
_LARGE_BYTES: Final = 100_000
_UNKNOWN_FIELD: Final = re.compile(r'unknown field "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: tuple[dict[str, Any], ...]
    resource_version: str
    """Version of the whole list: a watch from here misses nothing."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. A bookmark's object has nothing but a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    manifest: dict[str, Any]


class HttpCluster:
    """A Kubernetes API server, reached through one aiohttp session. Every method may raise `ApiError`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: str,
        *,
        timeout_seconds: float = 15.0,
        concurrency: int = 64,
        silence: Silence | None = None,
    ) -> None:
        """Calls end after `timeout_seconds`; at most `concurrency` are under way at once, watches not counted.

        Clients of one API server share one `silence`.
        """
        self._session = session
        self._server = server.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._silence = silence or Silence(timeout_seconds)

    def beside(self, concurrency: int) -> HttpCluster:
        """The same API server, for at most `concurrency` calls of another sort, of which neither waits for the other.

        A call that is throttled keeps its place while it waits, so that an API server that is busy is asked for less;
        a Lease that has to be renewed must not stand in that queue.
        """
        return HttpCluster(
            self._session,
            self._server,
            timeout_seconds=self._timeout_seconds,
            concurrency=concurrency,
            silence=self._silence,
        )

    def doubt_watches(self) -> None:
        """Give up the open watches that stay silent for as long as a call may take; their readers see `Unavailable`."""
        self._silence.doubt()

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """The object as it is now. An empty namespace means a cluster-scoped kind."""
        return await self._call(_attempt("read", kind, namespace, name), "GET", _path(kind, namespace, name))

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        """POST: make a new object, never touch an existing one (`AlreadyExists`). Unknown fields are refused."""
        attempt = _attempt("create", kind, namespace, _name(manifest))
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._call(attempt, "POST", _path(kind, namespace), query=query, body=manifest)

    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        """PUT: the whole object, on condition of its `metadata.resourceVersion` (`Conflict`)."""
        name = _name(manifest)
        attempt = _attempt("replace", kind, namespace, name)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call(attempt, "PUT", _path(kind, namespace, name), query=query, body=manifest)

    async def merge(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Manifest,
        *,
        field_manager: str = FIELD_MANAGER,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """JSON merge patch (RFC 7396): maps are merged, lists replaced, null removes.

        `field_manager` is who wrote it, for the record; `dry_run` asks for every check and changes nothing.
        """
        attempt = _attempt("patch", kind, namespace, name)
        query = {"fieldManager": field_manager, **({"dryRun": "All"} if dry_run else {})}
        return await self._call(
            attempt, "PATCH", _path(kind, namespace, name), query=query, body=patch, content_type=MERGE_PATCH
        )

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, resource_version: str, *, booked: bool = False
    ) -> dict[str, Any]:
        """Server-side apply with force, as field manager `serinus`; `Conflict` if the object has moved on.

        The manifest carries the `metadata.uid` of the observed object: without it, API servers take no notice of the
        resourceVersion where the object is gone, and make a new one. Unknown fields are refused. What stands in the
        spec besides the manifest goes, whoever wrote it; the replicas of a ReplicaSet stay as they are. For that the
        spec has to be booked as applied by us: unless it is known to be, or nothing has to go (`booked`), that takes a
        read, and a write.
        """
        name = _name(manifest)
        attempt, path = _attempt("apply", kind, namespace, name), _path(kind, namespace, name)
        version = resource_version if booked else await self._own_by_apply(kind, namespace, manifest, resource_version)
        body = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._call(attempt, "PATCH", path, query=query, body=body, content_type=APPLY_PATCH)

    async def _own_by_apply(self, kind: Kind, namespace: str, manifest: Manifest, resource_version: str) -> str:
        """Book the spec as applied by us, on the observed version; returns the version the object has then."""
        name = _name(manifest)
        found = (await self.get(kind, namespace, name))["metadata"]
        if (found["uid"], found["resourceVersion"]) != (manifest["metadata"]["uid"], resource_version):
            what = f"it is at version {found['resourceVersion']}, not at the observed {resource_version}"
            raise Conflict(describe(Conflict, _attempt("apply", kind, namespace, name), what))
        fields = booked_as_apply(kind, found.get("managedFields") or ())
        if fields is None:
            return resource_version
        patch: list[Manifest] = [
            {"op": "replace", "path": "/metadata/managedFields", "value": fields},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
        ]
        attempt = _attempt("take over the fields of", kind, namespace, name)
        written = await self._call(attempt, "PATCH", _path(kind, namespace, name), body=patch, content_type=JSON_PATCH)
        return str(written["metadata"]["resourceVersion"])

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """Set `spec.replicas` through the scale subresource; `Conflict` if the object has moved on."""
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        attempt = _attempt(f"scale to {replicas}", kind, namespace, name)
        query = {"fieldManager": FIELD_MANAGER}
        path = _path(kind, namespace, name, "scale")
        await self._call(attempt, "PATCH", path, query=query, body=body, content_type=MERGE_PATCH)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete in the background the object that has this uid; one that is gone already is no error."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            attempt = _attempt("delete", kind, namespace, name)
            await self._call(attempt, "DELETE", _path(kind, namespace, name), body=body)
        except (NotFound, Conflict):  # a conflict means that another object has the name by now
            return

    async def write_status(self, namespace: str, name: str, status: Manifest, resource_version: str) -> dict[str, Any]:
        """Replace the status of a ModelDeployment; returns the whole object; `Conflict` if it has moved on.

        `StatusPruned` if the API server does not know a field that was sent (then nothing is written), or does not hold
        all of them afterwards. The spec need not be sent: a write of the status subresource leaves all else as it is.
        """
        body = {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.kind,
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": resource_version},
            "status": status,
        }
        attempt = _attempt("write the status of", MODEL_DEPLOYMENT, namespace, name)
        path = _path(MODEL_DEPLOYMENT, namespace, name, "status")
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        try:
            held = await self._call(attempt, "PUT", path, query=query, body=body)
        except Rejected as error:
            if unknown := tuple(_UNKNOWN_FIELD.findall(str(error))):
                raise _pruned(attempt, unknown) from error
            raise
        if lost := lost_fields(status, held.get("status"), "status"):
            raise _pruned(attempt, lost)
        return held

    async def may(self, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
        """Whether who asks has a right; `resource` with its subresource. No namespace means all, or the cluster."""
        plural, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
        attributes |= {"namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        attempt = f"ask whether one may {verb} {resource} {_where(namespace or None)}"
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._call(attempt, "POST", path, body=review)
        return bool((answer.get("status") or {}).get("allowed"))

    async def discover(self, kind: Kind) -> bool:
        """Whether the kind is installed."""
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        try:
            found = await self._call(f"discover {kind.plural} of {kind.api_version}", "GET", root)
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in found.get("resources", ()))

    async def serves_group(self, group: str) -> bool:
        """Whether any version of an API group is registered, by whomever it is served and whether that is up or not."""
        try:
            await self._call(f"discover {group}", "GET", f"/apis/{group}")
        except NotFound:
            return False
        return True

    async def list_pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        page_size: int = 500,
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """All objects of a kind, page by page, in one consistent version; of all namespaces for None.

        `metadata_only`: the API server leaves out all else of them, such as what a Secret contains.
        `NotFound` if the kind is not installed; `Expired` if the pages take so long that the version is forgotten.
        """
        query = {"limit": str(page_size), **({"labelSelector": label_selector} if label_selector else {})}
        attempt = f"list {kind.plural} {_where(namespace)}"
        while True:
            accepted = METADATA_ONLY_LIST if metadata_only else JSON
            answer = await self._call(attempt, "GET", _path(kind, namespace), query=query, accepted=accepted)
            metadata = answer["metadata"]
            # Lists of built-in kinds leave apiVersion and kind out of their items.
            named = {"apiVersion": kind.api_version, "kind": kind.kind}
            yield Page(tuple({**named, **item} for item in answer.get("items") or ()), metadata["resourceVersion"])
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        resource_version: str,
        *,
        label_selector: str | None = None,
        name: str | None = None,
        metadata_only: bool = False,
        timeout_seconds: int = 300,
        silence_seconds: float = WATCH_SILENCE_SECONDS,
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, with bookmarks, until the API server ends it after `timeout_seconds`.

        With a `name`, of that one object: such a watch can be allowed for that name alone. `metadata_only` as of lists.
        `Expired` if the API server has forgotten that version; `Unavailable` if the connection breaks or is silent for
        `silence_seconds`, or not as long where calls are not answered either: then a new watch goes on from the last
        event.
        """
        attempt = f"watch {kind.plural} {_where(namespace)}"
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            **({"labelSelector": label_selector} if label_selector else {}),
            **({"fieldSelector": f"metadata.name={name}"} if name else {}),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=self._timeout_seconds, sock_read=silence_seconds)
        try:
            async with self._silence.answered(), asyncio.timeout(self._timeout_seconds):
                granted = await self._session.get(
                    self._server + _path(kind, namespace),
                    params=query,
                    headers={"Accept": METADATA_ONLY if metadata_only else JSON},
                    timeout=timeout,
                    allow_redirects=False,
                )
            async with granted as response:
                if response.status != 200:
                    raise refusal(attempt, response.status, await response.read(), response.headers.get("Retry-After"))
                with self._silence.watched(response.content) as watch:
                    async for line in _lines(watch):
                        yield _watch_event(attempt, line)
        except (aiohttp.ClientError, OSError, CredentialsError) as error:
            raise _unreachable(attempt, error) from error

    async def _call(
        self,
        attempt: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | Sequence[Manifest] | None = None,
        content_type: str = JSON,
        accepted: str = JSON,
    ) -> dict[str, Any]:
        data = None if body is None else _as_api_servers_write_it(body)
        headers = {"Accept": accepted, **({"Content-Type": content_type} if data is not None else {})}
        request = _Request(attempt, method, self._server + path, query, data, headers)
        async with self._slots:
            deadline = time.monotonic() + self._timeout_seconds
            while True:
                answer = await self._send(request, deadline - time.monotonic())
                if 200 <= answer.status < 300:
                    return _object(attempt, answer.body)
                error = refusal(attempt, answer.status, answer.body, answer.retry_after)
                if answer.status != 429 or not isinstance(error, Unavailable):
                    raise error
                asked_for = error.retry_after_seconds or 1.0
                wait = asked_for * (1.0 + _RETRY_SPREAD * random.random())  # noqa: S311 -- keeps no secret
                if asked_for > _LONGEST_PATIENCE_SECONDS or time.monotonic() + wait > deadline:
                    raise error
                await asyncio.sleep(wait)

    async def _send(self, request: _Request, seconds: float) -> _Answer:
        try:
            async with (
                self._silence.answered(),
                self._session.request(
                    request.method,
                    request.url,
                    params=request.query,
                    data=request.data,
                    headers=request.headers,
                    timeout=aiohttp.ClientTimeout(total=max(0.1, seconds)),
                    allow_redirects=False,
                ) as response,
            ):
                return _Answer(response.status, await response.read(), response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError, CredentialsError) as error:
            raise _unreachable(request.attempt, error) from error


_GO_ESCAPES: Final = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "<>&\u2028\u2029")


def _as_api_servers_write_it(body: Manifest | Sequence[Manifest]) -> bytes:
    """JSON byte for byte as Go writes it: keys sorted, and five characters escaped, which stand in strings only.

    The `data` of a ControllerRevision is kept as the bytes that were sent, a later write of anything else in the object
    sends it through Go's encoder, and bytes that differ then are refused as a change of an immutable field.
    """
    data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    for char, escape in _GO_ESCAPES:
        data = data.replace(char, escape)
    return data


@dataclass(frozen=True, slots=True)
class _Request:
    attempt: str
    method: str
    url: str
    query: Mapping[str, str] | None
    data: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None


@asynccontextmanager
async def open_cluster(
    credentials: Credentials,
    *,
    timeout_seconds: float = 15.0,
    concurrency: int = 64,
    on_call: OnCall | None = None,
) -> AsyncIterator[HttpCluster]:
    """An `HttpCluster` with a session of its own, closed at the end; `on_call` hears of each of its requests."""
    async with open_session(credentials, on_call) as session:
        yield HttpCluster(session, credentials.server, timeout_seconds=timeout_seconds, concurrency=concurrency)


def lost_fields(sent: object, held: object, path: str) -> tuple[str, ...]:
    """Paths of what was sent and is not held: absent or different. A null that was sent may be absent."""
    if sent == held:  # mostly, and this is quick
        return ()
    if isinstance(sent, Mapping) and isinstance(held, Mapping):
        return tuple(
            lost
            for key, value in sent.items()
            if not (value is None and key not in held)
            for lost in (lost_fields(value, held[key], f"{path}.{key}") if key in held else (f"{path}.{key}",))
        )
    if isinstance(sent, list | tuple) and isinstance(held, list | tuple) and len(sent) == len(held):
        return tuple(
            lost
            for index, (item, other) in enumerate(zip(sent, held, strict=True))
            for lost in lost_fields(item, other, f"{path}[{index}]")
        )
    return (path,)


def _pruned(attempt: str, fields: tuple[str, ...]) -> StatusPruned:
    return StatusPruned(
        f"{attempt}: the API server does not hold {', '.join(fields)}; "
        "its CRD is older than this operator: upgrade the CRD, then the operator goes on",
        fields,
    )


async def _lines(watch: OpenWatch) -> AsyncIterator[bytes]:
    """Lines of any length; an unfinished last one is dropped, its change comes again with the next watch."""
    pending = b""
    async for chunk in watch.content.iter_any():
        watch.heard = True
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole, pending = pending + line, b""
            if whole:
                yield whole
        pending += rest


def _watch_event(attempt: str, line: bytes) -> WatchEvent:
    event = _object(attempt, line)
    if event.get("type") == "ERROR":
        status = event.get("object") or {}
        raise refusal(attempt, int(status.get("code") or 500), orjson.dumps(status))
    return WatchEvent(event["type"], event["object"])


def _object(attempt: str, answer: bytes) -> dict[str, Any]:
    try:
        parsed = _parse(answer)
    except orjson.JSONDecodeError as error:
        what = f"the answer is not JSON ({error}): {answer[:200].decode('utf-8', 'replace')}"
        raise Unavailable(describe(Unavailable, attempt, what)) from error
    if not isinstance(parsed, dict):
        raise Unavailable(describe(Unavailable, attempt, f"the answer is no object but {type(parsed).__name__}"))
    return parsed


def _parse(answer: bytes) -> object:
    """The JSON value, without collecting garbage meanwhile.

    A page of a list is tens of thousands of new objects without a cycle among them; looking for some every few hundred
    allocations takes ten times as long as the parsing itself (7.7 s against 0.8 s for 40,000 objects).
    """
    if len(answer) < _LARGE_BYTES or not gc.isenabled():
        return decoded(answer)
    gc.disable()
    try:
        return decoded(answer)
    finally:
        gc.enable()


def _unreachable(attempt: str, error: Exception) -> ApiError:
    late = isinstance(error, TimeoutError) and not isinstance(error, SilentError)
    what = "the API server did not answer in time" if late else f"no answer: {error}"
    if isinstance(error, aiohttp.InvalidURL):
        return Rejected(describe(Rejected, attempt, what))
    return Unavailable(describe(Unavailable, attempt, what))


def _path(kind: Kind, namespace: str | None, name: str = "", subresource: str = "") -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    parts = [*(("namespaces", namespace) if namespace else ()), kind.plural, name, subresource]
    return "/".join((root, *(quote(part, safe="") for part in parts if part)))


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _attempt(verb: str, kind: Kind, namespace: str, name: str) -> str:
    return f"{verb} {kind.kind} {f'{namespace}/' if namespace else ''}{name}"


def _where(namespace: str | None) -> str:
    return f"in namespace {namespace}" if namespace else "in all namespaces"
