"""Mixtures over bets and starting times are e-processes themselves."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.evidence.wealth import log_mixture
from tests.unit.core.evidence.folds import peak_over_starts


@given(st.floats(0.01, 0.99), st.integers(1, 8), st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_fair_bets_leave_the_expected_wealth_at_one(chance, length, stakes):
    """All outcomes of a few fair coin bets, exactly."""
    expected = 0.0
    for outcome in itertools.product((True, False), repeat=length):
        weight = math.prod(chance if won else 1 - chance for won in outcome)
        rows = [[1 + s * ((1 - chance) / chance if won else -1.0) for s in stakes] for won in outcome]
        expected += weight * math.exp(peak_over_starts(rows, len(stakes)).now)
    assert expected == pytest.approx(1.0)


def test_the_price_for_starting_late_is_small():
    at_once = peak_over_starts([[2.0]] * 20, 1).now
    late = peak_over_starts([[0.05]] * 1000 + [[2.0]] * 20, 1).now
    assert at_once >= 20 * math.log(2) + math.log(0.7)
    assert late >= 20 * math.log(2) - 12


def test_no_factors_are_no_evidence():
    assert peak_over_starts([], 3) == (0.0, 0.0)


def test_a_mixture_of_logarithms_is_exact_and_does_not_overflow():
    assert log_mixture((0.0, math.log(3)), (0.5, 0.5)) == pytest.approx(math.log(2))
    assert log_mixture((5000.0, -math.inf), (0.5, 0.5)) == pytest.approx(5000 + math.log(0.5))
    assert log_mixture((-math.inf, -math.inf), (0.5, 0.5)) == -math.inf
