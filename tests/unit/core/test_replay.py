"""Rollouts replayed over a made-up history: what is decided, when, and for which reason."""

import random

import numpy as np
import pytest
import scipy

from serinus.api.deployment import ModelDeployment
from serinus.core.history import History, Served
from serinus.core.replay import Candidate, End, NothingToReplay, _Rollout, judged_metrics, judged_steps, replays

HARMLESS = Candidate("as stable", {})
STEPS = [{"name": "five", "weightPercent": 5, "holdSeconds": 120}, {"name": "half", "weightPercent": 50}]


def spec(*, steps=STEPS, metrics=None, **analysis):
    metrics = metrics or [{"name": "errors", "errors": {"codes": ["5.."]}, "limit": {"maxPercent": "1"}}]
    manifest = {
        "apiVersion": "serinus.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "iris", "namespace": "models", "uid": "1"},
        "spec": {
            "serving": {"image": "localhost/iris:1"},
            "traffic": {"gateway": {"parentRefs": [{"name": "public"}]}},
            "rollout": {"canary": {"steps": steps}},
            "analysis": {"metrics": metrics, **analysis},
        },
    }
    return ModelDeployment.parse(manifest).spec


def history(*, total=740.0, share=0.002, length=600, name="errors", without=()):
    counts = np.random.default_rng(1).binomial(int(total), share, length).tolist()
    served = {at: Served(total, float(bad)) for at, bad in enumerate(counts) if at not in without}
    return History(1000.0, 15.0, length, {name: served})


def one(policy, counts, candidate=HARMLESS):
    (found,) = replays(policy, counts, candidate, rollouts=1, seed=1, chances=random.Random)
    return found


def test_a_candidate_like_stable_is_promoted_after_its_holds():
    found = one(spec(), history())
    assert (found.end, found.step, found.metric, found.begins_at) == (End.PROMOTED, "half", "errors", 1000.0)
    assert 120 + 7 * 15 <= found.seconds < 1800
    assert found.bad < 0.01 * found.requests


def test_a_broken_candidate_is_rolled_back_by_the_metric_that_found_it():
    found = one(spec(), history(), Candidate("broken", {"errors": 0.2}))
    assert (found.end, found.step, found.metric) == (End.ROLLED_BACK, "five", "errors")
    assert found.seconds <= 8 * 15
    assert found.bad == pytest.approx(0.2 * found.requests, rel=0.5)


def test_the_same_seed_gives_the_same_rollouts_and_each_begins_later():
    first, again = (
        [*replays(spec(), history(), HARMLESS, rollouts=4, seed=7, chances=random.Random)] for _ in range(2)
    )
    assert first == again
    assert [each.begins_at for each in first] == [1000.0 + 15 * 150 * number for number in range(4)]


def test_a_rollout_that_the_history_does_not_see_the_end_of_is_unfinished():
    found = one(spec(), history(length=10))
    assert (found.end, found.seconds) == (End.UNFINISHED, 150.0)


@pytest.mark.parametrize(
    ("action", "end"), [("Pause", End.PAUSED), ("Rollback", End.ROLLED_BACK), ("Promote", End.PROMOTED)]
)
def test_what_stays_undecided_ends_as_the_policy_says(action, end):
    policy = spec(undecided={"afterSeconds": 300, "action": action})
    found = one(policy, history(share=0.009), Candidate("at limit + tolerance", {"errors": 0.009}))
    assert found.end is end
    assert found.metric == ""


def test_intervals_of_which_nothing_is_known_are_no_time_held():
    whole, patchy = (one(spec(), history(without=gone)) for gone in ((), range(2, 40)))
    assert patchy.end is End.PROMOTED
    assert patchy.seconds >= whole.seconds + 30 * 15


def test_only_canaries_with_weights_and_known_metrics_can_be_replayed():
    with pytest.raises(NothingToReplay, match="only canaries"):
        judged_steps(spec(steps=[{"name": "ask", "approval": {}}]))
    with pytest.raises(NothingToReplay, match="no counts of errors; it has counts of latency"):
        judged_metrics(spec(), history(name="latency"))
    gauge = [{"name": "memory", "value": {"query": "max(bytes{%pods%})"}, "limit": {"max": "1"}}]
    with pytest.raises(NothingToReplay, match="no enforced metric"):
        judged_metrics(spec(metrics=gauge), history())


@pytest.mark.parametrize(("count", "chance"), [(40.0, 0.05), (40.0, 0.8), (700.0, 0.3), (1e6, 0.05)])
def test_draws_are_binomial(count, chance):
    policy, counts = spec(), history(length=2)
    rollout = _Rollout(
        policy,
        counts,
        HARMLESS,
        policies=judged_metrics(policy, counts),
        steps=judged_steps(policy),
        chance=random.Random(1),
    )
    drawn = [rollout._drawn(count, chance) for _ in range(2000)]
    exact = scipy.stats.binom(int(count), chance)
    assert np.mean(drawn) == pytest.approx(exact.mean(), abs=4 * exact.std() / np.sqrt(2000))
    assert np.std(drawn) == pytest.approx(exact.std(), rel=0.1)
    assert rollout._drawn(0.5, chance) == pytest.approx(0.5 * chance)


def test_what_the_candidate_gets_stable_loses():
    policy, counts = spec(), history(length=2)
    rollout = _Rollout(
        policy,
        counts,
        HARMLESS,
        policies=judged_metrics(policy, counts),
        steps=judged_steps(policy),
        chance=random.Random(1),
    )
    own, other = rollout._shared_out("errors", Served(100.0, 10.0, 20.0), 0.3)
    assert tuple(map(sum, zip(own, other, strict=True))) == pytest.approx((100.0, 10.0, 20.0))


SLICED = [{"name": "errors", "errors": {"codes": ["5.."]}, "limit": {"maxPercent": "1"}, "perSlice": "country"}]


def divided(**requests):
    """So many requests in each interval by country, 0.2 % of them bad."""
    random_ = np.random.default_rng(1)
    slices = {
        country: {at: Served(total, float(random_.binomial(int(total), 0.002))) for at in range(600)}
        for country, total in requests.items()
    }
    whole = {
        at: Served(sum(each[at].total for each in slices.values()), sum(each[at].bad for each in slices.values()))
        for at in range(600)
    }
    return History(1000.0, 15.0, 600, {"errors": whole}, {"errors": slices})


def test_a_candidate_that_is_worse_in_one_slice_is_found_where_the_policy_asks_for_slices():
    counts = divided(DE=1900.0, FR=100.0)
    broken = Candidate("broken in France", {"errors": 0.08}, "FR")
    assert one(spec(metrics=SLICED), counts, broken).end is End.ROLLED_BACK
    assert one(spec(), counts, broken).end is End.PROMOTED
    assert one(spec(metrics=SLICED), counts).end is End.PROMOTED


def test_slices_are_those_that_the_operator_would_choose():
    (policy,) = judged_metrics(spec(metrics=SLICED), divided(DE=1900.0, FR=100.0, LI=2.0))
    assert policy.slices.values == ("DE", "FR")
    (undivided,) = judged_metrics(spec(metrics=SLICED), history())
    assert undivided.slices is None
