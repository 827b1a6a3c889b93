"""What ConfigMaps and Secrets contain, where a ModelDeployment wants that to be part of its revision.

Only what some ModelDeployment names is ever read, and only while `configChecksum` is switched on for this operator. A
watch of metadata says that an object has changed, without its content; then it is read once, and nothing is kept of it
but a digest for each of its keys, made with a key of the operator's own. Kept by `serinus.shell.caches`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from serinus.api.kinds import CONFIG_MAP, SECRET, Kind
from serinus.core.configuration import (
    NOT_ALLOWED,
    Absent,
    Configuration,
    Content,
    Known,
    Reference,
    Source,
    Unread,
    asks_for_content,
    configuration,
    references,
)
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster
from serinus.kube.cluster import ApiError, NotFound, Rejected
from serinus.kube.informers import Informer
from serinus.kube.refusals import without_what_next
from serinus.kube.store import ObjectKey, identity, object_key
from serinus.settings import SettingsError
from serinus.shell.reconciler import Key

logger = logging.getLogger(__name__)

RECHECK_SECONDS: Final = 300.0
"""All that is named is read again this often: a watch that was not granted tells of nothing."""
_RETRY_SECONDS: Final = 2.0
_LEAST_KEY_BYTES: Final = 16
_SECRETS_OFF: Final = Unread("configChecksum.secrets is off in the operator's Helm values")

_Address = tuple[str, Source]
"""Namespace and object."""


def read_key(path: Path) -> bytes:
    """The key for digests. Raises `SettingsError` for a file that holds none."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"SERINUS_CONFIG_KEY_FILE={str(path)!r}: {error.strerror}; name a file with a key"
        ) from None
    if len(key) < _LEAST_KEY_BYTES:
        raise SettingsError(
            f"SERINUS_CONFIG_KEY_FILE={str(path)!r}: a key needs {_LEAST_KEY_BYTES} bytes at least, drawn at random, "
            "such as those of openssl rand -hex 32"
        )
    return key


def digests(manifest: Mapping[str, Any], key: bytes) -> dict[str, str]:
    """A digest for each entry of a ConfigMap or Secret: equal content in other places has others."""
    metadata = manifest["metadata"]
    place = (str(manifest.get("kind", "")), str(metadata.get("namespace", "")), str(metadata["name"]))
    entries = {**(manifest.get("binaryData") or {}), **(manifest.get("data") or {})}
    return {
        name: hmac.new(key, "\0".join((*place, name, str(value))).encode(), hashlib.sha256).hexdigest()
        for name, value in entries.items()
    }


def only_identity(manifest: dict[str, Any]) -> Manifest:
    """Name and version of an object: all that is kept of it."""
    return {"metadata": identity(manifest)}


class Configurations:
    """The content of what ModelDeployments name. `run` reads it; the rest may be called from the same event loop."""

    def __init__(
        self,
        cluster: HttpCluster,
        on_change: Callable[[Key], None],
        *,
        key: bytes | None,
        secrets: bool,
        namespaces: Sequence[str],
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        """`key` makes the digests; None: this operator reads nothing. `secrets`: whether it may read them, too."""
        self._cluster = cluster
        self._on_change = on_change
        self._key = key
        self._secrets = secrets
        self._retry_seconds = retry_seconds
        self._named: dict[Key, tuple[Reference, ...]] = {}
        self._dependents: dict[_Address, set[Key]] = {}
        self._known: dict[_Address, Known] = {}
        self._due: dict[_Address, None] = {}
        """To be read, in the order in which they came."""
        self._woken = asyncio.Event()
        kinds = [CONFIG_MAP, *([SECRET] if secrets else [])] if key is not None else []
        self._informers = tuple(
            Informer(cluster, kind, self._changed(kind), namespaces=namespaces, metadata_only=True, strip=only_identity)
            for kind in kinds
        )

    def put(self, key: Key, manifest: Mapping[str, Any] | None) -> None:
        """The ModelDeployment as it is now, or None where it is gone."""
        wants = manifest is not None and asks_for_content(manifest)
        named = references(manifest) if manifest is not None and wants else ()
        before = {(key[0], each.source) for each in self._named.get(key, ())}
        after = {(key[0], each.source) for each in named}
        if wants:
            self._named[key] = named
        else:
            self._named.pop(key, None)
        for address in before - after:
            self._dependents[address].discard(key)
            if not self._dependents[address]:
                del self._dependents[address]
                self._known.pop(address, None)
                self._due.pop(address, None)
        for address in after - before:
            self._dependents.setdefault(address, set()).add(key)
            if address not in self._known:
                self._known[address] = Unread()
                self._read_soon(address)

    def of(self, key: Key) -> Configuration | None:
        """What the content comes to that a ModelDeployment names; None where it is no part of its revision."""
        named = self._named.get(key)
        if named is None:
            return None
        if self._key is None:
            return NOT_ALLOWED
        return configuration(named, lambda source: self._known.get((key[0], source), Unread()))

    async def run(self) -> None:
        """Read what is named, again whenever it has changed, until cancelled."""
        if self._key is None:
            return
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run(), name=f"informer {informer.name}")
            group.create_task(self._read_again_and_again(self._key), name="configurations")
            group.create_task(self._recheck(), name="configurations again")

    def _changed(self, kind: Kind) -> Callable[[Manifest | None, Manifest | None], None]:
        def hear(old: Manifest | None, new: Manifest | None) -> None:
            found: ObjectKey = object_key(new or old or {})
            address = found[0], Source(kind.kind, found[1])
            if address in self._dependents:
                self._read_soon(address)

        return hear

    def _read_soon(self, address: _Address) -> None:
        self._due[address] = None
        self._woken.set()

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            for address in self._dependents:
                self._read_soon(address)

    async def _read_again_and_again(self, key: bytes) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            unanswered = [address for address in tuple(self._due) if not await self._read(address, key)]
            if unanswered:
                await asyncio.sleep(self._retry_seconds)
                for address in unanswered:
                    if address in self._dependents:
                        self._read_soon(address)

    async def _read(self, address: _Address, key: bytes) -> bool:
        """Whether there was an answer, or nobody asks any more."""
        self._due.pop(address, None)
        if address not in self._dependents:
            return True
        namespace, source = address
        kind = SECRET if source.kind == SECRET.kind else CONFIG_MAP
        known: Known = _SECRETS_OFF
        if kind is CONFIG_MAP or self._secrets:
            try:
                known = Content(digests(await self._cluster.get(kind, namespace, source.name), key))
            except NotFound:
                known = Absent()
            except Rejected as error:
                known = Unread(without_what_next(error))
            except ApiError as error:
                logger.info("a configuration could not be read; trying on", extra={"because": str(error)})
                return False
        if known != self._known.get(address) and address in self._dependents:
            self._known[address] = known
            for dependent in self._dependents[address]:
                self._on_change(dependent)
        return True
