"""What is proposed for a metric suits the traffic that stable has served."""

import math
import random

import pytest

from serinus.core.history import History, Served
from serinus.core.replay import Candidate, End, Replay, judged_metrics, judged_steps, replays
from serinus.core.tuning import LADDER, proposal, requests_to_pass, undecisive, worst_hour
from tests.unit.core.test_replay import SLICED, divided, history, spec


def proposed(counts, *, seconds=3600.0):
    policy = spec()
    (metric,) = judged_metrics(policy, counts)
    return proposal(metric, counts, judged_steps(policy), alpha=0.01, seconds=seconds)


def test_a_limit_lies_well_above_the_worst_hour_and_is_a_round_number():
    found = proposed(history(share=0.004))
    assert found.share == pytest.approx(0.004, rel=0.1)
    assert found.share <= found.worst_hour <= 1.2 * found.share
    assert found.limit in LADDER
    assert 1.5 * found.worst_hour <= found.limit <= 10 * found.worst_hour
    assert found.tolerance <= found.limit


def test_less_time_takes_wider_limits():
    long, short = (proposed(history(share=0.004, total=200.0), seconds=each) for each in (36_000.0, 3600.0))
    assert long.limit + long.tolerance < short.limit + short.tolerance
    assert long.slowest_seconds > short.slowest_seconds


def test_a_wish_that_nothing_fits_says_how_long_it_takes():
    found = proposed(history(share=0.004, total=10.0), seconds=60.0)
    assert found.tolerance is None
    assert found.slowest_seconds > 60


def test_what_is_proposed_promotes_candidates_like_stable_in_about_the_wished_time():
    counts = history(share=0.004, length=1200)
    found = proposed(counts, seconds=3600.0)
    policy = spec(
        metrics=[
            {
                "name": "errors",
                "errors": {"codes": ["5.."]},
                "limit": {"maxPercent": f"{100 * found.limit:g}"},
                "tolerancePercent": f"{100 * found.tolerance:g}",
                "minSamples": found.min_samples,
            }
        ]
    )
    ended = [*replays(policy, counts, Candidate("as stable", {}), rollouts=8, seed=1, chances=random.Random)]
    promoted = [each.seconds for each in ended if each.end is End.PROMOTED]
    assert len(promoted) >= 6
    assert sorted(promoted)[len(promoted) // 2] <= 1.5 * 3600


def test_without_requests_no_limit_suits():
    silent = History(0.0, 15.0, 2, {"errors": {0: Served(0.0, 0.0), 1: Served(0.0, 0.0)}})
    found = proposed(silent)
    assert (found.limit, found.tolerance, found.slowest_seconds) == (None, None, math.inf)


def test_a_quiet_hour_is_not_the_worst_one():
    hours = {0: Served(1000.0, 10.0), 1: Served(2.0, 1.0), 2: Served(900.0, 5.0)}
    assert worst_hour(hours, 3600.0) == pytest.approx(0.017, abs=0.001)
    assert worst_hour({}, 3600.0) == 0.0


def test_requests_to_a_pass_grow_without_bound_towards_the_bound():
    few, many = requests_to_pass(0.0, 0.02, 0.01), requests_to_pass(0.019, 0.02, 0.01)
    assert few == pytest.approx(1.6 * math.log(100) / -math.log(0.98))
    assert many > 100 * few
    assert requests_to_pass(0.02, 0.02, 0.01) == math.inf


def test_a_metric_that_is_never_the_last_to_pass_and_never_fails_decides_nothing():
    policies = judged_metrics(spec(), history())
    ended = Replay(0.0, End.PROMOTED, 60.0, "five", "latency", 100.0, 1.0)
    assert undecisive(policies, {"as stable": [ended]}) == ("errors",)


def test_slices_take_as_long_as_the_thinnest_and_a_limit_that_suits_the_worst():
    policy = spec(metrics=SLICED)

    def of(counts):
        (metric,) = judged_metrics(policy, counts)
        return proposal(metric, counts, judged_steps(policy), alpha=0.01, seconds=36_000.0)

    even, thin = of(divided(DE=1000.0, FR=1000.0)), of(divided(DE=1900.0, FR=100.0))
    assert even.requests_per_second == thin.requests_per_second
    assert thin.slowest_seconds >= even.slowest_seconds
    assert thin.worst_hour > even.worst_hour
