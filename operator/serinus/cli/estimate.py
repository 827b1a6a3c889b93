"""`kubectl serinus estimate`: how long a policy takes at the present traffic, before it is applied."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from serinus.api import defaults
from serinus.api.analysis import MAX_SLICES, Metric
from serinus.api.deployment import ModelDeployment
from serinus.api.revision import child_name
from serinus.api.status import ModelDeploymentStatus
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.files import model_deployments
from serinus.cli.forecast import Forecast, StepForecast, Traffic, forecast
from serinus.cli.metric_source import prometheus_at
from serinus.cli.offline import Files, parsed
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import as_data
from serinus.cli.state import status_of
from serinus.cli.terminal import duration, harmless, show_data
from serinus.core.due import exposure_seconds
from serinus.core.evidence.baseline import baseline_counts
from serinus.core.evidence.increase import FEWEST_INTERVALS
from serinus.core.evidence.policy import SharePolicy, alpha_pass, percent, policy_of
from serinus.core.evidence.slices import chosen
from serinus.core.readings import Counters, Grid, Missing
from serinus.core.traffic import planned_steps
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import ReadingRequest, request_for

_WINDOW_SECONDS: Final = 3600.0
"""The present traffic is that of the last hour."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the traffic, and from where."""

    by_metric: dict[str, Traffic]
    source: str


def estimate(
    filename: Files,
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    requests_per_second: Annotated[
        float | None, typer.Option("--requests-per-second", help="Of all clients together; needs no cluster.", min=1e-6)
    ] = None,
    bad_percent: Annotated[
        float, typer.Option("--bad-percent", help="With it: stable's share of bad requests.", min=0, max=100)
    ] = 0.0,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", help="Read the last hour of the stable revision from here.")
    ] = None,
    scrape_interval: Annotated[
        float, typer.Option("--scrape-interval", help="How often Prometheus scrapes, in seconds.", min=1)
    ] = 30.0,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Say how long the rollout in a file takes at the present traffic, if the candidate is as good as stable.

    The traffic is what --requests-per-second says; or what --prometheus has of the revision that is stable now; or what
    the last rollout counted.
    """
    offline = requests_per_second is not None
    made = []
    for each in model_deployments(filename):
        home = each.namespace or namespace
        where = Where(kubeconfig, context, home)
        deployment = parsed(each, where.likely_namespace if offline else where.named_namespace)
        if requests_per_second is not None:
            traffic = Traffic(requests_per_second, bad_percent / 100)
            known = _Known({metric.name: traffic for metric in _metrics(deployment)}, "as given")
        else:
            known = with_cluster(where, functools.partial(_present, deployment=deployment, prometheus=prometheus))
        made.append((deployment, known, forecast(deployment, known.by_metric, scrape_interval)))
    if output in {options.Output.JSON, options.Output.YAML}:
        show_data([_data(*each) for each in made], output.value)
        return
    for deployment, known, told in made:
        sys.stdout.write("".join(f"{harmless(line)}\n" for line in _lines(deployment, known, told)))


def _metrics(deployment: ModelDeployment) -> tuple[Metric, ...]:
    return deployment.spec.analysis.metrics or defaults.METRICS


async def _present(access: Access, deployment: ModelDeployment, prometheus: str | None) -> _Known:
    """The traffic of what is stable now."""
    resource = await access.deployment(deployment.metadata.name)
    status = status_of(resource)
    if prometheus is not None:
        return await _measured(deployment, status, prometheus)
    counted = _counted(deployment, status)
    if counted is None:
        raise CommandFailed(
            f"{deployment.metadata.name}: its status has no counts of a rollout yet; say --requests-per-second, or "
            "--prometheus with a URL that you can reach (kubectl port-forward)"
        )
    return counted


async def _measured(deployment: ModelDeployment, status: ModelDeploymentStatus, url: str) -> _Known:
    if status.stable is None:
        raise CommandFailed(f"{deployment.metadata.name}: nothing is stable yet, so there is no traffic to measure")
    end = time.time() - 1
    grid = Grid(end - _WINDOW_SECONDS, 60.0)
    prefix = child_name(deployment.metadata.name, status.stable.revision)
    found: dict[str, Traffic] = {}
    async with prometheus_at(url) as source:
        for metric, policy in zip(_metrics(deployment), policy_of(deployment.spec.analysis), strict=False):
            if not isinstance(policy, SharePolicy):
                continue
            question = request_for(
                metric, namespace=deployment.metadata.namespace, pod_prefix=prefix, grid=grid, end=end
            )
            reading = await source.read(question)
            if isinstance(reading, Missing):
                raise CommandFailed(f"{metric.name}: {reading.reason}: {reading.detail}")
            counts = baseline_counts(policy, reading) if isinstance(reading, Counters) else None
            total = counts.total if counts else 0.0
            rate, share = total / _WINDOW_SECONDS, (counts.share or 0.0) if counts else 0.0
            found[metric.name] = Traffic(rate, share, *await _thinnest(source, question, metric, policy, deployment))
    return _Known(found, f"the last hour of revision {status.stable.revision}, from Prometheus")


async def _thinnest(
    source: PrometheusSource, question: ReadingRequest, metric: Metric, policy: SharePolicy, deployment: ModelDeployment
) -> tuple[str, float]:
    """The slice of a metric that gets the fewest requests, and its share of them; without slices ("", 0.0)."""
    if metric.per_slice is None:
        return "", 0.0
    served = await source.slices(question, most=MAX_SLICES)
    if isinstance(served, Missing):
        raise CommandFailed(f"{metric.name}: {served.reason}: {served.detail}")
    slices = chosen(
        policy,
        metric.per_slice,
        served,
        window_seconds=_WINDOW_SECONDS,
        exposure_seconds=exposure_seconds(deployment.spec, planned_steps(deployment.spec)),
        alpha_pass=alpha_pass(deployment.spec.analysis),
    )
    if not slices.values:
        return "", 0.0
    return slices.name(len(slices.values) - 1), served.by_value[slices.values[-1]] / served.total


def _counted(deployment: ModelDeployment, status: ModelDeploymentStatus) -> _Known | None:
    """By the counts of the last rollout, which status keeps: of each metric, or of any where one is new."""
    since = status.rollout.evidence_started_at
    found: dict[str, Traffic] = {}
    for metric in status.analysis:
        elapsed = (metric.at - since).total_seconds() if since else 0.0
        if metric.candidate is None or elapsed <= 0:
            continue
        beside = metric.stable if status.candidate is not None else None
        total = metric.candidate.total + (beside.total if beside else 0.0)
        compared = metric.stable or metric.candidate
        share = compared.bad / compared.total if compared.total else 0.0
        found[metric.name] = Traffic(total / elapsed, share)
    if not found:
        return None
    most = Traffic(max(each.requests_per_second for each in found.values()))
    wanted = {metric.name: found.get(metric.name, most) for metric in _metrics(deployment)}
    return _Known(wanted, f"counted in the last rollout, since {since:%Y-%m-%d %H:%M} UTC")


def _lines(deployment: ModelDeployment, known: _Known, told: Forecast) -> Iterator[str]:
    metadata = deployment.metadata
    rates = {f"{each.requests_per_second:,.3g}/s, {percent(each.bad_share)} bad" for each in known.by_metric.values()}
    traffic = (
        rates.pop()
        if len(rates) == 1
        else "; ".join(
            f"{name} {each.requests_per_second:,.3g}/s, {percent(each.bad_share)} bad"
            for name, each in known.by_metric.items()
        )
    )
    total = "never by itself" if told.seconds is None else f"about {duration(told.seconds)}"
    people = sum(step.step.approval for step in told.steps)
    approvals = f", and {people} approval{'s' if people > 1 else ''} by people" if people else ""
    yield f"{metadata.namespace}/{metadata.name}: {total} until the promotion{approvals}, at {traffic} ({known.source})"
    if any(step.metrics for step in told.steps):
        scrapes = f"as if Prometheus scraped every {told.scrape_seconds:g} s (--scrape-interval)"
        passes = f"a metric passes after {FEWEST_INTERVALS} counts at the earliest"
        yield f"  counted every {told.interval_seconds:g} s, {scrapes}; {passes}"
    rows = [(step.step.name, _what(step), _how_long(step, told.interval_seconds)) for step in told.steps]
    if told.watch_seconds:
        rows.append(("watch", "100 %", f"{duration(told.watch_seconds)}, after the promotion"))
    names, shares = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    for name, share, how_long in rows:
        yield f"  {name:<{names}}  {share:<{shares}}  {how_long}"
    if deployment.spec.analysis.disabled:
        yield "  analysis.disabled: nothing is judged"
    unknown = [each for each in _metrics(deployment) if each.per_slice and not known.by_metric[each.name].thinnest]
    for each in unknown:
        why = f"they are too thin, or not known ({known.source})"
        yield f"  - {each.name}: slices by {each.per_slice} are not counted in: {why}"
    for line in told.advice:
        yield f"  - {line}"


def _what(step: StepForecast) -> str:
    return "approval" if step.step.approval else step.step.share_in_words


def _how_long(step: StepForecast, interval_seconds: float) -> str:
    if step.step.approval:
        return "as long as a person takes"
    if step.step.matches and not step.step.compares:
        return f"{duration(step.step.hold_seconds)}, its hold; and until those requests suffice, which nobody knows"
    slow = step.slowest
    if slow is None or (slow.seconds is not None and slow.seconds <= step.step.hold_seconds):
        return f"{duration(step.step.hold_seconds)}, its hold"
    if slow.seconds is None:
        return f"no end: {slow.title} does not pass like this"
    if slow.seconds <= FEWEST_INTERVALS * interval_seconds:
        return (
            f"{duration(slow.seconds)}, until {slow.title} passes: {FEWEST_INTERVALS} counts, the fewest that it takes"
        )
    requests = f" ({slow.requests:,.0f} requests of the candidate)" if slow.requests else ""
    return f"{duration(slow.seconds)}, until {slow.title} passes{requests}"


def _data(deployment: ModelDeployment, known: _Known, told: Forecast) -> object:
    return as_data(
        {
            "namespace": deployment.metadata.namespace,
            "name": deployment.metadata.name,
            "seconds": told.seconds,
            "scrapeIntervalSeconds": told.scrape_seconds,
            "intervalSeconds": told.interval_seconds,
            "traffic": known.by_metric,
            "source": known.source,
            "steps": told.steps,
            "watchSeconds": told.watch_seconds,
            "advice": told.advice,
        }
    )
