"""`python -m bench --size N [--peer argo]`: tables on the terminal, JSON and Markdown in `bench/results/`.

With a peer, each subject gets a control plane of its own, one after the other, and the ratios are told at the end.
Exit codes: 0, 1 where a resource was not done in time or a phase could not go on, 2 where the stage could not be set.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.api import CallError
from bench.figures import Phase, Run
from bench.fleet import fleet, keys
from bench.machine import described, processors
from bench.phases import play
from bench.report.comparison import comparison, pairs
from bench.report.run import markdown, overview
from bench.stage import CLIENT_LIMITS, stage
from bench.subject import REPLICAS, Subject
from bench.subjects.argo import Argo, Limits
from bench.subjects.serinus import Serinus
from e2e.cluster.process import ClusterError
from e2e.cluster.progress import note
from e2e.cluster.tools import KUBERNETES

RESULTS: Final = Path(__file__).parent / "results"
ENDED_EARLY: Final = "ended early"
INTERRUPTED: Final = "interrupted"
ROUTED: Final = f"{Argo.slug}-routed"
"""The peer with Services and traffic routing."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of the benchmark."""

    size: int
    phases: Sequence[str]
    """Empty: all that make sense for a subject."""
    at: str
    command: str


async def measure(subject: Subject, called: Invocation, folder: Path) -> Run:
    """One subject; logs go into the folder."""
    started_at = _now()
    early: dict[str, str] = {}
    phases: list[Phase] = []
    names = [name for name in subject.phases if not called.phases or name in called.phases]
    async with stage(folder, called.size, subject) as running, fleet(running.api, subject) as followed:
        try:
            async for phase in play(running, followed, called.size, names):
                late = f", {phase.unfinished} not done in time" if phase.unfinished else ""
                note(f"{subject.label}, {phase.name}: {phase.wall_seconds:.1f} s{late}")
                phases.append(phase)
        except (TimeoutError, CallError, ClusterError) as error:
            early[ENDED_EARLY] = f"{type(error).__name__} {error}"
            note(f"ended early: {early[ENDED_EARLY]}")
        except asyncio.CancelledError:  # by Ctrl-C: what has been measured is kept all the same
            early[ENDED_EARLY] = INTERRUPTED
    return Run(
        subject=subject.slug,
        label=subject.label,
        routed=subject.routed,
        resource_name=subject.resources,
        size=called.size,
        namespaces=len({namespace for namespace, _ in keys(called.size)}),
        invoked_at=called.at,
        started_at=started_at,
        command=called.command,
        conditions={**subject.conditions, **_conditions(), **early},
        processors=processors(),
        phases=phases,
    )


def _conditions() -> dict[str, str]:
    return {
        "Kubernetes": KUBERNETES.version,
        "Python": platform.python_version(),
        **described(),
        "pods of each resource": str(REPLICAS),
        "limits of controllers and scheduler": " ".join(CLIENT_LIMITS),
        "audit log": "Metadata, every request",
    }


def _write(run: Run, subject: Subject) -> Path:
    name = f"{subject.file_name}-{run.size}-{run.invoked_at.replace(':', '')}"
    run.write(RESULTS / f"{name}.json")
    report = RESULTS / f"{name}.md"
    report.write_text(markdown(run))
    return report


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _subjects(arguments: argparse.Namespace) -> list[Subject]:
    """Each way to split traffic once with this project's operator, then with the peers that are asked for."""
    subjects: list[Subject] = []
    for routed in [peer == ROUTED for peer in arguments.peer] or [True]:
        if not arguments.peer_only:
            subjects.append(Serinus(routed=routed))
        if arguments.peer:
            subjects += [Argo(limits, routed=routed) for limits in arguments.peer_limits]
    return subjects


def main() -> int:
    """Run and report; returns the exit code."""
    arguments = _arguments()
    called = Invocation(max(10, arguments.size), arguments.phases, _now(), f"python -m bench {' '.join(sys.argv[1:])}")
    runs: list[Run] = []
    try:
        for subject in _subjects(arguments):
            with tempfile.TemporaryDirectory(prefix="serinus-bench-") as scratch:
                try:
                    run = asyncio.run(measure(subject, called, Path(scratch)))
                finally:
                    if arguments.keep:
                        _keep(Path(scratch), arguments.keep / subject.file_name)
            runs.append(run)
            print(f"\n{run.label}, {run.size} {run.resource_name}")
            print("\n".join(overview(run)))
            print(f"\n{_write(run, subject)}")
            if run.conditions.get(ENDED_EARLY) == INTERRUPTED:
                break
    except ClusterError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 2
    for ours, peer in pairs(runs):
        print(f"\n{ours.label} beside {peer.label}")
        print("\n".join(comparison(ours, peer)))
    late = any(phase.unfinished for run in runs for phase in run.phases)
    return 1 if late or any(ENDED_EARLY in run.conditions for run in runs) else 0


def _keep(scratch: Path, folder: Path) -> None:
    shutil.copytree(scratch, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("control-plane"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the operator with many resources at once.")
    parser.add_argument("--size", type=int, default=100, help="how many resources (default 100, at least 10)")
    parser.add_argument("--phases", nargs="*", default=[], metavar="PHASE", choices=Serinus.phases, help="only these")
    parser.add_argument(
        "--peer",
        nargs="+",
        default=[],
        choices=[Argo.slug, ROUTED],
        help="measure this too, and tell the ratios: Argo Rollouts without traffic routing beside Serinus without a "
        "gateway, or both with them",
    )
    parser.add_argument(
        "--peer-limits",
        nargs="+",
        type=Limits.parse,
        default=[Limits(400, 800)],
        metavar="QPS/BURST",
        help="limits of the peer's client, one run for each (default 400/800; its own default is 40/80)",
    )
    parser.add_argument("--peer-only", action="store_true", help="measure only the peer")
    parser.add_argument("--keep", type=Path, help="a folder that the logs of all processes are copied to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
