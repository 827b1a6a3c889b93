"""`kubectl serinus history`: the decisions with their evidence, for people, or as JSON lines for an audit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.table import Table

from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.api.reasons import Happening
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.report import as_data
from serinus.cli.state import status_of
from serinus.cli.terminal import complain, duration, show, show_data, styled
from serinus.core.plan import Manifest

_STYLES: Final = {
    Happening.PROMOTED: "green",
    Happening.PROMOTED_UNDECIDED: "yellow",
    Happening.ROLLED_BACK: "red",
    Happening.RETURNED: "yellow",
    Happening.APPROVED: "green",
    Happening.STALLED: "red",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, with the resource that it was about: a line of the audit export."""

    at: datetime
    namespace: str
    name: str
    uid: str
    event: str
    revision: str
    by: str
    """`serinus`, or `person` where an action asked for it."""
    field_manager: str
    """The client that set the action; the person is in the API server's audit log."""
    because: str
    """The evidence."""


def decisions(resource: Manifest) -> list[Decision]:
    """All that status remembers, oldest first."""
    metadata = resource["metadata"]
    return [
        Decision(
            at=entry.at,
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            event=entry.event.value,
            revision=entry.revision,
            by=entry.by,
            field_manager=entry.field_manager,
            because=entry.because,
        )
        for entry in reversed(status_of(resource).history)
    ]


def table(told: Sequence[Decision], now: datetime, *, wide: bool) -> Table:
    """The decisions, newest last, with the evidence."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in ("WHEN", "AGO", "EVENT", "REVISION", "BY", "BECAUSE"):
        drawn.add_column(heading, no_wrap=heading != "BECAUSE", overflow="fold")
    for each in told:
        by = f"{each.by} ({each.field_manager})" if wide and each.field_manager else each.by
        event = styled((each.event, _STYLES.get(Happening(each.event), "")))
        plain = (f"{each.at:%Y-%m-%d %H:%M:%S}", duration(now - each.at))
        drawn.add_row(*plain, event, each.revision, styled(by), styled(each.because))
    return drawn


def json_lines(told: Iterable[Decision]) -> str:
    """One JSON object in a line for each decision."""
    return "".join(json.dumps(as_data(each)) + "\n" for each in told)


def history(
    name: Annotated[
        str | None,
        typer.Argument(help="The ModelDeployment; with --audit all, unless named.", autocompletion=options.names),
    ] = None,
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    audit: Annotated[bool, typer.Option("--audit", help="One JSON object in a line for each decision.")] = False,
    everywhere: options.AllNamespaces = False,
    selector: options.Selector = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show what was decided, when, by whom, and on which evidence; status keeps the newest 20 decisions."""
    if name is None and not audit:
        raise CommandFailed("name a ModelDeployment, or take --audit for all of them", ExitCode.USAGE)
    if name is not None and everywhere:
        raise CommandFailed("a name and --all-namespaces exclude each other; say --namespace", ExitCode.USAGE)

    async def found(access: Access) -> list[Manifest]:
        if name is not None:
            return [await access.deployment(name)]
        return list(await access.listed(MODEL_DEPLOYMENT, selector, everywhere=everywhere))

    resources = with_cluster(Where(kubeconfig, context, namespace), found, needs_namespace=not everywhere)
    told = sorted((each for resource in resources for each in decisions(resource)), key=lambda each: each.at)
    if audit:
        sys.stdout.write(json_lines(told))
    elif output in {options.Output.JSON, options.Output.YAML}:
        show_data(as_data(told), output.value)
    elif not told:
        complain("Nothing was decided yet")
    else:
        show(table(told, datetime.now(UTC), wide=output is options.Output.WIDE))
