"""The reconcile loop: as many workers as settings allow take dirty resources and pass over them.

Runs only while this process leads. `serinus.shell.app` starts it when the Lease is gained, with a reconciler that
remembers nothing of an earlier term, and halts it when the Lease is lost; the caches mark what has changed.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Container, Iterable
from typing import Protocol

from serinus.core.due import EvidenceRequest
from serinus.shell.reconciler import Key, Next, PassOutcome
from serinus.shell.telemetry import Telemetry
from serinus.shell.work_queue import WorkQueue

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
"""A change is passed over this much later: changes come in bursts, most of all those that a pass makes itself."""
SPACING_SECONDS = 0.2
"""And at least so long after the resource's last pass, lest two controllers at odds keep it spinning."""
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0


class Passes(Protocol):
    """What `serinus.shell.reconciler.Reconciler` offers."""

    async def pass_over(self, key: Key) -> Next:
        """Observe, decide, carry out."""

    async def read(self, key: Key, request: EvidenceRequest) -> bool:
        """Read the evidence that a pass asked for; whether the pass that is to use it is urgent."""


class ReconcileLoop:
    """One term of work after the other. All methods are called from the event loop."""

    def __init__(self, concurrency: int, telemetry: Telemetry) -> None:
        self._concurrency = concurrency
        self._telemetry = telemetry
        self._term: _Term | None = None

    @property
    def waiting(self) -> int:
        """Resources that wait for a worker."""
        return len(self._term.queue) if self._term is not None else 0

    @property
    def oldest_waiting_seconds(self) -> float:
        """How long the resource that has waited longest has waited for a worker; 0 where none waits."""
        return self._term.queue.oldest_seconds if self._term is not None else 0.0

    @property
    def longest_pass_seconds(self) -> float:
        """Age of the oldest pass that is under way; 0 without one."""
        return self._term.longest_pass_seconds() if self._term is not None else 0.0

    def problem(self) -> str | None:
        """Why the workers do not work, if so: a defect that only a new process mends."""
        dead = self._term.dead_workers() if self._term is not None else 0
        return f"{dead} of {self._concurrency} workers have ended by themselves" if dead else None

    def start(self, passes: Passes, keys: Iterable[Key], urgent: Container[Key] = ()) -> None:
        """Begin to work, with these keys first, and before all with those that are urgent."""
        self.halt()
        self._term = _Term(passes, self._concurrency, self._telemetry)
        for key in keys:
            self._term.queue.add(key, urgent=key in urgent)

    def mark(self, key: Key, *, urgent: bool = False) -> None:
        """Something of this resource has changed, for the worse if `urgent`. Nothing happens while nothing runs."""
        if self._term is not None:
            self._term.mark(key, urgent=urgent)

    def halt(self) -> None:
        """Stop at once: passes and readings under way are cut off, which is safe at any moment."""
        term, self._term = self._term, None
        if term is not None:
            term.halt()

    async def stop(self, grace_seconds: float) -> None:
        """Begin no other pass, let those under way end within `grace_seconds`, and stop."""
        term, self._term = self._term, None
        if term is not None:
            await term.stop(grace_seconds)


class _Term:
    """The work from one gain of the Lease to its loss."""

    def __init__(self, passes: Passes, concurrency: int, telemetry: Telemetry) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(lane=_namespace)
        self._passes = passes
        self._telemetry = telemetry
        self._begun_at: dict[Key, float] = {}
        """When the pass that is under way over a resource began, in the event loop's time."""
        self._ended_at: dict[Key, float] = {}
        """When the last pass over it ended, in this order; kept while that delays the next one."""
        self._crashes: dict[Key, int] = {}
        """Passes in a row that ended with an exception nobody expected."""
        self._readings: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._ending = False
        self._workers = tuple(
            asyncio.create_task(self._work(), name=f"worker {number}") for number in range(concurrency)
        )

    def mark(self, key: Key, *, urgent: bool) -> None:
        now = asyncio.get_running_loop().time()
        last = now if key in self._begun_at else self._ended_at.get(key, -math.inf)
        self.queue.add_after(key, max(GATHER_SECONDS, last + SPACING_SECONDS - now), urgent=urgent)

    def longest_pass_seconds(self) -> float:
        now = asyncio.get_running_loop().time()
        return max((now - begun_at for begun_at in self._begun_at.values()), default=0.0)

    def dead_workers(self) -> int:
        return sum(worker.done() for worker in self._workers)

    def halt(self) -> None:
        self.queue.close()
        for task in (*self._workers, *self._readings):
            task.cancel()

    async def stop(self, grace_seconds: float) -> None:
        self._ending = True
        for task in (*(set(self._workers) - self._busy), *self._readings):
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=grace_seconds)
        self.halt()
        await asyncio.gather(*self._workers, *self._readings, return_exceptions=True)

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 -- runs as a task
        while not self._ending:
            key = await self.queue.get()
            self._busy.add(me)
            try:
                await self._pass_over(key)
            finally:
                self._busy.discard(me)
                self.queue.done(key)
            await asyncio.sleep(0)  # a pass that writes nothing never waits, and a thousand of them would stop all else

    async def _pass_over(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        self._begun_at[key] = begun_at = loop.time()
        outcome = PassOutcome.CUT_OFF
        try:
            follows = await self._passes.pass_over(key)
            outcome = follows.outcome
        except Exception:  # a defect: it must stay with this resource
            outcome = PassOutcome.CRASHED
            pause = self._pause_after_crash(key)
            what = {**_names(key), "after_seconds": pause}
            logger.exception("pass failed unexpectedly; it is tried again", extra=what)
            self.queue.add_after(key, pause)
            return
        finally:
            del self._begun_at[key]
            ended_at = loop.time()
            self._note_end(key, ended_at)
            self._telemetry.pass_seconds.labels(outcome).observe(ended_at - begun_at)
        self._crashes.pop(key, None)
        if follows.after_seconds is not None:
            self.queue.add_after(key, follows.after_seconds, urgent=follows.urgent)
        if follows.reading is not None:
            reading = asyncio.create_task(self._read(key, follows.reading), name=f"reading for {'/'.join(key)}")
            self._readings.add(reading)
            reading.add_done_callback(self._readings.discard)

    def _note_end(self, key: Key, now: float) -> None:
        """Those that delay nothing any more go, lest the names of all resources that ever were pile up."""
        self._ended_at.pop(key, None)
        self._ended_at[key] = now
        while now - self._ended_at[oldest := next(iter(self._ended_at))] >= SPACING_SECONDS:
            del self._ended_at[oldest]

    async def _read(self, key: Key, request: EvidenceRequest) -> None:
        urgent = False
        try:
            urgent = await self._passes.read(key, request)
        except Exception:  # a defect: the rollout holds, since nothing was read
            self._telemetry.crashes.labels("reading").inc()
            logger.exception("reading failed unexpectedly; the rollout holds", extra=_names(key))
        self.queue.add(key, urgent=urgent)

    def _pause_after_crash(self, key: Key) -> float:
        crashes = self._crashes[key] = self._crashes.get(key, 0) + 1
        self._telemetry.crashes.labels("pass").inc()
        return float(min(FIRST_RETRY_SECONDS * 2.0 ** min(crashes - 1, 10), LONGEST_RETRY_SECONDS))


def _namespace(key: Key) -> str:
    return key[0]


def _names(key: Key) -> dict[str, str]:
    return {"namespace": key[0], "deployment": key[1]}
