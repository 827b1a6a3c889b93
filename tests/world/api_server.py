"""An API server in memory: resource versions, conflicts, server-side apply, subresources, and faults on demand.

It implements the same port as the HTTP client (`serinus.kube.cluster.Cluster`); the contract suite in
`tests/integration/test_cluster_contract.py` runs against both.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from serinus.api.kinds import MODEL_DEPLOYMENT, Kind
from serinus.kube.cluster import AlreadyExists, Conflict, Expired, NotFound, Rejected, Unavailable


def copied(value: Any) -> Any:
    """A copy of a JSON value in which nothing is shared."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


class OperatorKilled(BaseException):
    """The operator's process dies here: right after a write that the API server has committed."""


@dataclass(frozen=True)
class Write:
    """One committed write of the operator."""

    number: int
    verb: str
    kind: str
    name: str


class Mishap(StrEnum):
    """What happens to one call of the operator."""

    CONFLICT = "is answered 409"
    EXPIRED = "is answered 410"
    THROTTLED = "is answered 429 with Retry-After"
    ERROR = "is answered 500"
    FORBIDDEN = "is answered 403"
    TIMEOUT = "times out, and was not carried out"
    LOST = "times out, and was carried out"
    SLOW = "takes seconds"
    HALF_OPEN = "hangs on a half-open connection, and was not carried out"
    HALF_OPEN_CARRIED_OUT = "hangs on a half-open connection, and was carried out"
    FREEZE = "is still to be sent when the process is frozen"


BEFORE_THE_WRITE: dict[Mishap, Callable[[], Exception]] = {
    Mishap.CONFLICT: lambda: Conflict("somebody else wrote in between"),
    Mishap.EXPIRED: lambda: Expired("that version is forgotten"),
    Mishap.THROTTLED: lambda: Unavailable("too many requests", retry_after_seconds=2),
    Mishap.ERROR: lambda: Unavailable("internal error"),
    Mishap.FORBIDDEN: lambda: Rejected("exceeded quota"),
    Mishap.TIMEOUT: lambda: Unavailable("no answer in time"),
    Mishap.HALF_OPEN: lambda: Unavailable("the connection was half-open"),
}
_DELETED_AT = "2026-03-01T12:00:00Z"
_IMMUTABLE = {"ControllerRevision": (("data",),), "ReplicaSet": (("spec", "selector"),)}
LASTING = frozenset({Mishap.SLOW, Mishap.HALF_OPEN, Mishap.HALF_OPEN_CARRIED_OUT, Mishap.FREEZE})


@dataclass(frozen=True)
class Hold:
    """A call under way that takes a while. Passes that meet one have to be driven by `World`, which knows the time."""

    seconds: int
    frozen: bool
    """Whether the whole process stands still."""


@types.coroutine
def _held(hold: Hold) -> Generator[Hold, None, None]:
    yield hold


@dataclass
class Faults:
    """What goes wrong, by the number of the operator's write, or of its call (from 1)."""

    kill_after: frozenset[int] = frozenset()
    lose_response_of: frozenset[int] = frozenset()
    down: bool = False
    mishaps: dict[int, Mishap] = field(default_factory=dict)
    """By the number of the call, reads included; each happens once."""
    mishap: Callable[[], Mishap | None] = lambda: None
    """Asked for every other call."""
    meanwhile: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What somebody else does right before a call arrives, by its number."""
    hold_seconds: int = 5
    refused_kinds: frozenset[str] = frozenset()
    """Kinds that the operator may not write now: a quota, a webhook, a missing right."""


@dataclass
class ApiServer:
    """Objects by (kind, namespace, name)."""

    faults: Faults = field(default_factory=Faults)
    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    by_kind: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = field(default_factory=dict)
    """The same objects by kind."""
    watchers: list[Callable[[str], None]] = field(default_factory=list)
    """Told the kind of what has changed."""
    calls: int = 0
    failed_calls: int = 0
    version: int = 100
    _owned: dict[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Labels and annotations that Serinus wrote, by uid."""

    # The port -------------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        await self._called("")
        return copied(self._existing(kind.kind, namespace, name))

    async def create(self, kind: Kind, namespace: str, manifest: Any) -> dict[str, Any]:
        lost = await self._called(kind.kind)
        name = manifest["metadata"]["name"]
        if (kind.kind, namespace, name) in self.objects:
            raise AlreadyExists(f"{kind.kind} {namespace}/{name} already exists")
        created = self.put(kind.kind, namespace, copied(dict(manifest)))
        self._owned[created["metadata"]["uid"]] = _named(manifest)
        return self._committed("create", kind, name, created, lost)

    async def apply(
        self, kind: Kind, namespace: str, manifest: Any, resource_version: str, *, booked: bool = False
    ) -> dict[str, Any]:
        del booked  # nobody else's fields are kept: every spec is ours, and nobody else is named as a writer of it
        lost = await self._called(kind.kind)
        name = manifest["metadata"]["name"]
        existing = self._existing(kind.kind, namespace, name, resource_version)
        if manifest["metadata"].get("uid", existing["metadata"]["uid"]) != existing["metadata"]["uid"]:
            raise Conflict(f"{kind.kind} {namespace}/{name} is another one by now")
        uid = existing["metadata"]["uid"]
        merged = _applied(existing, manifest, self._owned.get(uid, frozenset()))
        for path in _IMMUTABLE.get(kind.kind, ()):
            if _value(merged, path) != _value(existing, path):
                raise Rejected(f"{kind.kind} {namespace}/{name} is invalid: {'.'.join(path)}: field is immutable")
        merged["metadata"].pop("managedFields", None)
        self._owned[uid] = _named(manifest)
        changed = self._replace(existing, merged)
        return self._committed("apply", kind, name, changed, lost)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        lost = await self._called(kind.kind)
        existing = self._existing(kind.kind, namespace, name, resource_version)
        merged = copied(existing)
        merged["spec"]["replicas"] = replicas
        self._committed("scale", kind, name, self._replace(existing, merged), lost)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        lost = await self._called(kind.kind)
        existing = self.objects.get((kind.kind, namespace, name))
        if existing is None or existing["metadata"]["uid"] != uid:
            return
        self.remove(kind.kind, namespace, name)
        self._committed("delete", kind, name, {}, lost)

    async def write_status(self, namespace: str, name: str, status: Any, resource_version: str) -> dict[str, Any]:
        lost = await self._called(MODEL_DEPLOYMENT.kind)
        existing = self._existing(MODEL_DEPLOYMENT.kind, namespace, name, resource_version)
        merged = copied(existing)
        merged["status"] = copied(dict(status))
        return self._committed("status", MODEL_DEPLOYMENT, name, self._replace(existing, merged), lost)

    # For the world and the tests --------------------------------------------------------------------------------------

    def put(self, kind: str, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make an object as somebody else than the operator."""
        metadata = manifest.setdefault("metadata", {})
        self.version += 1
        metadata |= {
            "namespace": namespace,
            "uid": f"uid-{self.version}",
            "resourceVersion": str(self.version),
            "generation": 1,
        }
        self._store(kind, namespace, metadata["name"], manifest)
        return manifest

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change an object as somebody else than the operator."""
        existing = self._existing(kind, namespace, name)
        merged = copied(existing)
        change(merged)
        self._replace(existing, merged)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object: one with finalizers stays until the last of them is taken off."""
        if self.objects[kind, namespace, name]["metadata"].get("finalizers"):
            self.edit(kind, namespace, name, lambda m: m["metadata"].setdefault("deletionTimestamp", _DELETED_AT))
            return
        del self.objects[kind, namespace, name]
        del self.by_kind[kind][kind, namespace, name]
        self.version += 1
        self._changed(kind)

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        """All objects of a kind."""
        return iter(list(self.by_kind.get(kind, {}).values()))

    def find(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        return self.objects.get((kind, namespace, name))

    # ------------------------------------------------------------------------------------------------------------------

    async def _called(self, kind: str) -> bool:
        """A call for this kind ("" to read) arrives; says whether its answer will be lost."""
        faults = self.faults
        if faults.down:
            self.failed_calls += 1
            raise Unavailable("the API server does not answer")
        self.calls += 1
        if meanwhile := faults.meanwhile.pop(self.calls, None):
            meanwhile()
        mishap = faults.mishaps.pop(self.calls, None) or faults.mishap()
        if kind in faults.refused_kinds:
            mishap = Mishap.FORBIDDEN
        if mishap is None:
            return False
        lost = mishap in {Mishap.LOST, Mishap.HALF_OPEN_CARRIED_OUT}
        self.failed_calls += 1
        if mishap in LASTING:
            await _held(Hold(faults.hold_seconds, frozen=mishap is Mishap.FREEZE))
        if mishap in BEFORE_THE_WRITE:
            error = BEFORE_THE_WRITE[mishap]
            raise error()
        return lost

    def _existing(self, kind: str, namespace: str, name: str, resource_version: str | None = None) -> dict[str, Any]:
        existing = self.objects.get((kind, namespace, name))
        if existing is None:
            raise NotFound(f"{kind} {namespace}/{name} is not there")
        if resource_version is not None and existing["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(f"{kind} {namespace}/{name} has moved on")
        return existing

    def _replace(self, existing: dict[str, Any], merged: dict[str, Any]) -> dict[str, Any]:
        if merged == existing:
            return existing
        metadata = merged["metadata"]
        if merged.get("spec") != existing.get("spec"):
            metadata["generation"] = existing["metadata"]["generation"] + 1
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self._store(merged["kind"], metadata["namespace"], metadata["name"], merged)
        waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" in metadata and not waits:
            self.remove(merged["kind"], metadata["namespace"], metadata["name"])
        return merged

    def _committed(self, verb: str, kind: Kind, name: str, result: dict[str, Any], lost: bool) -> dict[str, Any]:
        number = len(self.writes) + 1
        self.writes.append(Write(number, verb, kind.kind, name))
        if number in self.faults.kill_after:
            raise OperatorKilled
        if lost or number in self.faults.lose_response_of:
            raise Unavailable("the connection broke after the request was sent")
        return copied(result)

    def _store(self, kind: str, namespace: str, name: str, manifest: dict[str, Any]) -> None:
        self.objects[kind, namespace, name] = manifest
        self.by_kind.setdefault(kind, {})[kind, namespace, name] = manifest
        self._changed(kind)

    def _changed(self, kind: str) -> None:
        for watcher in self.watchers:
            watcher(kind)


def _named(manifest: Any) -> frozenset[tuple[str, str]]:
    return frozenset((place, key) for place in ("labels", "annotations") for key in manifest["metadata"].get(place, {}))


def _value(manifest: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = manifest
    for key in path:
        value = (value or {}).get(key)
    return value


def _applied(existing: dict[str, Any], manifest: Any, owned: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Server-side apply as the client does it: the spec is replaced whole, but for replicas that are not named.

    Of the metadata, labels and annotations that Serinus wrote before and names no longer go; those of others stay, as
    do their owners and finalizers.
    """
    merged = copied(existing)
    merged |= {key: copied(manifest[key]) for key in manifest if key not in {"metadata", "status", "spec"}}
    if "spec" in manifest:
        kept = {"replicas": existing["spec"]["replicas"]} if "replicas" in existing.get("spec", {}) else {}
        merged["spec"] = kept | copied(manifest["spec"])
    metadata = merged["metadata"]
    if "ownerReferences" in manifest["metadata"]:
        ours = {owner["uid"]: copied(dict(owner)) for owner in manifest["metadata"]["ownerReferences"]}
        theirs = [owner for owner in metadata.get("ownerReferences", ()) if owner["uid"] not in ours]
        metadata["ownerReferences"] = [*theirs, *ours.values()]
    for place in ("labels", "annotations"):
        named = manifest["metadata"].get(place, {})
        others = {k: v for k, v in metadata.get(place, {}).items() if (place, k) not in owned}
        metadata.pop(place, None)
        if others or named:
            metadata[place] = others | copied(dict(named))
    return merged
