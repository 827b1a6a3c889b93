"""`python -m bench --size N`: one run; a table on the terminal, JSON and Markdown in `bench/results/`.

Exit codes: 0, 1 where a resource was not done in time or a phase could not go on, 2 where the stage could not be set.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import serinus
from bench.api import CallError, open_api
from bench.figures import Run
from bench.fleet import REPLICAS, fleet, keys
from bench.phases import play
from bench.report import markdown, overview
from bench.stage import CLIENT_LIMITS, stage
from e2e.cluster.process import ClusterError
from e2e.cluster.progress import note
from e2e.cluster.tools import KUBERNETES

RESULTS: Final = Path(__file__).parent / "results"
ENDED_EARLY: Final = "ended early"


async def measure(size: int, folder: Path) -> Run:
    """One run with so many resources; logs go into the folder."""
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions, phases = _conditions(), []
    async with stage(folder, size) as running, open_api(running.kubeconfig("driver")) as api, fleet(api) as followed:
        try:
            async for phase in play(running, followed, size):
                late = f", {phase.unfinished} not done in time" if phase.unfinished else ""
                note(f"{phase.name}: {phase.wall_seconds:.1f} s{late}")
                phases.append(phase)
        except (TimeoutError, CallError, ClusterError) as error:
            conditions[ENDED_EARLY] = f"{type(error).__name__} {error}"
            note(f"ended early: {conditions[ENDED_EARLY]}")
        except asyncio.CancelledError:  # by Ctrl-C: what has been measured is kept all the same
            conditions[ENDED_EARLY] = "interrupted"
    namespaces = len({namespace for namespace, _ in keys(size)})
    return Run(size, namespaces, started_at, conditions, phases)


def _conditions() -> dict[str, str]:
    return {
        "Serinus": serinus.__version__,
        "Kubernetes": KUBERNETES.version,
        "Python": platform.python_version(),
        "processors": str(os.cpu_count()),
        "pods of each resource": str(REPLICAS),
        "limits of controllers and scheduler": " ".join(CLIENT_LIMITS),
        "audit log": "Metadata, every request",
    }


def _write(run: Run) -> Path:
    name = f"serinus-{run.size}-{run.started_at.replace(':', '')}"
    run.write(RESULTS / f"{name}.json")
    report = RESULTS / f"{name}.md"
    report.write_text(markdown(run))
    return report


def main() -> int:
    """Run and report; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure the operator with many ModelDeployments at once.")
    parser.add_argument("--size", type=int, default=100, help="how many ModelDeployments (default 100, at least 10)")
    parser.add_argument("--keep", type=Path, help="a folder that the logs of all processes are copied to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serinus-bench-") as scratch:
        try:
            run = asyncio.run(measure(max(10, arguments.size), Path(scratch)))
        except ClusterError as error:
            print(f"{error}\n{error.advice}", file=sys.stderr)
            return 2
        finally:
            if arguments.keep:
                shutil.copytree(
                    scratch, arguments.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("control-plane")
                )
    print("\n".join(overview(run)))
    print(f"\n{_write(run)}")
    late = any(phase.unfinished for phase in run.phases)
    return 1 if late or ENDED_EARLY in run.conditions else 0


if __name__ == "__main__":
    sys.exit(main())
