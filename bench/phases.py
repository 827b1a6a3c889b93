"""The phases of a run, in their order. Used by `bench.__main__`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench import meter, polling
from bench.figures import Phase
from bench.fleet import REPLICAS, Finish, Fleet, Key, Wanted, at_rest, image, in_phase, keys, observed, serves
from bench.meter import Mark
from bench.operators import NAME, NAMESPACE
from bench.stage import Stage

ONE_IN: Final = 10
"""One of so many is broken."""
OUTAGE_SECONDS: Final = 60
IDLE_SECONDS: Final = 60

_FEWEST_SECONDS: Final = 180.0
_SECONDS_PER_RESOURCE: Final = 1.0
_HANDOVER_SECONDS: Final = 120.0
_REST_SECONDS: Final = 90.0
"""Pods of an old revision stay for the operator's drain time, half a minute."""
_JUDGED: Final = {"disabled": None, "intervalSeconds": 5}
_JUDGED_SLOWLY: Final = {"disabled": None, "intervalSeconds": 10}
_LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}"


@dataclass(frozen=True, slots=True)
class Play:
    """A run: the stage, the resources, and how long anything may take."""

    stage: Stage
    fleet: Fleet
    every: tuple[Key, ...]

    @property
    def deadline_seconds(self) -> float:
        return _FEWEST_SECONDS + _SECONDS_PER_RESOURCE * len(self.every)

    @property
    def broken(self) -> frozenset[Key]:
        """Those that are given bad metrics."""
        return frozenset(self.every[ONE_IN // 2 :: ONE_IN])

    async def phases(self) -> AsyncIterator[Phase]:
        """Go through all phases."""
        yield await self._create()
        yield await self._rollout()
        yield await self._judged()
        yield await self._outage()
        yield await self._idle()
        yield await self._restart()
        yield await self._failover()

    async def _create(self) -> Phase:
        mark = meter.begin(self.stage)
        finish = await self.fleet.create(self.every, "1", self.deadline_seconds)
        await self._settle(mark)
        return meter.end(self.stage, mark, "create", "All are made at once; done when Ready.", finish=finish)

    async def _rollout(self) -> Phase:
        mark = meter.begin(self.stage)
        finish = await self._new_version("2", lambda _: serves("2"), analysis={"disabled": True})
        await self._settle(mark)
        meaning = "A new version of all, steps 20 %/5 s/50 %/5 s decided by holds alone; done when promoted and Ready."
        return meter.end(self.stage, mark, "rollout", meaning, finish=finish)

    async def _judged(self) -> Phase:
        mark = meter.begin(self.stage)
        deployments = ["/".join(key) for key in self.broken]
        await self.stage.tell_prometheus("bad", image=image("3"), deployments=deployments)

        def wanted(key: Key) -> Wanted:
            return in_phase("Rejected") if key in self.broken else serves("3")

        finish = await self._new_version("3", wanted, analysis=_JUDGED)
        await self._settle(mark)
        meaning = (
            "A new version of all, judged by errors and latency every 5 s; "
            f"one in {ONE_IN} fails 30 % of its requests. Done when promoted and Ready, or rejected with its pods gone."
        )
        facts = {
            **_apart(finish, self.broken, "rejected"),
            "wrongly rejected": self._count(in_phase("RollingBack", "Rejected"), set(self.every) - self.broken),
            "broken and promoted": self._count(serves("3"), self.broken),
        }
        return meter.end(self.stage, mark, "judged", meaning, finish=finish, facts=facts)

    async def _outage(self) -> Phase:
        chosen = tuple(key for key in self.every if key not in self.broken)[:5]
        mark = meter.begin(self.stage)
        started = await self._new_version("4", lambda _: in_phase("Holding"), _JUDGED_SLOWLY, chosen)
        await self.stage.tell_prometheus("refuse", seconds=OUTAGE_SECONDS)
        decided = in_phase("RollingBack", "Rejected")
        finish = await self.fleet.until(
            chosen, lambda found: serves("4")(found) or decided(found), OUTAGE_SECONDS + self.deadline_seconds
        )
        await self._settle(mark)
        facts = {"aborted": self._count(decided, set(chosen)), "promoted": self._count(serves("4"), set(chosen))}
        meaning = (
            f"Prometheus refuses for {OUTAGE_SECONDS} s while {len(chosen)} healthy candidates are judged every 10 s; "
            "done when decided."
        )
        whole = Finish(started.wall_seconds + finish.wall_seconds, finish.seconds, finish.unfinished)
        return meter.end(self.stage, mark, "outage", meaning, finish=whole, facts=facts)

    async def _idle(self) -> Phase:
        mark = meter.begin(self.stage)
        await asyncio.sleep(IDLE_SECONDS)
        return meter.end(self.stage, mark, "idle", f"Nothing happens for {IDLE_SECONDS} s.")

    async def _restart(self) -> Phase:
        await self.stage.start_operator(leading=False)
        mark = meter.begin(self.stage)
        facts = await self._hand_over(signal.SIGTERM, REPLICAS + 1)
        meaning = "The leader gets SIGTERM while a standby runs; done when the standby has acted on a change made then."
        return meter.end(self.stage, mark, "restart", meaning, facts=facts)

    async def _failover(self) -> Phase:
        await self.stage.start_operator(leading=False)
        mark = meter.begin(self.stage)
        facts = await self._hand_over(signal.SIGKILL, REPLICAS)
        meaning = "The leader gets SIGKILL while a standby runs; done when the standby has acted on a change made then."
        return meter.end(self.stage, mark, "failover", meaning, facts=facts)

    async def _hand_over(self, number: signal.Signals, replicas: int) -> dict[str, float]:
        """End the leader, and see how long it takes until the standby holds the Lease, and until it has acted."""
        leader, standby = self.stage.operators
        probe = next(key for key in self.every if key not in self.broken)
        sent_at = time.monotonic()
        leader.kill(number)
        change = asyncio.create_task(
            self.fleet.change([probe], {"scaling": {"replicas": replicas}}, lambda _: observed, _HANDOVER_SECONDS)
        )
        await polling.until(partial(self._holds, standby.identity), _HANDOVER_SECONDS, 0.05)
        taken_at = time.monotonic()
        finish = await change
        acted_at = time.monotonic()
        self.stage.operators.remove(leader)
        await leader.ended()
        return {
            "seconds until the lease was taken": round(taken_at - sent_at, 2),
            "seconds until the standby acted": round(max(taken_at, acted_at) - sent_at, 2),
            "not acted on": len(finish.unfinished),
        }

    async def _settle(self, mark: Mark) -> None:
        """Wait until nothing is left of the rollouts and the operator is quiet."""
        await self.fleet.until(self.every, at_rest, _REST_SECONDS)
        await meter.settle(mark.leader)

    async def _holds(self, identity: str) -> bool:
        lease = await self.fleet.api.call("GET", _LEASE)
        return bool(lease["spec"].get("holderIdentity") == identity)

    async def _new_version(
        self, version: str, wanted: Any, analysis: dict[str, Any], chosen: tuple[Key, ...] | None = None
    ) -> Finish:
        spec = {"serving": {"image": image(version)}, "analysis": analysis}
        return await self.fleet.change(chosen or self.every, spec, wanted, self.deadline_seconds)

    def _count(self, wanted: Wanted, among: set[Key] | frozenset[Key]) -> int:
        return sum(wanted(self.fleet.seen[key]) for key in among)


def _apart(finish: Finish, some: frozenset[Key], name: str) -> dict[str, float]:
    """The slowest of some resources."""
    seconds = [finish.seconds[key] for key in some if key in finish.seconds]
    return {name: len(seconds), f"slowest {name} (s)": round(max(seconds, default=0.0), 2)}


async def play(stage: Stage, fleet: Fleet, size: int) -> AsyncIterator[Phase]:
    """All phases with so many resources."""
    every = keys(size)
    await fleet.make_namespaces(every)
    async for phase in Play(stage, fleet, every).phases():
        yield phase
