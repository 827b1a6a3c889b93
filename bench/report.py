"""A run as a table for the terminal and as Markdown. Used by `bench.__main__`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.audit import BUILT_IN, OPERATOR, Use
from bench.figures import Phase, Run

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
        f"# {run.size} ModelDeployments in {run.namespaces} namespaces",
        "\n".join([*(f"- {name}: {value}" for name, value in run.conditions.items()), f"- started: {run.started_at}"]),
        "\n".join(overview(run)),
        "## The phases",
        "\n".join(f"- **{phase.name}**: {phase.meaning}{_facts(phase)}" for phase in run.phases),
        "## Processor time and memory",
        "CPU seconds until the operator was quiet again / highest resident memory in MiB.",
        "\n".join(_process_table(run.phases)),
        "## Writes",
        *(part for phase in run.phases if phase.resources for part in _writes(phase)),
    ]
    return "\n\n".join(parts) + "\n"


def overview(run: Run) -> Iterator[str]:
    """One row for each phase."""
    names = ("phase", "wall s", "p50 s", "p95 s", "max s", "late", "operator CPU s", "API server CPU s")
    counted = ("operator requests", "operator writes each", "built-in writes each", "refused", "Events", "lost")
    yield from _table([*names, *counted], (_row(phase) for phase in run.phases))


def _row(phase: Phase) -> Sequence[str]:
    spread = phase.spread
    times = [f"{value:.1f}" for value in (spread.p50, spread.p95, spread.highest)] if spread else ["", "", ""]
    asked = sum(request.count for request in phase.requests if request.who == OPERATOR)
    each = [f"{phase.writes[who] / phase.resources:.1f}" if phase.resources else "" for who in (OPERATOR, BUILT_IN)]
    return [
        phase.name,
        f"{phase.wall_seconds:.1f}",
        *times,
        str(phase.unfinished),
        *(_cpu(phase, name) for name in ("operator", "kube-apiserver")),
        str(asked),
        *each,
        str(phase.refused[OPERATOR]),
        f"{phase.operator.get('serinus_events_sent', 0):.0f}",
        f"{phase.operator.get('serinus_events_lost', 0):.0f}",
    ]


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
    return _table(["phase", *named.values()], rows)


def _writes(phase: Phase) -> Iterator[str]:
    """The commonest writes of a phase, for each resource."""
    uses: Counter[tuple[str, str, str, int]] = Counter()
    for request in phase.requests:
        use = Use(request.who, request.user, request.verb, request.resource, request.code)
        if use.is_write and use.who in {OPERATOR, BUILT_IN}:
            uses[request.user, request.verb, request.resource, request.code] += request.count
    rows = (
        [
            user.removeprefix("system:serviceaccount:"),
            verb,
            resource,
            str(code),
            str(count),
            f"{count / phase.resources:.2f}",
        ]
        for (user, verb, resource, code), count in uses.most_common(_MOST_ROWS)
    )
    yield f"### {phase.name}"
    yield "\n".join(_table(["user", "verb", "resource", "code", "requests", "each"], rows))


def _facts(phase: Phase) -> str:
    facts: Mapping[str, float] = phase.facts
    return " " + ", ".join(f"{name}: {value:g}" for name, value in facts.items()) + "." if facts else ""


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """A Markdown table with columns of even width."""
    body = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in body) for column in range(len(head))]
    for number, row in enumerate(body):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "| " + " | ".join("-" * width for width in widths) + " |"
