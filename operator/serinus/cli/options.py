"""Options that several commands share, spelt as kubectl spells them."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum
from typing import Annotated

import typer

from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.outcome import CommandFailed


class Output(StrEnum):
    """How a command prints what it shows."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class DataOutput(StrEnum):
    """How a command prints objects."""

    JSON = "json"
    YAML = "yaml"


_COMPLETION_SECONDS = 3.0


def names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of ModelDeployments for the shell, or none where they can't be read soon."""
    given = {key: context.params.get(key) for key in ("kubeconfig", "context", "namespace")}

    async def found(access: Access) -> list[str]:
        async with asyncio.timeout(_COMPLETION_SECONDS):
            items = await access.listed(MODEL_DEPLOYMENT)
        return sorted(each["metadata"]["name"] for each in items)

    with contextlib.suppress(CommandFailed, TimeoutError):
        return [name for name in with_cluster(Where(**given), found) if name.startswith(incomplete)]
    return []


Name = Annotated[str, typer.Argument(help="The ModelDeployment.", autocompletion=names, show_default=False)]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Its namespace; by default that of the kubeconfig's context.")
]
Kubeconfig = Annotated[str | None, typer.Option("--kubeconfig", help="The kubeconfig; by default $KUBECONFIG.")]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context; by default the current one.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="In all namespaces.")]
Selector = Annotated[str | None, typer.Option("--selector", "-l", help="Only those with these labels.")]
Form = Annotated[Output, typer.Option("--output", "-o", help="As text, with more in it, or as data.")]
