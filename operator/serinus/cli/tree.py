"""A report as a tree: revisions with pods and weights, steps, verdicts against limits, why, until when, what to do.

Called by `kubectl serinus status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from serinus.api.status import PolicyStatus
from serinus.cli.report import FRESH_SECONDS, MetricLine, PodLine, Progress, Report, RevisionLine, SliceLine, StepLine
from serinus.cli.state import State
from serinus.cli.terminal import clock, duration, styled

STATE_STYLES: Final = {
    State.SERVING: "green",
    State.PROGRESSING: "cyan",
    State.NEEDS_A_PERSON: "yellow",
    State.FAILED: "red",
    State.UNSEEN: "dim",
}
_VERDICT_STYLES: Final = {"Pass": "green", "Fail": "red", "Undecided": "cyan", "Missing": "yellow"}
_STEP_SIGNS: Final = {Progress.DONE: "✔", Progress.NOW: "▶", Progress.AHEAD: "○"}
_LABEL: Final = 10
_VALUE: Final = 100
"""Characters of a value that a policy gives: steps are long, and stand above."""


def tree(report: Report, now: datetime, *, wide: bool = False) -> Tree:
    """The tree of a report as of `now`; `wide` adds images, counters' bounds and when pods restarted."""
    root = Tree(_title(report), guide_style="dim")
    for revision in report.revisions:
        branch = root.add(_revision(revision, now, wide=wide))
        for pod in revision.pods:
            branch.add(_pod(pod))
    if report.steps:
        steps = root.add("steps")
        for step in report.steps:
            steps.add(_step(step))
    if report.metrics:
        since = f", counted since {clock(report.counted_since, now)}" if report.counted_since else ""
        metrics = root.add(styled(f"metrics{since}{' over all steps' if since and report.steps else ''}"))
        for metric in report.metrics:
            _add_metric(metrics, metric, now, wide=wide)
    _add_policies(root, report.policies)
    root.add(_line("why", report.waits_for))
    if report.available and report.state is not State.SERVING:
        root.add(_line("users", report.available))
    if report.silence:
        root.add(_line("note", report.silence, "yellow"))
    for moment in report.until:
        root.add(_line("until", f"{clock(moment.at, now)} ({_in(moment.at, now)}): {moment.what}"))
    for remark in report.remarks:
        root.add(_line("note", remark))
    for index, line in enumerate(report.to_do):
        root.add(_line("to do" if not index else "", line, "bold"))
    return root


def _add_metric(to: Tree, metric: MetricLine, now: datetime, *, wide: bool) -> None:
    branch = to.add(_metric(metric, now))
    for each in metric.slices:
        branch.add(_slice(each))
    if wide:
        branch.add(styled((metric.message, "dim")))


def _title(report: Report) -> Text:
    where = f"{report.namespace}/{report.name}" if report.namespace else report.name
    step = f", step {report.step}" if report.step else ""
    reason = f", {report.reason}" if report.reason and report.reason != report.phase else ""
    return styled(
        (where, "bold"), "  ", (report.state.value, STATE_STYLES[report.state]), f": {report.phase}{step}{reason}"
    )


def _revision(line: RevisionLine, now: datetime, *, wide: bool) -> Text:
    since = f", since {duration(now - line.since)}" if line.since else ""
    full = line.replicas > 0 and line.ready_replicas >= line.replicas
    pods = f"{line.ready_replicas} of {line.replicas} pods ready"
    return styled(
        f"{line.role:<{_LABEL}}",
        (line.revision, "bold"),
        f"  version {line.version or 'unknown'}  ",
        (f"{line.weight_percent:>3} %", "bold" if line.weight_percent else "dim"),
        "  ",
        (pods, "green" if full else "yellow"),
        since,
        f"  {line.image}" if wide else "",
    )


def _pod(pod: PodLine) -> Text:
    restarts = f", {pod.restarts} restarts" if pod.restarts else ""
    said = "ready" if pod.ready else (pod.trouble or "not ready")
    return styled(f"{pod.name}  ", (f"{said}{restarts}", "green" if pod.ready else "yellow"))


def _step(step: StepLine) -> Text:
    what = "approval" if step.approval else step.share
    hold = ""
    if step.held_seconds is not None and not step.approval:
        hold = f"  held {step.held_seconds:.0f} of {step.hold_seconds} s"
    elif step.hold_seconds:
        hold = f"  hold {duration(step.hold_seconds)}"
    style = {Progress.DONE: "green", Progress.NOW: "bold", Progress.AHEAD: "dim"}[step.progress]
    return styled((f"{_STEP_SIGNS[step.progress]} {step.name}  {what}{hold}", style))


def _metric(line: MetricLine, now: datetime) -> Text:
    observed = "" if line.enforced else " (observed only)"
    as_of = f", as of {clock(line.at, now)}" if now > line.at + timedelta(seconds=FRESH_SECONDS) else ""
    return styled(
        f"{line.name}  ",
        (line.verdict, _VERDICT_STYLES.get(line.verdict, "")),
        f"{observed}  {_numbers(line)}{as_of}",
        ("; " + needed(line) if needed(line) else "", "bold"),
    )


def _add_policies(root: Tree, policies: Sequence[PolicyStatus]) -> None:
    if not policies:
        return
    all_of_them = root.add("policies")
    for policy in policies:
        branch = all_of_them.add(styled(f"{policy.kind} {policy.name}"))
        for line in _policy(policy):
            branch.add(line)


def _policy(policy: PolicyStatus) -> Iterator[Text]:
    for each in policy.fields:
        shown = each.value if len(each.value) <= _VALUE else f"{each.value[:_VALUE]}…"
        yield styled(f"gives {each.field}: {shown}")
    if policy.metrics:
        yield styled(f"defines {', '.join(policy.metrics)}")
    if policy.notify:
        yield styled(f"tells {', '.join(policy.notify)}")
    for violation in policy.violations:
        yield styled((violation, "yellow"))


def _numbers(line: MetricLine) -> str:
    if line.bad_percent is None or line.requests is None:
        return line.message.removeprefix(f"{line.name}: ")
    return f"{_share(line)}, limit {line.limit}"


def _slice(line: SliceLine) -> Text:
    thin = "" if line.decides else " (too thin to be waited for)"
    return styled(f"{line.name}  ", (line.verdict, _VERDICT_STYLES.get(line.verdict, "")), f"{thin}  {_share(line)}")


def _share(line: MetricLine | SliceLine) -> str:
    """Bad ones among all requests of candidate and stable."""
    if line.bad_percent is None:
        return "no request yet"
    between = f" (between {line.lower_percent} and {line.upper_percent} %)" if line.lower_percent else ""
    stable = ""
    if line.stable_bad_percent is not None and line.stable_requests is not None:
        stable = f", stable {_percent(line.stable_bad_percent)} of {line.stable_requests:,.0f}"
    return f"{_percent(line.bad_percent)} bad of {line.requests or 0:,.0f}{between}{stable}"


def needed(line: MetricLine) -> str:
    """`about 240 more requests, 6 min at this rate`; empty where nothing is needed or nobody knows."""
    if not line.needed or line.verdict != "Undecided":
        return ""
    rate = f", {duration(line.needed_seconds)} at this rate" if line.needed_seconds is not None else ""
    return f"about {line.needed:,} more requests in this step{rate}"


def _line(label: str, text: str, style: str = "") -> Table:
    """A label, and beside it a text that stays there when a terminal wraps it."""
    line = Table.grid()
    line.add_column(width=_LABEL)
    line.add_column()
    line.add_row(styled((label, "dim")), styled((text, style)))
    return line


def _percent(value: float) -> str:
    return f"{float(f'{value:.3g}'):g} %"


def _in(at: datetime, now: datetime) -> str:
    return f"in {duration(at - now)}" if at > now else f"{duration(now - at)} ago"
