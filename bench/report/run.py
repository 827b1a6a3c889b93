"""A run as a table for the terminal and as Markdown. Used by `bench.__main__` and `bench.report.scale`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.audit import BUILT_IN, OPERATOR, Use
from bench.figures import EVENTS_EMITTED, EVENTS_LOST, PASSES, Phase, Run
from bench.report.table import table

_MOST_ROWS = 25
_PROCESSES = {
    "operator": "operator",
    "kube-apiserver": "API server",
    "etcd": "etcd",
    "kube-controller-manager": "controllers",
    "kube-scheduler": "scheduler",
}


def markdown(run: Run) -> str:
    """The whole run."""
    parts = [
        f"# {run.label}: {run.size} {run.resource_name} in {run.namespaces} namespaces",
        "\n".join([*(f"- {name}: {value}" for name, value in run.conditions.items()), f"- started: {run.started_at}"]),
        "\n".join(overview(run)),
        "## The phases",
        "\n".join(f"- **{phase.name}**: {phase.meaning}{_facts(phase)}" for phase in run.phases),
        "## Processor time and memory",
        "CPU seconds until the operator was quiet again / highest resident memory in MiB.",
        "\n".join(_process_table(run.phases)),
        "## Requests",
        *(part for phase in run.phases for part in _requests(phase)),
    ]
    return "\n\n".join(parts) + "\n"


def overview(run: Run) -> Iterator[str]:
    """One row for each phase."""
    names = ("phase", "wall s", "p50 s", "p95 s", "max s", "late", "operator CPU s", "API server CPU s")
    counted = ("operator requests", "operator writes each", "built-in writes each", "passes each")
    events = ("refused", "Events", "lost")
    yield from table([*names, *counted, *events], (_row(phase) for phase in run.phases))


def _row(phase: Phase) -> Sequence[str]:
    spread = phase.spread
    times = [f"{value:.1f}" for value in (spread.p50, spread.p95, spread.highest)] if spread else ["", "", ""]
    asked = sum(request.count for request in phase.requests if request.who == OPERATOR)
    return [
        phase.name,
        f"{phase.wall_seconds:.1f}",
        *times,
        str(phase.unfinished),
        *(_cpu(phase, name) for name in ("operator", "kube-apiserver")),
        str(asked),
        *(_each(phase, phase.writes[who]) for who in (OPERATOR, BUILT_IN)),
        _each(phase, phase.tally.get(PASSES, 0)),
        str(phase.refused[OPERATOR]),
        *(f"{phase.tally[kind]:.0f}" if kind in phase.tally else "" for kind in (EVENTS_EMITTED, EVENTS_LOST)),
    ]


def _each(phase: Phase, count: float) -> str:
    return f"{count / phase.resources:.2f}" if phase.resources else ""


def _cpu(phase: Phase, process: str) -> str:
    found = phase.processes.get(process)
    return f"{found.cpu_seconds:.1f}" if found else ""


def _process_table(phases: Sequence[Phase]) -> Iterator[str]:
    others = {name for phase in phases for name in phase.processes} - set(_PROCESSES)
    named = _PROCESSES | {name: name for name in sorted(others)}

    def cell(phase: Phase, name: str) -> str:
        found = phase.processes.get(name)
        return f"{found.cpu_seconds:.1f} / {found.peak_rss_mib:.0f}" if found else ""

    rows = ([phase.name, *(cell(phase, name) for name in named)] for phase in phases)
    return table(["phase", *named.values()], rows)


def _requests(phase: Phase) -> Iterator[str]:
    """What the operator asked for, reads too, and what the built-in controllers wrote because of it."""
    yield f"### {phase.name}"
    yield "\n".join(_use_table(phase, "the operator's requests", lambda use: use.who == OPERATOR))
    yield "\n".join(_use_table(phase, "writes of", lambda use: use.who == BUILT_IN and use.is_write))


def _use_table(phase: Phase, title: str, chosen: Callable[[Use], bool]) -> Iterator[str]:
    uses: Counter[tuple[str, str, str, str]] = Counter()
    for request in phase.requests:
        use = request.use
        if chosen(use):
            uses[use.account, use.verb, use.resource or "(none)", str(use.code)] += request.count
    rows = ([*use, str(count), _each(phase, count)] for use, count in uses.most_common(_MOST_ROWS))
    return table([title, "verb", "resource", "code", "requests", "each"], rows)


def _facts(phase: Phase) -> str:
    facts: Mapping[str, float] = phase.facts
    return " " + ", ".join(f"{name}: {value:g}" for name, value in facts.items()) + "." if facts else ""
