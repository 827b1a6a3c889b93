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
from bench.operators import USER, OperatorProcess
from bench.processes import Usage
from bench.stage import Stage

EVERYTHING_ELSE: Final = "everything else"
"""What else ran on the machine: much of it means that the times are not the operator's."""

_QUIET_SECONDS: Final = 3.0
"""The operator is quiet when it has made no pass and sent no Event for so long."""
_LONGEST_SETTLING_SECONDS: Final = 120.0
_WHO: Final = (audit.OPERATOR, audit.BUILT_IN, audit.BENCHMARK)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where everything stood when a phase began."""

    at: float
    """Monotonic seconds."""
    pids: dict[str, int]
    usage: dict[str, Usage | None]
    machine_seconds: float
    audit_offset: int
    leader: OperatorProcess
    counters: dict[str, float]


def begin(stage: Stage) -> Mark:
    """A phase begins now."""
    pids = {**stage.processes, "driver": os.getpid()}
    for number, operator in enumerate(stage.operators):
        pids["operator" if number == 0 else f"standby {number}"] = operator.pid
    for pid in pids.values():
        processes.forget_peak(pid)
    usage = {name: processes.usage(pid) for name, pid in pids.items()}
    leader = stage.operators[0]
    machine = processes.machine_seconds()
    return Mark(time.monotonic(), pids, usage, machine, stage.audit_log.stat().st_size, leader, leader.samples())


async def settle(leader: OperatorProcess) -> None:
    """Wait until the operator is quiet, for a while at most."""
    deadline = time.monotonic() + _LONGEST_SETTLING_SECONDS
    before, since = _activity(leader), time.monotonic()
    while time.monotonic() < min(deadline, since + _QUIET_SECONDS):
        await asyncio.sleep(0.5)
        if (now := _activity(leader)) != before:
            before, since = now, time.monotonic()


def end(
    stage: Stage,
    mark: Mark,
    name: str,
    meaning: str,
    *,
    finish: Finish | None = None,
    facts: Mapping[str, float] | None = None,
) -> Phase:
    """The figures of a phase that ends now."""
    stage.check()
    uses = audit.counted(audit.new_lines(stage.audit_log, mark.audit_offset), USER)
    lasted = time.monotonic() - mark.at
    return Phase(
        name=name,
        meaning=meaning,
        resources=len(finish.seconds) + len(finish.unfinished) if finish else 0,
        wall_seconds=round(finish.wall_seconds if finish else lasted, 2),
        settled_seconds=round(lasted, 2),
        unfinished=len(finish.unfinished) if finish else 0,
        spread=spread([round(each, 2) for each in finish.seconds.values()]) if finish else None,
        processes=_processes(mark),
        writes={who: audit.total(uses, who, writes=True) for who in _WHO},
        refused={who: audit.total(uses, who, refused=True) for who in _WHO},
        requests=_requests(uses),
        operator=growth(mark.counters, mark.leader.samples()) if mark.leader in stage.operators else {},
        facts=facts or {},
    )


def _processes(mark: Mark) -> dict[str, ProcessFigures]:
    found = {}
    for name, pid in mark.pids.items():
        before, after = mark.usage[name], processes.usage(pid)
        if before is not None and after is not None:
            seconds = round(after.cpu_seconds - before.cpu_seconds, 2)
            found[name] = ProcessFigures(seconds, round(after.peak_rss_bytes / 2**20, 1))
    ours = sum(each.cpu_seconds for each in found.values())
    found[EVERYTHING_ELSE] = ProcessFigures(round(processes.machine_seconds() - mark.machine_seconds - ours, 2), 0.0)
    return found


def _requests(uses: Counter[Use]) -> list[RequestCount]:
    return [
        RequestCount(use.who, use.user, use.verb, use.resource, use.code, count) for use, count in uses.most_common()
    ]


def _activity(leader: OperatorProcess) -> tuple[float, float]:
    now = leader.samples()
    return now.get("serinus_pass_seconds_count", 0.0), now.get("serinus_events_sent", 0.0)
