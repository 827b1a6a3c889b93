"""Above stable and below a bound: the e-value is exactly valid for every share of stable's, the tests are quick."""

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.evidence.betting import _ALTERNATIVES, _bucket
from serinus.core.evidence.betting import _bets as _kelly_bets
from serinus.core.evidence.comparison import _may_break_limit
from serinus.core.evidence.increase import FEWEST_INTERVALS_ABOVE, _bets, _log_e_values, factors_above_stable
from serinus.core.evidence.pairs import Cell, Pair, pair
from tests.unit.core.evidence import folds as clustering
from tests.unit.core.evidence.folds import above, alone, below, shortfalls
from tests.unit.core.evidence.traffic import bursts, correlated, independent, pairs

ALPHA = 0.01
SHARES = st.integers(0, 1000).map(lambda permille: permille / 1000)
THRESHOLD = math.log(1 / ALPHA)


def log_e_value(cell, stake, increase):
    """Of one stake, which is not cut."""
    return _log_e_values(cell, _bets((stake,), increase))[0]


def expectation(*, share, stable_share, total, stable_total, stake, increase):
    """E of the e-value over all outcomes of two independent binomials."""
    bad, stable_bad = np.arange(total + 1), np.arange(stable_total + 1)
    own = np.array([log_e_value(Cell("", total, float(b), max(stable_total, 1), 0.0), stake, increase) for b in bad])
    other = np.array(
        [
            log_e_value(Cell("", total, 0.0, stable_total, float(c)), stake, increase)
            - log_e_value(Cell("", total, 0.0, stable_total, 0.0), stake, increase)
            for c in stable_bad
        ]
        if stable_total
        else [0.0]
    )
    own_mean = scipy.stats.binom.pmf(bad, total, share) @ np.exp(own)
    return own_mean * (scipy.stats.binom.pmf(stable_bad, stable_total, stable_share) @ np.exp(other))


@given(
    total=st.integers(1, 30),
    stable_total=st.integers(1, 30),
    q=SHARES,
    increase=SHARES.map(lambda share: share / 2),
    stake=st.floats(0.01, 0.99),
    part=SHARES,
)
def test_a_bet_on_more_does_not_gain_while_the_increase_is_harmless(*, total, stable_total, q, increase, stake, part):
    """For every share q of stable's and every share up to q + increase of the candidate's."""
    ratio = stable_total / total
    largest = ratio / (1 - ratio * increase) if ratio * increase < 1 else 30.0
    share = part * min(q + increase, 1.0)
    cut = stake * min(largest, 30.0)
    gain = expectation(
        share=share, stable_share=q, total=total, stable_total=stable_total, stake=cut, increase=increase
    )
    assert gain <= 1 + 1e-9


@given(
    total=st.integers(1, 30),
    stable_total=st.integers(0, 30),
    q=SHARES,
    bound=SHARES.map(lambda share: 0.9 * share + 0.001),
    stake=st.floats(-1, -0.01),
    part=SHARES,
)
def test_a_bet_on_less_does_not_gain_while_the_increase_reaches_the_bound(
    *, total, stable_total, q, bound, stake, part
):
    """For every share q of stable's and every share from q + bound on of the candidate's."""
    least = min(q, 1 - bound) + bound
    share = least + part * (1 - least)
    gain = expectation(
        share=share, stable_share=min(q, 1 - bound), total=total, stable_total=stable_total, stake=stake, increase=bound
    )
    assert gain <= 1 + 1e-9


def test_an_increase_over_nothing_is_the_likelihood_ratio_of_bernoulli_trials():
    bound, stake = 0.02, -0.75
    alternative = bound * (1 + stake) / (1 + bound * stake)
    expected = 3 * math.log(alternative / bound) + 97 * math.log((1 - alternative) / (1 - bound))
    assert log_e_value(Cell("", 100.0, 3.0, 0.0, 0.0), stake, bound) == pytest.approx(expected)


@given(
    total=st.integers(5, 40),
    more=st.floats(0.2, 20),
    q=st.integers(0, 40).map(lambda percent: percent / 100),
    below=st.booleans(),
    part=st.integers(0, 100).map(lambda percent: percent / 100),
)
def test_the_smaller_e_value_does_not_gain_on_a_candidate_that_keeps_the_limit_or_is_no_worse_than_stable(
    *, total, more, q, below, part
):
    """All outcomes of one interval; with the limit alone where stable seems to keep it, as `FailTests` bets."""
    limit, stable_total = 0.05, max(int(total * more), 1)
    share = part * (limit if below else max(q, limit))
    bad = np.arange(total + 1)
    low, high = (int(scipy.stats.binom.ppf(p, stable_total, q)) for p in (1e-7, 1 - 1e-7))
    expected = np.zeros(len(_ALTERNATIVES))
    for stable_bad in range(max(low, 0), high + 1):
        for b, chance in zip(bad, scipy.stats.binom.pmf(bad, total, share), strict=True):
            seen = pair(1, (Cell("", float(total), float(b), float(stable_total), float(stable_bad)),))
            factors = [1 + bet * (b / total - limit) for bet in _kelly_bets(limit, _bucket(total))]
            if _may_break_limit(seen, limit):
                factors = np.minimum(factors, factors_above_stable(seen, _ALTERNATIVES, limit))
            expected += chance * scipy.stats.binom.pmf(stable_bad, stable_total, q) * np.array(factors)
    assert expected.mean() <= 1 + 1e-6


def fails(seen, increase):
    return above(seen, increase, clustering.for_fail(seen)).peak >= THRESHOLD


def intervals_to_fail(seen, increase):
    """Intervals up to the first look at which the evidence suffices; one more than there are if it never does."""
    discounts = clustering.for_fail(seen)
    low, high = 0, len(seen)
    if above(seen, increase, discounts).peak < THRESHOLD:
        return len(seen) + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = above(seen[:middle], increase, discounts[:middle]).peak >= THRESHOLD
        low, high = (low, middle) if enough else (middle, high)
    return high


def drawn(random, source, share, stable_share, intervals, *, total=37, stable_total=703):
    return pairs(
        source(random, share, total, intervals), total, source(random, stable_share, stable_total, intervals),
        stable_total,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "at_most"),
    [(independent, 8), (correlated(0.005), 8), (correlated(0.05), 4), (correlated(0.2), 4), (bursts, 4)],
    ids=["independent", "rho 0.005", "rho 0.05", "rho 0.2", "bursts of ten"],
)
def test_a_candidate_at_the_allowed_increase_rarely_fails(source, at_most):
    """200 attempts of 150 looks; 1 % would be 2 (99.9 % point: 8). Clusters must not make it more."""
    random = np.random.default_rng(19)
    failed = sum(fails(drawn(random, source, 0.01, 0.005, 150), 0.005) for _ in range(200))
    assert failed <= at_most


def test_an_incident_that_hits_both_revisions_fails_nobody():
    random = np.random.default_rng(23)
    failed = 0
    for _ in range(100):
        level = np.where(np.repeat(random.random(25) < 0.1, 8), 0.3, 0.005)
        seen = pairs(random.binomial(37, level), 37, random.binomial(703, level), 703)
        failed += fails(seen, 0.0)
    assert failed <= 6


@pytest.mark.parametrize(
    ("share", "stable_total", "factor"), [(0.02, 703, 2.0), (0.02, 37, 1.9), (0.05, 703, 3.0), (0.05, 37, 2.2)]
)
def test_a_worse_candidate_fails_after_a_small_multiple_of_the_fewest_possible_requests(share, stable_total, factor):
    """Against log(1/alpha)/inf_q[KL(p ‖ q+δ) + (k/n)·KL(p_s ‖ q)], the bound of sequential two-sample tests.

    Besides, every Fail takes four intervals.
    """
    random = np.random.default_rng(29)
    stable_share, increase = 0.005, 0.005

    def kl(a, b):
        return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))

    def rate(q):
        return kl(share, q + increase) + stable_total / 37 * kl(stable_share, q)

    bound = THRESHOLD / scipy.optimize.minimize_scalar(rate, bounds=(1e-6, share), method="bounded").fun
    looks = int(8 * bound / 37) + 5
    needed = [
        37 * intervals_to_fail(drawn(random, independent, share, stable_share, looks, stable_total=stable_total), 0.005)
        for _ in range(40)
    ]
    assert np.mean(needed) <= factor * bound + FEWEST_INTERVALS_ABOVE * 37


@pytest.mark.parametrize(("total", "stable_total", "median"), [(37, 703, 5), (37, 37, 6), (370, 370, 5)])
def test_a_candidate_that_fails_every_third_request_fails_in_a_few_looks(total, stable_total, median):
    random = np.random.default_rng(31)
    looks = [
        intervals_to_fail(drawn(random, independent, 0.3, 0.002, 20, total=total, stable_total=stable_total), 0.005)
        for _ in range(60)
    ]
    assert np.median(looks) <= median
    assert max(looks) <= 10


@pytest.mark.parametrize("share", [1.0, 0.95, 0.5])
@pytest.mark.parametrize(("total", "stable_total"), [(10, 10), (10, 190), (100, 100), (1000, 1000)])
def test_a_candidate_that_fails_nearly_always_is_not_taken_for_an_endless_incident(share, total, stable_total):
    assert intervals_to_fail(pairs([total * share] * 40, total, [0] * 40, stable_total), 0.005) <= 10


@given(
    st.sets(st.integers(0, 39), max_size=FEWEST_INTERVALS_ABOVE - 1),
    st.integers(1, 37),
    st.sampled_from((37, 37_000)),
    st.sampled_from((0, 0.02)),
)
def test_a_few_bursts_on_the_candidate_alone_fail_nobody(positions, size, total, stable_share):
    """However many requests they take: no pattern has shown itself in so few of them."""
    bad = [size * total / 37 if k in positions else 0.0 for k in range(40)]
    assert not fails(pairs(bad, total, [703 * stable_share] * 40, 703), 0.005)


def test_a_candidate_that_gets_other_endpoints_than_stable_is_compared_like_with_like():
    """One endpoint fails 20 %, the other never; the candidate gets mostly the former, and is no worse on either."""
    random = np.random.default_rng(37)
    seen: list[Pair] = []
    for point in range(1, 101):
        cells = (
            Cell("/hard", 30.0, float(random.binomial(30, 0.2)), 100.0, float(random.binomial(100, 0.2))),
            Cell("/easy", 7.0, 0.0, 600.0, 0.0),
        )
        seen.append(pair(point, cells))
    pooled = [
        pair(p.point, (Cell("", p.candidate.total, p.candidate.bad, p.stable.total, p.stable.bad),)) for p in seen
    ]
    assert not fails(seen, 0.005)
    assert fails(pooled, 0.005)
    assert below(seen, 0.1, clustering.of_differences(seen), ALPHA).suffices


def test_where_stable_serves_nothing_an_increase_can_not_be_shown_without_a_baseline():
    seen = pairs([20] * 20, 37, [0] * 20, 0)
    assert above(seen, 0.005, clustering.undivided(seen)).peak == 0.0
    assert above(seen, 0.005, clustering.undivided(seen), 0.02).peak > THRESHOLD


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 30)), min_size=1, max_size=30),
    st.floats(0, 0.2),
    st.data(),
)
def test_one_more_bad_request_never_speaks_for_the_candidate(counts, increase, data):
    at = data.draw(st.integers(0, len(counts) - 1))
    bad, stable_bad = [b for b, _ in counts], [c for _, c in counts]
    worse = [b + (k == at) for k, b in enumerate(bad)]
    before, after = pairs(bad, 37, stable_bad, 300), pairs(worse, 37, stable_bad, 300)
    plain, undivided = clustering.none(before), clustering.undivided(before)
    assert above(after, increase, undivided).peak >= above(before, increase, undivided).peak - 1e-9
    bound = increase + 0.01
    have, less = below(before, bound, plain, ALPHA), below(after, bound, plain, ALPHA)
    assert less.log_e_value <= have.log_e_value + 1e-9


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 30)), min_size=2, max_size=30), st.integers(1, 30))
def test_a_later_look_never_takes_a_fail_back(counts, length):
    seen = pairs([b for b, _ in counts], 37, [c for _, c in counts], 300)
    discounts = clustering.for_fail(seen)
    begun = seen[:length]
    assert clustering.for_fail(begun) == discounts[: len(begun)]
    assert above(seen, 0.005, discounts).peak >= above(begun, 0.005, discounts[: len(begun)]).peak


def looks_to_pass(seen, bound):
    looks = enumerate(shortfalls(alone(seen), bound, clustering.of_shares(seen), ALPHA))
    return next((look for look, shortfall in looks if shortfall.suffices), math.inf)


def test_no_single_interval_passes_a_candidate_however_many_requests_it_has():
    for total in (1e3, 1e6):
        quiet = pairs([0] * 20, total, [0] * 20, 0)
        assert looks_to_pass(quiet, 0.02) == 7


@pytest.mark.parametrize(("share", "at_most"), [(0.0, 296), (0.005, 750), (0.0075, 1300), (0.01, 2300)])
def test_a_good_candidate_passes_after_few_requests(share, at_most):
    """Median requests at a limit of 1 % and a tolerance of 1 %, 37 requests per look."""
    random = np.random.default_rng(41)
    looks = [looks_to_pass(drawn(random, independent, share, 0.005, 150), 0.02) for _ in range(80)]
    assert np.median(looks) * 37 <= at_most


@pytest.mark.parametrize(
    ("source", "at_most"),
    [(independent, 8), (correlated(0.005), 8), (correlated(0.05), 16)],
    ids=["independent", "rho 0.005", "rho 0.05"],
)
def test_a_candidate_at_limit_and_tolerance_rarely_passes(source, at_most):
    """200 attempts of 100 looks; 1 % would be 2 (99.9 % point: 8)."""
    random = np.random.default_rng(43)
    passed = sum(looks_to_pass(drawn(random, source, 0.02, 0.005, 100), 0.02) < math.inf for _ in range(200))
    assert passed <= at_most


def test_neither_revision_has_failed_and_the_candidate_passes_the_increase_as_well():
    quiet = pairs([0] * 30, 37, [0] * 30, 703)
    shown = [below(quiet[:n], 0.015, clustering.of_differences(quiet[:n]), ALPHA).suffices for n in range(31)]
    assert shown.index(True) * 37 <= 400


def test_no_evidence_is_no_pass():
    assert not below((), 0.5, [1.0], 0.5).suffices


def test_the_estimate_of_what_is_needed_comes_true():
    quiet = pairs([0] * 40, 30, [0] * 40, 0)
    begun = below(quiet[:3], 0.02, clustering.none(quiet[:3]), ALPHA)
    assert begun.needed is not None
    looks = math.ceil((90 + begun.needed) / 30)
    assert below(quiet[:looks], 0.02, clustering.none(quiet[:looks]), ALPHA).suffices
    assert not below(quiet[: looks - 1], 0.02, clustering.none(quiet[: looks - 1]), ALPHA).suffices


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.floats(0.005, 0.5), st.floats(0.0005, 0.2))
def test_what_is_needed_is_the_fewest_that_pass(bad, bound, alpha):
    shortfall = below(pairs(bad, 30, [0] * len(bad), 0), bound, clustering.none(bad), alpha)
    if shortfall.needed:
        assert shortfall._passes_after(shortfall.needed)
        assert not shortfall._passes_after(shortfall.needed - 1)


def test_a_candidate_that_will_not_pass_like_this_needs_no_number():
    bad = pairs([3] * 10, 30, [0] * 10, 0)
    assert below(bad, 0.02, clustering.none(bad), ALPHA).needed is None


@pytest.mark.parametrize(("share", "looks"), [(0.95, 4), (0.35, 5), (0.21, 8)])
def test_a_candidate_that_turns_bad_after_an_hour_is_found_as_soon_as_one_that_was_bad_at_once(share, looks):
    random = np.random.default_rng(47)
    needed = []
    for _ in range(20):
        level = np.where(np.arange(290) < 240, 0.02, share)
        seen = pairs(random.binomial(37, level), 37, random.binomial(703, 0.02, 290), 703)
        needed.append(intervals_to_fail(seen, 0.05) - 240)
    assert 0 < np.median(needed) <= looks


def test_an_interval_across_a_gap_in_the_readings_counts_as_the_many_that_it_stands_for():
    before = [(1, 37, 3, 703)] * 4
    whole = [*before, (60, 37 * 40, 3 * 40, 703 * 40)]
    seen = tuple(
        pair(at, (Cell("", float(total), float(bad), float(stable_total), float(stable_bad)),))
        for at, (bad, total, stable_bad, stable_total) in enumerate(whole, start=1)
    )
    assert not fails(seen[:4], 0.005)
    assert fails(seen, 0.005)
