"""Bounds: what is outside, what is just within, and what the owner of the resource is told."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.core.platform import govern
from tests.unit.core.platform.policies import NULLS, cluster_policy, namespace_policy, spec
from tests.unit.core.platform.violations import VIOLATIONS, Case


@pytest.mark.parametrize("case", VIOLATIONS, ids=lambda case: case.title)
def test_what_is_outside_is_told_with_policy_field_bound_and_remedy(case: Case):
    (violation,) = govern(spec(**case.outside), [cluster_policy(bounds=case.bounds)]).in_the_way

    assert violation.field == case.field
    assert violation.message.startswith("ClusterRolloutPolicy house ")
    assert case.says in violation.message
    assert violation.message.endswith(", or ask its owner")


@pytest.mark.parametrize("case", VIOLATIONS, ids=lambda case: case.title)
def test_what_is_just_within_is_not_told(case: Case):
    assert govern(spec(**case.within), [cluster_policy(bounds=case.bounds)]).violations == ()


@pytest.mark.parametrize("case", VIOLATIONS, ids=lambda case: case.title)
def test_a_policy_in_audit_stands_in_nobodys_way(case: Case):
    governed = govern(spec(**case.outside), [cluster_policy(bounds={**case.bounds, "mode": "Audit"})])

    assert len(governed.violations) == 1
    assert governed.in_the_way == ()


def test_the_bounds_of_all_policies_hold():
    policies = [
        cluster_policy(bounds={"rollout": {"minWatchSeconds": 600}}),
        namespace_policy(bounds={"rollout": {"minWatchSeconds": 60}, "analysis": {"forbidDisabled": True}}),
    ]

    told = govern(spec(rollout={"watchSeconds": 100}, analysis={"disabled": True}), policies).in_the_way

    assert [(str(each.policy), each.field) for each in told] == [
        ("RolloutPolicy team", "spec.analysis.disabled"),
        ("ClusterRolloutPolicy house", "spec.rollout.watchSeconds"),
    ]


def test_a_default_of_another_policy_that_is_outside_is_told_with_its_origin():
    policies = [
        cluster_policy(bounds={"rollout": {"minWatchSeconds": 600}}),
        namespace_policy(defaults={"rollout": {"watchSeconds": 60}}),
    ]

    (violation,) = govern(spec(), policies).in_the_way

    assert "it is 60, which is the default of RolloutPolicy team" in violation.message


def test_a_default_within_the_bounds_heals_what_is_not_set():
    house: dict[str, Any] = {
        "bounds": {"rollout": {"minWatchSeconds": 600, "allowedAutomation": ["Supervised"]}},
        "defaults": {"rollout": {"watchSeconds": 600, "automation": "Supervised"}},
    }

    assert govern(spec(), [cluster_policy(**house)]).violations == ()


def test_a_required_metric_is_the_policys_own_and_no_other_of_its_name():
    required = cluster_policy(bounds={"analysis": {"requiredMetrics": ["nulls"]}}, metrics=[NULLS])
    same_name = namespace_policy(metrics=[{**NULLS, "limit": {"maxPercent": "40"}}])
    named = spec(analysis={"sharedMetrics": ["nulls"]})

    assert govern(named, [required]).violations == ()
    for written, policies in ((named, [required, same_name]), (spec(), [required])):
        (violation,) = govern(written, policies).in_the_way
        assert "requires the metrics nulls as it defines them" in violation.message
