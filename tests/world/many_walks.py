"""Random walks by the thousand: `python -m tests.world.many_walks 100000` walks them on all processors.

A walk that fails is walked again with fewer and fewer acts, and told as the call that repeats it:
`walked(4711, {3: "lag", 17: "new_image"}, "storm")`. Such calls stay in `tests/world/test_found_by_walks.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping

from serinus.api.reasons import Phase
from serinus.core.decide import DETAILS_SECONDS
from tests.world.invariants import check_walk
from tests.world.people import LAST
from tests.world.random_walk import Walk

FEW = range(24)
"""Seeds of every run."""
MANY = int(os.environ.get("WALKS", "1000"))
"""Seeds of `make test`."""
LONGEST_REST_SECONDS = 500
QUIET_SECONDS = 60


def walked(seed: int, acts: Mapping[int, str] | None = None, kind: str | None = None) -> Walk:
    """A walk of which every invariant holds and that comes to rest; `acts`: nothing but these, by second."""
    walk = Walk(seed, acts, kind)
    try:
        walk.go().settle()
        walk.world.run(3).run_until(lambda: at_rest(walk), LONGEST_REST_SECONDS)
        writes = len(walk.world.run(DETAILS_SECONDS + 3).api.writes)
        walk.world.run(QUIET_SECONDS)
        assert len(walk.world.api.writes) == writes, f"not quiet: {walk.world.api.writes[writes:]}"
        check_walk(walk)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}\n" + "\n".join(walk.told)) from error
    return walk


def at_rest(walk: Walk) -> bool:
    """Whether all is as people want it in the end."""
    world = walk.world
    walk.help_out()
    status = world.status
    done = world.condition("Ready") == ("True", "Stable") and status.rollout.phase is Phase.IDLE
    stable = status.stable is not None and status.stable.revision == world.revision_of(LAST)
    ended = status.previous is None and not world.passes_under_way
    return done and stable and ended and sum(world.replicas(owned=True).values()) == 3


def shrunk(seed: int, acts: Mapping[int, str]) -> dict[int, str]:
    """The fewest acts, found by leaving out halves, quarters …, with which the walk still fails."""
    kept = sorted(acts)
    size = max(1, len(kept) // 2)
    while True:
        for start in range(0, len(kept), size):
            fewer = [*kept[:start], *kept[start + size :]]
            if failure(seed, {second: acts[second] for second in fewer}) is not None:
                kept = fewer
                break
        else:
            if size == 1:
                return {second: acts[second] for second in kept}
            size //= 2


def failure(seed: int, acts: Mapping[int, str] | None = None) -> AssertionError | None:
    """Why a walk fails, if it does."""
    try:
        walked(seed, acts)
    except AssertionError as error:
        return error
    return None


def _report(seed: int) -> str | None:
    found = failure(seed)
    if found is None:
        return None
    walk = Walk(seed)
    with contextlib.suppress(Exception):
        walk.go()
    acts = shrunk(seed, walk.acted)
    return f'{failure(seed, acts) or found}\nwalked({seed}, {acts}, "{walk.kind.name}")\n'


def main() -> int:
    """Walk, and say how many of the walks failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.world.many_walks", description=__doc__)
    parser.add_argument("walks", type=int, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--most-failures", type=int, default=10, help="end after so many")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, failures, done = time.monotonic(), 0, 0
    with multiprocessing.Pool(asked.processes) as pool:
        for report in pool.imap_unordered(_report, range(asked.first, asked.first + asked.walks), chunksize=8):
            done += 1
            if report is not None:
                failures += 1
                sys.stdout.write(f"{report}\n")
                sys.stdout.flush()
            if failures >= asked.most_failures:
                break
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(f"{done} walks in {minutes:.1f} min ({done / minutes:.0f} a minute), {failures} failed\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
