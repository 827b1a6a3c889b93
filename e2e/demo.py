"""`make demo`: a promotion and a rollback of a real model on a real cluster, and a table of what happened.

Leaves the cluster up, with the model serving, and says what to try next.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from e2e.cluster.locations import KUBECONFIG
from e2e.cluster.process import ClusterError
from e2e.stage import ROOT, set_up
from e2e.story import NAME, Story, instant, play

NAMESPACE = "demo"

console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 140)


def main() -> int:
    """Play the story and print its tables; 1 if something had to be given up."""
    started = time.monotonic()
    try:
        stage = set_up()
        console.print(f"\n[bold]The stage is set[/] ({time.monotonic() - started:.0f} s). The story:")
        story = play(stage, NAMESPACE, _tell)
        harm_seconds = story.seconds_from_first_bad_answer_to_zero
    except ClusterError as error:
        console.print(str(error), style="bold red", markup=False)
        console.print(error.advice, markup=False)
        return 1
    except AssertionError as error:
        console.print("[bold red]The demo did not go as told:[/]")
        console.print(str(error), markup=False)
        return 1
    console.print()
    console.print(decisions(story))
    console.print(requests(story))
    summary(story, harm_seconds, time.monotonic() - started)
    return 0


def _tell(text: str) -> None:
    console.print(f"  {_clock(time.time())}  {text}", markup=False, soft_wrap=True)


def decisions(story: Story) -> Table:
    """When each weight was set, and on which verdict."""
    table = Table(title="Weights and decisions", title_justify="left", show_lines=False)
    for column in ("time", "what", "because"):
        table.add_column(column, no_wrap=column != "because")
    rows = [(instant(h["at"]), h["event"], "", h.get("because", "")) for h in story.history]
    rows += [
        (each.at, ", ".join(f"{v} {w} %" for v, w in each.weights.items()), "cyan", "the route was written")
        for each in story.weights
    ]
    for at, what, style, because in sorted(rows):
        table.add_row(_clock(at), Text(what, style), Text(because))
    return table


def requests(story: Story) -> Table:
    """Requests sent and failed, by phase and by version."""
    table = Table(title="Requests that clients sent", title_justify="left")
    for column in ("phase", "sent", "failed", "of these by 3.0.0", "outside its share", "share of 1/2/3", "p95 ms"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    parts = [(c.title, story.report.between(c.begin, c.end)) for c in story.chapters]
    for title, report in [*parts, ("total", story.report)]:
        shares = "/".join(f"{100 * report.share_of(version):.1f}" for version in ("1.0.0", "2.0.0", "3.0.0"))
        table.add_row(
            title,
            str(report.sent),
            str(report.failed),
            str(report.failed_of("3.0.0")),
            str(report.failed_except("3.0.0")),
            f"{shares} %",
            f"{report.latency_milliseconds(0.95):.0f}",
        )
    return table


def summary(story: Story, harm_seconds: float, seconds: float) -> None:
    """The figures that matter, and what to try next."""
    outside = story.report.failed_except("3.0.0")
    console.print(
        f"\nFrom the first bad answer of version 3 to weight 0: "
        f"[bold]{harm_seconds:.1f} s[/]; "
        f"failed requests outside the broken candidate's share: [bold]{outside}[/] of {story.report.sent}; "
        f"the demo took {seconds:.0f} s."
    )
    cluster = f"kubectl --kubeconfig {KUBECONFIG.relative_to(ROOT)}"
    kubectl = f"{cluster} --namespace {NAMESPACE}"
    console.print(
        "\nThe cluster stays up. Try next:\n"
        f"  {kubectl} get mdep {NAME} -o wide\n"
        f"  {kubectl} get mdep {NAME} -o yaml      # conditions, verdicts, history\n"
        f"  {kubectl} get events --sort-by=.metadata.creationTimestamp\n"
        f"  {kubectl} apply -f examples/digits/v1.yaml   # version 1 again: it served lately, so it skips the steps\n"
        f"  {cluster} --namespace gateway-system port-forward service/traefik 18080:80   # for requests of yours\n"
        f"  {kubectl} explain mdep.spec.rollout\n"
        "  make cluster-down                       # end it all",
        markup=False,
        soft_wrap=True,  # commands are copied
    )


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main())
