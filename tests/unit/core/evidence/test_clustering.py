"""How much failures cluster is estimated well enough to weaken the evidence by the right factor."""

import numpy as np
import pytest

from tests.unit.core.evidence import folds as clustering
from tests.unit.core.evidence.traffic import bursts, correlated, independent, pairs

INTERVALS = 2000


def drawn(source, *, share=0.01, total=40, stable_total=40):
    random = np.random.default_rng(3)
    return pairs(
        source(random, share, total, INTERVALS), total, source(random, share, stable_total, INTERVALS), stable_total
    )


@pytest.mark.parametrize("estimate", [clustering.of_differences, clustering.of_shares])
@pytest.mark.parametrize(
    ("source", "effect"),
    [(independent, 1.0), (bursts, 10.0), (correlated(0.05), 1 + 39 * 0.05), (correlated(0.2), 1 + 39 * 0.2)],
    ids=["independent", "bursts of ten", "rho 0.05", "rho 0.2"],
)
def test_the_design_effect_is_recovered(estimate, source, effect):
    assert estimate(drawn(source))[-1] == pytest.approx(effect, rel=0.3)


def test_an_incident_of_both_revisions_is_clustering_in_time_but_not_between_them():
    random = np.random.default_rng(5)
    level = np.where(np.arange(INTERVALS) % 50 < 4, 0.3, 0.005)
    seen = pairs(random.binomial(40, level), 40, random.binomial(400, level), 400)
    assert clustering.of_differences(seen)[-1] == pytest.approx(1.0, abs=0.2)
    assert clustering.of_shares(seen)[-1] > 2


def test_a_lasting_change_is_hardly_taken_for_clustering():
    random = np.random.default_rng(7)
    level = np.where(np.arange(100) < 50, 0.005, 0.2)
    seen = pairs(random.binomial(40, level), 40, np.zeros(100), 400)
    assert clustering.of_differences(seen)[-1] < 2


def test_clusters_that_only_stable_has_shown_weaken_the_candidates_evidence_too():
    random = np.random.default_rng(9)
    seen = pairs(np.zeros(200), 40, correlated(0.05)(random, 0.01, 400, 200), 400)
    assert clustering.of_shares(seen)[-1] == pytest.approx(1 + 39 * 0.05, rel=0.6)


def test_nothing_and_single_requests_show_no_clustering():
    assert clustering.of_differences(()) == clustering.of_shares(()) == clustering.none(()) == [1.0]
    single = pairs([0, 1, 0, 1], 1, [0, 0, 1, 0], 1)
    assert clustering.of_differences(single) == clustering.of_shares(single) == [1.0] * 5


def test_estimates_do_not_change_with_what_comes_later():
    seen = drawn(bursts)[:50]
    for estimate in (clustering.of_differences, clustering.of_shares):
        assert estimate(seen[:20]) == estimate(seen)[:21]


def test_for_a_fail_a_lasting_change_is_no_clustering_except_in_the_interval_in_which_it_comes():
    random = np.random.default_rng(11)
    level = np.where(np.arange(60) < 30, 0.005, 0.95)
    discounts = clustering.for_fail(pairs(random.binomial(40, level), 40, np.zeros(60), 400))
    assert discounts[30].after > 5
    assert all(discount.after < 2 for discount in discounts[31:])


def test_for_a_fail_bursts_are_clustering_from_the_second_on():
    bad = [10 if k in {10, 30} else 0 for k in range(60)]
    discounts = clustering.for_fail(pairs(bad, 40, np.zeros(60), 400))
    assert discounts[10].after > 2
    assert all(discount.before > 2 for discount in discounts[31:])


def test_for_a_fail_clusters_that_only_stable_has_shown_count_too():
    random = np.random.default_rng(9)
    seen = pairs(np.zeros(200), 40, correlated(0.05)(random, 0.01, 400, 200), 400)
    assert clustering.for_fail(seen)[-1].before >= 0.5 * (1 + 72 * 0.05)


@pytest.mark.parametrize("stable_total", [400, 0])
def test_for_a_fail_a_burst_counts_in_full_in_its_own_interval_whether_stable_serves_or_not(stable_total):
    bad = [0] * 10 + [20]
    discounts = clustering.for_fail(pairs(bad, 40, np.zeros(11), stable_total))
    assert discounts[-1].before == 1.0
    assert discounts[-1].after > 5
