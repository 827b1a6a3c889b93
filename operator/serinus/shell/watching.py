"""ModelDeployments into the cache: kopf watches them, and an audit mends what a watch can't tell.

kopf logs in, lists, watches and reconnects; its one handler puts the raw object into the cache, and it writes nothing.
Two things that it leaves undone are done here. When it fails it is started again. And after each of its lists (at the
start, and when its version is forgotten) the cache is compared with a list of our own, since kopf takes no notice of
what has vanished from a list. And of several namespaces, one that may not be looked into is left out, since kopf would
end for all of them, and looked at again until it may. Run by `serinus.shell.app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import kopf

from serinus.api.kinds import FIELD_MANAGER, GROUP, MODEL_DEPLOYMENT, VERSION
from serinus.kube.client import HttpCluster
from serinus.kube.cluster import ApiError, Forbidden, NotFound
from serinus.kube.credentials import Credentials, open_session
from serinus.kube.informers import PAGE_SIZE
from serinus.shell.caches import DeploymentCache
from serinus.shell.telemetry import Telemetry

logger = logging.getLogger(__name__)

AUDIT_SECONDS: Final = 600.0
_RENEW_SECONDS: Final = 60
"""A watch is renewed this often; that the API server grants it is the sign of life that `contact_at` shows."""
_RECHECK_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
_WORKER_SECONDS: Final = 0.2
"""How long a worker of kopf lives on after an event: it holds on to all of the object, some 40 KB.

By kopf's default of 5 s, a start or a storm would keep every resource in memory once more.
"""


class DeploymentWatch:
    """Keeps the cache of ModelDeployments while `run` runs."""

    def __init__(
        self,
        cluster: HttpCluster,
        credentials: Credentials,
        cache: DeploymentCache,
        telemetry: Telemetry,
        *,
        namespaces: Sequence[str],
        selector: str,
        on_kopf_started: Callable[[], None],
    ) -> None:
        """Follow these namespaces (none: all), and in them what the label selector matches (empty: all).

        kopf takes the process's signals: `on_kopf_started` takes them back.
        """
        self.synced = asyncio.Event()
        """Set once the cache has been complete."""
        self._cluster = cluster
        self._credentials = credentials
        self._cache = cache
        self._telemetry = telemetry
        self._namespaces = tuple(namespaces)
        self._selector = selector
        self._on_kopf_started = on_kopf_started
        self._audit_due = asyncio.Event()
        self._listed: set[str] = set()
        """Paths that kopf has listed and not watched since."""
        self._contacts: dict[str, float] = {}
        """By path, when the API server last granted a list or a watch; by the monotonic clock."""
        self._unreachable = False
        self._refused: dict[str, str] = {}
        """Namespaces that may not be looked into, and why."""
        self._rights_changed = asyncio.Event()
        """Set when kopf has to be started again with other namespaces."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Namespaces whose ModelDeployments may not be watched, and why."""
        return dict(self._refused)

    @property
    def contact_at(self) -> float | None:
        """`time.monotonic()` of the last sign of life of the most silent watch; None until each had one."""
        whole = len(self._contacts) >= max(1, len(self._namespaces))
        return min(self._contacts.values()) if whole else None

    async def run(self) -> None:
        """Keep the cache until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._audit_again_and_again(), name="audit")
            group.create_task(self._watch_again_and_again(), name="kopf")
            group.create_task(self._look_at_refused_again_and_again(), name="refused namespaces")

    # kopf --------------------------------------------------------------------------------------------------------

    async def _watch_again_and_again(self) -> None:
        failures = 0
        while True:
            await self._wait_for_the_kind()
            self._rights_changed.clear()
            if self._namespaces and not self._granted():
                await self._rights_changed.wait()
                continue
            started_at = time.monotonic()
            try:
                await self._run_kopf()
                if self._rights_changed.is_set():
                    failures = 0
                    continue
                logger.warning("kopf ended by itself; it is started again")
            except Exception as error:  # it fails when its kind vanishes, or an outage outlasts its retries
                because = f"{type(error).__name__}: {error}"
                logger.warning("kopf failed; it is started again", extra={"because": because})
                logger.debug("kopf's failure", exc_info=True)
            failures = 0 if time.monotonic() - started_at > _RENEW_SECONDS else failures + 1
            await asyncio.sleep(min(2.0**failures, _LONGEST_PAUSE_SECONDS))

    async def _wait_for_the_kind(self) -> None:
        """Return when the kind is installed: kopf looks for it only at its start."""
        told = False
        while True:
            try:
                if await self._cluster.discover(MODEL_DEPLOYMENT):
                    return
            except ApiError as error:
                self._lost_touch(str(error))
            else:
                self._contacts = dict.fromkeys(self._paths(), time.monotonic())
                if not told:
                    logger.warning("the ModelDeployment CRD is not installed; waiting for it")
                    told = True
            await asyncio.sleep(_RECHECK_SECONDS)

    async def _run_kopf(self) -> None:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._log_in)
        kopf.on.event(GROUP, VERSION, MODEL_DEPLOYMENT.plural, registry=registry)(self._hear)
        identity: Any = FIELD_MANAGER  # else kopf asks for the user's name, and the image's user has none
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=_kopf_settings(self._selector),
            standalone=True,
            identity=identity,
            clusterwide=not self._namespaces,
            namespaces=self._granted(),
            stop_flag=self._rights_changed,
        )
        self._on_kopf_started()
        await kopf.run_tasks(tasks, ignored=_AllTasks())

    async def _log_in(self, **_: Any) -> kopf.AiohttpSession:
        session = open_session(self._credentials, self._telemetry.count_call)  # kopf closes it
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        trace.on_request_exception.append(self._unanswered)
        trace.freeze()
        session.trace_configs.append(trace)
        return kopf.AiohttpSession(server=self._credentials.server, aiohttp_session=session)

    async def _hear(self, event: kopf.RawEvent, **_: Any) -> None:
        manifest: Any = event["object"]
        if event["type"] == "DELETED":
            self._cache.drop(manifest)
        else:
            self._cache.put(manifest)

    async def _answered(self, _: object, __: object, answer: aiohttp.TraceRequestEndParams) -> None:
        """Watch kopf's conversation: which lists and watches are granted."""
        path = answer.url.path
        if path not in self._paths():
            return
        namespace = self._paths()[path]
        if answer.response.status == 403 and namespace is not None:
            self._refuse(namespace, f"the API server answered 403 {answer.response.reason} to GET {path}")
            return
        if answer.response.status != 200:
            self._lost_touch(f"the API server answered {answer.response.status} {answer.response.reason}")
            return
        self._in_touch(path)
        if "watch" not in answer.url.query:
            self._listed.add(path)
        elif path in self._listed:
            self._listed.discard(path)
            self._audit_due.set()

    async def _unanswered(self, _: object, __: object, question: aiohttp.TraceRequestExceptionParams) -> None:
        if not isinstance(question.exception, asyncio.CancelledError):
            self._lost_touch(str(question.exception) or type(question.exception).__name__)

    def _paths(self) -> Mapping[str, str | None]:
        """Where ModelDeployments are listed and watched, and in which namespace; None: in all."""
        if not self._namespaces:
            return {f"/apis/{GROUP}/{VERSION}/{MODEL_DEPLOYMENT.plural}": None}
        return {_path(namespace): namespace for namespace in self._namespaces}

    # Namespaces that may not be looked into -----------------------------------------------------------------------

    def _granted(self) -> tuple[str, ...]:
        return tuple(each for each in self._namespaces if each not in self._refused)

    def _refuse(self, namespace: str, why: str) -> None:
        self._contacts[_path(namespace)] = time.monotonic()  # an answer, after all
        if namespace not in self._refused:
            logger.warning(
                "ModelDeployments of a namespace may not be watched; trying on",
                extra={"namespace": namespace, "because": why},
            )
            self._rights_changed.set()
        self._refused[namespace] = why

    async def _look_at_refused_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_RECHECK_SECONDS)
            for namespace in tuple(self._refused):
                await self._look_at_refused(namespace)

    async def _look_at_refused(self, namespace: str) -> None:
        """One page of one ModelDeployment tells whether the right is there by now."""
        try:
            with contextlib.suppress(NotFound):  # of the kind: one may look, and it is not installed
                await anext(self._cluster.list_pages(MODEL_DEPLOYMENT, namespace, page_size=1))
        except Forbidden as error:
            self._refuse(namespace, str(error))
        except ApiError as error:
            self._lost_touch(str(error))
        else:
            del self._refused[namespace]
            logger.info("ModelDeployments of a namespace may be watched", extra={"namespace": namespace})
            self._rights_changed.set()
            self._audit_due.set()

    def _in_touch(self, path: str) -> None:
        self._contacts[path] = time.monotonic()
        if self._unreachable:
            self._unreachable = False
            logger.info("ModelDeployments are watched again")

    def _lost_touch(self, why: str) -> None:
        if not self._unreachable:
            self._unreachable = True
            logger.warning("ModelDeployments can't be watched; trying on", extra={"because": why})

    # The audit ---------------------------------------------------------------------------------------------------

    async def _audit_again_and_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AUDIT_SECONDS):
                    await self._audit_due.wait()
            self._audit_due.clear()
            try:
                corrections = await self._cache.audit(self._list())
            except ApiError as error:
                logger.warning("ModelDeployments could not be audited; trying on", extra={"because": str(error)})
                self._audit_due.set()
                await asyncio.sleep(_RECHECK_SECONDS)
                continue
            if corrections and self.synced.is_set():
                self._telemetry.corrections.inc(corrections)
                logger.info("the audit knew better than the watch", extra={"corrections": corrections})
            self.synced.set()

    async def _list(self) -> AsyncIterator[dict[str, Any]]:
        """All ModelDeployments; none where the kind is not installed."""
        for namespace in self._namespaces or (None,):
            try:
                async for page in self._cluster.list_pages(
                    MODEL_DEPLOYMENT, namespace, label_selector=self._selector, page_size=PAGE_SIZE
                ):
                    for manifest in page.items:
                        yield manifest
            except NotFound:
                continue
            except Forbidden as error:
                if namespace is None:
                    raise
                self._refuse(namespace, str(error))


def _path(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{MODEL_DEPLOYMENT.plural}"


def _kopf_settings(selector: str) -> kopf.OperatorSettings:
    """A mere watcher: it stores nothing in the objects, posts nothing, scans nothing, and gives up early."""
    settings = kopf.OperatorSettings()
    settings.persistence.progress_storage = kopf.MultiProgressStorage([])
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    if selector:  # the API server tells of one whose labels no longer match as if it were gone
        settings.watching.label_selectors[GROUP, MODEL_DEPLOYMENT.plural] = selector
    settings.watching.server_timeout = _RENEW_SECONDS
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = PAGE_SIZE
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (0.2, 0.5, *(1.0,) * 28)
    settings.queueing.exit_timeout = 0.5
    settings.queueing.idle_timeout = _WORKER_SECONDS
    settings.process.ultimate_exiting_timeout = None  # it would kill the process ten minutes after kopf's failure
    return settings


class _NoDiffs(kopf.DiffBaseStorage):
    """Nothing is compared, and nothing stored: kopf would copy all of every object that it is told of."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        return None


class _AllTasks(Collection["asyncio.Task[Any]"]):
    """Tasks that kopf shall leave alone when it ends: all it did not stop by then.

    It takes every task that began after itself for its own and cancels it; but most are ours.
    """

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(asyncio.all_tasks())

    def __len__(self) -> int:
        return len(asyncio.all_tasks())
