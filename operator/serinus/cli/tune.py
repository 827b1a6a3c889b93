"""`kubectl serinus tune`: limits, tolerances and samples that suit what the stable revision has served."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

import typer
import yaml

from serinus.api import defaults
from serinus.api.deployment import ModelDeployment
from serinus.cli import options
from serinus.cli.access import Where
from serinus.cli.offline import parsed
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import as_data
from serinus.cli.simulate import Counts, Hours, OneFile, Prometheus, history_of, summary, the_only_one
from serinus.cli.terminal import duration, harmless, show_data
from serinus.core.evidence.policy import SharePolicy, alpha_pass, percent
from serinus.core.history import History
from serinus.core.replay import Candidate, NothingToReplay, Replay, judged_metrics, judged_steps, replays
from serinus.core.tuning import Proposal, proposal, undecisive

_ROLLOUTS = 50
_WORSE = 4
"""A metric should tell a candidate that is so many times as bad as stable."""


def tune(
    filename: OneFile,
    counts: Counts = None,
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    prometheus: Prometheus = None,
    hours: Hours = 24.0,
    seconds: Annotated[float, typer.Option("--seconds", help="How long a good rollout may take.", min=60)] = 3600.0,
    false_rollback_percent: Annotated[
        str | None, typer.Option("--false-rollback-percent", help="As in the spec; by default what the file says.")
    ] = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Propose limits for the metrics in a file, and try them on what the stable revision has served.

    Prints what to put into `analysis`, and which metrics decide nothing. Nothing is changed.
    """
    document = the_only_one(filename, "tune")
    where = Where(kubeconfig, context, namespace)
    home = where.likely_namespace if prometheus is None else where.named_namespace
    if false_rollback_percent is not None:
        spec = dict(document.data.get("spec") or {})
        spec["analysis"] = {**(spec.get("analysis") or {}), "falseRollbackPercent": false_rollback_percent}
        document = replace(document, data={**document.data, "spec": spec})
    deployment = parsed(document, home)
    history = history_of(deployment, where, counts, prometheus, hours)
    try:
        policies, steps = judged_metrics(deployment.spec, history), judged_steps(deployment.spec)
        alpha = alpha_pass(deployment.spec.analysis)
        found = [proposal(policy, history, steps, alpha=alpha, seconds=seconds) for policy in policies]
        analysis = tuned_analysis(deployment, found)
        tuned = _with(deployment, analysis)
        replayed = {
            candidate.name: [
                *replays(tuned.spec, history, candidate, rollouts=_ROLLOUTS, seed=1, chances=random.Random)
            ]
            for candidate in (_HARMLESS, _worse(policies, history))
        }
    except NothingToReplay as error:
        raise CommandFailed(f"{deployment.metadata.name}: {error}") from error
    useless = undecisive(policies, replayed)
    if output in {options.Output.JSON, options.Output.YAML}:
        data = {"proposals": found, "undecisive": useless, "analysis": analysis}
        show_data(as_data(data), output.value)
        return
    lines = _lines(found, analysis, replayed, useless, seconds)
    sys.stdout.write("".join(f"{harmless(line)}\n" for line in lines))


_HARMLESS = Candidate("as stable", {})


def _worse(policies: Sequence[SharePolicy], history: History) -> Candidate:
    added = {}
    for policy in policies:
        counts = history.of(policy.name)
        share = counts.bad / counts.total if counts.total else 0.0
        added[policy.name] = min((_WORSE - 1) * share / (1 - share), 1.0) if share < 1 else 0.0
    return Candidate(f"{_WORSE} × as bad", added)


def tuned_analysis(deployment: ModelDeployment, proposals: Sequence[Proposal]) -> dict[str, Any]:
    """The `analysis` of a deployment with what is proposed: absolute limits, beside the increases that it has."""
    by_name = {each.metric: each for each in proposals}
    analysis = deployment.spec.analysis
    metrics = []
    for metric in analysis.metrics or defaults.METRICS:
        written = metric.model_dump(mode="json", by_alias=True, exclude_none=True)
        fits = by_name.get(metric.name)
        if fits is not None and fits.limit is not None:
            written["limit"]["maxPercent"] = number(fits.limit)
            written["tolerancePercent"] = number(fits.limit if fits.tolerance is None else fits.tolerance)
            written["minSamples"] = fits.min_samples
        metrics.append(written)
    return {"falseRollbackPercent": str(analysis.false_rollback_percent), "metrics": metrics}


def _with(deployment: ModelDeployment, analysis: Mapping[str, Any]) -> ModelDeployment:
    metadata = {"name": deployment.metadata.name, "namespace": deployment.metadata.namespace}
    before = deployment.raw_spec.get("analysis") or {}
    return ModelDeployment.parse(
        {"metadata": metadata, "spec": {**deployment.raw_spec, "analysis": {**before, **analysis}}}
    )


def number(share: float) -> str:
    """A share in percent, as the spec writes it."""
    return format((Decimal(repr(share)) * 100).normalize(), "f")


def _lines(
    proposals: Sequence[Proposal],
    analysis: Mapping[str, Any],
    replayed: Mapping[str, Sequence[Replay]],
    useless: Sequence[str],
    seconds: float,
) -> Iterator[str]:
    for each in proposals:
        yield (
            f"# {each.metric}: {each.requests_per_second:,.3g}/s, {percent(each.share)} bad, up to "
            f"{percent(each.worst_hour)} in the worst hour; about {_time(each.slowest_seconds)} in the longest step"
        )
        if each.limit is None:
            yield f"# {each.metric}: no limit suits; it is left as it is"
        elif each.tolerance is None:
            yield f"# {each.metric}: too few requests to pass within {duration(seconds)}: raise weights, or take longer"
    for name, rollouts in replayed.items():
        told = summary(name, rollouts, harmless_candidate=name == _HARMLESS.name)
        median = "" if told.median_seconds is None else f", median {duration(told.median_seconds)}"
        yield (
            f"# replayed {told.rollouts} × {name}: {told.promoted} promoted, {told.rolled_back} rolled back, "
            f"{told.paused} paused, {told.rollouts - told.ended} unfinished{median}"
        )
    for name in useless:
        yield f"# {name} decided nothing: consider `mode: Observe`, or leave it out"
    yield from yaml.safe_dump({"analysis": analysis}, sort_keys=False, allow_unicode=True).splitlines()


def _time(seconds: float) -> str:
    return "never" if math.isinf(seconds) else duration(seconds)
