"""The stub answers what the operator's own queries ask."""

from __future__ import annotations

import pytest

from bench.prometheus import BAD_SHARE, REQUESTS_PER_SECOND, Pod, UnknownQueryError, World, success_share
from serinus.metrics import promql
from serinus.metrics.promql import Pods

OLD = Pod("team-0", "model-1-aaaaaaaa-x", "model-1", "model:1", 100.0)
NEW = Pod("team-0", "model-1-bbbbbbbb-y", "model-1", "model:2", 200.0)
OTHER = Pod("team-0", "model-11-cccccccc-z", "model-11", "model:1", 100.0)


@pytest.fixture
def world() -> World:
    made = World()
    for pod in (OLD, NEW, OTHER):
        made.put(pod)
    return made


def newest(result: list[dict]) -> dict[str, float]:
    return {each["metric"]["http_response_code"]: float(each["values"][-1][1]) for each in result}


def test_the_survey_finds_the_pods_of_the_revisions_that_are_asked_for(world):
    query = promql.path_survey(Pods("team-0", ("model-1-aaaaaaaa", "model-1-bbbbbbbb")))
    assert {row["metric"]["pod"] for row in world.instant(query, 300)} == {OLD.name, NEW.name}
    assert {row["metric"]["pod"] for row in world.instant(query, 150)} == {OLD.name}


def test_counters_begin_with_their_pod(world):
    query = promql.known_requests(Pods("team-0", ("model-1-bbbbbbbb",)), {"/predict"})
    (series,) = world.over_range(query, 190, 220, 10)
    assert [float(value) for _, value in series["values"]] == [10 * REQUESTS_PER_SECOND, 20 * REQUESTS_PER_SECOND]


def test_a_pod_that_turns_bad_fails_from_then_on(world):
    world.turn_bad("model:2", "team-0/model-1", 210)
    good, bad = (
        newest(world.over_range(promql.known_requests(Pods("team-0", (prefix,)), {"/predict"}), 200, 230, 10))
        for prefix in ("model-1-aaaaaaaa", "model-1-bbbbbbbb")
    )
    assert bad == {"200": (30 - 20 * BAD_SHARE) * REQUESTS_PER_SECOND, "500": 20 * BAD_SHARE * REQUESTS_PER_SECOND}
    assert good == {"200": 130 * REQUESTS_PER_SECOND}


def test_every_answer_is_fast(world):
    pods = Pods("team-0", ("model-1-aaaaaaaa",))
    assert "1.0" in world.bounds(str(promql.buckets(pods)))
    found = world.over_range(str(promql.buckets_at(pods, {"1.0", "+Inf"})), 100, 110, 10)
    assert {each["metric"]["le"]: float(each["values"][-1][1]) for each in found} == {
        "1.0": 10 * REQUESTS_PER_SECOND,
        "+Inf": 10 * REQUESTS_PER_SECOND,
    }


def test_the_share_of_good_requests_is_that_of_the_last_minute(world):
    query = success_share("team-0", "model-1")
    assert [row["value"][1] for row in world.instant(query, 250)] == ["1.000000"]
    world.turn_bad("model:2", "team-0/model-1", 250)
    (sample,) = world.instant(query, 310)
    assert float(sample["value"][1]) == pytest.approx(1 - BAD_SHARE / 2)  # of one of two pods
    assert world.instant(success_share("team-0", "model-2"), 310) == []


def test_a_pod_that_is_gone_has_no_counters_any_more(world):
    world.drop(OLD.namespace, OLD.name)
    assert world.bounds(str(promql.buckets(Pods("team-0", ("model-1-aaaaaaaa",))))) == []


def test_what_is_not_known_is_refused(world):
    with pytest.raises(UnknownQueryError):
        world.over_range('up{namespace="team-0",pod=~"model-1-aaaaaaaa-.+"}', 0, 1, 1)
