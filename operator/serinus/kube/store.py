"""Objects as they were last seen, packed so that ten thousand resources with their children fit into one process.

A decoded object takes four times the memory of its JSON, and most objects lie still for days: they are kept as JSON and
decoded when somebody looks. Used by the informers of `serinus.kube.informers` and by the cache of ModelDeployments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from serinus.core.plan import Manifest
from serinus.kube.depth import encoded

ObjectKey = tuple[str, str]
"""Namespace (empty for objects of the cluster) and name."""

_IDENTITY: Final = ("name", "namespace", "uid", "resourceVersion")


class _Packed(NamedTuple):
    uid: str
    version: int
    data: bytes


class Store:
    """Objects of one kind by namespace and name. What comes out is a copy: to change it changes nothing in here."""

    def __init__(self) -> None:
        self._packed: dict[ObjectKey, _Packed] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[ObjectKey]:
        """Namespaces and names of all objects there are when the iteration begins."""
        return iter(tuple(self._packed))

    def __contains__(self, key: object) -> bool:
        return key in self._packed

    def objects(self) -> Iterator[Manifest]:
        """All objects there are when the iteration begins."""
        return (orjson.loads(found.data) for found in tuple(self._packed.values()))

    def get(self, key: ObjectKey) -> Manifest | None:
        """The object, or None."""
        found = self._packed.get(key)
        return None if found is None else orjson.loads(found.data)

    def put(self, manifest: Manifest) -> None:
        """Keep an object in place of the one of its name; of one that is nested too deep, what can be kept."""
        metadata = manifest["metadata"]
        uid = metadata.get("uid", "")
        self._packed[object_key(manifest)] = _Packed(uid, object_version(manifest), packed(manifest))

    def pop(self, key: ObjectKey) -> Manifest | None:
        """Forget an object; returns it as it was."""
        found = self._packed.pop(key, None)
        return None if found is None else orjson.loads(found.data)

    def has_uid_of(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the object of that name is this one, and none that was made before or after it."""
        found = self._packed.get(object_key(manifest))
        return found is not None and found.uid == manifest["metadata"].get("uid", "")

    def has(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the object is kept in this very version."""
        found = self._packed.get(object_key(manifest))
        return found is not None and found.version == object_version(manifest) and self.has_uid_of(manifest)

    def has_newer(self, manifest: Mapping[str, Any]) -> bool:
        """Whether a later version of the object is kept."""
        found = self._packed.get(object_key(manifest))
        return found is not None and found.version > object_version(manifest)


def packed(manifest: Mapping[str, Any]) -> bytes:
    """The object, or what is left of one that is nested too deep, as JSON in as many bytes as it takes.

    orjson answers with all of the buffer that it wrote into: for most objects several times what it has to say.
    """
    return bytes(memoryview(encoded(manifest)))


def object_key(manifest: Mapping[str, Any]) -> ObjectKey:
    """Namespace and name of an object."""
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def identity(manifest: Mapping[str, Any], *besides: str) -> dict[str, Any]:
    """The metadata by which a store tells an object and its version from others, and the fields `besides` it has."""
    metadata = manifest["metadata"]
    return {field: metadata[field] for field in (*_IDENTITY, *besides) if field in metadata}


def object_version(manifest: Mapping[str, Any]) -> int:
    """The object's resourceVersion: those of one kind can be compared as numbers."""
    return int(manifest["metadata"]["resourceVersion"])


def differ_in_version_only(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two versions of an object differ in their resourceVersion at most."""
    version = new["metadata"]["resourceVersion"]
    return bool({**old, "metadata": {**old["metadata"], "resourceVersion": version}} == new)
