"""Who writes what in a phase, in two runs side by side. Used by `bench.report.scale`.

The built-in controllers write because of what an operator makes: this is where the API server's work comes from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from bench.audit import BENCHMARK, OPERATOR
from bench.figures import Phase, Run
from bench.report.table import figure, table

_FEWEST_EACH: Final = 0.05
"""Writes for each resource below which a row is left out, if both have fewer."""

Writes = Counter[tuple[str, str]]
"""Number by who writes and what is written."""


def writes(phase: Phase) -> Writes:
    """Writes of the operator and of each built-in controller by resource, refused ones included."""
    found: Writes = Counter()
    for request in phase.requests:
        use = request.use
        if use.is_write and use.who != BENCHMARK:
            who = OPERATOR if use.who == OPERATOR else use.account
            found[who, use.resource] += request.count
    return found


def writers(name: str, ours: Run, theirs: Run) -> Iterator[str]:
    """The table of the phase of that name, for each resource; nothing where one of the runs did not have it."""
    phases = ours.phase(name), theirs.phase(name)
    if phases[0] is None or phases[1] is None:
        return
    first, second = writes(phases[0]), writes(phases[1])

    def each(use: tuple[str, str]) -> tuple[float, float]:
        return first[use] / ours.size, second[use] / theirs.size

    uses = sorted(first | second, key=lambda use: (use[0] != OPERATOR, *(-number for number in each(use))))
    rows = ([*use, *map(figure, each(use))] for use in uses if max(each(use)) >= _FEWEST_EACH)
    yield from table((f"writes for each, {name}", "of", ours.label, theirs.label), rows)
