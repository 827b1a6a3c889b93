"""An API server in memory: resource versions, conflicts, server-side apply, subresources, and faults on demand.

It implements the same port as the HTTP client (`serinus.kube.cluster.Cluster`); the contract suite in
`tests/integration/test_cluster_contract.py` runs against both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from serinus.api.kinds import MODEL_DEPLOYMENT, Kind
from serinus.kube.cluster import AlreadyExists, Conflict, NotFound, Unavailable


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


@dataclass
class Faults:
    """What goes wrong, by the number of the operator's write (from 1)."""

    kill_after: frozenset[int] = frozenset()
    lose_response_of: frozenset[int] = frozenset()
    down: bool = False


@dataclass
class ApiServer:
    """Objects by (kind, namespace, name)."""

    faults: Faults = field(default_factory=Faults)
    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    watchers: list[Callable[[], None]] = field(default_factory=list)
    _version: int = 100
    _owned: dict[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Labels and annotations that Serinus wrote, by uid."""

    # The port -------------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        self._answer()
        return copied(self._existing(kind.kind, namespace, name))

    async def create(self, kind: Kind, namespace: str, manifest: Any) -> dict[str, Any]:
        self._answer()
        name = manifest["metadata"]["name"]
        if (kind.kind, namespace, name) in self.objects:
            raise AlreadyExists(f"{kind.kind} {namespace}/{name} already exists")
        created = self.put(kind.kind, namespace, copied(dict(manifest)))
        self._owned[created["metadata"]["uid"]] = _named(manifest)
        return self._committed("create", kind, name, created)

    async def apply(self, kind: Kind, namespace: str, manifest: Any, resource_version: str) -> dict[str, Any]:
        self._answer()
        name = manifest["metadata"]["name"]
        existing = self._existing(kind.kind, namespace, name, resource_version)
        if manifest["metadata"].get("uid", existing["metadata"]["uid"]) != existing["metadata"]["uid"]:
            raise Conflict(f"{kind.kind} {namespace}/{name} is another one by now")
        uid = existing["metadata"]["uid"]
        merged = _applied(existing, manifest, self._owned.get(uid, frozenset()))
        self._owned[uid] = _named(manifest)
        changed = self._replace(existing, merged)
        return self._committed("apply", kind, name, changed)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        self._answer()
        existing = self._existing(kind.kind, namespace, name, resource_version)
        merged = copied(existing)
        merged["spec"]["replicas"] = replicas
        self._committed("scale", kind, name, self._replace(existing, merged))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        self._answer()
        existing = self.objects.get((kind.kind, namespace, name))
        if existing is None or existing["metadata"]["uid"] != uid:
            return
        self.remove(kind.kind, namespace, name)
        self._committed("delete", kind, name, {})

    async def write_status(self, namespace: str, name: str, status: Any, resource_version: str) -> dict[str, Any]:
        self._answer()
        existing = self._existing(MODEL_DEPLOYMENT.kind, namespace, name, resource_version)
        merged = copied(existing)
        merged["status"] = copied(dict(status))
        return self._committed("status", MODEL_DEPLOYMENT, name, self._replace(existing, merged))

    # For the world and the tests --------------------------------------------------------------------------------------

    def put(self, kind: str, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make an object as somebody else than the operator."""
        metadata = manifest.setdefault("metadata", {})
        self._version += 1
        metadata |= {
            "namespace": namespace,
            "uid": f"uid-{self._version}",
            "resourceVersion": str(self._version),
            "generation": 1,
        }
        self.objects[kind, namespace, metadata["name"]] = manifest
        self._changed()
        return manifest

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change an object as somebody else than the operator."""
        existing = self._existing(kind, namespace, name)
        merged = copied(existing)
        change(merged)
        self._replace(existing, merged)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object."""
        del self.objects[kind, namespace, name]
        self._version += 1
        self._changed()

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        """All objects of a kind."""
        return iter([each for (k, _, _), each in self.objects.items() if k == kind])

    def find(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        return self.objects.get((kind, namespace, name))

    # ------------------------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        if self.faults.down:
            raise Unavailable("the API server does not answer")

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
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        kind = merged["kind"]
        self.objects[kind, metadata["namespace"], metadata["name"]] = merged
        self._changed()
        return merged

    def _committed(self, verb: str, kind: Kind, name: str, result: dict[str, Any]) -> dict[str, Any]:
        number = len(self.writes) + 1
        self.writes.append(Write(number, verb, kind.kind, name))
        if number in self.faults.kill_after:
            raise OperatorKilled
        if number in self.faults.lose_response_of:
            raise Unavailable("the connection broke after the request was sent")
        return copied(result)

    def _changed(self) -> None:
        for watcher in self.watchers:
            watcher()


def _named(manifest: Any) -> frozenset[tuple[str, str]]:
    return frozenset((place, key) for place in ("labels", "annotations") for key in manifest["metadata"].get(place, {}))


def _applied(existing: dict[str, Any], manifest: Any, owned: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Server-side apply as the client does it: the spec is replaced whole, but for replicas that are not named.

    Of the metadata, labels and annotations that Serinus wrote before and names no longer go; those of others stay.
    """
    merged = copied(existing)
    merged |= {key: copied(manifest[key]) for key in manifest if key not in {"metadata", "status", "spec"}}
    if "spec" in manifest:
        kept = {"replicas": existing["spec"]["replicas"]} if "replicas" in existing.get("spec", {}) else {}
        merged["spec"] = kept | copied(manifest["spec"])
    metadata = merged["metadata"]
    if "ownerReferences" in manifest["metadata"]:
        metadata["ownerReferences"] = copied(manifest["metadata"]["ownerReferences"])
    for place in ("labels", "annotations"):
        named = manifest["metadata"].get(place, {})
        others = {k: v for k, v in metadata.get(place, {}).items() if (place, k) not in owned}
        metadata.pop(place, None)
        if others or named:
            metadata[place] = others | copied(dict(named))
    return merged
