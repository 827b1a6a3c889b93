"""The benchmark of the verdicts: its traffic, the others' rules, its bounds, and that it says what it counted."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy

from bench.verdicts.attempt import Attempt, ByCounters, ByIntervals, End, is_whole
from bench.verdicts.bounds import kl, requests_above_limit, requests_above_stable, upper_share
from bench.verdicts.cost import cost
from bench.verdicts.detection import LIMITS, detection, requests_until_fail
from bench.verdicts.kinds import KINDS, REQUESTS, STABLE_FAILED, Expected, Kind
from bench.verdicts.ledger import Ledger, fingerprint
from bench.verdicts.play import Sitting, detected, played
from bench.verdicts.report import write
from bench.verdicts.results import ENGINE, Results, Tally, chosen, condensed, missed
from bench.verdicts.rules import TOLERATED, Rule, System, Windows, outcomes, rules
from bench.verdicts.traffic import WEIGHTS, Traffic, drawn, horizon

BY_NAME = {kind.name: kind for kind in KINDS}
LOOKS = 480


def kind(**changes):
    return Kind("made up", Expected.HARMLESS, **{"failed": 0.0, "refused": 0.0, "slow": 0.0, **changes})


def traffic(failing, *, total=100.0):
    """A candidate that fails all requests in the minutes that are named; the same at every weight."""
    candidate = np.zeros((len(WEIGHTS), LOOKS, 1, 4))
    candidate[..., 0] = total
    for minute in failing:
        candidate[:, 4 * minute : 4 * minute + 4, :, 1] = total
    return Traffic(candidate, candidate.copy())


def argo(failing, tolerated, **changes):
    return outcomes(Windows(kind(**changes), traffic(failing), 4), System.ARGO, 1.0)[tolerated]


def flagger(failing, tolerated, **changes):
    return outcomes(Windows(kind(**changes), traffic(failing), 4), System.FLAGGER, 1.0)[tolerated]


# Traffic --------------------------------------------------------------------------------------------------------------


def test_kinds_have_names_of_their_own():
    assert len(BY_NAME) == len(KINDS)


def test_the_same_seed_gives_the_same_traffic_and_another_run_another():
    first, again, other = (drawn(BY_NAME["ρ 0.1"], 1, run, 50) for run in (0, 0, 1))
    assert np.array_equal(first.candidate, again.candidate)
    assert np.array_equal(first.stable, again.stable)
    assert not np.array_equal(first.candidate, other.candidate)


@pytest.mark.parametrize("name", ["at every limit", "ρ 0.05", "bursts of 10", "incidents of both", "little traffic"])
def test_candidates_get_their_share_of_the_requests_and_fail_as_often_as_said(name):
    """But for incidents, in which both fail, the means are those of the kind."""
    drawn_kind = BY_NAME[name]
    found = drawn(drawn_kind, 1, 0, 4000)
    for at, weight in enumerate(WEIGHTS[:-1]):
        requests = found.candidate[at, ..., 0]
        assert requests.mean() == pytest.approx(drawn_kind.requests * weight / 100, rel=0.1)
    if drawn_kind.incidents:
        own, other = (each[0, ..., 1].sum() / each[0, ..., 0].sum() for each in (found.candidate, found.stable))
        assert own - other == pytest.approx(0.005, abs=0.003)
        assert other > 3 * STABLE_FAILED
    else:
        shares = found.candidate[2, ..., 1:].sum(axis=(0, 1)) / found.candidate[2, ..., 0].sum()
        assert shares == pytest.approx([drawn_kind.failed, drawn_kind.refused, drawn_kind.slow], rel=0.2)
        assert found.stable[2, ..., 1].sum() / found.stable[2, ..., 0].sum() == pytest.approx(STABLE_FAILED, rel=0.2)


def test_no_harmless_candidate_is_over_a_limit_at_any_time():
    for each in KINDS:
        if each.expected is Expected.HARMLESS:
            most = 1.5 if each.diurnal else 1.0
            assert most * each.failed <= 0.01 + 1e-12
            assert most * (each.failed - STABLE_FAILED) <= 0.005 + 1e-12
            assert most * (each.slow - 0.02) <= 0.05 + 1e-12
            assert most * (each.refused - 0.01) <= 0.005 + 1e-12


# The others' rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failing", "tolerated", "end"), [
    ([1, 5, 9], 3, End.PROMOTED),
    ([1, 5, 9, 13], 3, End.ROLLED_BACK),
    ([1], 0, End.ROLLED_BACK),
    ([], 0, End.PROMOTED),
])  # fmt: skip
def test_argo_rolls_back_when_more_measurements_failed_than_its_limit_however_far_apart(failing, tolerated, end):
    assert argo(failing, tolerated).end is end


def test_argo_rolls_back_at_the_measurement_that_is_one_too_many():
    assert argo([1, 5, 9, 13], 3).look == 4 * 14


def test_argo_forgives_four_errors_in_a_row_and_not_five():
    assert argo([], 0, outage_seconds=4 * 60).end is End.PROMOTED
    assert argo([], 0, outage_seconds=6 * 60).end is End.ROLLED_BACK


def test_argo_takes_no_requests_for_a_failure():
    nothing = traffic([], total=0.0)
    assert outcomes(Windows(kind(), nothing, 4), System.ARGO, 1.0)[3].end is End.ROLLED_BACK


def test_argo_promotes_when_its_steps_are_over():
    assert argo([], 0).look == 5 * 300 / 15


def test_flagger_enters_a_step_with_each_check_that_passes():
    assert flagger([], 0).look == 5 * 4
    assert flagger([1, 2], 5).look == 7 * 4


@pytest.mark.parametrize(("failing", "tolerated", "end"), [
    ([0, 2, 4, 6], 4, End.PROMOTED),
    ([0, 2, 4, 6], 3, End.ROLLED_BACK),
    ([0, 1, 2, 3, 4], 4, End.ROLLED_BACK),
])  # fmt: skip
def test_flagger_counts_failed_checks_together(failing, tolerated, end):
    assert flagger(failing, tolerated).end is end


def test_flagger_takes_silence_and_outages_for_failed_checks():
    assert flagger([], 4, silent=True).end is End.ROLLED_BACK
    assert flagger([], 4, outage_seconds=10 * 60).end is End.ROLLED_BACK


def test_bad_requests_count_until_the_rollback_or_after_the_promotion_to_the_end():
    assert argo([0, 1], 1).bad == 2 * 4 * 100
    assert flagger(range(60, 62), 4).bad == 2 * 4 * 100


# The engine -----------------------------------------------------------------------------------------------------------


def outcome(name, run=0):
    return Attempt(BY_NAME[name], drawn(BY_NAME[name], 1, run, horizon(BY_NAME[name]))).play()


def test_a_candidate_like_stable_is_promoted_through_all_steps_and_no_sooner_than_the_holds_allow():
    found = outcome("as stable")
    assert found.end is End.PROMOTED
    assert found.look >= 5 * 300 / 15


@pytest.mark.parametrize(
    "name", ["errors 20 ×", "slow 20 ×", "errors on one endpoint", "crashing pods", "silent candidate"]
)
def test_a_broken_candidate_is_rolled_back(name):
    assert outcome(name).end is End.ROLLED_BACK


@pytest.mark.parametrize("name", ["outage of 1 min", "outage of 10 min"])
def test_an_outage_decides_nothing(name):
    assert outcome(name).end is End.PROMOTED


def test_without_requests_nothing_is_decided():
    assert outcome("no traffic").end is End.UNDECIDED


def test_a_restart_of_the_operator_only_takes_time():
    calm = BY_NAME["as stable"]
    found = drawn(calm, 1, 0, horizon(calm))
    undisturbed, restarted = (Attempt(each, found).play() for each in (calm, replace(calm, restarts=True)))
    assert undisturbed.end is restarted.end is End.PROMOTED
    assert undisturbed.look <= restarted.look


# Bounds and figures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "runs"), [(0, 5000), (3, 300), (300, 300)])
def test_the_upper_bound_is_the_exact_one(hits, runs):
    exact = scipy.stats.binomtest(hits, runs, alternative="less").proportion_ci(0.95, method="exact").high
    assert upper_share(hits, runs) == pytest.approx(exact)


def test_against_a_stable_that_is_known_exactly_the_two_sample_bound_is_that_of_one_proportion():
    known = requests_above_stable(0.02, 0.005, 0.005, 1e9, 0.01)
    assert known == pytest.approx(requests_above_limit(0.02, 0.01, 0.01), rel=1e-3)
    assert requests_above_stable(0.02, 0.005, 0.005, 1.0, 0.01) > known


def test_the_divergence_is_the_mean_of_the_log_likelihood_ratio():
    bad, likely = scipy.stats.bernoulli(0.03), scipy.stats.bernoulli(0.01)
    exact = bad.expect(lambda x: bad.logpmf(x) - likely.logpmf(x))
    assert kl(0.03, 0.01) == pytest.approx(exact)
    assert kl(0.0, 0.01) == pytest.approx(-math.log(0.99))


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_twenty_times_the_limit_is_found_at_once(limit):
    found = detection(limit, 20.0, [requests_until_fail(limit, 20.0, 1, run) for run in range(10)])
    assert found.found == 10
    assert found.bound < found.requests <= found.allowed


def test_what_was_never_found_counts_in_full_and_misses_the_goal():
    found = detection(LIMITS[0], 2.0, [math.inf])
    assert (found.found, found.requests > found.allowed) == (0, True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if is_whole(kind)], ids=lambda kind: kind.name)
def test_counts_per_interval_end_an_attempt_as_counters_do(kind):
    looks = 300 if kind.begins_seconds else 120
    found = drawn(kind, 1, 0, looks)
    by_counters, by_intervals = (Attempt(kind, found, reading(kind)).play() for reading in (ByCounters, ByIntervals))
    assert by_intervals == by_counters


PLAYED = ("at every limit", "errors 3 ×", "no traffic")


def play(folder, *, names=PLAYED, **sitting):
    return played([BY_NAME[name] for name in names], Sitting(**sitting), Ledger(folder, 1))


@pytest.fixture(scope="module")
def tallies(tmp_path_factory):
    return play(tmp_path_factory.mktemp("ledger"), runs=2)


def test_figures_do_not_depend_on_the_number_of_processes(tallies, tmp_path):
    assert play(tmp_path, runs=2, jobs=2) == tallies


def test_what_an_earlier_sitting_played_is_not_played_again_and_counts(tallies, tmp_path):
    play(tmp_path, runs=1)
    assert play(tmp_path, runs=2) == tallies
    assert play(tmp_path, runs=2, is_over=lambda: True) == tallies


def test_a_sitting_that_is_over_begins_nothing(tmp_path):
    assert play(tmp_path, runs=2, is_over=lambda: True) == {}
    assert detected(Sitting(runs=2, is_over=lambda: True), Ledger(tmp_path, 1)) == ()


def test_what_another_engine_played_does_not_count(tmp_path):
    play(tmp_path, names=["no traffic"], runs=1)
    (file,) = tmp_path.glob("*/*.json")
    file.write_text(file.read_text().replace(fingerprint(), "another"))
    assert Ledger(tmp_path, 1).tallies("no traffic") == {}


def test_requests_until_a_limit_was_found_broken_are_kept(tmp_path):
    Ledger(tmp_path, 1).keep_requests("absolute", 1.2, [740.0, math.inf])
    assert Ledger(tmp_path, 1).requests("absolute", 1.2) == [740.0, math.inf]
    assert Ledger(tmp_path, 2).requests("absolute", 1.2) == []


def test_all_rules_play_all_attempts(tallies):
    names = {ENGINE, *(rule.name for rule in rules())}
    assert all(by_rule.keys() == names for by_rule in tallies.values())
    assert all(tally.runs == 2 for by_rule in tallies.values() for tally in by_rule.values())


def test_the_tuned_setting_keeps_the_rate_on_harmless_kinds_and_serves_the_fewest_bad_requests():
    def tally(rolled_back, bad):
        return Tally(runs=100, rolled_back=rolled_back, bad=bad)

    good = Rule(System.ARGO, 4, 2.0, TOLERATED[3])
    found = {
        "at every limit": {rule.name: tally(50, 0) for rule in rules()},
        "errors 3 ×": {rule.name: tally(100, 500) for rule in rules()},
    }
    for rule, bad in ((good, 900), (Rule(System.ARGO, 4, 3.0, TOLERATED[3]), 1000)):
        found["at every limit"][rule.name] = tally(1, 0)
        found["errors 3 ×"][rule.name] = tally(100, bad)
    assert chosen(found) == {System.ARGO: good}


def results(tallies):
    found = (detection(LIMITS[0], 2.0, [REQUESTS]),)
    return Results(2, 1, condensed(tallies, {}), {}, found, cost(1, looks=5), {"processors": "2"})


def test_results_survive_the_file(tallies, tmp_path):
    first = results(tallies)
    first.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == first


def test_the_report_tells_every_kind_that_was_played_and_what_was_missed(tallies, tmp_path):
    page = write(results(tallies), tmp_path).read_text()
    assert all(name in page for name in tallies)
    for link in ("false-rollbacks.svg", "bad-requests.svg", "detection.svg"):
        assert f"(verdicts/{link})" in page
        assert (tmp_path / "verdicts" / link).read_text().startswith("<?xml")


def test_two_runs_can_not_show_that_false_rollbacks_are_rare(tallies):
    assert any("at every limit: false rollbacks 0 of 2" in failure for failure in missed(results(tallies)))
