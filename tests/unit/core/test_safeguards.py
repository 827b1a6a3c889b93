"""Disruption budgets and network policies: which there are, and that each is written once."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.kinds import DISRUPTION_BUDGET, NETWORK_POLICY
from serinus.api.reasons import Phase
from serinus.api.status import ModelDeploymentStatus
from serinus.core import render
from serinus.core.observation import Capabilities, Children, Safeguards
from serinus.core.plan import Delete, Intent
from serinus.core.realise import intents
from serinus.kube.observation import observe_children
from tests.unit.core.situations import CANDIDATE, OLDER, STABLE, children, deployment, holding, situation, status
from tests.unit.core.test_realise import OWNER, created, named, stored

KINDS = (DISRUPTION_BUDGET.kind, NETWORK_POLICY.kind)
ON = Safeguards()


def guarding(
    told: ModelDeploymentStatus,
    sizes: dict[str, int],
    there: tuple[str, ...] = (),
    safeguards: Safeguards = ON,
) -> tuple[Intent, ...]:
    """What is written of budgets and policies, with pods of these sizes and these safeguards there already."""
    resource = deployment()
    template = render.pod_template(resource, CANDIDATE)
    made: dict[str, Any] = {
        "policy": render.network_policy(resource, 1),
        **{each: render.disruption_budget(resource, each, 1, template) for each in (OLDER, STABLE, CANDIDATE)},
    }
    sets = [render.replica_set(resource, each, template, size, 1) for each, size in sizes.items()]
    seen = observe_children("iris", OWNER, stored([*sets, *(made[each] for each in there)]))
    plan = intents(situation(told, seen, capabilities=Capabilities(safeguards=safeguards)))
    return tuple(each for each in plan if _kind_of(each) in KINDS)


def _kind_of(intent: Any) -> str:
    return intent.kind.kind if hasattr(intent, "kind") else ""


def budget(revision: str) -> str:
    return f"PodDisruptionBudget iris-{revision}"


def test_every_revision_with_a_role_has_a_budget_and_all_share_a_policy():
    plan = guarding(holding(), {STABLE: 4, CANDIDATE: 2})
    assert named(plan) == [
        f"create {budget(STABLE)}",
        f"create {budget(CANDIDATE)}",
        "create NetworkPolicy iris-serving",
    ]


def test_a_candidate_has_no_budget_while_it_has_only_one_pod_and_keeps_the_one_that_it_has():
    assert named(guarding(holding(), {STABLE: 1, CANDIDATE: 1}, ("policy",))) == [f"create {budget(STABLE)}"]
    assert guarding(holding(), {STABLE: 4, CANDIDATE: 1}, (STABLE, CANDIDATE, "policy")) == ()


def test_what_is_there_is_not_written_again():
    assert guarding(holding(), {STABLE: 4, CANDIDATE: 1}, (STABLE, CANDIDATE, "policy")) == ()


@pytest.mark.parametrize(
    ("told", "sizes", "goes"),
    [
        (status(), {STABLE: 4, OLDER: 0}, True),
        (status(), {STABLE: 4, OLDER: 2}, False),
        (status(previous=OLDER), {STABLE: 4, OLDER: 4}, False),
        (status(previous=OLDER), {STABLE: 4, OLDER: 0}, False),
        (status(), {STABLE: 4}, True),
    ],
    ids=["retired", "retired, with pods still", "kept warm", "made room", "without a ReplicaSet"],
)
def test_a_budget_goes_with_role_and_pods(told: ModelDeploymentStatus, sizes: dict[str, int], goes: bool):
    plan = guarding(told, sizes, (STABLE, OLDER, "policy"))
    assert named(plan) == ([f"delete {budget(OLDER)}"] if goes else [])


def test_what_is_switched_off_is_removed_once():
    off = Safeguards(disruption_budgets=False, network_policies=False)
    plan = guarding(holding(), {STABLE: 4, CANDIDATE: 1}, (STABLE, CANDIDATE, "policy"), off)
    assert sorted(named(plan)) == sorted(
        [f"delete {budget(STABLE)}", f"delete {budget(CANDIDATE)}", "delete NetworkPolicy iris-serving"]
    )
    assert all(isinstance(each, Delete) for each in plan)
    assert guarding(holding(), {STABLE: 4, CANDIDATE: 1}, (), off) == ()


def test_nothing_is_made_before_there_is_a_revision():
    assert guarding(status(stable=None), {}) == ()


def test_traffic_and_pods_come_before_what_protects_them():
    first = status(Phase.STARTING, stable=None, candidate=CANDIDATE)
    kinds = [each["kind"] for each in created(intents(situation(first, Children())))]
    assert kinds[-2:] == ["PodDisruptionBudget", "NetworkPolicy"]


def test_pods_of_the_scraper_reach_every_port_and_all_others_the_serving_port():
    spec = render.network_policy(deployment(), 1, "monitoring")["spec"]
    assert spec["ingress"] == [
        {"ports": [{"port": "http", "protocol": "TCP"}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]},
    ]
    assert spec["policyTypes"] == ["Ingress"], "what pods reach themselves stays open"


def test_a_budget_counts_the_pods_of_its_revision_alone():
    template = render.pod_template(deployment(), CANDIDATE)
    spec = render.disruption_budget(deployment(), CANDIDATE, 1, template)["spec"]
    labels = template["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert spec["selector"]["matchLabels"]["serinus.dev/revision"] == CANDIDATE
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_a_serving_port_is_named_in_every_pod_as_in_the_policy():
    template = render.pod_template(
        deployment(serving={"image": "a:1", "port": 9000, "startupSeconds": 60}), "0123456789"
    )
    (container,) = template["spec"]["containers"]
    (rule, *_) = render.network_policy(deployment(), 1)["spec"]["ingress"]
    assert rule["ports"][0]["port"] in {port["name"] for port in container["ports"]}


def test_children_are_found_by_their_labels():
    assert children({}).objects == {}
    for manifest in created(intents(situation(holding(), Children()))):
        assert manifest["metadata"]["labels"]["serinus.dev/deployment"] == "iris"
