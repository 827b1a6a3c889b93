"""`kubectl serinus list`: all resources at a glance, those that need a person first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.api.reasons import ConditionType, Phase
from serinus.api.status import ModelDeploymentStatus
from serinus.cli import options
from serinus.cli.access import Where, with_cluster
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import as_data
from serinus.cli.state import State, state_of, status_of
from serinus.cli.terminal import complain, duration, show, show_data, styled
from serinus.cli.tree import STATE_STYLES
from serinus.core.plan import Manifest

_URGENCY: Final = (State.FAILED, State.NEEDS_A_PERSON, State.UNSEEN, State.PROGRESSING, State.SERVING)


class Sort(StrEnum):
    """What `list` sorts by."""

    STATE = "state"
    NAME = "name"
    AGE = "age"
    WEIGHT = "weight"
    PHASE = "phase"


@dataclass(frozen=True, slots=True)
class Row:
    """One resource in one line."""

    namespace: str
    name: str
    state: State
    phase: str
    step: str
    weight_percent: int | None
    stable: str
    candidate: str
    reason: str
    message: str
    created_at: datetime


def row(resource: Manifest) -> Row:
    """The line of one resource."""
    metadata = resource["metadata"]
    try:
        status = status_of(resource)
        state = state_of(resource, status)
    except CommandFailed:  # one of another version does not hide the others
        status, state = ModelDeploymentStatus(), State.FAILED
    kind = ConditionType.PAUSED if state is State.NEEDS_A_PERSON else ConditionType.READY
    told = next((each for each in status.conditions if each.type == kind), None)
    return Row(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        state=state,
        phase=status.rollout.phase.value,
        step=status.rollout.step or "",
        weight_percent=status.candidate.weight_percent if status.candidate else None,
        stable=_named(status.stable),
        candidate=_named(status.candidate),
        reason=told.reason if told else "",
        message=told.message if told else "",
        created_at=datetime.fromisoformat(metadata.get("creationTimestamp") or "1970-01-01T00:00:00Z"),
    )


def _named(revision: Any) -> str:
    return (
        ""
        if revision is None
        else f"{revision.version} ({revision.revision})"
        if revision.version
        else revision.revision
    )


def ordered(rows: Iterable[Row], by: Sort) -> list[Row]:
    """Sorted, with the name to decide between equals."""
    keys: dict[Sort, Callable[[Row], Any]] = {
        Sort.STATE: lambda each: _URGENCY.index(each.state),
        Sort.NAME: lambda each: each.name,
        Sort.AGE: lambda each: -each.created_at.timestamp(),
        Sort.WEIGHT: lambda each: -(each.weight_percent or 0),
        Sort.PHASE: lambda each: each.phase,
    }
    return sorted(rows, key=lambda each: (keys[by](each), each.namespace, each.name))


def table(rows: Sequence[Row], now: datetime, *, wide: bool, everywhere: bool) -> Table:
    """The rows under a heading, as kubectl prints them."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    headings = ["NAMESPACE"] if everywhere else []
    headings += ["NAME", "STATE", "PHASE", "STEP", "WEIGHT", "STABLE", "CANDIDATE", "REASON", "AGE"]
    for heading in [*headings, *(["MESSAGE"] if wide else [])]:
        drawn.add_column(heading, no_wrap=heading != "MESSAGE")
    for each in rows:
        weight = "" if each.weight_percent is None else f"{each.weight_percent} %"
        age = duration(max(now - each.created_at, timedelta(0)))
        before = [*([each.namespace] if everywhere else []), each.name]
        after = [each.phase, each.step, weight, each.stable, each.candidate, each.reason, age]
        cells = [*map(styled, before), styled((each.state.value, STATE_STYLES[each.state])), *map(styled, after)]
        drawn.add_row(*cells, *([styled(each.message)] if wide else []))
    return drawn


def list_(
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    everywhere: options.AllNamespaces = False,
    selector: options.Selector = None,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only those in this state; may be repeated.")
    ] = None,
    phase: Annotated[
        list[Phase] | None, typer.Option("--phase", help="Only those in this phase; may be repeated.")
    ] = None,
    sort: Annotated[Sort, typer.Option("--sort", help="By state: those that need a person first.")] = Sort.STATE,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """List ModelDeployments with their rollouts, those that need a person first."""
    where = Where(kubeconfig, context, namespace)
    found = with_cluster(
        where,
        lambda access: access.listed(MODEL_DEPLOYMENT, selector, everywhere=everywhere),
        needs_namespace=not everywhere,
    )
    rows = ordered((row(resource) for resource in found), sort)
    wanted = [each for each in rows if (not state or each.state in state) and (not phase or each.phase in set(phase))]
    if output in {options.Output.JSON, options.Output.YAML}:
        show_data(as_data(wanted), output.value)
    elif not wanted:
        others = f"; {len(rows)} others do not match" if rows else ""
        complain(f"No ModelDeployment found{'' if everywhere else f' in namespace {where.named_namespace}'}{others}")
    else:
        show(table(wanted, datetime.now(UTC), wide=output is options.Output.WIDE, everywhere=everywhere))
