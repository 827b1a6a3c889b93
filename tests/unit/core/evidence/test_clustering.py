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
