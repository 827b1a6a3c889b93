"""The committed report, made from the results of runs and nothing else. Used by `bench.report.__main__`.

Every number in it is read from or computed out of result files; the sentences say how they were measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.audit import BUILT_IN, OPERATOR
from bench.figures import Phase, Run
from bench.report.comparison import (
    API_SERVER,
    CREATE,
    MEASURES,
    OURS,
    ROLLOUT,
    Read,
    comparison,
    cpu,
    fact,
    pairs,
    peak_rss,
    wall,
    writes_each,
)
from bench.report.plots import Points, growth_plot, shares_plot
from bench.report.run import overview
from bench.report.table import figure, table
from bench.report.writers import writers

PLOTS: Final = "scale"
"""Folder of the plots, beside the report."""

_SATURATED: Final = 0.9
"""Share of the machine's processors from which on they are what a run waits for."""
_PROCESSES: Final = {
    OPERATOR: "operator",
    API_SERVER: "API server",
    "etcd": "etcd",
    "kube-controller-manager": "controllers",
    "kube-scheduler": "scheduler",
    "everything else": "everything else",
}
_BENCHMARK: Final = "benchmark"
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Report:
    """A page, and its plots by the names of their files."""

    page: str
    plots: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Cost:
    """Something that grows with the number of resources."""

    title: str
    unit: str
    read: Read
    file: str = ""
    """Of its plot; empty: none."""


_COSTS: Final = (
    _Cost("create, all Ready", "s", wall(CREATE), "create"),
    _Cost("new version of all", "s", wall(ROLLOUT), "rollout"),
    _Cost("operator's CPU, create", "s", cpu(CREATE, OPERATOR)),
    _Cost("operator's CPU, new version", "s", cpu(ROLLOUT, OPERATOR), "operator-cpu"),
    _Cost("API server's CPU, create", "s", cpu(CREATE, API_SERVER)),
    _Cost("API server's CPU, new version", "s", cpu(ROLLOUT, API_SERVER), "api-server-cpu"),
    _Cost("highest resident memory", "MiB", peak_rss, "memory"),
    _Cost("a standby is ready", "s", fact("restart", "seconds until the standby was ready")),
)


def report(runs: Iterable[Run]) -> Report:
    """The report about runs, of several of the same kind the newest. Raises ValueError where there is none."""
    chosen = newest(runs)
    if not chosen:
        raise ValueError("there are no results to report")
    grown, plots = _growth(chosen)
    limits, more_plots = _limits(chosen)
    parts = [
        _prose("introduction"),
        *_machine(chosen),
        *_beside(chosen),
        *grown,
        *limits,
        _prose("method"),
        *_runs(chosen),
    ]
    return Report("\n\n".join(parts) + "\n", plots | more_plots)


def newest(runs: Iterable[Run]) -> list[Run]:
    """One run for each subject, limits and size: ours first, then by label, small ones first."""
    kept = {(run.label, run.size): run for run in sorted(runs, key=lambda run: run.started_at)}
    return sorted(kept.values(), key=lambda run: (run.subject != OURS, run.label, run.size))


def exponent(points: Points) -> float | None:
    """The power of N with which something grows, from its smallest to its largest N; None without two of them."""
    known = sorted((size, value) for size, value in points if value > 0)
    if len(known) < 2 or known[0][0] == known[-1][0]:
        return None
    (first_size, first), (last_size, last) = known[0], known[-1]
    return math.log(last / first) / math.log(last_size / first_size)


def shares(run: Run, phase: Phase) -> dict[str, float]:
    """Parts of the machine's processors that were used until the last resource was done, by whom."""
    whole = phase.wall_seconds * run.processors
    used: dict[str, float] = dict.fromkeys((*_PROCESSES.values(), _BENCHMARK), 0.0)
    for name, process in phase.processes.items():
        used[_PROCESSES.get(name, _BENCHMARK)] += max(0.0, process.cpu_seconds_until_done) / whole
    return used


def limit(run: Run, phase: Phase) -> str:
    """What a phase waited for, in words."""
    parts = shares(run, phase)
    busy, threads = sum(parts.values()), parts.get("operator", 0.0) * run.processors
    most = max(parts, key=lambda name: parts[name])
    if busy >= _SATURATED:
        return f"the {run.processors} processors; most of them: {most}, {parts[most]:.0%}"
    if run.subject == OURS and threads >= _SATURATED:
        return f"the operator's one thread, {threads:.0%} busy"
    return "neither the processors nor the operator: holds, client limits, and waiting for each other"


def _prose(name: str) -> str:
    """A part of the page that no run changes."""
    return (_HERE / f"{name}.md").read_text().rstrip()


def _machine(runs: Sequence[Run]) -> Iterator[str]:
    """Conditions that all runs have in common; those of a single run stand with it."""
    common = dict(runs[0].conditions.items() & set.intersection(*(set(run.conditions.items()) for run in runs)))
    ordered = [(name, value) for name, value in runs[0].conditions.items() if common.get(name) == value]
    if ordered:
        yield "\n".join(table(("in all runs", ""), ordered))


def _beside(runs: Sequence[Run]) -> Iterator[str]:
    found = pairs(runs)
    if not found:
        return
    yield "## Beside Argo Rollouts"
    yield (
        "Each pair was measured in one call, one after the other, each in a control plane of its own. The numbers "
        "after the name are the limits of its client, requests a second and burst: 40/80 is what it ships with."
    )
    for ours, theirs in found:
        yield f"### {ours.size:,} resources, {theirs.label}"
        yield "\n".join(comparison(ours, theirs))
        missed = [measure.name for measure in MEASURES if measure.read(ours) is None]
        if missed:
            yield f"Not measured: {'; '.join(missed)}."
        if rows := list(writers(ROLLOUT, ours, theirs)):
            yield "\n".join(rows)
    yield _prose("differences")


def _growth(runs: Sequence[Run]) -> tuple[list[str], dict[str, str]]:
    by_label: dict[str, list[Run]] = {}
    for run in runs:
        by_label.setdefault(run.label, []).append(run)
    parts, plots = ["## How the cost grows"], dict[str, str]()
    for label, some in by_label.items():
        parts.append(f"### {label}")
        parts.append("\n".join(_growth_table(some)))
    parts.append(
        "The last column is the power of N with which a figure grows from the smallest to the largest N: 1 is in "
        "proportion to the number of resources."
    )
    for cost in _COSTS:
        series = {label: _points(some, cost.read) for label, some in by_label.items()}
        drawn = {label: points for label, points in series.items() if points}
        if cost.file and any(len(points) > 1 for points in drawn.values()):
            name = f"{cost.file}.svg"
            plots[name] = growth_plot(f"{cost.title} ({cost.unit})", cost.unit, drawn)
            parts.append(f"![{cost.title}, {cost.unit}, by number of resources]({PLOTS}/{name})")
    return parts, plots


def _growth_table(runs: Sequence[Run]) -> Iterator[str]:
    def row(title: str, unit: str, read: Read) -> list[str]:
        power = exponent(_points(runs, read))
        cells = [figure(read(run)) for run in runs]
        return [f"{title}, {unit}", *cells, "" if power is None else f"N^{power:.2f}"]

    rows = [row(cost.title, cost.unit, cost.read) for cost in _COSTS]
    for phase, title in ((CREATE, "create"), (ROLLOUT, "new version")):
        rows += [
            *(
                row(f"writes for each, {title}, {who}", "number", writes_each(phase, who))
                for who in (OPERATOR, BUILT_IN)
            ),
            row(f"operator's CPU for each, {title}", "ms", _each(cpu(phase, OPERATOR), 1000)),
            row(f"API server's CPU for each, {title}", "ms", _each(cpu(phase, API_SERVER), 1000)),
        ]
    filled = [cells for cells in rows if any(cells[1:-1])]
    return table(("N", *(f"{run.size:,}" for run in runs), "grows as"), filled)


def _limits(runs: Sequence[Run]) -> tuple[list[str], dict[str, str]]:
    rows: list[list[str]] = []
    bars: dict[str, dict[str, float]] = {}
    for run in runs:
        for name in (CREATE, ROLLOUT):
            phase = run.phase(name)
            if phase is None or not phase.wall_seconds:
                continue
            parts = shares(run, phase)
            bars[f"{run.label}, {run.size:,}, {name}"] = parts
            asked = sum(request.count for request in phase.requests if request.who == OPERATOR)
            a_second = figure(asked / phase.settled_seconds)
            rows.append([run.label, f"{run.size:,}", name, f"{sum(parts.values()):.0%}", a_second, limit(run, phase)])
    if not rows:
        return [], {}
    head = ("subject", "N", "phase", "processors busy", "operator's requests a second", "what it waited for")
    told = (
        "How much of the machine's processors was used from the first change until the last resource was done. At "
        f"{_SATURATED:.0%} and more they are the limit, and a larger machine would be faster; *everything else* is "
        "what ran on the machine beside the benchmark, and makes the times longer than they need be."
    )
    page = ["## What limits it", told, "\n".join(table(head, rows))]
    page.append(f"![Who used the processors, by run and phase]({PLOTS}/processors.svg)")
    return page, {"processors.svg": shares_plot("Who used the processors", bars)}


def _runs(runs: Sequence[Run]) -> Iterator[str]:
    yield "## The runs"
    common = set.intersection(*(set(run.conditions.items()) for run in runs))
    for run in runs:
        yield f"### {run.label}, {run.size:,} {run.resource_name} in {run.namespaces} namespaces"
        own = [f"{name}: {value}" for name, value in run.conditions.items() if (name, value) not in common]
        yield "; ".join([f"`{run.command}`", f"started {run.started_at}", *own]) + "."
        yield "\n".join(overview(run))
        told = [
            f"- {phase.name}: " + ", ".join(f"{name} {figure(value) or 0}" for name, value in phase.facts.items())
            for phase in run.phases
            if phase.facts
        ]
        if told:
            yield "\n".join(told)


def _points(runs: Sequence[Run], read: Read) -> list[tuple[float, float]]:
    found = ((run.size, read(run)) for run in runs)
    return [(size, value) for size, value in found if value is not None and value > 0]


def _each(read: Read, factor: float) -> Callable[[Run], float | None]:
    def of_one(run: Run) -> float | None:
        value = read(run)
        return None if value is None else value * factor / run.size

    return of_one
