"""What an evaluation costs: processor time of the engine alone, with the readings at hand."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.verdicts.attempt import POLICIES, Scraped, circumstances
from bench.verdicts.kinds import STABLE_FAILED, STABLE_REFUSED, STABLE_SLOW
from serinus.core.evidence.judge import Judge
from serinus.core.verdicts import MetricVerdict

METRICS: Final = 5
LOOKS: Final = 240
_SHARES: Final = (STABLE_FAILED, STABLE_REFUSED, STABLE_SLOW)


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of processor time for one evaluation of `METRICS` metrics, errors and latency in turn."""

    incremental_median: float
    """Each look continues the one before."""
    incremental_last: float
    """Mean of the last tenth of the looks."""
    cold: float
    """The last look, by somebody who has seen nothing before."""


def cost(seed: int, looks: int = LOOKS) -> Cost:
    """The cost of an hour of looks at one pod of each revision."""
    random = np.random.default_rng(seed)
    judges = [Judge(POLICIES[at % len(POLICIES)]) for at in range(METRICS)]
    pods = Scraped("candidate-0", 1), Scraped("stable-0", 1)
    spent = []
    for pod in pods:
        pod.scrape(0)
    for look in range(1, looks + 1):
        for pod, mean in zip(pods, (37, 703), strict=True):
            total = random.poisson(mean)
            pod.count(np.array([[total, *random.binomial(total, _SHARES)]], dtype=float))
            pod.scrape(look)
        spent.append(_evaluation(judges, pods, look))
    cold = _evaluation([Judge(judge.policy) for judge in judges], pods, looks)
    last = spent[-max(looks // 10, 1) :]
    return Cost(1e3 * statistics.median(spent), 1e3 * statistics.mean(last), 1e3 * cold)


def _evaluation(judges: list[Judge], pods: tuple[Scraped, Scraped], look: int) -> float:
    readings = [[pod.reading(judge.policy) for pod in pods] for judge in judges]
    at = circumstances(look)
    begun = time.process_time()
    verdicts: list[MetricVerdict] = [
        judge.judge(own, other, at) for judge, (own, other) in zip(judges, readings, strict=True)
    ]
    spent = time.process_time() - begun
    assert len(verdicts) == METRICS
    return spent
