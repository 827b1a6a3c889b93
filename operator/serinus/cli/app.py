"""All commands of the plugin, put together. Called by `serinus.cli.main`."""

from __future__ import annotations

from typing import Annotated

import typer

from serinus import __version__
from serinus.cli import (
    actions,
    compare,
    estimate,
    fleet,
    gateways,
    governing,
    history,
    offline,
    simulate,
    status,
    support,
    tune,
    validate,
)

app = typer.Typer(
    name="kubectl-serinus",
    help="Rollouts of models: what they do, why they wait, and the decisions of people.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Rollouts of models: what they do, why they wait, and the decisions of people."""


app.command("status")(status.status)
app.command("list")(fleet.list_)
app.command("policies")(governing.policies)
app.command("history")(history.history)
app.command("diff")(compare.diff)
app.command("validate")(validate.validate)
app.command("render")(offline.render)
app.command("estimate")(estimate.estimate)
app.command("gateway-check")(gateways.gateway_check)
app.command("support-bundle")(support.support_bundle)
app.command("simulate")(simulate.simulate)
app.command("tune")(tune.tune)

for action in (
    actions.promote,
    actions.approve,
    actions.abort,
    actions.retry,
    actions.skip_step,
    actions.return_to,
    actions.pause,
    actions.resume,
):
    app.command(action.__name__.replace("_", "-"))(action)
