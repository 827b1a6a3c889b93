"""Measures one phase: processor time and memory, requests, the operator's own counters. Used by `bench.phases`."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench import audit, processes
from bench.audit import Use
from bench.figures import Phase, ProcessFigures, RequestCount, growth, spread
from bench.fleet import Finish
from bench.operators import OperatorProcess
from bench.processes import Usage
from bench.stage import Stage

EVERYTHING_ELSE: Final = "everything else"
"""What else ran on the machine: much of it means that the times are not the operator's."""

_QUIET_SECONDS: Final = 3.0
"""The operator is quiet when it has written nothing, Events included, for so long."""
_LONGEST_SETTLING_SECONDS: Final = 120.0
_WHO: Final = (audit.OPERATOR, audit.BUILT_IN, audit.BENCHMARK)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the processes have used up to a moment."""

    at: float
    """Monotonic seconds."""
    usage: Mapping[str, Usage | None]
    machine_seconds: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Where everything stood when a phase began."""

    pids: Mapping[str, int]
    start: Reading
    audit_offset: int
    leader: OperatorProcess
    counters: dict[str, float]


def begin(stage: Stage) -> Mark:
    """A phase begins now."""
    leader = stage.operators[0]
    counters = stage.subject.counters(leader.samples())  # before the rest: answering costs the operator something
    pids = {**stage.processes, "driver": os.getpid()}
    for number, operator in enumerate(stage.operators):
        pids["operator" if number == 0 else f"standby {number}"] = operator.pid
    for pid in pids.values():
        processes.forget_peak(pid)
    return Mark(pids, _reading(pids), stage.audit_log.stat().st_size, leader, counters)


def reading(mark: Mark) -> Reading:
    """What has been used up to now, such as when the last resource was done."""
    return _reading(mark.pids)


async def settle(stage: Stage) -> None:
    """Wait until the operator is quiet, for a while at most."""
    now = time.monotonic()
    deadline, quiet_since = now + _LONGEST_SETTLING_SECONDS, now
    offset = stage.audit_log.stat().st_size
    while time.monotonic() < min(deadline, quiet_since + _QUIET_SECONDS):
        await asyncio.sleep(0.5)
        for line in audit.new_lines(stage.audit_log, offset):
            offset += len(line)
            if audit.is_activity(line, stage.subject.user):
                quiet_since = time.monotonic()


def end(
    stage: Stage,
    mark: Mark,
    name: str,
    meaning: str,
    *,
    finish: Finish | None = None,
    done: Reading | None = None,
    facts: Mapping[str, float] | None = None,
) -> Phase:
    """The figures of a phase that ends now, and whose last resource was done at the reading `done`."""
    stop = _reading(mark.pids)
    stage.check()
    uses = audit.counted(audit.new_lines(stage.audit_log, mark.audit_offset), stage.subject.user)
    grown = _grown(stage, mark)
    lasted = stop.at - mark.start.at
    return Phase(
        name=name,
        meaning=meaning,
        resources=len(finish.seconds) + len(finish.unfinished) if finish else 0,
        wall_seconds=round(finish.wall_seconds if finish else lasted, 2),
        settled_seconds=round(lasted, 2),
        unfinished=len(finish.unfinished) if finish else 0,
        spread=spread([round(each, 2) for each in finish.seconds.values()]) if finish else None,
        processes=_processes(mark.start, done or stop, stop),
        writes={who: audit.total(uses, who, writes=True) for who in _WHO},
        refused={who: audit.total(uses, who, refused=True) for who in _WHO},
        requests=_requests(uses),
        operator=grown or {},
        tally={} if grown is None else stage.subject.tally(grown, audit.events_written(uses, audit.OPERATOR)),
        facts=facts or {},
    )


def _grown(stage: Stage, mark: Mark) -> dict[str, float] | None:
    """The growth of the leader's counters; None where it does not lead any more."""
    if mark.leader not in stage.operators:
        return None
    return growth(mark.counters, stage.subject.counters(mark.leader.samples()))


def _reading(pids: Mapping[str, int]) -> Reading:
    usage = {name: processes.usage(pid) for name, pid in pids.items()}
    return Reading(time.monotonic(), usage, processes.machine_seconds())


def _processes(start: Reading, done: Reading, stop: Reading) -> dict[str, ProcessFigures]:
    found = {}
    for name in start.usage:
        before, between, after = (each.usage[name] for each in (start, done, stop))
        if before is not None and between is not None and after is not None:
            seconds = after.cpu_seconds - before.cpu_seconds
            until_done = between.cpu_seconds - before.cpu_seconds
            found[name] = ProcessFigures(
                round(seconds, 2), round(until_done, 2), round(after.peak_rss_bytes / 2**20, 1)
            )
    known, known_until_done = (
        sum(getattr(each, which) for each in found.values()) for which in ("cpu_seconds", "cpu_seconds_until_done")
    )
    found[EVERYTHING_ELSE] = ProcessFigures(
        round(stop.machine_seconds - start.machine_seconds - known, 2),
        round(done.machine_seconds - start.machine_seconds - known_until_done, 2),
        0.0,
    )
    return found


def _requests(uses: Counter[Use]) -> list[RequestCount]:
    return [
        RequestCount(use.who, use.user, use.verb, use.resource, use.code, count) for use, count in uses.most_common()
    ]
