"""The metrics of a spec become limits, and share one error budget."""

import pytest

from serinus.api.analysis import AbsentBad, Analysis, MetricMode
from serinus.core.evidence.policy import (
    GaugePolicy,
    ShareKind,
    SharePolicy,
    alpha_fail,
    alpha_pass,
    limit_text,
    percent,
    points,
    policy_of,
)


def analysis(*metrics, **fields):
    return Analysis.model_validate({"metrics": list(metrics) or None, **fields})


ERRORS = {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}}
LATENCY = {"name": "latency", "latency": {"thresholdMilliseconds": 500}, "limit": {"maxIncreasePercent": "5"}}
MEMORY = {"name": "memory", "value": {"query": "max(m{%pods%})", "forSeconds": 60}, "limit": {"max": "38000"}}
NULLS = {
    "name": "nulls",
    "ratio": {"bad": "n{%pods%}", "total": "t{%pods%}"},
    "limit": {"maxPercent": "2", "maxIncreasePercent": "0.5"},
    "tolerancePercent": "0.25",
    "minSamples": 50,
}


def test_without_metrics_errors_and_latency_are_judged():
    errors, latency = policy_of(Analysis())
    assert errors == SharePolicy(
        "errors", ShareKind.ERRORS, MetricMode.ENFORCE, 0.01, 0.005, 0.005, 0.01, 200, AbsentBad.ZERO
    )
    assert latency == SharePolicy(
        "latency", ShareKind.LATENCY, MetricMode.ENFORCE, None, 0.05, None, 0.05, 200, AbsentBad.ZERO
    )
    assert limit_text(errors) == "1 %, stable + 0.5 points"
    assert limit_text(latency) == "stable + 5 points"


def test_disabled_judges_nothing():
    assert policy_of(Analysis.model_validate({"disabled": True})) == ()


def test_the_tolerance_defaults_to_the_limit_and_to_the_allowed_increase_where_there_is_only_that():
    assert [policy.tolerance for policy in policy_of(analysis(ERRORS, LATENCY))] == [0.01, 0.05]


def test_every_field_of_a_ratio_arrives():
    assert policy_of(analysis(NULLS)) == (
        SharePolicy("nulls", ShareKind.RATIO, MetricMode.ENFORCE, 0.02, 0.005, None, 0.0025, 50, AbsentBad.MISSING),
    )


def test_4xx_answers_are_compared_with_stable_unless_the_codes_are_given():
    given = {**ERRORS, "errors": {"codes": ["500"]}}
    assert [policy.max_refused_increase for policy in policy_of(analysis(ERRORS))] == [0.01]
    assert [policy.max_refused_increase for policy in policy_of(analysis(given))] == [None]


def test_a_value_keeps_its_unit():
    (policy,) = policy_of(analysis(MEMORY))
    assert policy == GaugePolicy("memory", MetricMode.ENFORCE, 38000.0, 60.0)
    assert limit_text(policy) == "38000 for 60 s"


def test_the_budget_is_divided_over_the_tested_limits_of_enforced_metrics():
    assert alpha_fail(Analysis(), watched=False) == pytest.approx(0.01 / 4)
    assert alpha_fail(analysis(NULLS), watched=False) == pytest.approx(0.01 / 2)
    assert alpha_fail(analysis(ERRORS, {**NULLS, "mode": "Observe"}, MEMORY), watched=False) == pytest.approx(0.01 / 2)
    assert alpha_fail(analysis(NULLS, falseRollbackPercent="5"), watched=False) == pytest.approx(0.025)


def test_steps_and_watch_together_spend_the_budget_once():
    runs = alpha_fail(analysis(NULLS), watched=True, runs=2)
    assert 2 * runs == pytest.approx(alpha_fail(analysis(NULLS), watched=True))
    steps, watch = (alpha_fail(analysis(NULLS), watched=True, watching=watching) for watching in (False, True))
    assert steps == watch > 0
    assert steps + watch == pytest.approx(alpha_fail(analysis(NULLS), watched=False))


def test_a_budget_for_gauges_alone_is_not_divided_by_zero():
    assert alpha_fail(analysis(MEMORY), watched=False) == pytest.approx(0.01)


def test_the_chance_of_a_false_pass_is_not_divided_as_every_metric_has_to_pass():
    assert alpha_pass(analysis(NULLS, ERRORS, falsePromotionPercent="2")) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.00123456, "0.123 %"), (1.0, "100 %"), (0.0000001, "0.00001 %"), (0.2, "20 %")]
)
def test_shares_are_written_for_people(share, text):
    assert percent(share) == text


def test_points_are_not_percent():
    assert (points(0.01), points(0.005)) == ("1 point", "0.5 points")
