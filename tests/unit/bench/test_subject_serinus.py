"""When a ModelDeployment counts as done, and what is asked of it."""

from __future__ import annotations

import pytest

from bench.figures import EVENTS_EMITTED, EVENTS_LOST, PASSES
from bench.fleet import keys
from bench.subject import SLOW_STEPS
from bench.subjects.serinus import Serinus
from serinus.api.deployment import ModelDeployment


@pytest.fixture(params=[True, False], ids=["behind a gateway", "without a gateway"])
def serinus(request) -> Serinus:
    return Serinus(routed=request.param)


def found(version: str, *, ready: bool = True, generation: int = 2, seen: int = 2, **status) -> dict:
    condition = {"type": "Ready", "status": "True" if ready else "False", "observedGeneration": seen}
    told = {"observedGeneration": seen, "conditions": [condition], "stable": {"version": version}}
    return {"metadata": {"generation": generation}, "status": told | {"rollout": {"phase": "Idle"}} | status}


def test_the_manifest_is_a_valid_one(serinus):
    described = serinus.manifest(("team-0", "model-0"), "1")
    described["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
    spec = ModelDeployment.parse(described).spec
    assert spec.analysis.disabled
    assert (spec.traffic.gateway is not None) == serinus.routed


def test_no_two_of_a_fleet_ask_for_one_address():
    asked = [Serinus(routed=True).manifest(key, "1")["spec"]["traffic"]["gateway"]["hostnames"] for key in keys(40)]
    assert len({hostname for hostnames in asked for hostname in hostnames}) == 40


@pytest.mark.parametrize("judged_every_seconds", [None, 10])
def test_a_new_version_leaves_a_valid_spec(serinus, judged_every_seconds):
    described = serinus.manifest(("team-0", "model-0"), "1")
    described["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
    merged = serinus.new_version("2", judged_every_seconds=judged_every_seconds, steps=SLOW_STEPS)
    described["spec"] |= {
        "serving": merged["serving"],
        "rollout": described["spec"]["rollout"] | merged["rollout"],
        "analysis": {name: value for name, value in merged["analysis"].items() if value is not None},
    }
    spec = ModelDeployment.parse(described).spec
    assert spec.rollout.canary.steps[0].hold_seconds == 90
    assert spec.analysis.disabled == (judged_every_seconds is None)


def test_a_version_serves_when_it_is_stable_and_ready_for_the_newest_spec(serinus):
    wanted = serinus.serves("2")
    assert wanted(found("2"))
    assert not wanted(found("1"))
    assert not wanted(found("2", ready=False))
    assert not wanted(found("2", seen=1))
    assert not wanted({"metadata": {"generation": 1}})


def test_a_phase_of_an_older_spec_does_not_count(serinus):
    rejected = {"rollout": {"phase": "Rejected"}}
    assert serinus.is_rejected(found("1", **rejected))
    assert not serinus.is_rejected(found("1", seen=1, **rejected))


def test_a_rollback_is_aborted_before_it_is_rejected(serinus):
    rolling_back = found("1", rollout={"phase": "RollingBack"})
    assert serinus.is_aborted(rolling_back)
    assert not serinus.is_rejected(rolling_back)
    assert not serinus.is_aborted(found("1", rollout={"phase": "Holding"}))


def test_a_resource_is_at_rest_when_no_old_revision_is_left(serinus):
    assert serinus.is_at_rest(found("2"))
    assert not serinus.is_at_rest(found("2", previous={"revision": "a"}))
    assert not serinus.is_at_rest(found("2", candidate={"revision": "b"}))
    assert serinus.is_at_rest(found("2", candidate={"revision": "b"}, rollout={"phase": "Rejected"}))


def test_only_counters_of_the_operator_are_kept(serinus):
    counted = {
        'serinus_pass_seconds_count{outcome="Moved"}': 5.0,
        'serinus_writes_total{verb="create"}': 4.0,
        "serinus_events_sent_total": 2.0,
    }
    gauges = {
        'serinus_watch_silence_seconds{resource="pods"}': 3.0,
        "serinus_queue_length": 1.0,
        "process_open_fds": 9.0,
    }
    assert serinus.counters(counted | gauges) == counted


def test_what_the_operator_says_it_has_lost_was_emitted(serinus):
    passes = {
        'serinus_pass_seconds_count{outcome="Moved"}': 3.0,
        'serinus_pass_seconds_count{outcome="Unchanged"}': 4.0,
    }
    grown = passes | {"serinus_events_sent_total": 5.0, "serinus_events_lost_total": 2.0}
    assert serinus.tally(grown, events_arrived=5) == {PASSES: 7, EVENTS_EMITTED: 7, EVENTS_LOST: 2}
