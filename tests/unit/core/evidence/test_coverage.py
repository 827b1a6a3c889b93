"""Counters are judged only if every pod that takes traffic is in them."""

import pytest

from serinus.core.evidence.coverage import uncovered
from serinus.core.readings import Counters, CounterSeries, Grid, MissingReason, Part, PodStart, Sample
from tests.unit.core.evidence.traffic import ANCHOR, STEP_SECONDS

NOW = ANCHOR + 20 * STEP_SECONDS
OLD = NOW - 600


def heard(**newest: float) -> Counters:
    """Pods with their newest samples, in grid steps before now."""
    return Counters(
        tuple(
            CounterSeries(pod, Part.TOTAL, "", (Sample(NOW - age * STEP_SECONDS, 5.0),)) for pod, age in newest.items()
        ),
        Grid(ANCHOR, STEP_SECONDS),
    )


def gap(candidate, pods, stable=None, stable_pods=()):
    missing = uncovered(candidate, pods, stable, stable_pods, now=NOW, stale_after_seconds=3 * STEP_SECONDS)
    return missing.reason if missing else None


def pods(*names, started_at=OLD, weighted=True):
    return tuple(PodStart(name, started_at, weighted) for name in names)


def test_all_pods_that_take_traffic_report():
    assert gap(heard(a=0, b=3), pods("a", "b"), heard(s=0), pods("s")) is None


def test_a_pod_that_vanished_from_the_counters_is_not_covered():
    assert gap(heard(a=0), pods("a", "b")) is MissingReason.NOT_COVERED


def test_a_pod_whose_newest_sample_is_too_old_is_not_covered():
    assert gap(heard(a=0, b=4), pods("a", "b")) is MissingReason.NOT_COVERED


def test_a_pod_without_weight_need_not_report():
    assert gap(heard(a=0), (*pods("a"), *pods("b", weighted=False))) is None


def test_a_pod_that_has_just_started_is_excused():
    assert gap(heard(a=0), (*pods("a"), *pods("b", started_at=NOW - STEP_SECONDS))) is None


def test_a_pod_of_stable_that_is_silent_is_not_covered():
    assert gap(heard(a=0), pods("a"), heard(s=0), pods("s", "t")) is MissingReason.NOT_COVERED


def test_a_candidate_that_is_silent_while_stable_reports_has_its_own_reason():
    assert gap(heard(a=9), pods("a"), heard(s=0), pods("s")) is MissingReason.CANDIDATE_SILENT


def test_a_gateway_that_counts_for_a_candidate_does_not_report_for_it():
    gateway = CounterSeries("gateway-1", Part.AT_GATEWAY, "", (Sample(NOW, 5.0),))
    silent = heard(a=9)
    silent = Counters((*silent.series, gateway), silent.grid)
    assert gap(silent, pods("a"), heard(s=0), pods("s")) is MissingReason.CANDIDATE_SILENT


@pytest.mark.parametrize(
    "young",
    [pods("a", started_at=NOW - STEP_SECONDS), pods("a", weighted=False), pods("a", "b", started_at=NOW)],
    ids=["just started", "not ready for long", "all of two"],
)
def test_a_candidate_all_of_whose_pods_are_excused_is_not_silent(young):
    assert gap(heard(), young, heard(s=0), pods("s")) is None


def test_a_candidate_is_silent_once_one_of_its_pods_is_no_longer_excused():
    young = pods("b", started_at=NOW - STEP_SECONDS)
    assert gap(heard(), (*pods("a"), *young), heard(s=0), pods("s")) is MissingReason.CANDIDATE_SILENT


@pytest.mark.parametrize(
    ("candidate", "stable", "reason"),
    [
        (heard(), heard(), MissingReason.EMPTY),
        (heard(), None, MissingReason.EMPTY),
        (heard(a=9), heard(s=9), MissingReason.TOO_OLD),
        (heard(a=9), None, MissingReason.TOO_OLD),
    ],
)
def test_silence_on_both_sides_is_not_held_against_the_candidate(candidate, stable, reason):
    assert gap(candidate, pods("a"), stable, pods("s")) is reason
