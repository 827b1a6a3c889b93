"""`kubectl serinus validate` and `render`: what is wrong with a file, and what is made of it, without a cluster."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.cli.checking import Finding, findings, findings_of_policy
from serinus.cli.children import Stalled, children_of_first
from serinus.cli.files import Document, documents, model_deployments
from serinus.cli.options import DataOutput, Output
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.policies import effects, governed
from serinus.cli.terminal import complain, harmless, show_data, show_documents
from serinus.core.platform import Governed

Files = Annotated[
    list[str], typer.Option("--filename", "-f", help="A file, a folder, or - for standard input; may be repeated.")
]


def validate(
    filename: Files,
    output: Annotated[Output, typer.Option("--output", "-o", help="As text, or as data.")] = Output.TEXT,
) -> None:
    """Check ModelDeployments and policies in files: schema, rules, unknown fields, and what is not carried out.

    ModelDeployments are held against the policies in the same files. Needs no cluster; other kinds are passed over.
    Ends with 1 where something is wrong.
    """
    now = datetime.now(UTC)
    checked = [each for each in documents(filename) if each.is_model_deployment or each.is_policy]
    found = [
        (each, wrong)
        for each in checked
        for wrong in sorted(_findings(each, now), key=lambda wrong: each.line_of(wrong.field))
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
                _say(f"{each.file}: {each.data.get('kind')} {each.name} is valid")
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

    Needs no cluster. They are to be looked at, not to be applied: their owner is not there yet. Policies in the same
    files are heeded, and standard error says what they did.
    """
    made: list[Any] = []
    for each in model_deployments(filename):
        deployment, result = in_force(each, namespace or "default")
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


def _findings(document: Document, now: datetime) -> list[Finding]:
    if document.is_policy:
        return findings_of_policy(document.data)
    return findings(document.data, now, document.beside)


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


def _say(line: str) -> None:
    sys.stdout.write(f"{harmless(line)}\n")
