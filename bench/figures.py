"""What a run has found, as values that become JSON: for `bench.meter`, which fills them, and `bench.report`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

_COUNTER: Final = re.compile(r"serinus_(events_(sent|lost)|\w+_(total|count|sum))(\{|$)")


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations of many resources, in seconds."""

    count: int
    p50: float
    p95: float
    highest: float


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process in one phase."""

    cpu_seconds: float
    peak_rss_mib: float


@dataclass(frozen=True, slots=True)
class RequestCount:
    """One kind of request to the API server in one phase, by `bench.audit`."""

    who: str
    user: str
    verb: str
    resource: str
    code: int
    count: int


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a run."""

    name: str
    meaning: str
    """One sentence: what was done, and when it counts as done."""
    resources: int
    """How many ModelDeployments it was about; 0 where it is about none in particular."""
    wall_seconds: float
    """Until the last resource was done."""
    settled_seconds: float
    """Until the operator was quiet again. Processor time and requests are counted over this."""
    unfinished: int
    """Resources that were not done in time."""
    spread: Spread | None
    """From each resource's own change to its being done."""
    processes: Mapping[str, ProcessFigures]
    writes: Mapping[str, int]
    """Writes by whom, without Events and Leases, refused ones included."""
    refused: Mapping[str, int]
    """Refused ones among all requests, by whom."""
    requests: Sequence[RequestCount]
    operator: Mapping[str, float]
    """Growth of the leading operator's own counters."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What else there is to say, such as the seconds until a standby acted."""


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run."""

    size: int
    namespaces: int
    started_at: str
    conditions: Mapping[str, str]
    """What the figures depend on: versions, the machine, limits."""
    phases: Sequence[Phase]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def spread(seconds: Sequence[float]) -> Spread | None:
    """The spread of durations; None without any."""
    if not seconds:
        return None
    return Spread(len(seconds), quantile(seconds, 0.5), quantile(seconds, 0.95), max(seconds))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed. Needs at least one."""
    rank = max(1, math.ceil(share * len(values) - 1e-9))
    return sorted(values)[rank - 1]


def samples(exposition: str) -> dict[str, float]:
    """The counters and gauges of a process, by name and labels as Prometheus' text format writes them."""
    lines = (line.rpartition(" ") for line in exposition.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much each of the operator's own counters has grown, where it has."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items() if _COUNTER.match(name)}
    return {name: by for name, by in grown.items() if by}
