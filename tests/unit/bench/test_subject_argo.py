"""When a Rollout counts as done, and that it is asked for the same as a ModelDeployment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.figures import EVENTS_EMITTED, EVENTS_LOST, PASSES
from bench.operators import Launch, OperatorProcess
from bench.prometheus import Pod, World
from bench.subject import SLOW_STEPS, image
from bench.subjects import argo_program
from bench.subjects.argo import ANALYSIS_INTERVAL_SECONDS, TEMPLATE, Argo, Limits, without_workload
from bench.subjects.serinus import Serinus
from serinus.api.deployment import ModelDeployment
from serinus.core.render.pod_template import pod_template

KEY = ("team-0", "model-1")


@pytest.fixture
def argo() -> Argo:
    return Argo(Limits(400, 800))


def found(argo: Argo, version: str, *, generation: int = 3, seen: int = 3, **status) -> dict:
    made = argo.manifest(KEY, version)
    made["metadata"]["generation"] = generation
    told = {"observedGeneration": str(seen), "phase": "Healthy", "stableRS": "a", "currentPodHash": "a"}
    return made | {"status": told | {"replicas": 2, "availableReplicas": 2} | status}


def test_its_pods_are_those_that_serinus_makes(argo):
    described = Serinus().manifest(KEY, "1")
    described["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
    theirs, ours = (
        argo.manifest(KEY, "1")["spec"]["template"]["spec"],
        pod_template(ModelDeployment.parse(described), "r")["spec"],
    )
    spread = theirs.pop("topologySpreadConstraints")
    assert [each["topologyKey"] for each in spread] == [
        each["topologyKey"] for each in ours.pop("topologySpreadConstraints")
    ]
    assert {each["labelSelector"]["matchLabels"]["app"] for each in spread} == {"model-1"}
    assert theirs == ours


def test_its_steps_are_shares_with_pauses(argo):
    (steps,) = argo.manifest(KEY, "1")["spec"]["strategy"]["canary"].values()
    assert steps == [{"setWeight": 20}, {"pause": {"duration": "5s"}}, {"setWeight": 50}, {"pause": {"duration": "5s"}}]


def test_without_routing_nothing_is_made_beside_it(argo):
    assert argo.companions(KEY) == ()


def test_with_routing_its_services_and_its_ingress_are_those_that_its_user_makes():
    routed = Argo(Limits(400, 800), routed=True)
    made = [manifest for _, manifest in routed.companions(KEY)]
    names = [(each["kind"], each["metadata"]["name"]) for each in made]
    canary = routed.manifest(KEY, "1")["spec"]["strategy"]["canary"]
    assert names == [
        ("Service", canary["stableService"]),
        ("Service", canary["canaryService"]),
        ("Ingress", canary["trafficRouting"]["nginx"]["stableIngress"]),
    ]
    assert canary["steps"] == Argo(Limits(400, 800)).manifest(KEY, "1")["spec"]["strategy"]["canary"]["steps"]
    assert {path.split("/namespaces/")[1].split("/")[0] for path, _ in routed.companions(KEY)} == {KEY[0]}


def test_results_with_routing_are_told_from_those_without(argo):
    routed = Argo(Limits(400, 800), routed=True)
    assert routed.label != argo.label
    assert routed.file_name != argo.file_name


def test_a_new_version_changes_the_image_and_nothing_else_of_the_pods(argo):
    before = argo.manifest(KEY, "1")["spec"]["template"]["spec"]["containers"][0]
    (after,) = argo.new_version("2")["template"]["spec"]["containers"]
    assert after == before | {"image": image("2")}


def test_a_judged_version_is_analysed_in_the_background(argo):
    merged = argo.new_version("2", judged_every_seconds=ANALYSIS_INTERVAL_SECONDS, steps=SLOW_STEPS)
    canary = merged["strategy"]["canary"]
    assert canary["steps"][1] == {"pause": {"duration": "90s"}}
    assert canary["analysis"]["templates"] == [{"templateName": TEMPLATE}]
    assert argo.new_version("2")["strategy"]["canary"]["analysis"] is None
    with pytest.raises(ValueError, match="every 10 s"):
        argo.new_version("2", judged_every_seconds=7)


async def test_its_template_asks_what_the_stub_answers(argo):
    posted: dict[str, dict] = {}

    class Recording:
        async def call(self, method: str, path: str, body: dict) -> dict:
            posted[f"{method} {path}"] = body
            return body

    await argo.before_metrics(Recording(), ["team-0"], "http://127.0.0.1:9")
    (template,) = posted.values()
    (metric,) = template["spec"]["metrics"]
    assert metric["interval"] == "10s"
    query = metric["provider"]["prometheus"]["query"]
    for name, value in (("namespace", "team-0"), ("name", "model-1")):
        query = query.replace(f"{{{{args.{name}}}}}", value)
    world = World()
    world.put(Pod("team-0", "model-1-abc-x", "model-1", image("1"), 100.0))
    (sample,) = world.instant(query, 200.0)
    assert float(sample["value"][1]) == 1.0


def test_a_version_serves_when_it_is_healthy_and_stable_for_the_newest_spec(argo):
    wanted = argo.serves("2")
    assert wanted(found(argo, "2"))
    assert not wanted(found(argo, "1"))
    assert not wanted(found(argo, "2", seen=2))
    assert not wanted(found(argo, "2", phase="Progressing"))
    assert not wanted(found(argo, "2", stableRS="b"))
    assert not wanted(argo.manifest(KEY, "2"))


def test_it_is_held_when_it_pauses_and_its_analysis_runs(argo):
    running = {"canary": {"currentBackgroundAnalysisRunStatus": {"status": "Running"}}}
    assert argo.is_held(found(argo, "2", phase="Paused", **running))
    assert not argo.is_held(found(argo, "2", phase="Paused"))
    assert not argo.is_held(found(argo, "2", **running))


def test_it_is_rejected_when_it_is_aborted_and_its_pods_are_gone(argo):
    aborted = {"phase": "Degraded", "abort": True}
    assert argo.is_aborted(found(argo, "2", replicas=3, **aborted))
    assert not argo.is_rejected(found(argo, "2", replicas=3, **aborted))
    assert argo.is_rejected(found(argo, "2", **aborted))
    assert argo.is_at_rest(found(argo, "2", **aborted))
    assert not argo.is_aborted(found(argo, "2"))


def test_it_is_at_rest_when_only_its_own_pods_are_there(argo):
    assert argo.is_at_rest(found(argo, "2"))
    assert not argo.is_at_rest(found(argo, "2", replicas=3))
    assert not argo.is_at_rest(found(argo, "2", phase="Paused"))


def test_its_series_of_many_resources_are_one_counter(argo):
    told = {
        'rollout_events_total{name="a",reason="RolloutUpdated"}': 3.0,
        'rollout_events_total{name="b",reason="RolloutUpdated"}': 4.0,
        'rollout_reconcile_count{name="a"}': 9.0,
        'rollout_reconcile_bucket{name="a",le="1"}': 9.0,
        "go_goroutines": 80.0,
    }
    assert argo.counters(told) == {"rollout_events_total": 7, "rollout_reconcile_count": 9}


def test_an_event_that_did_not_arrive_is_lost(argo):
    grown = {"rollout_events_total": 10.0, "rollout_reconcile_count": 4.0, "analysis_run_reconcile_count": 1.0}
    assert argo.tally(grown, events_arrived=3) == {PASSES: 5, EVENTS_EMITTED: 10, EVENTS_LOST: 7}


def ended(folder: Path, identity: str, *lines: str) -> OperatorProcess:
    """A process that has said these lines and ended."""
    launch = Launch((sys.executable, "-c", f"print(*{lines!r}, sep='\\n')"), {}, "http://127.0.0.1:9/", "")
    process = OperatorProcess(identity, launch, folder)
    process.process.wait(30)
    return process


def test_its_name_and_its_start_are_told_by_its_log(argo, tmp_path: Path):
    named = 'time="2026-01-01" level=info msg="Leaderelection get id host_1234-abcd"'
    standby = ended(tmp_path, "argo-1", named)
    leader = ended(tmp_path, "argo-2", named, 'time="2026-01-01" level=info msg="Started controller"')
    assert argo.holder(standby) == argo.holder(leader) == "host_1234-abcd"
    assert argo.holder(ended(tmp_path, "argo-3")) is None
    assert argo.leads(leader)
    assert not argo.leads(standby)


def test_limits_are_told_as_they_are_written():
    assert str(Limits.parse("40/80")) == "40/80"
    for wrong in ("40", "0/80", "a/b"):
        with pytest.raises(ValueError):  # noqa: PT011 - argparse tells the text, whatever the message says
            Limits.parse(wrong)


def test_the_release_is_installed_without_what_runs_it():
    release = "\n---\n".join(
        f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}"
        for kind in ("ServiceAccount", "Service", "Deployment", "ClusterRole")
    )
    kept = without_workload(release)
    assert "ServiceAccount" in kept
    assert "ClusterRole" in kept
    assert "kind: Service\n" not in kept
    assert "Deployment" not in kept


def test_the_module_is_pinned():
    assert argo_program.MODULE.version == "v1.10.2"
    assert any("utils/version.version=1.10.2" in flag for flag in argo_program.MODULE.build_flags)
