"""`kubectl serinus validate` and `render`: what is wrong with a file, and what is made of it, without a cluster."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.cli.checking import findings
from serinus.cli.children import Stalled, children_of_first
from serinus.cli.files import Document, documents, model_deployments
from serinus.cli.options import DataOutput, Output
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.terminal import harmless, show_data, show_documents

Files = Annotated[
    list[str], typer.Option("--filename", "-f", help="A file, a folder, or - for standard input; may be repeated.")
]


def validate(
    filename: Files,
    output: Annotated[Output, typer.Option("--output", "-o", help="As text, or as data.")] = Output.TEXT,
) -> None:
    """Check ModelDeployments in files: schema, rules, unknown fields, and what the operator does not carry out.

    Needs no cluster. Other kinds are passed over. Ends with 1 where something is wrong.
    """
    now = datetime.now(UTC)
    checked = [each for each in documents(filename) if each.is_model_deployment]
    found = [
        (each, wrong)
        for each in checked
        for wrong in sorted(findings(each.data, now), key=lambda wrong: each.line_of(wrong.field))
    ]
    if output in {Output.JSON, Output.YAML}:
        show_data(
            [
                {"file": each.file, "line": each.line_of(wrong.field), "resource": each.name}
                | {"field": wrong.field, "message": wrong.message}
                for each, wrong in found
            ],
            output.value,
        )
    else:
        for each, wrong in found:
            _say(f"{each.file}:{each.line_of(wrong.field)}: {wrong.field}: {wrong.message}")
        broken = {id(each) for each, _ in found}
        for each in checked:
            if id(each) not in broken:
                _say(f"{each.file}: ModelDeployment {each.name} is valid")
    if found:
        raise typer.Exit(ExitCode.ERROR)
    if not checked:
        raise CommandFailed(f"there is no ModelDeployment in {', '.join(filename)}")


def render(
    filename: Files,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="For resources that name none; by default, default.")
    ] = None,
    output: Annotated[DataOutput, typer.Option("--output", "-o", help="As what.")] = DataOutput.YAML,
    *,
    pod_monitor: Annotated[
        bool, typer.Option("--pod-monitor", help="As in a cluster that has the Prometheus Operator's PodMonitor.")
    ] = False,
) -> None:
    """Show the objects that the operator would make of the ModelDeployments in files, when their first revision serves.

    Needs no cluster. They are to be looked at, not to be applied: their owner is not there yet.
    """
    made: list[Any] = []
    for each in model_deployments(filename):
        deployment = parsed(each, namespace or "default")
        if deployment.spec.suspend:
            raise CommandFailed(f"{_where(each, 'spec.suspend')}: nothing is made of {each.name} while it is suspended")
        try:
            made += children_of_first(deployment, datetime.now(UTC), pod_monitor=pod_monitor)
        except Stalled as error:
            raise CommandFailed(f"{_where(each, 'spec')}: nothing is made of {each.name}: {error}") from error
    show_documents(made, output.value)


def parsed(document: Document, namespace: str) -> ModelDeployment:
    """The ModelDeployment, in `namespace` where it names none. Raises `CommandFailed` with all that is wrong."""
    metadata = document.data.get("metadata")
    fields = metadata if isinstance(metadata, dict) else {}
    named = {**fields, "namespace": fields.get("namespace") or namespace}
    try:
        return ModelDeployment.parse({"metadata": named, "spec": document.data.get("spec")})
    except InvalidSpec as error:
        told = "\n".join(f"{_where(document, each.field)}: {each.field}: {each.message}" for each in error.problems)
        raise CommandFailed(told) from error


def _where(document: Document, field: str) -> str:
    return f"{document.file}:{document.line_of(field)}"


def _say(line: str) -> None:
    sys.stdout.write(f"{harmless(line)}\n")
