"""Sizes that an autoscaler chooses: its bounds, and what follows from the size that it has chosen."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.kinds import AUTOSCALER
from serinus.api.reasons import Phase
from serinus.api.scaling import Autoscaling
from serinus.api.status import ModelDeploymentStatus
from serinus.core import render
from serinus.core.autoscaling import bounds, can_scale
from serinus.core.observation import Capabilities
from serinus.core.plan import Apply, Create, Delete, Intent, Scale
from serinus.core.realise import intents, target_replicas
from serinus.core.traffic import wanted_replicas
from serinus.kube.observation import observe_children
from tests.unit.core.situations import CANDIDATE, STABLE, children, deployment, holding, situation, status
from tests.unit.core.test_realise import OWNER, stored

AUTOSCALING = Autoscaling(min_replicas=2, max_replicas=8)
AUTOSCALED = deployment(scaling={"autoscaling": {"minReplicas": 2, "maxReplicas": 8}})


@pytest.mark.parametrize(
    ("at_the_start", "expected"),
    [(None, (2, 8)), (0, (2, 8)), (1, (2, 8)), (5, (5, 8)), (8, (8, 8)), (12, (12, 12))],
)
def test_a_rollout_raises_the_bounds_to_what_stable_had_at_its_start(
    at_the_start: int | None, expected: tuple[int, int]
):
    assert bounds(AUTOSCALING, holding(stable_replicas=at_the_start)) == expected


@pytest.mark.parametrize(
    ("size", "at_the_start", "wanted"),
    [(2, None, 2), (6, None, 6), (0, None, 2), (1, None, 2), (20, None, 20), (3, 5, 5), (7, 5, 7), (0, 5, 5)],
)
def test_the_size_is_the_autoscalers_but_for_its_least(size: int, at_the_start: int | None, wanted: int):
    told = holding(stable_replicas=at_the_start)
    assert wanted_replicas(AUTOSCALED.spec, told, children({STABLE: size})) == wanted


def test_a_first_revision_and_one_whose_pods_were_deleted_begin_with_the_least():
    assert wanted_replicas(AUTOSCALED.spec, status(stable=None), children({})) == 2
    assert wanted_replicas(AUTOSCALED.spec, holding(stable_replicas=5), children({})) == 5


@pytest.mark.parametrize(
    ("told", "pods"),
    [
        (status(Phase.STARTING, candidate=CANDIDATE, stable_replicas=6), 1),
        (holding("five", stable_replicas=6), 1),
        (holding("half", stable_replicas=6), 3),
        (holding("half", phase=Phase.PROMOTING, stable_replicas=6), 6),
    ],
    ids=["starting", "five", "half", "promoting"],
)
def test_a_candidate_has_the_pods_of_its_share_of_what_the_autoscaler_chose(told: ModelDeploymentStatus, pods: int):
    seen = children({STABLE: 6, CANDIDATE: 0}, {STABLE: 100})
    assert target_replicas(situation(told, seen, AUTOSCALED)) == {STABLE: 6, CANDIDATE: pods}


def of_autoscaler(plan: tuple[Intent, ...]) -> list[Intent]:
    return [each for each in plan if not isinstance(each, Scale) and each.kind == AUTOSCALER]


def there(revision: str) -> dict[str, Any]:
    return dict(render.autoscaler(AUTOSCALED, AUTOSCALING, revision, (2, 8), 1))


def test_there_is_one_as_soon_as_there_is_a_stable_revision():
    first = status(Phase.STARTING, stable=None, candidate=CANDIDATE)
    assert of_autoscaler(intents(situation(first, children({}), AUTOSCALED))) == []
    (made,) = of_autoscaler(intents(situation(status(), children({STABLE: 2}), AUTOSCALED)))
    assert isinstance(made, Create)
    assert made.manifest["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"iris-{STABLE}",
    }


def test_it_is_handed_over_in_one_write_and_not_written_again():
    seen = observe_children("iris", OWNER, stored([there(STABLE)]))
    assert of_autoscaler(intents(situation(status(), seen, AUTOSCALED))) == []
    (handed,) = of_autoscaler(intents(situation(status(stable=CANDIDATE), seen, AUTOSCALED)))
    assert isinstance(handed, Apply)
    assert handed.manifest["spec"]["scaleTargetRef"]["name"] == f"iris-{CANDIDATE}"


def test_what_people_write_about_its_pace_is_no_reason_to_write():
    edited = there(STABLE)
    edited["spec"] = {**edited["spec"], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}
    seen = observe_children("iris", OWNER, stored([edited]))
    assert of_autoscaler(intents(situation(status(), seen, AUTOSCALED))) == []


def test_it_goes_before_the_size_is_set_here_again():
    template = render.pod_template(deployment(), CANDIDATE)
    replica_set = render.replica_set(deployment(), STABLE, template, 7, 1)
    seen = observe_children("iris", OWNER, stored([there(STABLE), dict(replica_set)]))
    plan = intents(situation(status(), seen, deployment()))
    acts = [each for each in plan if isinstance(each, Scale) or each.kind == AUTOSCALER]
    assert [type(each) for each in acts] == [Delete, Scale]


def test_only_requests_in_progress_need_custom_metrics():
    none = Capabilities(custom_metrics=False)
    in_progress = Autoscaling(max_replicas=8, target_in_progress_per_pod=4)
    assert can_scale(in_progress, Capabilities())
    assert can_scale(in_progress, none) is False
    assert can_scale(in_progress, Capabilities(custom_metrics=None)) is None
    assert can_scale(AUTOSCALING, none)
