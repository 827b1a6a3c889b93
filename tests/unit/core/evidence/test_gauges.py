"""Values that can't be counted fail when their limit has been broken for long enough, and claim no guarantee."""

import math

import pytest

from serinus.api.analysis import MetricMode
from serinus.core.evidence.gauges import judge_gauge
from serinus.core.evidence.policy import GaugePolicy
from serinus.core.readings import Gauge, Missing, MissingReason, Sample
from serinus.core.verdicts import Fail, FailReason, Pass, Undecided, UndecidedReason

NOW = 1_000_000.0


def verdict(*values, for_seconds=60.0, age=0.0, gaps=()):
    """The newest value last, 15 s apart, with further gaps after some positions."""
    samples, at = [], NOW - age
    for k, value in reversed(list(enumerate(values))):
        samples.append(Sample(at, value))
        at -= 15 + (300 if k - 1 in gaps else 0)
    gauge = Gauge(tuple(reversed(samples)))
    return judge_gauge(GaugePolicy("memory", MetricMode.ENFORCE, 100.0, for_seconds), gauge, NOW, 45.0)


def test_below_the_limit_passes_without_a_guarantee():
    judged = verdict(120, 100)
    assert judged.verdict == Pass(guaranteed=False)
    assert judged.estimate == 100
    assert judged.message == "memory: passed, 100 against a limit of 100; not a test"


def test_above_the_limit_for_long_enough_fails():
    assert verdict(90, 101, 102, 103, 104, 105).verdict == Fail(FailReason.VALUE_BEYOND_LIMIT)


def test_above_the_limit_for_a_moment_is_undecided():
    judged = verdict(101, 101, 90, 101, 101)
    assert judged.verdict == Undecided(UndecidedReason.BEYOND_LIMIT_BRIEFLY)
    assert "for 15 s of 60 s" in judged.message


def test_without_for_seconds_one_value_is_enough():
    assert verdict(101, for_seconds=0).verdict == Fail(FailReason.VALUE_BEYOND_LIMIT)


def test_an_outage_does_not_count_as_time_above_the_limit():
    assert verdict(101, 101, 101, 101, 101, gaps={2}).verdict == Undecided(UndecidedReason.BEYOND_LIMIT_BRIEFLY)


@pytest.mark.parametrize(
    ("judged", "reason"),
    [
        (verdict(), MissingReason.EMPTY),
        (verdict(math.nan), MissingReason.NOT_A_NUMBER),
        (verdict(50, age=46), MissingReason.TOO_OLD),
    ],
)
def test_no_value_no_verdict(judged, reason):
    assert isinstance(judged.verdict, Missing)
    assert judged.verdict.reason is reason
    assert judged.estimate is None
