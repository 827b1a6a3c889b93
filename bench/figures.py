"""What a run has found, as values that become JSON: for `bench.meter`, which fills them, and `bench.report`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.audit import Use

PASSES: Final = "passes"
EVENTS_EMITTED: Final = "events emitted"
EVENTS_LOST: Final = "events lost"
ABORTED: Final = "aborted"
PROMOTED: Final = "promoted"
TAKEN_SECONDS: Final = "seconds until the lease was taken"
ACTED_SECONDS: Final = "seconds until the standby acted"


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
    """Until the operator was quiet again."""
    cpu_seconds_until_done: float
    """Until the last resource was done."""
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

    @property
    def use(self) -> Use:
        """What was counted."""
        return Use(self.who, self.user, self.verb, self.resource, self.code)


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a run."""

    name: str
    meaning: str
    """One sentence: what was done, and when it counts as done."""
    resources: int
    """How many resources it was about; 0 where it is about none in particular."""
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
    tally: Mapping[str, float] = field(default_factory=dict)
    """PASSES, EVENTS_EMITTED and EVENTS_LOST; empty where the leader has changed."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What else there is to say, such as the seconds until a standby acted."""


@dataclass(frozen=True, slots=True)
class Run:
    """One subject with so many resources."""

    subject: str
    """`bench.subject.Subject.slug`."""
    label: str
    """What tells the subject from others of the same invocation."""
    routed: bool
    """`bench.subject.Subject.routed`."""
    resource_name: str
    size: int
    namespaces: int
    invoked_at: str
    """When the benchmark was called: runs that were made together have it in common."""
    started_at: str
    command: str
    """How it was called."""
    conditions: Mapping[str, str]
    """What the figures depend on: versions, the machine, limits."""
    processors: int
    phases: Sequence[Phase]

    def phase(self, name: str) -> Phase | None:
        """The phase of that name, if the run had one."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), separators=(",", ":")) + "\n")

    @classmethod
    def read(cls, path: Path) -> Run:
        """A run that was written. Raises KeyError or TypeError where the file holds something else."""
        found = json.loads(path.read_text())
        return cls(**{**found, "phases": [_phase(each) for each in found["phases"]]})


def _phase(found: dict[str, Any]) -> Phase:
    spread = found["spread"]
    read = {
        "spread": Spread(**spread) if spread else None,
        "processes": {name: ProcessFigures(**each) for name, each in found["processes"].items()},
        "requests": [RequestCount(**each) for each in found["requests"]],
    }
    return Phase(**{**found, **read})


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
    """By how much each counter has grown, where it has."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return {name: by for name, by in grown.items() if by}
