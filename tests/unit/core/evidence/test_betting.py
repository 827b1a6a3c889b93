"""Above an absolute limit: exactly valid under any clustering, monotone, close to the bound."""

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.evidence.betting import _bets, _bucket
from serinus.core.verdicts import Counts
from tests.unit.core.evidence.folds import above_limit
from tests.unit.core.evidence.traffic import bursts, correlated, independent

LIMIT = 0.01
THRESHOLD = math.log(100)


def evidence(bad, total=37.0, limit=LIMIT):
    return above_limit([Counts(float(each), total) for each in bad], limit)


def test_nothing_seen_is_no_evidence():
    assert evidence([]).peak == 0.0


@given(st.floats(0.001, 0.6), st.floats(1, 1e6), st.lists(st.floats(0, 1), min_size=2, max_size=6), st.data())
def test_no_bet_gains_on_a_harmless_interval_whatever_its_distribution(limit, total, shares, data):
    """For every distribution of the interval's share with a mean of at most the limit, the expected factor is ≤ 1."""
    weights = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=len(shares), max_size=len(shares))))
    weights /= weights.sum()
    values = np.array(shares)
    mean = float(weights @ values)
    if mean > limit:
        values *= limit / mean
    for bet in _bets(limit, _bucket(total)):
        factors = 1 + bet * (values - limit)
        assert factors.min() >= 0
        assert weights @ factors <= 1 + 1e-9


@pytest.mark.parametrize("total", [1, 8, 64, 512])
def test_the_bets_grow_fastest_at_the_shares_that_they_are_made_for(total):
    outcomes = np.arange(total + 1)
    for multiple, bet in zip((1.2, 1.5, 2.0, 3.0, 5.0, 10.0), _bets(LIMIT, _bucket(total)), strict=True):
        chances = scipy.stats.binom.pmf(outcomes, total, multiple * LIMIT)

        def loss(stake, chances=chances):
            return -chances @ np.log1p(stake * (outcomes / total - LIMIT))

        best = scipy.optimize.minimize_scalar(loss, bounds=(0, 0.95 / LIMIT), method="bounded")
        assert loss(bet) <= best.fun * 0.98 + 1e-9 or loss(bet) == pytest.approx(best.fun, rel=0.02)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.data())
def test_one_more_bad_request_never_weakens_the_evidence(bad, data):
    at = data.draw(st.integers(0, len(bad) - 1))
    worse = [each + (k == at) for k, each in enumerate(bad)]
    assert evidence(worse).now >= evidence(bad).now - 1e-12
    assert evidence(worse).peak >= evidence(bad).peak - 1e-12


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(0, 40))
def test_a_later_look_at_the_same_evidence_never_takes_a_fail_back(bad, length):
    assert evidence(bad).peak >= evidence(bad[:length]).peak


@pytest.mark.parametrize("total", [1e-3, 0.5, 37, 1e6])
@pytest.mark.parametrize("intervals", [1, 3000])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extremes_neither_overflow_nor_vanish(total, intervals, share):
    result = evidence([share * total] * intervals, total)
    assert math.isfinite(result.now)
    assert math.isfinite(result.peak)


@pytest.mark.parametrize(
    "source",
    [independent, correlated(0.005), correlated(0.05), correlated(0.2), bursts],
    ids=["independent", "rho 0.005", "rho 0.05", "rho 0.2", "bursts of ten"],
)
def test_a_candidate_at_the_limit_rarely_fails_however_its_failures_cluster(source):
    """At most 1 % by design; 300 attempts of 200 looks (99.9 % point: 9)."""
    random = np.random.default_rng(7)
    failed = sum(evidence(source(random, LIMIT, 37, 200)).peak >= THRESHOLD for _ in range(300))
    assert failed <= 9


@pytest.mark.parametrize(("multiple", "factor"), [(1.5, 1.7), (2.0, 1.7), (5.0, 2.6)])
def test_a_bad_candidate_fails_after_little_more_than_the_fewest_possible_requests(multiple, factor):
    """Mean requests to Fail against log(1/alpha)/KL, the bound for any sequential test of one proportion."""
    random = np.random.default_rng(11)
    share = multiple * LIMIT
    bound = THRESHOLD / (share * math.log(share / LIMIT) + (1 - share) * math.log((1 - share) / (1 - LIMIT)))
    needed = [requests_to_fail(independent(random, share, 37, 1 + int(10 * bound / 37))) for _ in range(50)]
    assert np.mean(needed) <= factor * bound


def test_a_candidate_that_fails_every_third_request_fails_in_two_or_three_looks():
    random = np.random.default_rng(13)
    assert max(requests_to_fail(independent(random, 0.3, 37, 10)) for _ in range(100)) <= 4 * 37


def test_a_candidate_that_turns_bad_after_hours_fails_nearly_as_soon():
    random = np.random.default_rng(17)
    good = independent(random, 0.002, 37, 1000)
    bad = independent(random, 0.3, 37, 20)
    assert requests_to_fail(np.concatenate([good, bad])) <= (1000 + 7) * 37


def requests_to_fail(bad, total=37.0):
    """Requests up to the first look at which the evidence suffices."""
    low, high = 0, len(bad)
    if evidence(bad, total).peak < THRESHOLD:
        return total * (len(bad) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if evidence(bad[:middle], total).peak >= THRESHOLD else (middle, high)
    return total * high
