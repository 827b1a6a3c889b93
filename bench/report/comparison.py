"""Two runs of one invocation side by side: what each figure is, their ratio, and what it should be.

Used by `bench.__main__` and `bench.report.scale`. Every figure is read from the runs; what one lacks is blank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.audit import BUILT_IN, OPERATOR
from bench.figures import ABORTED, ACTED_SECONDS, EVENTS_EMITTED, EVENTS_LOST, PROMOTED, Phase, Run
from bench.report.table import figure, table

OURS: Final = "serinus"
CREATE: Final = "create"
ROLLOUT: Final = "rollout"
API_SERVER: Final = "kube-apiserver"

_EXTRA_OBJECTS: Final = frozenset(
    {"controllerrevisions", "services", "httproutes", "poddisruptionbudgets", "networkpolicies"}
)
"""What Serinus makes for a user of whom the peer expects to have made it, or who goes without."""
_COUNTED_PHASES: Final = (CREATE, ROLLOUT)
"""Phases whose Events are compared: in others the peer has Events that its counter leaves out."""

Read = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: at most a multiple of the peer's, plus so much, or at most a number."""

    ratio: float | None = None
    plus: Read | None = None
    at_most: float | None = None
    is_strict: bool = False
    """Whether a figure that is just as high misses it."""

    def limit(self, ours: Run, theirs: float | None) -> float | None:
        """The highest value that meets the goal; None where it can't be told."""
        if self.at_most is not None:
            return self.at_most
        if self.ratio is None or theirs is None:
            return None
        return self.ratio * theirs + ((self.plus(ours) or 0.0) if self.plus else 0.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run."""

    name: str
    read: Read
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of two runs."""

    name: str
    ours: float | None
    theirs: float | None
    limit: float | None
    is_strict: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours by theirs; None where one is missing, or theirs is nothing."""
        return self.ours / self.theirs if self.ours is not None and self.theirs else None

    @property
    def is_met(self) -> bool | None:
        """Whether ours is within its limit, to the two digits that are shown; None where there is none."""
        if self.ours is None or self.limit is None:
            return None
        ours, limit = round(self.ours, 2), round(self.limit, 2)
        return ours < limit if self.is_strict else ours <= limit


def _of(phase: str, read: Callable[[Phase], float | None]) -> Read:
    def of_run(run: Run) -> float | None:
        found = run.phase(phase)
        return None if found is None else read(found)

    return of_run


def wall(phase: str) -> Read:
    return _of(phase, lambda found: found.wall_seconds)


def cpu(phase: str, process: str) -> Read:
    def read(found: Phase) -> float | None:
        used = found.processes.get(process)
        return used.cpu_seconds if used else None

    return _of(phase, read)


def writes_each(phase: str, who: str) -> Read:
    return _of(phase, lambda found: found.writes[who] / found.resources if found.resources else None)


def peak_rss(run: Run) -> float | None:
    """The highest of all phases, in MiB."""
    return max(
        (phase.processes["operator"].peak_rss_mib for phase in run.phases if "operator" in phase.processes),
        default=None,
    )


def idle_requests(run: Run) -> float | None:
    """A minute."""
    idle = run.phase("idle")
    if idle is None:
        return None
    asked = sum(request.count for request in idle.requests if request.who == OPERATOR)
    return asked * 60 / idle.wall_seconds


def idle_cpu(run: Run) -> float | None:
    """Seconds a minute."""
    idle, used = run.phase("idle"), cpu("idle", OPERATOR)(run)
    return None if idle is None or used is None else used * 60 / idle.wall_seconds


def extra_objects(run: Run) -> float | None:
    """Objects beyond those that the peer makes, made for each resource when it is created."""
    created = run.phase(CREATE)
    if created is None or not created.resources:
        return None
    made = sum(
        request.count
        for request in created.requests
        if request.who == OPERATOR
        and request.verb == "create"
        and request.resource in _EXTRA_OBJECTS
        and request.code < 400
    )
    return made / created.resources


def fact(phase: str, name: str) -> Read:
    return _of(phase, lambda found: found.facts.get(name))


def events(kind: str) -> Read:
    def read(run: Run) -> float | None:
        found = [phase.tally[kind] for phase in run.phases if phase.name in _COUNTED_PHASES and kind in phase.tally]
        return sum(found) if found else None

    return read


MEASURES: Final = (
    Measure("create: until all are Ready, s", wall(CREATE)),
    Measure("create: operator's CPU, s", cpu(CREATE, OPERATOR)),
    Measure("create: API server's CPU, s", cpu(CREATE, API_SERVER)),
    Measure("create: operator's writes for each", writes_each(CREATE, OPERATOR), Goal(ratio=1, plus=extra_objects)),
    Measure("create: built-in controllers' writes for each", writes_each(CREATE, BUILT_IN)),
    Measure("new version: until all are Ready, s", wall(ROLLOUT), Goal(ratio=0.8)),
    Measure("new version: operator's CPU, s", cpu(ROLLOUT, OPERATOR), Goal(ratio=1)),
    Measure("new version: API server's CPU, s", cpu(ROLLOUT, API_SERVER), Goal(ratio=0.8)),
    Measure("new version: operator's writes for each", writes_each(ROLLOUT, OPERATOR), Goal(ratio=1, is_strict=True)),
    Measure("new version: built-in controllers' writes for each", writes_each(ROLLOUT, BUILT_IN), Goal(ratio=1)),
    Measure("highest resident memory, MiB", peak_rss, Goal(ratio=1)),
    Measure("idle: operator's requests a minute", idle_requests, Goal(ratio=1)),
    Measure("idle: operator's CPU, s a minute", idle_cpu),
    Measure("restart: until the standby acts, s", fact("restart", ACTED_SECONDS), Goal(at_most=2)),
    Measure("fail-over: until the standby acts, s", fact("failover", ACTED_SECONDS)),
    Measure("create and new version: Events emitted", events(EVENTS_EMITTED)),
    Measure("create and new version: Events lost", events(EVENTS_LOST), Goal(at_most=0)),
    Measure("outage of Prometheus: healthy ones aborted", fact("outage", ABORTED), Goal(at_most=0)),
    Measure("outage of Prometheus: healthy ones promoted", fact("outage", PROMOTED)),
)


def pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Ours and a peer's of the same size and the same way to split traffic that one call of the benchmark has made."""

    def made(run: Run) -> tuple[int, str, bool]:
        return run.size, run.invoked_at, run.routed

    ours = {made(run): run for run in runs if run.subject == OURS}
    found = ((ours[made(run)], run) for run in runs if run.subject != OURS and made(run) in ours)
    return sorted(found, key=lambda pair: (pair[0].size, pair[1].label))


def compare(ours: Run, theirs: Run) -> list[Row]:
    """Every measure of two runs."""
    rows = []
    for measure in MEASURES:
        peer = measure.read(theirs)
        goal = measure.goal or Goal()
        rows.append(Row(measure.name, measure.read(ours), peer, goal.limit(ours, peer), goal.is_strict))
    return rows


def comparison(ours: Run, theirs: Run) -> Iterator[str]:
    """The table."""
    head = (f"{ours.size} resources", ours.label, theirs.label, "ratio", "goal", "met")
    yield from table(head, (_cells(row) for row in compare(ours, theirs)))


def _cells(row: Row) -> list[str]:
    met = {True: "yes", False: "no", None: ""}[row.is_met]
    goal = "" if row.limit is None else f"{'<' if row.is_strict else '≤'} {figure(row.limit)}"
    return [row.name, *(figure(each) for each in (row.ours, row.theirs, row.ratio)), goal, met]
