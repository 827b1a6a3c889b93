"""From a persisted status to writes: their order, the sizes, and that nothing is written twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.api.reasons import Phase
from serinus.api.status import RetiredRevision
from serinus.core import render
from serinus.core.observation import ChildObject
from serinus.core.plan import Apply, Create, Delete, Intent, Manifest, Scale
from serinus.core.realise import intents, target_replicas
from serinus.kube.observation import observe_children
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    OLDER,
    STABLE,
    children,
    deployment,
    holding,
    seconds,
    situation,
    status,
)

OWNER = "7f0c"


def stored(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """The manifests as an API server would return them."""
    return [
        {**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{n}", "resourceVersion": str(n)}}
        for n, manifest in enumerate(manifests, start=1)
    ]


def created(plan: tuple[Intent, ...]) -> list[Manifest]:
    return [intent.manifest for intent in plan if isinstance(intent, Create)]


def named(plan: tuple[Intent, ...]) -> list[str]:
    def one(intent: Intent) -> str:
        match intent:
            case Scale(name=name, replicas=replicas):
                return f"scale {name} {replicas}"
            case Delete(kind=kind, name=name):
                return f"delete {kind.kind} {name}"
            case Create(kind=kind, manifest=manifest) | Apply(kind=kind, manifest=manifest):
                return f"{type(intent).__name__.lower()} {kind.kind} {manifest['metadata']['name']}"

    return [one(intent) for intent in plan]


FIRST = status(Phase.STARTING, stable=None, candidate=CANDIDATE)


def first_objects() -> list[dict[str, Any]]:
    return stored(created(intents(situation(FIRST, children({})))))


def test_what_a_route_leads_to_is_made_before_the_route():
    plan = named(intents(situation(FIRST, children({}))))
    assert plan == [
        f"create ControllerRevision iris-{CANDIDATE}",
        f"create ReplicaSet iris-{CANDIDATE}",
        f"create Service iris-{CANDIDATE}",
        "create Service iris",
        "create HTTPRoute iris",
        f"create PodDisruptionBudget iris-{CANDIDATE}",
        "create NetworkPolicy iris-serving",
    ]


@pytest.mark.parametrize(
    ("told", "selector"),
    [
        (status(Phase.STARTING, candidate=CANDIDATE), {"serinus.dev/revision": STABLE}),
        (holding(), {}),
        (holding("half", phase=Phase.PROMOTING), {"serinus.dev/revision": CANDIDATE}),
        (holding(phase=Phase.ROLLING_BACK), {"serinus.dev/revision": STABLE}),
    ],
    ids=["before", "in a step", "promoted", "back"],
)
def test_the_stable_address_leads_to_all_pods_while_a_step_shares_them(told: Any, selector: dict[str, str]):
    plain = deployment(traffic=None)
    seen = children({STABLE: 4, CANDIDATE: 4}, selected=STABLE)
    made = [each for each in created(intents(situation(told, seen, plain))) if each["metadata"]["name"] == "iris"]
    assert [each["spec"]["selector"] for each in made] == [{"serinus.dev/deployment": "iris"} | selector]


PREVIEW = deployment(rollout={"blueGreen": {"holdSeconds": 60}})


def test_the_candidate_has_an_address_of_its_own_only_beside_a_stable_revision():
    first = observe_children("iris", OWNER, first_objects())
    beside = status(Phase.STARTING, stable=CANDIDATE, candidate=CANDIDATE)
    assert named(intents(situation(beside, first, PREVIEW))) == ["create Service iris-candidate"]
    made = created(intents(situation(beside, first, PREVIEW)))
    left_over = stored(created(intents(situation(FIRST, children({})))) + made)
    seen = observe_children("iris", OWNER, left_over)
    assert named(intents(situation(beside, seen, PREVIEW))) == []
    assert named(intents(situation(FIRST, seen, PREVIEW))) == ["delete Service iris-candidate"]


@pytest.mark.parametrize(
    ("rollout", "phase", "has_one"),
    [
        ({"canary": {"steps": [{"name": "five", "weightPercent": 5, "holdSeconds": 60}]}}, Phase.HOLDING, False),
        ({"canary": {"steps": [{"name": "five", "weightPercent": 5, "holdSeconds": 60}]}}, Phase.PAUSED, True),
        ({"canary": {"steps": [{"name": "ok", "approval": {}}, {"name": "all", "weightPercent": 99}]}}, None, True),
        ({"blueGreen": {}}, Phase.STARTING, False),
        ({"blueGreen": {"holdSeconds": 60}}, Phase.STARTING, True),
        ({"blueGreen": {}, "automation": "Supervised"}, Phase.STARTING, True),
        ({"blueGreen": {}, "automation": "Manual"}, Phase.STARTING, True),
        ({"recreate": {}}, Phase.STARTING, False),
    ],
    ids=[
        "no: a canary by shares alone",
        "a paused canary",
        "an approval on its way",
        "no: a switch on readiness",
        "a hold before the switch",
        "asked before all traffic",
        "asked before everything",
        "no: pods that make room for each other",
    ],
)
def test_an_address_of_its_own_is_for_candidates_that_somebody_may_try(
    rollout: dict[str, Any], phase: Phase | None, has_one: bool
):
    told = status(phase or Phase.STARTING, stable=CANDIDATE, candidate=CANDIDATE)
    plan = named(intents(situation(told, children({CANDIDATE: 4}), deployment(rollout=rollout))))
    assert ("create Service iris-candidate" in plan) is has_one


def test_an_address_that_is_there_leads_to_the_candidate_until_it_goes():
    first = observe_children("iris", OWNER, first_objects())
    beside = status(Phase.STARTING, stable=CANDIDATE, candidate=CANDIDATE)
    paused = created(intents(situation(status(Phase.PAUSED, stable=CANDIDATE, candidate=CANDIDATE), first)))
    (service,) = [each for each in paused if each["metadata"]["name"] == "iris-candidate"]
    another = {**service, "spec": {**service["spec"], "selector": {"serinus.dev/revision": OLDER}}}
    seen = observe_children("iris", OWNER, stored([*created(intents(situation(FIRST, children({})))), another]))
    assert named(intents(situation(beside, seen))) == ["apply Service iris-candidate"]


def test_what_was_made_is_not_written_again():
    seen = observe_children("iris", OWNER, first_objects())
    assert intents(situation(FIRST, seen)) == ()


def test_a_higher_number_of_moves_alone_is_no_reason_to_write():
    seen = observe_children("iris", OWNER, first_objects())
    assert intents(situation(FIRST.model_copy(update={"moves": 99}), seen)) == ()


def test_the_route_comes_first_where_all_that_it_leads_to_is_there():
    objects = first_objects()
    broken = [each for each in objects if (each["kind"], each["metadata"]["name"]) != ("Service", "iris")]
    for each in broken:
        if each["kind"] == "HTTPRoute":
            each["spec"] = {**each["spec"], "rules": []}
    plan = named(intents(situation(FIRST, observe_children("iris", OWNER, broken))))
    assert plan == ["apply HTTPRoute iris", "create Service iris"]


def test_sizes_go_up_before_others_go_down():
    told = status(Phase.STARTING, candidate=CANDIDATE, step_started_at=NOW)
    seen = children({STABLE: 6, OLDER: 2}, {STABLE: 100}, desired={CANDIDATE: 0})
    scales = [line for line in named(intents(situation(told, seen))) if line.startswith("scale")]
    assert scales == [f"scale iris-{CANDIDATE} 1", f"scale iris-{STABLE} 4", f"scale iris-{OLDER} 0"]


SPLIT = {STABLE: 95, CANDIDATE: 5}


@pytest.mark.parametrize(
    ("told", "seen", "targets"),
    [
        pytest.param(
            status(Phase.STARTING, candidate=CANDIDATE),
            children({STABLE: 4}, {STABLE: 100}, desired={CANDIDATE: 0}),
            {STABLE: 4, CANDIDATE: 1},
            id="the candidate comes up for its first share",
        ),
        pytest.param(
            holding("half"),
            children({STABLE: 4, CANDIDATE: 1}, SPLIT),
            {STABLE: 4, CANDIDATE: 2},
            id="the candidate grows with its share, stable stays whole",
        ),
        pytest.param(
            holding(),
            children({CANDIDATE: 1}, {CANDIDATE: 100}, desired={STABLE: 4}),
            {STABLE: 4, CANDIDATE: 4},
            id="on loan it grows to what the traffic needs",
        ),
        pytest.param(
            holding(),
            children({STABLE: 4, CANDIDATE: 4}, SPLIT, accepted=False),
            {STABLE: 4, CANDIDATE: 4},
            id="and shrinks only when the weights are confirmed",
        ),
        pytest.param(
            holding(), children({STABLE: 4, CANDIDATE: 4}, SPLIT), {STABLE: 4, CANDIDATE: 1}, id="confirmed: it shrinks"
        ),
        pytest.param(
            holding(),
            children({STABLE: 4, CANDIDATE: 1}, {STABLE: 95, CANDIDATE: 1_000_000}),
            {STABLE: 4, CANDIDATE: 4},
            id="a weight that somebody wrote asks for no more than all of the traffic",
        ),
        pytest.param(
            holding("half", phase=Phase.PROMOTING),
            children({STABLE: 4, CANDIDATE: 2}, {STABLE: 50, CANDIDATE: 50}),
            {STABLE: 4, CANDIDATE: 4},
            id="for all traffic it grows to full size beside stable",
        ),
        pytest.param(
            holding(phase=Phase.ROLLING_BACK),
            children({STABLE: 4, CANDIDATE: 1}, {STABLE: 100}),
            {STABLE: 4, CANDIDATE: 1},
            id="rolled back, its pods stay for the drain",
        ),
        pytest.param(
            status(Phase.WATCHING, previous=OLDER),
            children({STABLE: 4, OLDER: 6}, {STABLE: 100}),
            {STABLE: 4, OLDER: 6},
            id="the previous revision stays warm",
        ),
        pytest.param(
            status(),
            children({STABLE: 4, OLDER: 4}, {STABLE: 50, OLDER: 50}),
            {STABLE: 4, OLDER: 4},
            id="nothing that the route still leads to shrinks",
        ),
        pytest.param(
            status(),
            children({STABLE: 4, OLDER: 4}, {STABLE: 100}, accepted=False),
            {STABLE: 4, OLDER: 4},
            id="nor before the route is confirmed",
        ),
        pytest.param(
            status(), children({STABLE: 4, OLDER: 4}, {STABLE: 100}), {STABLE: 4, OLDER: 0}, id="then it goes to zero"
        ),
        pytest.param(
            status(stable=None),
            children({STABLE: 4}, None),
            {STABLE: 4},
            id="a status that knows nobody takes nothing down",
        ),
    ],
)
def test_sizes(told: Any, seen: Any, targets: dict[str, int]):
    assert target_replicas(situation(told, seen)) == targets


def test_scaled_to_zero_nobody_keeps_a_pod():
    told = status(Phase.WATCHING, previous=OLDER, step_started_at=NOW - seconds(5))
    seen = children({STABLE: 4, OLDER: 4}, {STABLE: 100})
    assert target_replicas(situation(told, seen, deployment(scaling={"replicas": 0}))) == {STABLE: 0, OLDER: 0}


def revision(number: int) -> str:
    return f"{number:010d}"


def pruned(served: tuple[int, ...], limit: int, of: int = 6) -> set[int]:
    """Of so many old revisions, higher numbers made later, those whose records go."""
    iris = deployment(rollout={"revisionHistoryLimit": limit})
    template = render.pod_template(iris, CANDIDATE)
    records = [render.restored_revision(iris, revision(n), n, 1, template) for n in range(1, of + 1)]
    objects = {
        ("ControllerRevision", record["metadata"]["name"]): ChildObject(record, record["metadata"]["name"], "1", 1)
        for record in records
    }
    retired = tuple(RetiredRevision(revision=revision(number), served_until=NOW) for number in served)
    told = status().model_copy(update={"retired": retired})
    seen = replace(children({STABLE: 4}, {STABLE: 100}), objects=objects)
    names = {intent.name for intent in intents(situation(told, seen, iris)) if isinstance(intent, Delete)}
    return {number for number in range(1, of + 1) if f"iris-{revision(number)}" in names}


@pytest.mark.parametrize(
    ("served", "limit", "go"),
    [
        ((), 3, {1, 2, 3}),
        ((1,), 3, {2, 3, 4}),
        ((3, 2, 1), 3, {4, 5, 6}),
        ((1, 2, 3), 2, {3, 4, 5, 6}),
        ((1,), 1, {2, 3, 4, 5, 6}),
        ((2, 1), 0, {1, 2, 3, 4, 5, 6}),
        ((2, 1), 6, set()),
    ],
    ids=[
        "none served: the newest stay",
        "one that served stays, and the newest",
        "those that served take all places",
        "of those that served, the last stay",
        "the only place is of the one that served",
        "no places",
        "places for all",
    ],
)
def test_those_that_served_have_the_places_of_the_history_first(served: tuple[int, ...], limit: int, go: set[int]):
    assert pruned(served, limit) == go
