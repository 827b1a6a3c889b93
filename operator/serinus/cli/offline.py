"""`kubectl serinus render`: what is made of a file, without a cluster; and what other commands read of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.cli.access import Where
from serinus.cli.children import Stalled, children_of_first
from serinus.cli.files import Document, model_deployments
from serinus.cli.options import DataOutput
from serinus.cli.outcome import CommandFailed
from serinus.cli.policies import effects, governed
from serinus.cli.terminal import complain, show_documents
from serinus.core.platform import Governed

Files = Annotated[
    list[str], typer.Option("--filename", "-f", help="A file, a folder, or - for standard input; may be repeated.")
]


def render(
    filename: Files,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of those that name none; by default that of the context."),
    ] = None,
    output: Annotated[DataOutput, typer.Option("--output", "-o", help="As what.")] = DataOutput.YAML,
    *,
    pod_monitor: Annotated[
        bool, typer.Option("--pod-monitor", help="As in a cluster that has the Prometheus Operator's PodMonitor.")
    ] = False,
) -> None:
    """Show the objects that the operator would make of the ModelDeployments in files, when their first revision serves.

    Needs no cluster. They are to be looked at, not to be applied: their owner is not there yet. Policies in the same
    files are heeded, and standard error says what they did.
    """
    made: list[Any] = []
    for each in model_deployments(filename):
        deployment, result = in_force(each, Where(namespace=namespace).likely_namespace)
        audited = (f"{each.name}: {wrong}" for wrong in result.violations if not wrong.enforced)
        for line in (*effects(each.name, result), *audited):
            complain(line)
        if deployment.spec.suspend:
            raise CommandFailed(f"{_where(each, 'spec.suspend')}: nothing is made of {each.name} while it is suspended")
        try:
            made += children_of_first(deployment, datetime.now(UTC), pod_monitor=pod_monitor, governed=result)
        except Stalled as error:
            raise CommandFailed(f"{_where(each, 'spec')}: nothing is made of {each.name}: {error}") from error
    show_documents(made, output.value)


def parsed(document: Document, namespace: str) -> ModelDeployment:
    """The ModelDeployment, in `namespace` where it names none, as the policies in the same files have it.

    Raises `CommandFailed` with all that is wrong.
    """
    deployment, result = in_force(document, namespace)
    if result.in_the_way:
        raise CommandFailed("\n".join(f"{_where(document, each.field)}: {each}" for each in result.in_the_way))
    return deployment


def in_force(document: Document, namespace: str) -> tuple[ModelDeployment, Governed]:
    """The same, whatever the policies forbid, and what they did. Raises `CommandFailed` where it can't be read."""
    metadata = document.data.get("metadata")
    fields = metadata if isinstance(metadata, dict) else {}
    named = {**fields, "namespace": fields.get("namespace") or namespace}
    try:
        deployment = ModelDeployment.parse({"metadata": named, "spec": document.data.get("spec")})
    except InvalidSpec as error:
        told = "\n".join(f"{_where(document, each.field)}: {each.field}: {each.message}" for each in error.problems)
        raise CommandFailed(told) from error
    result = governed(deployment, document.beside)
    return replace(deployment, spec=result.spec), result


def _where(document: Document, field: str) -> str:
    return f"{document.file}:{document.line_of(field)}"
