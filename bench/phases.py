"""The phases of a run, in their order. Used by `bench.__main__`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench import meter, polling
from bench.figures import ABORTED, ACTED_SECONDS, PROMOTED, TAKEN_SECONDS, Phase
from bench.fleet import Finish, Fleet, keys
from bench.meter import Mark
from bench.operators import OperatorProcess
from bench.stage import Stage
from bench.subject import REPLICAS, SLOW_STEPS, STEPS, Key, Step, Subject, Wanted, image

ONE_IN: Final = 10
"""One of so many is broken."""
OUTAGE_SECONDS: Final = 60
OUTAGE_RESOURCES: Final = 5
IDLE_SECONDS: Final = 60

_FEWEST_SECONDS: Final = 180.0
_SECONDS_PER_RESOURCE: Final = 1.0
_HANDOVER_SECONDS: Final = 120.0
_REST_SECONDS: Final = 90.0
"""Pods of an old revision stay for the operator's drain time, half a minute."""
_JUDGED_SECONDS: Final = 5
_OUTAGE_JUDGED_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Play:
    """A run: the stage, the resources, and how long anything may take."""

    stage: Stage
    fleet: Fleet
    every: tuple[Key, ...]

    @property
    def subject(self) -> Subject:
        return self.stage.subject

    @property
    def deadline_seconds(self) -> float:
        return _FEWEST_SECONDS + _SECONDS_PER_RESOURCE * len(self.every)

    @property
    def broken(self) -> frozenset[Key]:
        """Those that are given bad metrics."""
        return frozenset(self.every[ONE_IN // 2 :: ONE_IN])

    async def phases(self, names: Sequence[str]) -> AsyncIterator[Phase]:
        """Go through the phases of these names."""
        known = {
            "create": self._create,
            "rollout": self._rollout,
            "judged": self._judged,
            "outage": self._outage,
            "idle": self._idle,
            "restart": self._restart,
            "failover": self._failover,
        }
        for name in names:
            yield await known[name]()

    async def _create(self) -> Phase:
        mark = meter.begin(self.stage)
        finish = await self.fleet.create(self.every, "1", self.deadline_seconds)
        return await self._settled(mark, "create", "All are made at once; done when Ready.", finish)

    async def _rollout(self) -> Phase:
        mark = meter.begin(self.stage)
        finish = await self._new_version("2", lambda _: self.subject.serves("2"))
        meaning = f"A new version of all, steps {_told(STEPS)} decided by holds alone; done when promoted and Ready."
        return await self._settled(mark, "rollout", meaning, finish)

    async def _judged(self) -> Phase:
        mark = meter.begin(self.stage)
        deployments = ["/".join(key) for key in self.broken]
        await self.stage.tell_prometheus("bad", image=image("3"), deployments=deployments)

        def wanted(key: Key) -> Wanted:
            return self.subject.is_rejected if key in self.broken else self.subject.serves("3")

        finish = await self._new_version("3", wanted, judged_every_seconds=_JUDGED_SECONDS)
        meaning = (
            f"A new version of all, judged by errors and latency every {_JUDGED_SECONDS} s; one in {ONE_IN} fails 30 % "
            "of its requests. Done when promoted and Ready, or rejected with its pods gone."
        )

        def facts() -> dict[str, float]:
            return {
                **_apart(finish, self.broken, "rejected"),
                "wrongly rejected": self._count(self.subject.is_aborted, set(self.every) - self.broken),
                "broken and promoted": self._count(self.subject.serves("3"), self.broken),
            }

        return await self._settled(mark, "judged", meaning, finish, facts)

    async def _outage(self) -> Phase:
        chosen = tuple(key for key in self.every if key not in self.broken)[:OUTAGE_RESOURCES]
        namespaces = sorted({namespace for namespace, _ in chosen})
        await self.subject.before_metrics(self.fleet.api, namespaces, self.stage.installed.prometheus_url)
        mark = meter.begin(self.stage)
        promoted, aborted = self.subject.serves("4"), self.subject.is_aborted
        started = await self._new_version(
            "4",
            lambda _: self.subject.is_held,
            judged_every_seconds=_OUTAGE_JUDGED_SECONDS,
            steps=SLOW_STEPS,
            chosen=chosen,
        )
        await self.stage.tell_prometheus("refuse", seconds=OUTAGE_SECONDS)
        finish = await self.fleet.until(
            chosen, lambda found: promoted(found) or aborted(found), OUTAGE_SECONDS + self.deadline_seconds
        )
        whole = Finish(started.wall_seconds + finish.wall_seconds, finish.seconds, finish.unfinished)
        meaning = (
            f"Prometheus refuses for {OUTAGE_SECONDS} s while {len(chosen)} healthy candidates, steps "
            f"{_told(SLOW_STEPS)}, are judged every {_OUTAGE_JUDGED_SECONDS} s; done when decided."
        )

        def facts() -> dict[str, float]:
            return {ABORTED: self._count(aborted, set(chosen)), PROMOTED: self._count(promoted, set(chosen))}

        return await self._settled(mark, "outage", meaning, whole, facts)

    async def _idle(self) -> Phase:
        mark = meter.begin(self.stage)
        await asyncio.sleep(IDLE_SECONDS)
        return meter.end(self.stage, mark, "idle", f"Nothing happens for {IDLE_SECONDS} s.")

    async def _restart(self) -> Phase:
        ready = await self._standby()
        mark = meter.begin(self.stage)
        facts = await self._hand_over(signal.SIGTERM, REPLICAS + 1)
        meaning = "The leader gets SIGTERM while a standby runs; done when the standby has acted on a change made then."
        return meter.end(self.stage, mark, "restart", meaning, facts=facts | ready)

    async def _failover(self) -> Phase:
        ready = await self._standby()
        mark = meter.begin(self.stage)
        facts = await self._hand_over(signal.SIGKILL, REPLICAS)
        meaning = "The leader gets SIGKILL while a standby runs; done when the standby has acted on a change made then."
        return meter.end(self.stage, mark, "failover", meaning, facts=facts | ready)

    async def _standby(self) -> dict[str, float]:
        """Start one, which lists what there is; how long that takes."""
        begun_at = time.monotonic()
        await self.stage.start_operator(leading=False)
        return {"seconds until the standby was ready": round(time.monotonic() - begun_at, 2)}

    async def _hand_over(self, number: signal.Signals, replicas: int) -> dict[str, float]:
        """End the leader, and see how long it takes until the standby holds the Lease, and until it has acted."""
        leader, standby = self.stage.operators
        probe = next(key for key in reversed(self.every) if key not in self.broken)
        sent_at = time.monotonic()
        leader.kill(number)
        change = asyncio.create_task(
            self.fleet.change(
                [probe], self.subject.scaled(replicas), lambda _: self.subject.is_observed, _HANDOVER_SECONDS
            )
        )
        await polling.until(partial(self._takes_over, standby), _HANDOVER_SECONDS, 0.05)
        taken_at = time.monotonic()
        finish = await change
        acted_at = time.monotonic()
        self.stage.operators.remove(leader)
        await leader.ended()
        return {
            TAKEN_SECONDS: round(taken_at - sent_at, 2),
            ACTED_SECONDS: round(max(taken_at, acted_at) - sent_at, 2),
            "not acted on": len(finish.unfinished),
        }

    async def _takes_over(self, standby: OperatorProcess) -> bool:
        standby.check()
        return await self.stage.holds(standby)

    async def _settled(
        self,
        mark: Mark,
        name: str,
        meaning: str,
        finish: Finish,
        facts: Callable[[], dict[str, float]] = dict,
    ) -> Phase:
        """The figures of a phase when nothing is left of the rollouts and the operator is quiet."""
        done = meter.reading(mark)
        await self.fleet.until(self.every, self.subject.is_at_rest, _REST_SECONDS)
        await meter.settle(self.stage)
        return meter.end(self.stage, mark, name, meaning, finish=finish, done=done, facts=facts())

    async def _new_version(
        self,
        version: str,
        wanted: Callable[[Key], Wanted],
        *,
        judged_every_seconds: int | None = None,
        steps: Sequence[Step] = STEPS,
        chosen: tuple[Key, ...] | None = None,
    ) -> Finish:
        spec = self.subject.new_version(version, judged_every_seconds=judged_every_seconds, steps=steps)
        return await self.fleet.change(chosen or self.every, spec, wanted, self.deadline_seconds)

    def _count(self, wanted: Wanted, among: set[Key] | frozenset[Key]) -> int:
        return sum(wanted(self.fleet.seen[key]) for key in among)


def _told(steps: Sequence[Step]) -> str:
    return "/".join(f"{step.weight_percent} %/{step.hold_seconds} s" for step in steps)


def _apart(finish: Finish, some: frozenset[Key], name: str) -> dict[str, float]:
    """The slowest of some resources."""
    seconds = [finish.seconds[key] for key in some if key in finish.seconds]
    return {name: len(seconds), f"slowest {name} (s)": round(max(seconds, default=0.0), 2)}


async def play(stage: Stage, fleet: Fleet, size: int, names: Sequence[str]) -> AsyncIterator[Phase]:
    """The phases of these names, with so many resources."""
    every = keys(size)
    await fleet.make_namespaces(every)
    async for phase in Play(stage, fleet, every).phases(names):
        yield phase
