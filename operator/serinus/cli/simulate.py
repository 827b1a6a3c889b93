"""`kubectl serinus simulate`: what a policy would have decided on the traffic of the past, and how often wrongly."""

from __future__ import annotations

import functools
import math
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from serinus.api import defaults
from serinus.api.analysis import MAX_SLICES
from serinus.api.deployment import ModelDeployment
from serinus.api.revision import child_name
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.files import Document, model_deployments
from serinus.cli.metric_source import prometheus_at
from serinus.cli.offline import parsed
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.plot import save_ends
from serinus.cli.report import as_data
from serinus.cli.state import status_of
from serinus.cli.terminal import duration, harmless, show, show_data, styled
from serinus.core.evidence.confidence import highest_share
from serinus.core.evidence.intervals import Interval, intervals_of
from serinus.core.evidence.policy import ShareKind, SharePolicy, Slices, percent, policy_of
from serinus.core.evidence.slices import by_slice, pooled
from serinus.core.history import History, UnreadableHistory, from_csv, from_intervals
from serinus.core.readings import Counters, Grid, Missing, Reading
from serinus.core.replay import Candidate, End, NothingToReplay, Replay, judged_metrics, replays
from serinus.metrics.source import MetricSource, request_for

_MOST_POINTS: Final = 10_000
"""Prometheus refuses more than 11,000."""
_WORSE: Final = 5
"""A candidate that has to be found is so many times as bad as allowed."""


OneFile = Annotated[str, typer.Option("--filename", "-f", help="The file with the ModelDeployment.")]
Counts = Annotated[
    Path | None,
    typer.Option("--counts", help="CSV of stable's counts: time, metric, total, bad, perhaps refused and slice."),
]
Prometheus = Annotated[
    str | None, typer.Option("--prometheus", help="Read the counts of the stable revision from here instead.")
]
Hours = Annotated[float, typer.Option("--hours", help="With it: how far back.", min=0.1)]


@dataclass(frozen=True, slots=True)
class Told:
    """The rollouts of one candidate, together."""

    candidate: str
    rollouts: int
    ended: int
    """Those that the history saw the end of."""
    promoted: int
    rolled_back: int
    paused: int
    wrong: int
    """How many ended wrongly."""
    wrong_at_most: float | None
    """Upper 95 % bound of their share, 0 to 1."""
    median_seconds: float | None
    """Until the end."""
    bad: float
    """Bad requests that the candidate served, per rollout."""
    decided_by: tuple[tuple[str, int], ...]
    """Metrics that failed, or were the last to pass, and how often."""


def simulate(
    filename: OneFile,
    counts: Counts = None,
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    prometheus: Prometheus = None,
    hours: Hours = 24.0,
    rollouts: Annotated[int, typer.Option("--rollouts", help="Of each candidate, begun evenly.", min=1)] = 100,
    seed: Annotated[int, typer.Option("--seed", help="The same one gives the same figures.")] = 1,
    plot: Annotated[Path | None, typer.Option("--plot", help="Save a plot: .svg, .png or .pdf.")] = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Replay the rollout in a file over what the stable revision has served, with made-up candidates.

    One is as good as stable; for each metric, one is at limit + tolerance and one is far worse. Nothing is changed, in
    the cluster or elsewhere.
    """
    document = the_only_one(filename, "simulate")
    where = Where(kubeconfig, context, namespace)
    deployment = parsed(document, where.likely_namespace if prometheus is None else where.named_namespace)
    history = history_of(deployment, where, counts, prometheus, hours)
    try:
        played = [
            (
                candidate,
                [*replays(deployment.spec, history, candidate, rollouts=rollouts, seed=seed, chances=random.Random)],
            )
            for candidate in candidates(judged_metrics(deployment.spec, history), history)
        ]
    except NothingToReplay as error:
        raise CommandFailed(f"{deployment.metadata.name}: {error}") from error
    told = [summary(candidate.name, found, harmless_candidate=not candidate.added) for candidate, found in played]
    if plot is not None:
        save_ends({candidate.name: found for candidate, found in played}, plot)
    if output in {options.Output.JSON, options.Output.YAML}:
        show_data(as_data({"intervalSeconds": history.interval_seconds, "candidates": told}), output.value)
        return
    length = duration(history.length * history.interval_seconds)
    sys.stdout.write(f"{rollouts} rollouts of each candidate, over {length} in intervals of ")
    sys.stdout.write(f"{duration(history.interval_seconds)}\n")
    show(_table(told))
    if (unfinished := _unfinished(told, history)) is not None:
        sys.stdout.write(f"{harmless(unfinished)}\n")
    if plot is not None:
        sys.stdout.write(f"{harmless(str(plot))}\n")


def the_only_one(filename: str, command: str) -> Document:
    """The ModelDeployment of a file. Raises `CommandFailed` where there is none, or more than one."""
    document, *more = model_deployments([filename])
    if more:
        raise CommandFailed(f"{filename} has several ModelDeployments; {command} takes one at a time", ExitCode.USAGE)
    return document


def candidates(policies: Sequence[SharePolicy], history: History) -> Iterator[Candidate]:
    """One as stable; for each metric one at limit + tolerance, one far beyond, and one so in its thinnest slice."""
    yield Candidate("as stable", {})
    for policy in policies:
        counts = history.of(policy.name)
        stable = counts.bad / counts.total if counts.total else 0.0
        allowed = [] if policy.max_share is None else [policy.max_share]
        allowed += [] if policy.max_increase is None else [stable + policy.max_increase]
        for name, share in (
            ("at limit + tolerance", max(allowed) + policy.tolerance),
            (f"{_WORSE} × limit", _WORSE * max(allowed)),
        ):
            if stable < share < 1:
                added = (share - stable) / (1 - stable)
                yield Candidate(f"{policy.name}: {name} ({percent(share)})", {policy.name: added})
        yield from _worse_in_a_slice(policy, history, max(allowed))


def _worse_in_a_slice(policy: SharePolicy, history: History, allowed: float) -> Iterator[Candidate]:
    """A candidate that is far beyond the limit in the slice with the fewest requests, of those judged by themselves."""
    if policy.slices is None or not policy.slices.values:
        return
    value, share = policy.slices.values[-1], _WORSE * allowed
    counts = history.of_slice(policy.name, value)
    stable = counts.bad / counts.total if counts.total else 0.0
    if stable < share < 1:
        name = f"{policy.name}: {_WORSE} × limit where {policy.slices.label} is {value} ({percent(share)})"
        yield Candidate(name, {policy.name: (share - stable) / (1 - stable)}, value)


def summary(candidate: str, found: Sequence[Replay], *, harmless_candidate: bool) -> Told:
    """The rollouts of one candidate, together. To roll a harmless one back is wrong, and to promote a worse one."""
    ends = Counter(each.end for each in found)
    wrong = ends[End.ROLLED_BACK if harmless_candidate else End.PROMOTED]
    ended = len(found) - ends[End.UNFINISHED]
    seconds = [each.seconds for each in found if each.end is not End.UNFINISHED]
    by = Counter(each.metric for each in found if each.metric)
    return Told(
        candidate=candidate,
        rollouts=len(found),
        ended=ended,
        promoted=ends[End.PROMOTED],
        rolled_back=ends[End.ROLLED_BACK],
        paused=ends[End.PAUSED],
        wrong=wrong,
        wrong_at_most=highest_share(wrong, ended) if ended else None,
        median_seconds=statistics.median(seconds) if seconds else None,
        bad=math.fsum(each.bad for each in found) / len(found),
        decided_by=tuple(by.most_common()),
    )


def _unfinished(told: Sequence[Told], history: History) -> str | None:
    """Why rollouts have no end, where some have none."""
    rollouts, ended = (sum(getattr(each, name) for each in told) for name in ("rollouts", "ended"))
    if ended == rollouts:
        return None
    served = ", ".join(f"{history.of(name).total:,.0f} of {name}" for name in history.metrics)
    length = duration(history.length * history.interval_seconds)
    return (
        f"{rollouts - ended} of {rollouts} rollouts were unfinished where the history ended: its {length} have too few "
        f"requests for them ({served}), or too little time; what a rollout takes is what estimate says"
    )


def _table(told: Sequence[Told]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (
        "CANDIDATE",
        "PROMOTED",
        "ROLLED BACK",
        "PAUSED",
        "UNFINISHED",
        "WRONG",
        "MEDIAN TIME",
        "BAD REQUESTS",
    ):
        table.add_column(name, justify="left" if name == "CANDIDATE" else "right")
    table.add_column("DECIDED BY")
    for each in told:
        at_most = "" if each.wrong_at_most is None else f" (≤ {percent(each.wrong_at_most)})"
        table.add_row(
            styled(each.candidate),
            *(str(count) for count in (each.promoted, each.rolled_back, each.paused, each.rollouts - each.ended)),
            f"{each.wrong}{at_most}",
            "" if each.median_seconds is None else duration(each.median_seconds),
            f"{each.bad:,.0f}",
            styled(", ".join(f"{name} {count}" for name, count in each.decided_by)),
        )
    return table


def history_of(
    deployment: ModelDeployment, where: Where, counts: Path | None, prometheus: str | None, hours: float
) -> History:
    """What stable has served, from the CSV or from Prometheus, whichever was said."""
    if (counts is None) == (prometheus is None):
        raise CommandFailed("say either --counts or --prometheus", ExitCode.USAGE)
    if counts is None:
        return with_cluster(
            where, functools.partial(_measured, deployment=deployment, url=prometheus or "", hours=hours)
        )
    try:
        with counts.open(newline="", encoding="utf-8-sig") as lines:
            return from_csv(lines)
    except (OSError, UnicodeDecodeError, UnreadableHistory) as error:
        raise CommandFailed(f"can't read the counts in {counts}: {error}") from error


def _intervals(policy: SharePolicy, reading: Reading) -> tuple[Interval, ...]:
    read: Reading | tuple[Interval, ...] = reading
    if isinstance(reading, Counters):
        read = intervals_of(reading, latency=policy.kind is ShareKind.LATENCY, absent_bad=policy.absent_bad)
    match read:
        case tuple():
            return read
        case Missing(reason=reason, detail=detail):
            raise CommandFailed(f"{policy.name}: {reason}: {detail}")
        case _:
            raise CommandFailed(f"{policy.name}: what Prometheus answered is not countable")


async def _measured(access: Access, deployment: ModelDeployment, url: str, hours: float) -> History:
    """What the revision that is stable now has served, from Prometheus."""
    status = status_of(await access.deployment(deployment.metadata.name))
    if status.stable is None:
        raise CommandFailed(f"{deployment.metadata.name}: nothing is stable yet, so there is no traffic to replay")
    async with prometheus_at(url) as source:
        return await measured(source, deployment, status.stable.revision, hours=hours, end=time.time() - 1)


async def measured(
    source: MetricSource, deployment: ModelDeployment, revision: str, *, hours: float, end: float
) -> History:
    """What a revision has served in so many hours before `end` (Unix seconds), by all countable metrics."""
    span = 3600.0 * hours
    step = max(float(deployment.spec.analysis.interval_seconds), 60.0, span / _MOST_POINTS)
    grid = Grid(end - span, step)
    prefix = child_name(deployment.metadata.name, revision)
    found: dict[str, tuple[Interval, ...]] = {}
    divided: dict[str, dict[str, list[Interval]]] = {}
    metrics = deployment.spec.analysis.metrics or defaults.METRICS
    for metric, policy in zip(metrics, policy_of(deployment.spec.analysis), strict=False):
        if not isinstance(policy, SharePolicy):
            continue
        question = request_for(metric, namespace=deployment.metadata.namespace, pod_prefix=prefix, grid=grid, end=end)
        if metric.per_slice is None:
            found[metric.name] = _intervals(policy, await source.read(question))
            continue
        served = await source.slices(question, most=MAX_SLICES)
        if isinstance(served, Missing):
            raise CommandFailed(f"{metric.name}: {served.reason}: {served.detail}")
        values = sorted((value for value in served.by_value if value), key=lambda value: -served.by_value[value])
        slices = Slices(metric.per_slice, tuple(values[: MAX_SLICES - 1]), 0.0)
        reading = await source.read(question)
        found[metric.name] = _intervals(policy, pooled(reading, slices) if isinstance(reading, Counters) else reading)
        divided[metric.name] = _by_value(found[metric.name], slices)
    return from_intervals(grid.anchor, step, math.floor(span / step), found, divided)


def _by_value(intervals: Iterable[Interval], slices: Slices) -> dict[str, list[Interval]]:
    """What was served by the values of a label; "" is every other one."""
    found: dict[str, list[Interval]] = {}
    for interval in intervals:
        for at, part in by_slice(interval).items():
            found.setdefault("" if at == len(slices.values) else slices.values[at], []).append(part)
    return found
