"""The clock of a hold: when it may run, when it has to stand still.

Held time counts only while the step's weight is in force and accepted by the gateway, the candidate's pods carry it
and the evidence is there. It is persisted as `heldSeconds` plus `countingSince`, so that a restart never advances
early. Called by the holding policies.
"""

from __future__ import annotations

from datetime import timedelta

from serinus.core.plan import Move
from serinus.core.rollout import holds
from serinus.core.rollout.situation import Situation
from serinus.core.traffic import PlannedStep
from serinus.core.verdicts import VerdictKind

NOTED_AFTER = timedelta(seconds=60)
"""Pods that are back are noted only after this long: mostly the clock starts before, or the promotion is complete."""


def clock_move(s: Situation) -> Move | None:
    """The move that starts, stops or corrects the clock, if one is due."""
    if s.rollout.counting_since is None:
        return _standing(s) or _note_pods(s)
    if (stopped := _obstacle(s)) is not None:
        return holds.stop_clock(s, stopped)
    if s.clock_has_gap and (s.observation.clock_stepped or s.now > s.rollout.counting_since):
        return holds.skip_gap(s)
    if s.evidence_missing:
        told = s.evidence_in_words(VerdictKind.MISSING)
        return holds.stop_clock(s, told, missing=True, withdrawn=s.candidate_is_silent)
    return None


def _standing(s: Situation) -> Move | None:
    """The clock stands still: evidence that comes in meanwhile is heeded all the same."""
    if s.rollout.withdrawn:
        return _give_back(s)
    if s.candidate_is_silent:
        return holds.stop_clock(s, s.evidence_in_words(VerdictKind.MISSING), missing=True, withdrawn=True)
    started = _start(s)
    is_back = s.rollout.missing_since is not None and s.verdict is not None and not s.evidence_missing
    return holds.evidence_is_back(s) if started is None and is_back else started


def _give_back(s: Situation) -> Move | None:
    """The candidate was silent and reports again."""
    reports = s.verdict is not None and not s.evidence_missing
    return holds.give_back(s) if reports or s.spec.analysis.disabled else None


def _note_pods(s: Situation) -> Move | None:
    """While the clock stands still: the candidate's pods went, or came back."""
    if s.is_short and s.rollout.short_since is None:
        return holds.stop_clock(s, f"candidate {s.candidate} has too few ready pods for its share ({s.trouble})")
    if s.is_short or s.rollout.short_since is None or s.now < s.rollout.short_since + NOTED_AFTER:
        return None
    return holds.pods_are_back(s)


def _start(s: Situation) -> Move | None:
    if s.awaits_approval or s.paused_by_person or _obstacle(s) is not None:
        return None
    waits_for_evidence = s.rollout.missing_since is not None and not s.spec.analysis.disabled
    if waits_for_evidence and (s.verdict is None or s.evidence_missing):
        return None
    return holds.start_clock(s)


def _obstacle(s: Situation) -> str | None:
    """Why the step's weight is not what the requests see now."""
    step = s.step
    if step is None:
        return "the spec no longer has this step"
    if not s.stable_serves:
        return f"stable {s.stable} has no ready pod; nothing advances while its traffic is on loan"
    if s.children.ready(s.candidate) == 0:
        return f"candidate {s.candidate} has no ready pod ({s.trouble})"
    if s.is_short or not s.has_its_share:
        return _lacks_its_share(s, step)
    if not s.split_confirmed:
        return s.route_trouble or "the weights are not in force yet"
    return None


def _lacks_its_share(s: Situation, step: PlannedStep) -> str:
    if s.in_the_way:
        return f"pods of {', '.join(s.in_the_way)} have to go before the Service can lead to all pods"
    share = step.share_in_words if step.judged else "the switch"
    return f"candidate {s.candidate} has too few ready pods for {share}"
