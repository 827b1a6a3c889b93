"""The operator as one process: puts its parts together, runs them, and ends them in order.

    caches ──mark──▶ loop ──pass──▶ reconciler ──▶ cluster (only while leading)
      ▲                ▲                └──offer──▶ notifier ──▶ receivers (the same)
      │                └─ start, halt: leadership, once caches are filled and the CRD is new enough
    kopf (ModelDeployments), informers (children); nobody older that serves the same (neighbours)

Called by `serinus.__main__`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import serinus
from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.core.observation import Margins, Safeguards
from serinus.core.shards import Shard
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.credentials import Credentials
from serinus.kube.informers import Informer
from serinus.metrics.source import MetricSource
from serinus.settings import Settings
from serinus.shell import profiling, schema
from serinus.shell.caches import Caches
from serinus.shell.configuration import read_key
from serinus.shell.events import EVENT_CALLS, EventRecorder
from serinus.shell.health import ContactAt, Health, serve
from serinus.shell.leadership import LeaderOnly, Leadership, LeaseTerms
from serinus.shell.loop import ReconcileLoop
from serinus.shell.metric_source import open_metric_source
from serinus.shell.neighbours import Neighbours, claim
from serinus.shell.notifications import DROPPED, FAILED, SENT, Notifier, Post
from serinus.shell.own_writes import ToldCluster
from serinus.shell.readings import EvidenceReader
from serinus.shell.reconciler import Reconciler
from serinus.shell.telemetry import CountedCluster, CountedSource, Telemetry, Teller
from serinus.shell.watching import DeploymentWatch
from serinus.webhooks.sending import open_sender

logger = logging.getLogger(__name__)

_LEASE_CALLS: Final = 2
"""At once; they never wait for other calls."""
_GRACE_SECONDS: Final = 1.0
"""At the end, passes under way may take this long."""


async def run(settings: Settings, credentials: Credentials) -> None:
    """Run until SIGTERM or SIGINT.

    Raises `SettingsError` where the port can't be had; any other exception is a defect and ends the process.
    """
    stopping = _StopSignal()
    stopping.listen()
    telemetry = Telemetry(settings.identity)
    async with (
        open_cluster(credentials, on_call=telemetry.count_call) as cluster,
        open_metric_source(settings, telemetry.count_question) as source,
        open_sender(settings.receiver_directory, settings.receiver_hosts) as sender,
    ):
        operator = _Operator(
            settings, credentials, cluster, source, telemetry=telemetry, stopping=stopping, post=sender
        )
        async with serve(settings.http_port, operator.health, operator.telemetry) as port, _profiles(settings):
            logger.info("started", extra={"version": serinus.__version__, "identity": settings.identity, "port": port})
            await operator.run()
    logger.info("stopped", extra={"identity": settings.identity})
    # kopf leaves generators open, and asyncio would report each as an error while it closes them.
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logger.debug("%s", context["message"]))


def _profiles(settings: Settings) -> AbstractAsyncContextManager[int | None]:
    """Profiles for who asks, if they are switched on."""
    if settings.profile_port is None:
        return nullcontext()
    logger.info("profiles", extra={"address": settings.profile_address, "port": settings.profile_port})
    return profiling.serve(settings.profile_address, settings.profile_port)


class _StopSignal:
    """SIGTERM and SIGINT, as something to wait for."""

    def __init__(self) -> None:
        self._received = asyncio.Event()

    def listen(self) -> None:
        """Take the signals, also from whoever took them in between."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received.set)

    async def wait(self) -> None:
        """Wait for one of them."""
        await self._received.wait()


class _Operator:
    """The parts, and who speaks to whom."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        cluster: HttpCluster,
        source: MetricSource,
        *,
        telemetry: Telemetry,
        stopping: _StopSignal,
        post: Post,
    ) -> None:
        self.telemetry = telemetry
        self._settings = settings
        self._cluster = cluster
        self._source = source
        self._stopping = stopping
        self._loop = ReconcileLoop(settings.concurrency, telemetry)
        self._working = False
        self._caches = Caches(
            cluster,
            self._loop.mark,
            namespaces=settings.watch_namespaces,
            metric_source=settings.prometheus_url is not None,
            sharded=bool(settings.selector),
            safeguards=Safeguards(
                disruption_budgets=settings.disruption_budgets,
                network_policies=settings.network_policies,
                scraper_namespace=settings.scraper_namespace,
            ),
            gateway_features=settings.gateway_features,
            gateways_in=gateway_namespaces(settings),
            gateway_classes=settings.gateway_classes if settings.namespaced else None,
            cluster_policies=not settings.namespaced,
            config_key=read_key(settings.config_key_file) if settings.config_key_file is not None else None,
            config_secrets=settings.config_secrets,
            receivers=settings.receivers,
        )
        self._watch = DeploymentWatch(
            cluster,
            credentials,
            self._caches.deployments,
            telemetry,
            namespaces=settings.watch_namespaces,
            selector=settings.selector,
            on_kopf_started=stopping.listen,
        )
        self._events = EventRecorder(
            cluster.beside(EVENT_CALLS), settings.identity, give_way=lambda: self._loop.waiting > 0
        )
        self._leadership = Leadership(
            cluster.beside(_LEASE_CALLS),
            _lease_terms(settings),
            settings.identity,
            on_gained=self._work,
            on_lost=self._stand_by,
            marks=claim(shard_of(settings)),
        )
        self._neighbours = Neighbours(
            cluster.beside(_LEASE_CALLS),
            shard_of(settings),
            (settings.lease_namespace, settings.lease_name),
            look_in=settings.lease_namespace if settings.namespaced else None,
        )
        self._notifier = Notifier(
            settings.receivers,
            post,
            cluster_name=settings.cluster_name,
            may_send=lambda: self._leadership.leading,
            on_told=self._loop.mark,
            count=telemetry.count_notification,
        )
        self.health = Health(
            contacts={
                MODEL_DEPLOYMENT.plural: lambda: self._watch.contact_at,
                **{informer.name: _contact_at(informer) for informer in self._caches.informers},
            },
            stale_after_seconds=settings.watch_stale_seconds,
            longest_pass_seconds=lambda: self._loop.longest_pass_seconds,
            defects=(self._loop.problem,),
            unready=self._unready,
        )
        self._measure()

    async def run(self) -> None:
        """Run all parts until a signal; if one fails, all end and its exception is raised."""
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(self._caches.run(self._watch.synced), name="caches"),
                group.create_task(self._watch.run(), name="watch"),
                group.create_task(self._events.run(), name="events"),
            ]
            leading = group.create_task(self._lead(), name="leadership")
            try:
                await self._stopping.wait()
                logger.info("stopping")
            finally:
                await self._end(leading, watching)

    async def _lead(self) -> None:
        """Take part in the election as soon as this process could do the work."""
        await self._caches.wait_until_synced()
        await self._watch.synced.wait()
        logger.info("caches are filled", extra={"deployments": len(self._caches.deployments)})
        _keep_what_is_there()
        if not self._settings.namespaced:  # else it can't be read; a field that it lacks is refused when it is written
            await schema.wait_for_new_enough(self._cluster)
        while True:
            await self._neighbours.until_none()
            await self._lead_while_nobody_is_in_the_way()

    async def _lead_while_nobody_is_in_the_way(self) -> None:
        """Take part in the election until an older operator is found that serves the same."""
        taking_part = asyncio.create_task(self._leadership.run(), name="election")
        looking = asyncio.create_task(self._neighbours.until_one(), name="neighbours")
        try:
            ended, _ = await asyncio.wait({taking_part, looking}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # raises what nobody expected
            if self._working:
                self._stand_by(looking.result())
        finally:
            await _cancelled(taking_part, looking)

    async def _end(self, leading: asyncio.Task[None], watching: list[asyncio.Task[None]]) -> None:
        """First what is told, and recorded by the work; then the work, then the Lease, then the rest."""
        await self._notifier.stop(_GRACE_SECONDS)
        await self._loop.stop(_GRACE_SECONDS)
        await _cancelled(leading)
        await _cancelled(*watching)

    def _work(self) -> None:
        """From now on this process leads: work on everything, with nothing remembered of an earlier term.

        A standby asks for nothing, and does not learn from calls without an answer which of its watches are dead.
        """
        self.telemetry.lease_changes.labels("Gained").inc()
        settings = self._settings
        self._cluster.doubt_watches()
        reader = EvidenceReader(
            CountedSource(self._source, self.telemetry), settings.prometheus_scrape_interval_seconds
        )
        reconciler = Reconciler(
            cluster=ToldCluster(
                LeaderOnly(CountedCluster(self._cluster, self.telemetry), lambda: self._leadership.leading),
                self._caches.learn,
            ),
            view=self._caches,
            read_evidence=reader.read,
            now=lambda: datetime.now(UTC),
            tell=Teller(self._events, self.telemetry).tell,
            margins=Margins(settings.route_margin_seconds, settings.rollback_drain_seconds),
            notifications=self._notifier,
        )
        self._notifier.start()
        deployments = self._caches.deployments
        self._working = True
        self._loop.start(reconciler, deployments.names(), urgent=deployments.under_way())

    def _stand_by(self, why: str) -> None:
        """Another process may lead by now: not one write more."""
        self._loop.halt()
        self._notifier.halt()
        self._working = False
        self.telemetry.lease_changes.labels("Lost").inc()
        logger.warning("standing by", extra={"because": why})

    def _unready(self) -> str | None:
        if not self._watch.synced.is_set():
            return "the ModelDeployments are not listed yet"
        return self._neighbours.obstacle if self._caches.synced else "the children are not listed yet"

    def _measure(self) -> None:
        """What is looked up when Prometheus asks."""
        gauge, counter, per_resource = self.telemetry.gauge, self.telemetry.counter, self.telemetry.gauge_per_resource
        leadership, loop, events = self._leadership, self._loop, self._events
        deployments, informers = self._caches.deployments, self._caches.informers
        gauge("serinus_leading", "1 while this process holds the Lease.", lambda: leadership.leading)
        gauge(
            "serinus_lease_renewal_age_seconds",
            "Time since the leader renewed the Lease; 0 on a standby.",
            lambda: leadership.renewal_age_seconds,
        )
        gauge("serinus_deployments", "ModelDeployments in the cache.", lambda: len(deployments))
        gauge(
            "serinus_refused_namespaces",
            "Namespaces of watchNamespaces that are left alone since rights are missing there.",
            lambda: len({*self._caches.refused, *self._watch.refused}),
        )
        gauge("serinus_queue_length", "ModelDeployments that wait for a worker.", lambda: loop.waiting)
        gauge(
            "serinus_queue_oldest_seconds",
            "How long the ModelDeployment that has waited longest has waited for a worker.",
            lambda: loop.oldest_waiting_seconds,
        )
        gauge(
            "serinus_pass_longest_seconds",
            "Age of the oldest pass that is under way.",
            lambda: loop.longest_pass_seconds,
        )
        counter("serinus_events_sent_total", "Notes told as Events.", lambda: events.sent)
        counter("serinus_events_lost_total", "Notes that could not be told as Events.", lambda: events.lost)
        gauge("serinus_events_waiting", "Events that wait to be sent.", lambda: events.waiting)
        gauge("serinus_notifications_waiting", "Notifications that wait to be sent.", lambda: self._notifier.waiting)
        for receiver in self._settings.receivers:
            for result in (SENT, FAILED, DROPPED):
                self.telemetry.notifications.labels(receiver, result)
        per_resource(
            "serinus_watch_silence_seconds",
            "Time since the last sign of life of a watch: an answer, an event, a bookmark, a renewal.",
            {watch: partial(self.health.silence_seconds, watch) for watch in self.health.contacts},
        )
        held = {informer.name: partial(len, informer) for informer in informers}
        per_resource(
            "serinus_cached_objects",
            "Objects that the cache behind a watch holds.",
            {MODEL_DEPLOYMENT.plural: partial(len, deployments), **held},
        )


def shard_of(settings: Settings) -> Shard:
    """What an operator with these settings serves."""
    return Shard(frozenset(settings.watch_namespaces), settings.selector)


def gateway_namespaces(settings: Settings) -> tuple[str, ...]:
    """Where Gateways are looked up; empty: everywhere."""
    both = (*settings.watch_namespaces, *settings.gateway_namespaces)
    return tuple(dict.fromkeys(both)) if settings.namespaced else ()


def _lease_terms(settings: Settings) -> LeaseTerms:
    return LeaseTerms(
        settings.lease_namespace,
        settings.lease_name,
        settings.lease_duration_seconds,
        settings.lease_renew_deadline_seconds,
        settings.lease_retry_seconds,
    )


def _keep_what_is_there() -> None:
    """Spare the garbage collector what stays for the life of the process: code, classes and full caches.

    To look through all of it takes some 60 ms each time, and while hundreds of passes are under way it is due often.
    """
    gc.collect()
    gc.freeze()


def _contact_at(informer: Informer) -> ContactAt:
    return lambda: informer.last_contact_at


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
