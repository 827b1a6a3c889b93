"""Caches of what is in the cluster, kept up to date by watches.

An `Informer` lists one kind page by page and then follows its watch with bookmarks. It survives broken connections and
API servers that restart, lists again when its version is forgotten (410) and sweeps out what vanished in the gap, and
waits for a kind that is not installed. Of several namespaces, one in which the rights are missing (none were given, or
the namespace is gone with them) keeps the others from nothing. Started by the shell, which reads the cache when it
builds an observation.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serinus.api.kinds import LABEL_DEPLOYMENT, Kind
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster, Page, WatchEvent
from serinus.kube.cluster import ApiError, Expired, Forbidden, NotFound, Rejected, Unavailable
from serinus.kube.ownership import without_managed_fields
from serinus.kube.store import ObjectKey, Store, object_key, object_version

logger = logging.getLogger(__name__)

Holds = Callable[[str, str], bool]
"""Whether the objects of a ModelDeployment, by namespace and name, are held."""
OnChange = Callable[[Manifest | None, Manifest | None], None]
"""Called with the object before and after: (None, new) added, (old, new) changed, (old, None) gone."""

PAGE_SIZE: Final = 200
"""Objects in a page of a list. All kinds are listed at once, and an object that is decoded takes some 40 KB."""

_FETCH_AGAIN_SECONDS: Final = 0.2
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0
_WATCH_SECONDS: Final = 60
"""A watch is renewed this often, more often than `client.WATCH_SILENCE_SECONDS` ends one: an API server whose etcd does
not notify it of progress sends no bookmark for a kind in which nothing happens."""
_SHORT_WATCH_SECONDS: Final = 1.0
_FAILURES_BEFORE_RELIST: Final = 3
"""Watches that fail in a row are no longer trusted to come back from their version: after a restore of etcd the API
server knows only lower ones, and never says 410."""


@dataclass(slots=True)
class _Scope:
    """Where one list and its watch look: one namespace, or all."""

    namespace: str | None
    version: str | None = None
    """None: to be listed."""
    listed: bool = False
    lists: int = 0
    """How often all was listed, to the end."""
    contact_at: float | None = None
    failures: int = 0
    refused: str | None = None
    """Why the API server does not let us look, as long as that is so; None while it does."""


class Informer:
    """A cache of one kind. `run` keeps it; the rest may be called at any time from the same event loop."""

    def __init__(
        self,
        cluster: HttpCluster,
        kind: Kind,
        on_change: OnChange,
        *,
        label_selector: str | None = None,
        deployment_label: str = LABEL_DEPLOYMENT,
        metadata_only: bool = False,
        name: str = "",
        namespaces: Sequence[str] = (),
        holds: Holds | None = None,
        strip: Callable[[dict[str, Any]], Manifest] = without_managed_fields,
        page_size: int = PAGE_SIZE,
        recheck_seconds: float = 60.0,
        on_installed: Callable[[bool], None] | None = None,
        on_refused: Callable[[str, str | None], None] | None = None,
    ) -> None:
        """Follow `kind` in `namespaces` (none: in all of them) where `label_selector` matches.

        `metadata_only`: the API server sends nothing else of an object, neither spec nor data.
        `deployment_label` is the label that says which ModelDeployment an object belongs to. `name` tells it from other
        informers of the kind; by default the kind's plural.
        Objects of ModelDeployments for which `holds` says no are let go (None: all are kept); when it begins to say yes
        of one, its objects have to be fetched, and when it ends, to be released. `strip` keeps of an object what is
        used. `on_change` is called in the event loop and must not block; what it raises ends `run`. A kind that is not
        installed is looked for again every `recheck_seconds`; `on_installed` hears when that changes. `on_refused`
        hears of each of the `namespaces` that may not be looked into, and why, or None when it may again: what is
        cached of it meanwhile is out of date.
        """
        self.kind = kind
        self.name = name or kind.plural
        self.synced = asyncio.Event()
        """Set once the cache has been complete, or the kind is known not to be installed."""
        self.installed = True
        self._cluster = cluster
        self._on_change = on_change
        self._on_installed = on_installed
        self._on_refused = on_refused
        self._label_selector = label_selector
        self._deployment_label = deployment_label
        self._metadata_only = metadata_only
        self._holds = holds
        self._strip = strip
        self._page_size = page_size
        self._recheck_seconds = recheck_seconds
        self._scopes = tuple(_Scope(namespace) for namespace in namespaces) or (_Scope(None),)
        self._objects = Store()
        self._of_deployment: dict[ObjectKey, set[ObjectKey]] = {}
        self._fetches: list[set[ObjectKey]] = []
        """For each fetch under way, the keys that the watch has told of since it began."""

    def of_deployment(self, namespace: str, deployment: str) -> tuple[Manifest, ...]:
        """Objects whose label says that they belong to this ModelDeployment, by name."""
        keys = self._of_deployment.get((namespace, deployment), ())
        return tuple(found for key in sorted(keys) if (found := self._objects.get(key)) is not None)

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object (of a kind without namespaces, in `""`), or None."""
        return self._objects.get((namespace, name))

    def learn(self, manifest: Manifest) -> None:
        """Take an object as the API server has just answered it, unless the watch has got as far itself.

        What the watch has passed it has told, and maybe that the object is gone again.
        """
        key = object_key(manifest)
        scope = next((each for each in self._scopes if self._is_in(each, key)), None)
        if scope is None or scope.version is None or self._deployment(manifest) is None:
            return  # nowhere in view; or about to be listed; or not what the label selects
        if object_version(manifest) > int(scope.version) and not self._objects.has_newer(manifest):
            self._put(dict(manifest))

    async def fetch(self, namespace: str, deployments: Sequence[str]) -> None:
        """List the objects of these ModelDeployments of a namespace, which are held from now on. May raise `ApiError`.

        What the watch tells of meanwhile is left alone: it may be newer than the list.
        """
        scope = next(each for each in self._scopes if each.namespace in {None, namespace})
        of_these = f"{self._deployment_label} in ({','.join(deployments)})"
        selector = f"{self._label_selector},{of_these}" if self._label_selector else of_these
        while True:
            told: set[ObjectKey] = set()
            self._fetches.append(told)
            lists = scope.lists
            try:
                pages = [page async for page in self._pages(namespace, selector)]
            except NotFound:
                return  # the kind is not installed
            finally:
                self._fetches.remove(told)
            if scope.version is not None and scope.lists == lists:
                break
            await asyncio.sleep(_FETCH_AGAIN_SECONDS)  # all is listed anew: which of the two is newer, nobody knows
        for item in (item for page in pages for item in page.items):
            if object_key(item) not in told and not self._objects.has_newer(item):
                self._put(item)

    def release(self, namespace: str, deployment: str) -> None:
        """Let the objects of a ModelDeployment go, which are not held any more."""
        for key in sorted(self._of_deployment.get((namespace, deployment), ())):
            self._drop(key)

    def __iter__(self) -> Iterator[Manifest]:
        return self._objects.objects()

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def last_contact_at(self) -> float | None:
        """`time.monotonic()` of the last sign of life (an answer, an event, a bookmark) of the most silent watch.

        None until every list has been answered once.
        """
        contacts = [scope.contact_at for scope in self._scopes]
        return None if None in contacts else min(at for at in contacts if at is not None)

    async def run(self) -> None:
        """Keep the cache until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope), name=f"informer {self.kind.plural} {scope.namespace or '*'}")

    async def _follow(self, scope: _Scope) -> None:
        while True:
            try:
                if scope.version is None:
                    await self._list(scope)
                await self._watch(scope)
                scope.failures, pause = 0, 0.0
            except NotFound as error:
                self._not_installed(scope, error)
                pause = self._recheck_seconds
            except Expired as error:
                logger.info("%s", error)
                scope.version = None
                scope.failures += 1
                pause = _pause_seconds(scope.failures)
            except Forbidden as error:
                pause = self._failed(scope, error) if scope.namespace is None else self._refused(scope, error)
            except ApiError as error:
                pause = self._failed(scope, error)
            await asyncio.sleep(pause)

    async def _list(self, scope: _Scope) -> None:
        """Bring the cache to what the API server has now, and sweep out what is no longer there."""
        seen: set[ObjectKey] = set()
        version = ""
        async for page in self._pages(scope.namespace, self._label_selector):
            for item in page.items:
                seen.add(self._put(item))
            version = page.resource_version
            self._touch(scope)
        for key in [key for key in self._objects if self._is_in(scope, key) and key not in seen]:
            self._drop(key)
        scope.version = version
        scope.lists += 1
        self._set_installed(True)
        self._listed(scope)
        self._set_refused(scope, None)

    def _pages(self, namespace: str | None, label_selector: str | None) -> AsyncIterator[Page]:
        return self._cluster.list_pages(
            self.kind,
            namespace,
            label_selector=label_selector,
            page_size=self._page_size,
            metadata_only=self._metadata_only,
        )

    async def _watch(self, scope: _Scope) -> None:
        """Follow changes until the API server ends the watch, normally after a minute."""
        assert scope.version is not None  # noqa: S101 -- _list has set it
        seconds = int(_WATCH_SECONDS * (0.8 + 0.4 * _jitter()))
        opened_at = time.monotonic()
        events = self._cluster.watch(
            self.kind,
            scope.namespace,
            scope.version,
            label_selector=self._label_selector,
            metadata_only=self._metadata_only,
            timeout_seconds=seconds,
        )
        async for event in events:
            self._touch(scope)
            scope.failures = 0
            self._take(event)
            scope.version = event.manifest["metadata"]["resourceVersion"]
        self._touch(scope)  # ended as it was asked to
        if time.monotonic() - opened_at < _SHORT_WATCH_SECONDS:
            await asyncio.sleep(_SHORT_WATCH_SECONDS * _jitter())  # a proxy that closes at once must not make us spin

    def _take(self, event: WatchEvent) -> None:
        """An event. One that is older than what was learned in another way is passed over: its successor is to come."""
        if event.type == "BOOKMARK":
            return
        for told in self._fetches:
            told.add(object_key(event.manifest))
        if self._objects.has_newer(event.manifest):
            return
        if event.type == "DELETED":
            self._drop(object_key(event.manifest))
        else:
            self._put(event.manifest)

    def _failed(self, scope: _Scope, error: ApiError) -> float:
        scope.failures += 1
        if scope.failures >= _FAILURES_BEFORE_RELIST:
            scope.version = None
        level = logging.WARNING if scope.failures > 1 or isinstance(error, Rejected) else logging.INFO
        logger.log(level, "%s", error)
        pause = _LONGEST_PAUSE_SECONDS if isinstance(error, Rejected) else _pause_seconds(scope.failures)
        asked_for = error.retry_after_seconds if isinstance(error, Unavailable) else None
        return max(pause, asked_for or 0.0)

    def _refused(self, scope: _Scope, error: Forbidden) -> float:
        """One namespace of several: it is listed anew when the right is there, and nobody waits for it."""
        scope.version = None
        scope.failures += 1
        self._set_refused(scope, str(error))
        self._touch(scope)
        self._listed(scope)
        return _pause_seconds(scope.failures)

    def _not_installed(self, scope: _Scope, error: NotFound) -> None:
        if self.installed:
            kind, version, pause = self.kind.kind, self.kind.api_version, self._recheck_seconds
            logger.info("%s of %s is not installed; looked for again every %g s: %s", kind, version, pause, error)
        self._set_installed(False)
        scope.version = None
        for key in [key for key in self._objects if self._is_in(scope, key)]:
            self._drop(key)
        self._touch(scope)
        self._listed(scope)
        self._set_refused(scope, None)

    def _set_refused(self, scope: _Scope, why: str | None) -> None:
        changed, scope.refused = (why is None) != (scope.refused is None), why
        if changed and self._on_refused is not None and scope.namespace is not None:
            self._on_refused(scope.namespace, why)

    def _set_installed(self, installed: bool) -> None:
        changed, self.installed = installed != self.installed, installed
        if changed and self._on_installed is not None:
            self._on_installed(installed)

    def _listed(self, scope: _Scope) -> None:
        scope.listed = True
        if all(each.listed for each in self._scopes):
            self.synced.set()

    def _touch(self, scope: _Scope) -> None:
        scope.contact_at = time.monotonic()

    @staticmethod
    def _is_in(scope: _Scope, key: ObjectKey) -> bool:
        return scope.namespace is None or scope.namespace == key[0]

    def _put(self, raw: dict[str, Any]) -> ObjectKey:
        key = object_key(raw)
        if self._objects.has(raw):
            return key
        if self._holds is not None and not self._holds(key[0], self._deployment(raw) or ""):
            self._drop(key)
            return key
        old, new = self._objects.get(key), self._strip(raw)
        self._unindex(key, old)
        self._objects.put(new)
        if deployment := self._deployment(new):
            self._of_deployment.setdefault((key[0], deployment), set()).add(key)
        self._on_change(old, new)
        return key

    def _drop(self, key: ObjectKey) -> None:
        old = self._objects.pop(key)
        if old is not None:
            self._unindex(key, old)
            self._on_change(old, None)

    def _unindex(self, key: ObjectKey, old: Manifest | None) -> None:
        deployment = self._deployment(old) if old is not None else None
        if deployment and (keys := self._of_deployment.get((key[0], deployment))):
            keys.discard(key)
            if not keys:
                del self._of_deployment[key[0], deployment]

    def _deployment(self, manifest: Manifest) -> str | None:
        name = (manifest["metadata"].get("labels") or {}).get(self._deployment_label)
        return str(name) if name else None


def _pause_seconds(failures: int) -> float:
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + 0.5 * _jitter())


def _jitter() -> float:
    return random.random()  # noqa: S311 -- spreads load, keeps no secret
