"""A promotion with a fault in its middle, and what users may expect of it. Called by the end-to-end tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from e2e import operator_pods
from e2e.load.report import LoadReport
from e2e.model import STEP_WEIGHT, Model, revision, rollout, weights_of
from e2e.story import instant

HOLD_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Endured:
    """What clients saw from before the promotion to its end, and when the fault ended (Unix seconds)."""

    report: LoadReport
    ended_at: float


def endure(
    model: Model,
    fault: Callable[[], AbstractContextManager[None]],
    seconds: float = 0.0,
    *,
    takes_pods_for_lost: bool = False,
) -> Endured:
    """Let version 2 be promoted, with a fault from the middle of its hold on, which is left after `seconds`.

    The operator recovers by itself, the hold is not cut short, no step is taken twice or left out, and nothing is
    rolled back. What clients may notice differs; the caller judges the report. Where Kubernetes takes pods for lost,
    the weights go to those that are ready until all are again, and the hold begins anew.
    """
    counting_since = hold(model)
    restarts = operator_pods.restarts(model.stage)
    with fault():
        time.sleep(seconds)  # it may be that nothing can be asked meanwhile; what clients saw is in their report
        ended_at = time.time()
    operator_pods.wait_until_one_leads(model.stage)
    assert_promoted_as_if_nothing_had_been(model, counting_since, takes_pods_for_lost=takes_pods_for_lost)
    assert operator_pods.restarts(model.stage) == restarts, "the operator did not recover by itself"
    return Endured(model.stop_requests(), ended_at)


def hold(model: Model) -> float:
    """Bring version 2 into its hold, with clients; the Unix time at which the hold was first seen to be counting."""
    model.serve()
    model.send_requests()
    model.apply("2.0.0", hold_seconds=HOLD_SECONDS)
    return instant(rollout(model.wait_until_holding())["countingSince"])


def assert_promoted_as_if_nothing_had_been(
    model: Model, counting_since: float, *, takes_pods_for_lost: bool = False
) -> None:
    """Wait for the promotion of version 2, whose hold counts since then, and look back at how it came to it."""
    promoted = model.wait_until_promoted("2.0.0")
    assert rollout(promoted)["judgedBy"] == "Metrics"
    assert promoted["status"].get("rejected", []) == []
    second = revision(promoted, "stable")
    history = [entry for entry in reversed(promoted["status"]["history"]) if entry["revision"] == second]
    assert [entry["event"] for entry in history] == ["CandidateStarted", "StepEntered", "Promoted", "WatchEnded"]
    assert instant(history[2]["at"]) - counting_since >= HOLD_SECONDS
    shares = [weights_of(seen.manifest).get(second, 0) for seen in model.route.seen]
    changed = [number for number, share in enumerate(shares) if number == 0 or share != shares[number - 1]]
    changes = [shares[number] for number in changed]
    if takes_pods_for_lost:
        counting_since = model.route.seen[changed[-2]].at
        assert (changes[:2], changes[-2:]) == ([0, STEP_WEIGHT], [STEP_WEIGHT, 100]), model.story()
    else:
        assert changes == [0, STEP_WEIGHT, 100], model.story()
    assert model.route.seen[changed[-1]].at - counting_since >= HOLD_SECONDS
