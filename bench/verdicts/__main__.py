"""`python -m bench.verdicts [--runs N] [--jobs N] [--minutes M]`: plays, and writes results and report.

What was played is kept in bench/results, and a later sitting goes on from there: a full run may be cut into pieces.
Exit codes: 0; with --strict 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import described
from bench.verdicts.cost import cost
from bench.verdicts.kinds import KINDS
from bench.verdicts.ledger import Ledger
from bench.verdicts.play import Sitting, detected, played
from bench.verdicts.report import write
from bench.verdicts.results import Results, chosen, condensed, missed

_RESULTS = Path(__file__).parents[1] / "results"


def main() -> int:
    """Play, and tell; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare verdicts with the rules of other systems.")
    parser.add_argument("--runs", type=int, default=100, help="attempts of each kind (a full run: 5000), all sittings")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after so many minutes")
    parser.add_argument(
        "--detections", type=int, help="attempts for each limit and multiple (default: a fifth of runs)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same figures")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 0 for one per processor")
    parser.add_argument("--kinds", default="", help="only kinds whose name contains this")
    parser.add_argument("--report", type=Path, default=_RESULTS, help="folder for verdicts.md and its plots")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a goal is missed")
    given = parser.parse_args()
    kinds = [kind for kind in KINDS if given.kinds in kind.name]
    end = time.monotonic() + 60 * given.minutes
    sitting = Sitting(given.runs, given.seed, given.jobs, lambda: time.monotonic() >= end, _tell)
    ledger = Ledger(_RESULTS, given.seed)
    detections = detected(dataclasses.replace(sitting, runs=given.detections or max(given.runs // 5, 1)), ledger)
    played(kinds, sitting, ledger)
    tallies = {kind.name: by_rule for kind in KINDS if (by_rule := ledger.tallies(kind.name))}
    tuned = chosen(tallies)
    results = Results(
        runs=min((tally.runs for by_rule in tallies.values() for tally in by_rule.values()), default=0),
        seed=given.seed,
        tallies=condensed(tallies, tuned),
        tuned={str(system): rule.name for system, rule in tuned.items()},
        detections=detections,
        cost=cost(given.seed),
        machine=described(),
    )
    results = dataclasses.replace(results, failures=tuple(missed(results)))
    _RESULTS.mkdir(exist_ok=True)
    results.write(_RESULTS / f"verdicts-{datetime.now(UTC):%Y%m%d-%H%M%S}.json")
    print(write(results, given.report))
    for failure in results.failures:
        print(f"missed: {failure}")
    return 1 if given.strict and results.failures else 0


def _tell(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
