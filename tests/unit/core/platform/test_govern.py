"""The spec in force under policies: what they fill in, what they define, and which of several counts."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.analysis import UndecidedAction
from serinus.api.policy import Policy
from serinus.api.rollout import Automation
from serinus.core.platform import govern
from tests.unit.core.platform.policies import NULLS, cluster_policy, namespace_policy, spec

STEPS = {"canary": {"steps": [{"name": "five", "weightPercent": 5, "holdSeconds": 600}]}}


def test_without_policies_the_spec_is_in_force_as_it_is():
    written = spec()

    governed = govern(written, [])

    assert governed.spec is written
    assert (governed.origins, governed.violations, governed.version) == ((), (), "")


def test_a_default_holds_where_nothing_is_set_and_says_where_it_is_from():
    house = cluster_policy(defaults={"rollout": {"automation": "Supervised", "watchSeconds": 900}})

    governed = govern(spec(rollout={"watchSeconds": 60}), [house])

    assert governed.spec.rollout.automation is Automation.SUPERVISED
    assert governed.spec.rollout.watch_seconds == 60
    assert [(str(o.policy), o.field, o.value) for o in governed.origins] == [
        ("ClusterRolloutPolicy house", "spec.rollout.automation", '"Supervised"')
    ]


def test_what_is_set_to_the_operators_own_default_is_set():
    house = cluster_policy(defaults={"rollout": {"automation": "Supervised"}})

    governed = govern(spec(rollout={"automation": "Automatic"}), [house])

    assert governed.spec.rollout.automation is Automation.AUTOMATIC
    assert governed.origins == ()


def test_the_namespaces_policy_counts_before_the_clusters_and_the_first_by_name_before_others():
    policies = [
        cluster_policy("a", defaults={"rollout": {"watchSeconds": 1, "scaleDownDelaySeconds": 1}}),
        namespace_policy("z", defaults={"rollout": {"watchSeconds": 3}}),
        namespace_policy("b", defaults={"rollout": {"watchSeconds": 2}}),
    ]

    in_force = [govern(spec(), order).spec.rollout for order in (policies, policies[::-1])]

    assert [rollout.watch_seconds for rollout in in_force] == [2, 2]
    assert [rollout.scale_down_delay_seconds for rollout in in_force] == [1, 1]


def test_a_strategy_of_the_resource_leaves_no_room_for_another_of_the_policy():
    house = cluster_policy(defaults={"rollout": STEPS})

    by_default, own = govern(spec(), [house]).spec.rollout, govern(spec(rollout={"recreate": {}}), [house]).spec.rollout

    assert by_default.canary is not None
    assert by_default.canary.steps[0].hold_seconds == 600
    assert own.canary is None
    assert own.recreate is not None


@pytest.mark.parametrize(
    ("written", "disabled", "names"),
    [
        ({}, False, ["nulls"]),
        ({"disabled": False}, False, ["nulls"]),
        ({"disabled": True}, True, None),
        ({"metrics": [{"name": "own", "errors": {}, "limit": {"maxPercent": "1"}}]}, False, ["own"]),
    ],
)
def test_what_a_candidate_is_judged_by_is_one_thing(written: dict[str, Any], disabled: bool, names: list[str] | None):
    house = cluster_policy(defaults={"analysis": {"sharedMetrics": ["nulls"]}}, metrics=[NULLS])

    analysis = govern(spec(analysis=written), [house]).spec.analysis

    assert analysis.disabled is disabled
    assert (None if analysis.metrics is None else [metric.name for metric in analysis.metrics]) == names


def test_who_says_that_it_is_not_disabled_is_judged_whatever_the_default_is():
    house = cluster_policy(defaults={"analysis": {"disabled": True}})

    assert govern(spec(), [house]).spec.analysis.disabled
    assert not govern(spec(analysis={"disabled": False}), [house]).spec.analysis.disabled


def test_fields_of_undecided_are_taken_one_by_one():
    house = cluster_policy(defaults={"analysis": {"undecided": {"afterSeconds": 60, "action": "Rollback"}}})

    governed = govern(spec(analysis={"undecided": {"afterSeconds": 120}}), [house])

    undecided = governed.spec.analysis.undecided
    assert (undecided.after_seconds, undecided.action) == (120, UndecidedAction.ROLLBACK)
    assert [origin.field for origin in governed.origins] == ["spec.analysis.undecided.action"]


def test_only_rollout_and_analysis_are_touched():
    written = spec(model={"version": "2"}, scaling={"replicas": 2})
    house = cluster_policy(defaults={"rollout": {"watchSeconds": 5}, "analysis": {"intervalSeconds": 30}})

    in_force = govern(written, [house]).spec

    assert in_force.model_copy(update={"rollout": written.rollout, "analysis": written.analysis}) == written


def test_defaults_that_do_not_suit_the_resource_are_left_out_and_told():
    shadow = {"canary": {"steps": [{"name": "shadow", "shadowPercent": 100}]}}
    written = spec(rollout={"watchSeconds": 60})

    governed = govern(written, [cluster_policy(defaults={"rollout": shadow | {"scaleDownDelaySeconds": 5}})])

    assert governed.spec == written
    assert governed.origins == ()
    (violation,) = governed.in_the_way
    assert "needs traffic.gateway" in violation.message
    assert "spec.rollout.canary of ClusterRolloutPolicy house" in violation.message


# Shared metrics -------------------------------------------------------------------------------------------------------


def names(policies: list[Policy], **analysis: Any) -> list[str]:
    return [metric.name for metric in govern(spec(analysis=analysis), policies).spec.analysis.metrics or ()]


def test_a_shared_metric_is_judged_beside_the_resources_own():
    own = {"name": "own", "errors": {}, "limit": {"maxPercent": "1"}}

    governed = govern(spec(analysis={"metrics": [own], "sharedMetrics": ["nulls"]}), [cluster_policy(metrics=[NULLS])])

    assert [metric.name for metric in governed.spec.analysis.metrics or ()] == ["own", "nulls"]
    assert {name: str(policy) for name, policy in governed.shared.items()} == {"nulls": "ClusterRolloutPolicy house"}


def test_of_two_definitions_the_namespaces_own_counts():
    nearer = {**NULLS, "limit": {"maxPercent": "2"}}
    policies = [cluster_policy(metrics=[NULLS]), namespace_policy(metrics=[nearer])]

    (metric,) = govern(spec(analysis={"sharedMetrics": ["nulls"]}), policies).spec.analysis.metrics or ()

    assert metric.limit.max_percent == "2"


def test_a_name_that_nobody_defines_stands_in_the_way_and_the_others_go_on_to_judge():
    governed = govern(spec(analysis={"sharedMetrics": ["nulls", "nuls"]}), [cluster_policy(metrics=[NULLS])])

    assert [metric.name for metric in governed.spec.analysis.metrics or ()] == ["nulls"]
    (violation,) = governed.in_the_way
    assert violation.policy is None
    assert str(violation).startswith("spec.analysis.sharedMetrics: no policy that holds here defines the metric nuls; ")
    assert "there are nulls" in violation.message


def test_a_name_is_told_also_where_there_is_no_policy_at_all():
    governed = govern(spec(analysis={"sharedMetrics": ["nulls"]}), [])

    assert governed.spec.analysis.metrics is None
    assert "there are none" in governed.in_the_way[0].message


def test_metrics_of_which_none_decides_stand_in_the_way():
    observed = {**NULLS, "mode": "Observe"}

    governed = govern(spec(analysis={"sharedMetrics": ["nulls"]}), [cluster_policy(metrics=[observed])])

    assert "nothing would decide" in governed.in_the_way[0].message


def test_a_policy_that_can_not_be_read_stands_in_the_way():
    broken = Policy.parse({"kind": "RolloutPolicy", "metadata": {"name": "team"}, "spec": {"bounds": 3}})

    (violation,) = govern(spec(), [broken]).in_the_way

    assert "RolloutPolicy team can't be read" in violation.message
    assert "spec.bounds" in violation.message
