"""`kubectl serinus promote, approve, abort, retry, skip-step, return-to, pause, resume`: the decisions of people.

Each sets the annotation that docs/approve-a-rollout.md documents, for the revision that it names, and says what becomes
of it. What would do nothing is not sent.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from serinus.api.deployment import InvalidSpec
from serinus.api.kinds import GROUP, MODEL_DEPLOYMENT
from serinus.api.reasons import ConditionType
from serinus.api.status import ModelDeploymentStatus
from serinus.cli import asking, options
from serinus.cli.access import FIELD_MANAGER, Access, Where, with_cluster
from serinus.cli.asking import AlreadySo, Ask, DoesNothing, Verb
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.report import situation_of
from serinus.cli.state import status_of
from serinus.cli.terminal import harmless
from serinus.core.rollout.situation import Situation

_PATIENCE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.5

Revision = Annotated[
    str | None,
    typer.Option("--revision", help="The revision that is meant, or its version; by default the one under way."),
]
Step = Annotated[str | None, typer.Option("--step", help="The step that is meant; by default the present one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Have the API server check it, and change nothing.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait some seconds for the operator's answer.")]


def promote(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    revision: Revision = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Give the candidate all requests, without further steps and approvals."""
    _act(Where(kubeconfig, context, namespace), name, Verb.PROMOTE, revision, dry_run=dry_run, wait=wait)


def approve(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    revision: Revision = None,
    step: Step = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Give the approval that the rollout waits for."""
    where = Where(kubeconfig, context, namespace)
    _act(where, name, Verb.APPROVE, revision, step, dry_run=dry_run, wait=wait)


def abort(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    revision: Revision = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Roll the candidate back; during the watch after a promotion, return to the revision before."""
    _act(Where(kubeconfig, context, namespace), name, Verb.ABORT, revision, dry_run=dry_run, wait=wait)


def retry(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    revision: Revision = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Try the rejected revision of the spec again, from the first step."""
    _act(Where(kubeconfig, context, namespace), name, Verb.RETRY, revision, dry_run=dry_run, wait=wait)


def skip_step(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    revision: Revision = None,
    step: Step = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """End the present step without its hold and verdict."""
    where = Where(kubeconfig, context, namespace)
    _act(where, name, Verb.SKIP_STEP, revision, step, dry_run=dry_run, wait=wait)


def return_to(
    name: options.Name,
    revision: Annotated[
        str | None, typer.Argument(help="The revision, or its version; by default the last that was stable before.")
    ] = None,
    namespace: options.Namespace = None,
    *,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Make a revision that was stable before serve again; the spec stays as it is, and counts as rejected."""
    _act(Where(kubeconfig, context, namespace), name, Verb.RETURN_TO, revision, dry_run=dry_run, wait=wait)


def pause(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Stop the progress of the rollout; a failing metric still rolls back."""
    _carry_out(Where(kubeconfig, context, namespace), name, asking.pause, dry_run=dry_run, wait=wait)


def resume(
    name: options.Name,
    namespace: options.Namespace = None,
    *,
    dry_run: DryRun = False,
    wait: Wait = True,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Go on after a pause."""
    _carry_out(Where(kubeconfig, context, namespace), name, asking.resume, dry_run=dry_run, wait=wait)


def _act(
    where: Where, name: str, verb: Verb, revision: str | None, step: str | None = None, *, dry_run: bool, wait: bool
) -> None:
    token = asking.new_token(datetime.now(UTC))
    _carry_out(
        where, name, lambda s: asking.ask(s, verb, token, revision=revision, step=step), dry_run=dry_run, wait=wait
    )


def _carry_out(
    where: Where,
    name: str,
    asked_for: Callable[[Situation], Ask | AlreadySo | DoesNothing],
    *,
    dry_run: bool,
    wait: bool,
) -> None:
    async def act(access: Access) -> None:
        resource = await access.deployment(name)
        objects, pods = await access.children(name)
        try:
            asked = asked_for(situation_of(resource, objects, pods, datetime.now(UTC)))
        except InvalidSpec as error:
            raise CommandFailed(f"{error}; until then the operator carries out no action") from error
        if isinstance(asked, AlreadySo):
            _say(f"{name}: nothing to do: {asked.message}")
            return
        if isinstance(asked, DoesNothing):
            raise CommandFailed(f"{name}: nothing was asked for: {asked.message}")
        patch = {"metadata": {"annotations": {asked.annotation: asked.value}}}
        await access.cluster.merge(
            MODEL_DEPLOYMENT, access.namespace, name, patch, field_manager=FIELD_MANAGER, dry_run=dry_run
        )
        told = f"{asked.annotation}={asked.value}" if asked.value is not None else f"{asked.annotation} removed"
        _say(f"{name}: {told}{' (dry run: nothing was changed)' if dry_run else ''}\n{asked.foreseen}")
        if not wait or dry_run:
            return
        action = asked.annotation.removeprefix(f"{GROUP}/")
        if asked.pauses is not None:
            await _answer(access, name, lambda status: _paused(status, pauses=bool(asked.pauses)))
        elif action in set(Verb) and asked.value is not None:
            value = asked.value
            await _answer(access, name, lambda status: _handled(name, status, action, value))

    with_cluster(where, act)


async def _answer(access: Access, name: str, said: Callable[[ModelDeploymentStatus], str | None]) -> None:
    """What the operator made of it, as soon as it says so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        told = said(status_of(await access.deployment(name)))
        if told is not None:
            _say(f"the operator has taken it up: {told}")
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise CommandFailed(
        f"{name}: no operator has taken it up within {_PATIENCE_SECONDS:.0f} s; it stands there, and takes effect when "
        f"one does; see kubectl serinus status {name}",
        ExitCode.TIMED_OUT,
    )


def _handled(name: str, status: ModelDeploymentStatus, action: str, value: str) -> str | None:
    handled = next((each for each in status.actions if each.action == action and each.value == value), None)
    if handled is not None and not handled.carried_out:
        raise CommandFailed(f"{name}: the operator did nothing: {handled.message}")
    return f"phase {status.rollout.phase.value}" if handled is not None else None


def _paused(status: ModelDeploymentStatus, *, pauses: bool) -> str | None:
    """Whether it stopped, or goes on again. A pause that came too late for what went on is answered as well."""
    told = next((each.message for each in status.conditions if each.type == ConditionType.PAUSED), "")
    if asking.is_paused(status) is pauses:
        return f"phase {status.rollout.phase.value}"
    return told if pauses and told.startswith(f"The annotation {GROUP}/pause") else None


def _say(message: str) -> None:
    sys.stdout.write(f"{harmless(message.strip())}\n")
