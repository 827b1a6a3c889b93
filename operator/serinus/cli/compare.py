"""`kubectl serinus diff`: what differs between two revisions of one resource."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
import yaml
from rich.text import Text

from serinus.api.deployment import InvalidSpec
from serinus.api.kinds import CONTROLLER_REVISION
from serinus.api.revision import child_name
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.asking import known_revision
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import situation_of
from serinus.cli.terminal import console_for, harmless
from serinus.core.rollout.situation import Situation

_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}


def diff(
    name: options.Name,
    old: Annotated[
        str | None,
        typer.Argument(help="A revision, its version, or stable, candidate, previous, spec. By default stable."),
    ] = None,
    new: Annotated[str | None, typer.Argument(help="By default the candidate, else the spec's revision.")] = None,
    namespace: options.Namespace = None,
    *,
    template: Annotated[bool, typer.Option("--template", help="Compare the rendered pod templates as well.")] = False,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show what differs between two revisions; by default, what the candidate changes."""

    async def compared(access: Access) -> list[str]:
        resource = await access.deployment(name)
        records = await access.listed(CONTROLLER_REVISION, f"serinus.dev/deployment={name}")
        try:
            s = situation_of(resource, records, (), datetime.now(UTC))
        except InvalidSpec as error:
            raise CommandFailed(str(error)) from error
        before, after = pair(s, old, new)
        return differences(s, before, after, template=template)

    lines = with_cluster(Where(kubeconfig, context, namespace), compared)
    if not lines:
        sys.stdout.write("they are the same\n")
    for line in lines:
        text = harmless(line)
        if sys.stdout.isatty():
            console_for().print(Text(text, style=_STYLES.get(text[:1], "")))
        else:
            sys.stdout.write(f"{text}\n")


def differences(s: Situation, before: str, after: str, *, template: bool = False) -> list[str]:
    """The lines of a unified diff of what users set in both revisions, and of their pod templates where asked for."""
    name = s.observation.deployment.metadata.name
    old, new = (_text(s, revision, template=template) for revision in (before, after))
    return list(difflib.unified_diff(old, new, f"{name} {before}", f"{name} {after}", lineterm=""))


def pair(s: Situation, old: str | None, new: str | None) -> tuple[str, str]:
    """Both revisions; without names, what serves (or served before) and what comes after it."""
    newest = s.candidate or s.revision
    before = known_revision(s, old) if old else (s.stable if s.stable != newest else s.previous or _retired(s))
    after = known_revision(s, new) if new else newest
    if before is None:
        raise CommandFailed(f"{s.observation.deployment.metadata.name} has one revision only: {after}")
    return before, after


def _retired(s: Situation) -> str | None:
    return next((each.revision for each in s.status.retired if each.revision != s.stable), None)


def _text(s: Situation, revision: str, *, template: bool) -> list[str]:
    deployment = s.observation.deployment
    record = s.children.objects.get((CONTROLLER_REVISION.kind, child_name(deployment.metadata.name, revision)))
    data: Mapping[str, Any] = record.manifest["data"] if record else {}
    if not record and revision == deployment.revision:
        data = {"spec": dict(deployment.revision_fields)}
    if "spec" not in data and not (template and "template" in data):
        raise CommandFailed(
            f"nothing is kept of revision {revision}; rollout.revisionHistoryLimit says how many are; kept are "
            f"{', '.join(_kept(s)) or 'none'}"
        )
    shown = {"spec": data.get("spec", {}), **({"template": data.get("template", {})} if template else {})}
    return yaml.safe_dump(shown, sort_keys=True, allow_unicode=True, width=120).splitlines()


def _kept(s: Situation) -> Iterator[str]:
    return (name for kind, name in s.children.objects if kind == CONTROLLER_REVISION.kind)
