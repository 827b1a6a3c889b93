"""When a resource counts as done."""

from __future__ import annotations

from bench.fleet import at_rest, in_phase, keys, manifest, serves
from serinus.api.deployment import ModelDeployment


def found(version: str, *, ready: bool = True, generation: int = 2, seen: int = 2, **status) -> dict:
    condition = {"type": "Ready", "status": "True" if ready else "False", "observedGeneration": seen}
    told = {"observedGeneration": seen, "conditions": [condition], "stable": {"version": version}}
    return {"metadata": {"generation": generation}, "status": told | {"rollout": {"phase": "Idle"}} | status}


def test_every_key_is_one_of_its_own_in_a_few_namespaces():
    some = keys(500)
    assert len(set(some)) == 500
    assert len({namespace for namespace, _ in some}) == 10
    assert len({namespace for namespace, _ in keys(10)}) == 2


def test_the_manifest_is_a_valid_one():
    described = manifest(("team-0", "model-0"), "1")
    described["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
    assert ModelDeployment.parse(described).spec.analysis.disabled


def test_a_version_serves_when_it_is_stable_and_ready_for_the_newest_spec():
    assert serves("2")(found("2"))
    assert not serves("2")(found("1"))
    assert not serves("2")(found("2", ready=False))
    assert not serves("2")(found("2", seen=1))
    assert not serves("2")({"metadata": {"generation": 1}})


def test_a_phase_of_an_older_spec_does_not_count():
    rejected = {"rollout": {"phase": "Rejected"}}
    assert in_phase("Rejected")(found("1", **rejected))
    assert not in_phase("Rejected")(found("1", seen=1, **rejected))


def test_a_resource_is_at_rest_when_no_old_revision_is_left():
    assert at_rest(found("2"))
    assert not at_rest(found("2", previous={"revision": "a"}))
    assert not at_rest(found("2", candidate={"revision": "b"}))
    assert at_rest(found("2", candidate={"revision": "b"}, rollout={"phase": "Rejected"}))
