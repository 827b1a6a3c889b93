"""`kubectl serinus status`: one resource as a tree, once, live, or until a pipeline may go on."""

from __future__ import annotations

import asyncio
import math
import re
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.live import Live

from serinus.cli import options
from serinus.cli.access import Access, Where, in_words, with_cluster
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.report import Report, as_data, report
from serinus.cli.state import State
from serinus.cli.terminal import complain, console_for, duration, show, show_data
from serinus.cli.tree import tree
from serinus.kube.cluster import Unavailable

_INTERVAL_SECONDS: Final = 2.0
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}
_CLOCKS: Final = re.compile(r"held \d+ of |\(counts as of [^)]*\)")
_ENDS: Final[dict[State, ExitCode]] = {
    State.SERVING: ExitCode.DONE,
    State.FAILED: ExitCode.FAILED,
    State.NEEDS_A_PERSON: ExitCode.NEEDS_A_PERSON,
}


def seconds_of(text: str) -> float:
    """`90`, `90s`, `10m`, `1h30m` in seconds. Raises `CommandFailed`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandFailed(f"--timeout {text!r} is no duration; write 90s, 10m or 1h30m", ExitCode.USAGE)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def status(
    name: options.Name,
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until Ctrl-C.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it serves, failed, or waits for a person.")] = False,
    past_approvals: Annotated[
        bool, typer.Option("--past-approvals", help="With --wait: wait for the person's decision as well.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="With --wait: the longest wait, as 90s, 10m, 1h30m.")
    ] = "1h",
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show revisions, pods, weights, steps and verdicts; why it waits, until when, and what to do.

    With --wait it ends with 0 when the revision in the spec serves, 3 when it was rejected or something has to be
    mended, 4 when a person has to decide, and 5 when the time is over.
    """
    where, longest = Where(kubeconfig, context, namespace), seconds_of(timeout)
    if wait:
        ends = dict(_ENDS)
        if past_approvals:
            del ends[State.NEEDS_A_PERSON]
        last = with_cluster(where, lambda access: _until(access, name, frozenset(ends), longest))
        _print(last, output)
        if last.state not in ends:
            raise CommandFailed(
                f"{name} is {last.state.value} after {duration(longest)}: {last.waits_for}", ExitCode.TIMED_OUT
            )
        raise typer.Exit(ends[last.state])
    if watch:
        with_cluster(where, lambda access: _watch(access, name, output))
        return
    _print(with_cluster(where, lambda access: look(access, name)), output)


async def look(access: Access, name: str) -> Report:
    """The resource as it is now."""
    resource = await access.deployment(name)
    objects, pods = await access.children(name)
    return report(resource, objects, pods, datetime.now(UTC))


async def _looks(access: Access, name: str, deadline: float = math.inf) -> AsyncIterator[Report]:
    """A report every two seconds; an API server that is away is waited for, until the deadline."""
    away = False
    while True:
        try:
            yield await look(access, name)
            away = False
        except Unavailable as error:
            if time.monotonic() >= deadline:
                raise CommandFailed(in_words(error), ExitCode.TIMED_OUT) from error
            if not away:
                complain(f"{in_words(error)}; trying again")
            away = True
        await asyncio.sleep(_INTERVAL_SECONDS)


async def _until(access: Access, name: str, ends: frozenset[State], longest_seconds: float) -> Report:
    deadline, told = time.monotonic() + longest_seconds, ""
    async for seen in _looks(access, name, deadline):
        told = _tell_change(seen, told)
        if seen.state in ends or time.monotonic() >= deadline:
            return seen
    raise AssertionError("there is always another look")


async def _watch(access: Access, name: str, output: options.Output) -> None:
    console = console_for()
    if not console.is_terminal or output not in {options.Output.TEXT, options.Output.WIDE}:
        told = ""
        async for seen in _looks(access, name):
            line = _without_clocks(_line(seen))
            if line != told:
                if told and output is options.Output.YAML:
                    sys.stdout.write("---\n")
                _print(seen, output)
                told = line
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        async for seen in _looks(access, name):
            live.update(tree(seen, datetime.now(UTC), wide=output is options.Output.WIDE), refresh=True)


def _tell_change(seen: Report, told: str) -> str:
    line = _line(seen)
    if _without_clocks(line) != _without_clocks(told):
        complain(f"{datetime.now(UTC):%H:%M:%S} {line}")
    return line


def _line(seen: Report) -> str:
    """The report in one line."""
    step = f" {seen.step}" if seen.step else ""
    silent = f"; {seen.silence}" if seen.silence else ""
    return f"{seen.state.value}: {seen.phase}{step}: {seen.waits_for}{silent}"


def _without_clocks(line: str) -> str:
    """What of a line says something new when it changes: not how long something was held, or when it was counted."""
    return _CLOCKS.sub("", line)


def _print(seen: Report, output: options.Output) -> None:
    if output in {options.Output.JSON, options.Output.YAML}:
        show_data(as_data(seen), output.value)
    else:
        show(tree(seen, datetime.now(UTC), wide=output is options.Output.WIDE))
