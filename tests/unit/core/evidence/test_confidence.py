"""Bounds of a share, against scipy and by simulation."""

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.evidence.confidence import always_valid_interval, highest_share, lower_bound, upper_bound
from serinus.core.verdicts import Counts

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.integers(0, n).map(lambda b: Counts(float(b), float(n))))


@given(COUNTS)
def test_the_ends_of_the_interval_are_where_the_mixture_rejects(counts):
    lower, upper = always_valid_interval(counts, 0.05, 0.05)
    good = counts.total - counts.bad
    evidence = scipy.special.betaln(counts.bad + 0.5, good + 0.5) - scipy.special.betaln(0.5, 0.5)
    for end in (lower, upper):
        if 0 < end < 1:
            likelihood = scipy.special.xlogy(counts.bad, end) + scipy.special.xlog1py(good, -end)
            assert evidence - likelihood == pytest.approx(math.log(20), abs=1e-6)
    assert 0 <= lower <= counts.bad / counts.total <= upper <= 1


@given(COUNTS, st.floats(0.0001, 0.2))
def test_chernoff_bounds_are_never_tighter_than_the_exact_ones(counts, alpha):
    exact_lower = scipy.stats.beta.ppf(alpha, counts.bad, counts.total - counts.bad + 1) if counts.bad else 0.0
    exact_upper = (
        scipy.stats.beta.ppf(1 - alpha, counts.bad + 1, counts.total - counts.bad) if counts.bad < counts.total else 1.0
    )
    assert lower_bound(counts, alpha) <= exact_lower + 1e-9
    assert upper_bound(counts, alpha) >= exact_upper - 1e-9


def test_the_interval_holds_at_all_times_together():
    random = np.random.default_rng(1)
    left_out = 0
    for _ in range(200):
        bad = random.binomial(37, 0.02, 60).cumsum()
        looks = (always_valid_interval(Counts(float(b), 37.0 * k), 0.05, 0.05) for k, b in enumerate(bad, start=1))
        left_out += any(not lower <= 0.02 <= upper for lower, upper in looks)
    assert left_out <= 20


def test_clustering_widens_the_interval_and_nothing_known_is_everything():
    narrow, wide = (always_valid_interval(Counts(20.0, 1000.0), 0.05, 0.05, effect) for effect in (1.0, 8.0))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert always_valid_interval(Counts(0.0, 0.0), 0.05, 0.05) == (0.0, 1.0)
    assert (lower_bound(Counts(0.0, 0.0), 0.05), upper_bound(Counts(0.0, 0.0), 0.05)) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "runs"), [(0, 1), (0, 100), (3, 300), (150, 300), (299, 300), (5, 5), (0, 0)])
def test_the_highest_share_is_the_exact_one(hits, runs):
    exact = scipy.stats.beta.ppf(0.95, hits + 1, runs - hits) if hits < runs else 1.0
    assert highest_share(hits, runs) == pytest.approx(exact)
