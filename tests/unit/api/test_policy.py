"""Policies as the cluster holds them: what can't be read, and where they hold."""

from typing import Any

import pytest

from serinus.api.policy import Policy
from tests.unit.api.bad_policies import BAD_POLICIES, BadPolicy


def policy(spec: dict[str, Any] | None, kind: str = "ClusterRolloutPolicy") -> Policy:
    metadata = {"name": "house", "uid": "u", "generation": 3}
    return Policy.parse({"apiVersion": "serinus.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})


@pytest.mark.parametrize("bad", BAD_POLICIES, ids=lambda bad: bad.title)
def test_what_gets_past_the_api_server_is_told_with_its_field(bad: BadPolicy):
    read = policy(bad.spec)

    assert bad.says in read.unreadable
    assert read.unreadable.startswith("spec")


def test_a_policy_that_can_not_be_read_asks_for_nothing_and_is_in_nobodys_way_where_it_never_held():
    read = policy(
        {"bounds": {"rollout": {"minWatchSeconds": "long"}}, "namespaceSelector": {"matchLabels": {"a": "b"}}}
    )

    assert "spec.bounds.rollout.minWatchSeconds" in read.unreadable
    assert read.spec.bounds.rollout.min_watch_seconds is None
    assert read.holds_in({"a": "b"})
    assert not read.holds_in({})


def test_a_policy_whose_selector_can_not_be_read_holds_everywhere():
    read = policy({"namespaceSelector": {"matchLabels": 3}})

    assert "spec.namespaceSelector.matchLabels" in read.unreadable
    assert read.holds_in({})


def test_a_policy_changes_its_version_with_its_generation():
    assert policy({}).version == "u/3"


@pytest.mark.parametrize(
    ("selector", "labels", "holds"),
    [
        ({}, {}, True),
        ({"matchLabels": {"env": "prod"}}, {"env": "prod", "team": "a"}, True),
        ({"matchLabels": {"env": "prod"}}, {"env": "test"}, False),
        ({"matchLabels": {"env": "prod"}}, {}, False),
        ({"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]}, {"env": "b"}, True),
        ({"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]}, {}, False),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["a"]}]}, {"env": "b"}, True),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["a"]}]}, {}, True),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["a"]}]}, {"env": "a"}, False),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, {"env": ""}, True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}, {"env": "x"}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_a_cluster_policy_holds_in_the_namespaces_that_it_selects(
    selector: dict[str, Any], labels: dict[str, str], holds: bool
):
    assert policy({"namespaceSelector": selector}).holds_in(labels) is holds
