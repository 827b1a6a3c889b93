"""What the evidence recommends where a person decides: at an approval, and in a rollout that only recommends.

It decides nothing. Called by `serinus.core.decide`, which shows it in status, and by `serinus.core.conditions`.
"""

from __future__ import annotations

from collections.abc import Sequence

from serinus.api.analysis import MetricMode
from serinus.api.reasons import Phase, Recommendation
from serinus.api.status import MetricStatus
from serinus.core.rollout.situation import MAX_RESTARTS, MAX_WEIGHT_LOSSES, Situation
from serinus.core.verdicts import VerdictKind

_HELD = frozenset({Phase.HOLDING, Phase.PAUSED})
_WITH_A_WAY_BACK = frozenset({*_HELD, Phase.STARTING, Phase.AWAITING_APPROVAL, Phase.PROMOTING, Phase.WATCHING})


def recommendation(s: Situation, analysis: Sequence[MetricStatus]) -> Recommendation | None:
    """What `analysis` and the pods recommend; None where nobody is asked, or nothing was measured."""
    asked = s.awaits_approval or s.only_recommends
    if not asked or s.stable is None or s.rollout.phase not in _WITH_A_WAY_BACK:
        return None
    verdicts = {each.verdict for each in analysis if each.mode == MetricMode.ENFORCE}
    if VerdictKind.FAIL in verdicts or _pods_fail(s):
        return Recommendation.ABORT
    if not verdicts or s.rollout.phase not in {*_HELD, Phase.AWAITING_APPROVAL}:
        return None
    passed = s.awaits_approval and verdicts == {VerdictKind.PASS}
    return Recommendation.APPROVE if passed else Recommendation.WAIT


def in_words(s: Situation) -> str:
    """`; recommended: …`, with the annotation that does it; "" for nothing."""
    match s.rollout.recommendation:
        case Recommendation.APPROVE:
            return "; recommended: to approve it, as every metric passes"
        case Recommendation.WAIT if s.awaits_approval:
            return "; recommended: to wait, as not every metric passes yet"
        case Recommendation.ABORT:
            return f"; recommended: serinus.dev/abort: {s.candidate or s.stable}"
        case _:
            return ""


def _pods_fail(s: Situation) -> bool:
    if s.restarts >= MAX_RESTARTS or s.rollout.weight_losses >= MAX_WEIGHT_LOSSES:
        return True
    return s.candidate is not None and s.is_short and s.deadline_passed and s.replicas > 0
