"""The error rates and speeds of the verdicts, by simulation.

`PYTHONPATH=operator python -m tests.unit.core.evidence.figures [attempts]` prints how often harmless candidates fail
and bad ones pass, and how many requests decisions take beside the bounds that no test can beat. Limit 1 %, tolerance
1 %, allowed increase 0.5 points, alpha 1 % for each test; 37 requests of the candidate per look and 703 of stable, of
which 0.5 % are bad. The same seeds give the same table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import scipy

from serinus.core.evidence.pairs import Pair
from serinus.core.evidence.wealth import Evidence
from tests.unit.core.evidence.folds import above, above_limit, alone, for_fail, of_differences, of_shares, shortfalls
from tests.unit.core.evidence.traffic import Source, bursts, correlated, independent, pairs

LIMIT = TOLERANCE = ALPHA = 0.01
INCREASE = STABLE_SHARE = 0.005
TOTAL, STABLE_TOTAL = 37, 703
THRESHOLD = math.log(1 / ALPHA)
SOURCES: dict[str, Source] = {
    "independent": independent,
    "rho 0.005": correlated(0.005),
    "rho 0.05": correlated(0.05),
    "rho 0.2": correlated(0.2),
    "bursts of ten": bursts,
}


def drawn(random: np.random.Generator, source: Source, share: float, looks: int) -> tuple[Pair, ...]:
    """So many intervals of both revisions."""
    own, other = source(random, share, TOTAL, looks), source(random, STABLE_SHARE, STABLE_TOTAL, looks)
    return pairs(own, TOTAL, other, STABLE_TOTAL)


def over_limit(seen: Sequence[Pair]) -> Evidence:
    """Evidence for "above the absolute limit"."""
    return above_limit((pair.candidate for pair in seen), LIMIT)


def over_stable(seen: Sequence[Pair]) -> Evidence:
    """Evidence for "above stable by more than the allowed increase"."""
    return above(seen, INCREASE, for_fail(seen))


def looks_to_fail(test, seen: Sequence[Pair]) -> float:
    """Looks until the test suffices; the peak only rises, so it can be searched by halving."""
    if test(seen).peak < THRESHOLD:
        return math.inf
    low, high = 0, len(seen)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if test(seen[:middle]).peak >= THRESHOLD else (middle, high)
    return high


def looks_to_pass(seen: Sequence[Pair], bound: float, *, absolute: bool) -> float:
    """Looks until "below the bound" is shown for the absolute limit or for the increase."""
    effects = of_shares(seen) if absolute else of_differences(seen)
    looks = enumerate(shortfalls(alone(seen) if absolute else seen, bound, effects, ALPHA))
    return next((look for look, shortfall in looks if shortfall.suffices), math.inf)


def kl(a: float, b: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli shares."""
    return (a * math.log(a / b) if a else 0.0) + (1 - a) * math.log((1 - a) / (1 - b))


def two_sample_bound(share: float) -> float:
    """Fewest candidate requests to show an increase, for any sequential test."""

    def rate(q: float) -> float:
        return kl(share, q + INCREASE) + STABLE_TOTAL / TOTAL * kl(STABLE_SHARE, q)

    return THRESHOLD / scipy.optimize.minimize_scalar(rate, bounds=(1e-6, share), method="bounded").fun


def false_verdicts(attempts: int) -> None:
    """How often the wrong thing is said, within 250 looks."""
    print(f"\nwrong within 250 looks, of {attempts} attempts")
    print(f"{'':16}{'fail at limit':>15}{'fail at increase':>18}{'pass at 2 %':>13}{'pass, stable + 1.5':>20}")
    for name, source in SOURCES.items():
        random = np.random.default_rng(1)
        rates = [
            np.mean([over_limit(drawn(random, source, LIMIT, 250)).peak >= THRESHOLD for _ in range(attempts)]),
            np.mean([over_stable(drawn(random, source, 0.01, 250)).peak >= THRESHOLD for _ in range(attempts)]),
            np.mean(
                [looks_to_pass(drawn(random, source, 0.02, 250), 0.02, absolute=True) < 999 for _ in range(attempts)]
            ),
            np.mean(
                [looks_to_pass(drawn(random, source, 0.02, 250), 0.015, absolute=False) < 999 for _ in range(attempts)]
            ),
        ]
        print(f"{name:16}{rates[0]:15.2%}{rates[1]:18.2%}{rates[2]:13.2%}{rates[3]:20.2%}", flush=True)


def speed_of_fail(attempts: int) -> None:
    """Requests of the candidate until it fails."""
    print(f"\nrequests to Fail, {attempts} attempts each")
    print(f"{'share':>8}{'limit: median':>15}{'mean/bound':>12}{'increase: median':>18}{'mean/bound':>12}")
    for multiple in (1.2, 1.5, 2.0, 5.0, 20.0, 30.0):
        random = np.random.default_rng(2)
        share = multiple * LIMIT
        row = f"{share:8.1%}"
        for test, bound in ((over_limit, THRESHOLD / kl(share, LIMIT)), (over_stable, two_sample_bound(share))):
            looks = 15 + int(6 * bound / TOTAL)
            many = attempts if multiple > 1.3 else attempts // 10
            requests = [TOTAL * looks_to_fail(test, drawn(random, independent, share, looks)) for _ in range(many)]
            finished = [min(each, TOTAL * looks) for each in requests]
            row += f"{np.median(requests):{15 if test is over_limit else 18}.0f}{np.mean(finished) / bound:12.2f}"
        print(row, flush=True)


def speed_of_pass(attempts: int) -> None:
    """Requests of the candidate until it passes in one step."""
    print(f"\nmedian requests to Pass, {attempts} attempts each (bound: log(1/alpha)/KL)")
    print(f"{'share':>8}{'below 2 %':>12}{'bound':>8}{'below stable + 1.5 points':>28}")
    for share in (0.0, 0.005, 0.0075, 0.01):
        random = np.random.default_rng(3)
        own = [looks_to_pass(drawn(random, independent, share, 250), 0.02, absolute=True) for _ in range(attempts)]
        other = [looks_to_pass(drawn(random, independent, share, 250), 0.015, absolute=False) for _ in range(attempts)]
        bound = THRESHOLD / kl(share, 0.02)
        print(f"{share:8.2%}{TOTAL * np.median(own):12.0f}{bound:8.0f}{TOTAL * np.median(other):28.0f}", flush=True)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    false_verdicts(wanted)
    speed_of_fail(wanted)
    speed_of_pass(wanted)
