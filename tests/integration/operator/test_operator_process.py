"""The operator as a process: start, end, fail-over, outages, and a cluster that is not prepared for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pstats
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.controlplane import control_plane
from tests.integration.established import wait_until_established
from tests.integration.operator.operator_process import (
    BUSY_SECONDS,
    FAILOVER_SECONDS,
    ROOT,
    Cluster,
    OperatorProcess,
    eventually,
    free_port,
    lease_name,
)
from tests.integration.operator.test_operator_resources import (
    children,
    deployed,
    model_deployment,
    named,
    revision_of,
)
from tests.integration.second_api_server import SecondApiServer

PATIENT = {"LEASE_DURATION_SECONDS": "120", "LEASE_RENEW_DEADLINE_SECONDS": "60"}
"""A lease that does not run out within a test."""
EVERYTHING = "modeldeployments,controllerrevisions,replicasets,services,events.events.k8s.io"
StartOperator = Callable[..., OperatorProcess]


def versions(cluster: Cluster, namespace: str) -> dict[tuple[str, str], str]:
    """Resource versions of all that an operator could have written."""
    return {
        (each["kind"], each["metadata"]["name"]): each["metadata"]["resourceVersion"]
        for each in cluster.list(EVERYTHING, namespace)
    }


def settled(cluster: Cluster, namespace: str) -> dict[tuple[str, str], str]:
    """The versions, once the controllers, which may lag behind, have left them alone for a while."""

    def unchanged() -> dict[tuple[str, str], str] | None:
        before = versions(cluster, namespace)
        time.sleep(1)
        return before if versions(cluster, namespace) == before else None

    return eventually(unchanged, doing="the controllers are done") or {}


def lease_holder(cluster: Cluster, namespace: str) -> str:
    lease = cluster.get("lease", lease_name(namespace), namespace) or {}
    return str(lease.get("spec", {}).get("holderIdentity", ""))


def test_idle_resource_costs_no_write_neither_while_it_runs_nor_after_a_new_start(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    operator = operators().start().until_leading()
    deployed(cluster, team, "iris", rollout={"watchSeconds": 0, "scaleDownDelaySeconds": 0})
    operator.until_quiet()
    passes = operator.metric("serinus_pass_seconds_count")
    assert operator.end(signal.SIGTERM)[0] == 0
    before = settled(cluster, team)

    operator.start().until_leading()
    eventually(lambda: operator.metric("serinus_pass_seconds_count") >= 1)
    operator.until_quiet()
    assert operator.metric("serinus_writes_total") == 0
    assert versions(cluster, team) == before
    assert passes < 40, "one resource, one deployment"
    assert operator.forbidden() == [], "the chart's rights suffice"


def test_its_own_metrics_tell_of_passes_requests_watches_and_leadership_and_name_no_user(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    operator = operators(IDENTITY="one").start().until_leading()
    deployed(cluster, team, "iris")
    operator.until_quiet()
    outcomes = {each: operator.metric("serinus_pass_seconds_count", outcome=each) for each in ("Moved", "Realised")}
    assert min(outcomes.values()) >= 1, outcomes
    requests = "serinus_api_requests_total"
    assert operator.metric(requests, verb="create", resource="replicasets", code="201") == 1
    assert operator.metric(requests, verb="update", resource="modeldeployments/status", code="200") >= 2
    assert operator.metric(requests, verb="watch", resource="modeldeployments", code="200") >= 1, "kopf's watch"
    assert operator.metric(requests, verb="list", resource="pods", code="200") == 2, "of revisions, and of preflights"
    assert operator.metric("serinus_api_request_duration_seconds_count", verb="watch") >= 7
    assert operator.metric("serinus_cached_objects", resource="modeldeployments") == 1
    assert operator.metric("serinus_cached_objects", resource="replicasets") == 1
    assert operator.metric("serinus_watch_silence_seconds", resource="replicasets") < 100
    assert operator.metric("serinus_lease_changes_total", change="Gained") == 1
    assert 0 < operator.metric("serinus_lease_renewal_age_seconds") < 4
    assert operator.metric("serinus_queue_oldest_seconds") == 0
    assert operator.metric("serinus_build_info", identity="one") == 1
    text = operator.get("/metrics")[1]
    assert team not in text
    assert "iris" not in text


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Address (IPv4, in hexadecimal as the kernel writes it) and port of what a process listens on."""
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    own: set[str] = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    pairs = [row[1].split(":") for row in rows if row[3] == "0A" and row[9] in own]
    return {(address, int(port, 16)) for address, port in pairs}


def test_profile_of_the_process_that_works_is_to_be_had_on_loopback_and_only_where_it_is_switched_on(
    cluster: Cluster, team: str, operators: StartOperator, tmp_path: Path
) -> None:
    port = free_port()
    operator = operators(PROFILE_PORT=str(port)).start().until_leading()
    assert ("0100007F", port) in listening_addresses(operator.pid)
    assert operator.get("/debug/profile")[0] == 404, "not on the port that everybody reaches"
    file = tmp_path / "serinus.pstats"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(urllib.request.urlopen, f"http://127.0.0.1:{port}/debug/profile?seconds=5", timeout=60)
        cluster.apply(model_deployment("iris"), namespace=team)
        eventually(lambda: children(cluster, team, "iris"), doing="it works on while it is profiled")
        assert operator.get("/healthz") == (200, "ok\n")
        file.write_bytes(asking.result().read())
    functions = pstats.Stats(str(file)).get_stats_profile().func_profiles
    assert {"pass_over", "decide", "carry_out"} <= set(functions)
    heap = urllib.request.urlopen(f"http://127.0.0.1:{port}/debug/heap?seconds=1", timeout=60).read().decode()
    assert "are held at its end, by line:" in heap

    operator.end(signal.SIGTERM)
    plain = operators().start().until_leading()
    assert len(listening_addresses(plain.pid)) == 1, "probes and metrics, and nothing else"


def test_sigterm_ends_the_process_in_time_and_gives_the_lease_back(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    operator = operators(**PATIENT).start().until_leading()
    deployed(cluster, team, "iris")
    assert lease_holder(cluster, team) != ""
    code, seconds = operator.end(signal.SIGTERM)
    assert code == 0
    assert seconds < 3 + BUSY_SECONDS, "well within the 30 s that its pod is given"
    assert lease_holder(cluster, team) == ""
    assert operator.lines()[-1]["message"] == "stopped"
    assert not [line for line in operator.lines() if line["level"] in {"error", "critical"}]


def test_standby_takes_over_within_the_lease_when_the_leader_is_killed(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    leader, standby = operators(IDENTITY="first").start().until_leading(), operators(IDENTITY="second").start()
    eventually(lambda: standby.get("/readyz")[0] == 200, doing="the standby has warm caches")
    cluster.apply(model_deployment("iris"), namespace=team)
    revision = eventually(lambda: revision_of(cluster, team, "iris"))
    assert not standby.leads()
    assert standby.metric("serinus_writes_total") == 0

    leader.end(signal.SIGKILL)
    eventually(standby.leads, seconds=FAILOVER_SECONDS + BUSY_SECONDS, doing="the standby leads")
    assert lease_holder(cluster, team) == "second"
    cluster.kubectl("delete", "service", "iris", "-n", team)
    eventually(lambda: cluster.get("service", "iris", team), doing="the new leader puts the Service back")
    assert revision_of(cluster, team, "iris") == revision


def test_standby_takes_over_at_once_when_the_leader_ends_in_order(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    leader = operators(IDENTITY="first", **PATIENT).start().until_leading()
    standby = operators(IDENTITY="second", **PATIENT).start()
    eventually(lambda: standby.get("/readyz")[0] == 200)
    leader.end(signal.SIGTERM)
    eventually(standby.leads, seconds=60, doing="the standby leads before the lease could have run out")


def test_leader_whose_lease_is_taken_writes_no_more(cluster: Cluster, team: str, operators: StartOperator) -> None:
    operator = operators(IDENTITY="first").start().until_leading()
    deployed(cluster, team, "iris")
    operator.until_quiet()
    usurped = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600}}
    cluster.patch("lease", lease_name(team), team, usurped)
    eventually(lambda: not operator.leads())
    writes = operator.metric("serinus_writes_total")
    cluster.kubectl("delete", "service", "iris", "-n", team)
    until = time.monotonic() + 2  # a leader would have put it back within a moment
    while time.monotonic() < until:
        assert cluster.get("service", "iris", team) is None
        assert operator.metric("serinus_writes_total") == writes
    assert operator.get("/healthz")[0] == 200, "a standby is well"

    cluster.patch("lease", lease_name(team), team, {"spec": {"holderIdentity": ""}})
    eventually(lambda: cluster.get("service", "iris", team), doing="it leads again and works on everything")


def test_outage_of_the_api_server_is_survived_and_what_changed_meanwhile_is_done(
    cluster: Cluster, team: str, operators: StartOperator, tmp_path: Path
) -> None:
    server = SecondApiServer(cluster.plane, tmp_path / "kube-apiserver.log")
    try:
        asyncio.run(server.start())
        operator = operators(server=server.credentials.server).start().until_leading()
        deployed(cluster, team, "iris")
        deployed(cluster, team, "doomed")

        server.kill()
        eventually(lambda: not operator.leads(), doing="it notices that it can't renew the lease")
        cluster.kubectl("delete", "service", "iris", "-n", team)
        cluster.kubectl("delete", "modeldeployment", "doomed", "-n", team)
        cluster.apply(model_deployment("born"), namespace=team)
        pid = operator.pid
        asyncio.run(server.start())

        eventually(lambda: cluster.get("service", "iris", team), doing="the deleted Service is back")
        eventually(lambda: children(cluster, team, "born"), doing="the new resource has children")
        eventually(lambda: operator.metric("serinus_deployments") == 2, doing="the deleted one is forgotten")
        # A new API server knows no earlier versions, so the watch begins with a list, which does not name the deleted.
        assert operator.metric("serinus_watch_corrections_total") >= 1
        assert operator.pid == pid
        assert operator.get("/healthz") == (200, "ok\n")
        assert operator.metric("serinus_crashes_total") == 0
    finally:
        server.kill()


@pytest.mark.full
def test_watch_that_stays_silent_fails_the_liveness_probe(
    cluster: Cluster, team: str, operators: StartOperator, tmp_path: Path
) -> None:
    server = SecondApiServer(cluster.plane, tmp_path / "kube-apiserver.log")
    try:
        asyncio.run(server.start())
        operator = operators(server=server.credentials.server, WATCH_STALE_SECONDS="90").start().until_leading()
        server.kill()
        silent = "the watch of modeldeployments has been silent"
        eventually(lambda: silent in operator.get("/healthz")[1], seconds=200)
        assert operator.get("/healthz")[0] == 503
        asyncio.run(server.start())
        eventually(lambda: operator.get("/healthz")[0] == 200)
    finally:
        server.kill()


def test_log_is_one_json_object_a_line_with_a_line_for_each_decision(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    operator = operators().start().until_leading()
    revision = deployed(cluster, team, "iris")
    operator.end(signal.SIGTERM)
    decided = [line for line in operator.lines() if line["message"] == "decided"]
    assert {(line["namespace"], line["deployment"]) for line in decided} == {(team, "iris")}
    assert decided[0]["happening"] == "CandidateStarted"
    assert revision in decided[0]["because"]
    history = (cluster.get("modeldeployment", "iris", team) or {})["status"]["history"]
    assert {entry["event"] for entry in history} <= {line["happening"] for line in decided}


# A cluster that is not prepared -----------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[tuple[Cluster, OperatorProcess]]:
    """A control plane of the test's own, without the CRD, and an operator for all of its namespaces."""
    with control_plane(controller_manager=True) as plane:
        cluster = Cluster(plane, tmp_path / "kubectl-cache")
        cluster.kubectl("create", "namespace", "serinus-system")
        cluster.kubectl("create", "namespace", "team")
        kubeconfig = cluster.kubeconfig_for_operator("serinus-system", tmp_path / "kubeconfig", watch=())
        operator = OperatorProcess(kubeconfig, tmp_path / "operator.log", "serinus-system", LOG_FORMAT="json")
        try:
            yield cluster, operator
        finally:
            operator.close()


def crd(schema_version: str = "", *, anything_goes: bool = False) -> dict[str, Any]:
    """The CRD, as if of another version, or as if it let everything into the spec."""
    manifest: dict[str, Any] = yaml.safe_load((ROOT / "crds" / "serinus.dev_modeldeployments.yaml").read_text())
    if schema_version:
        manifest["metadata"]["annotations"]["serinus.dev/schema-version"] = schema_version
    if anything_goes:
        (version,) = manifest["spec"]["versions"]
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
        version["schema"]["openAPIV3Schema"].pop("x-kubernetes-validations", None)
        del version["subresources"]["scale"]
    return manifest


def said(operator: OperatorProcess, message: str) -> list[dict[str, Any]]:
    return [line for line in operator.lines() if line["message"] == message]


def test_operator_waits_for_a_crd_that_is_new_enough_and_survives_its_removal(
    bare: tuple[Cluster, OperatorProcess],
) -> None:
    cluster, operator = bare
    operator.start()
    eventually(lambda: said(operator, "the ModelDeployment CRD is not installed; waiting for it"))
    assert operator.get("/readyz") == (503, "the ModelDeployments are not listed yet\n")
    assert operator.get("/healthz")[0] == 200, "a restart would not help"

    cluster.apply(crd(schema_version="0"))
    eventually(lambda: operator.get("/readyz")[0] == 200)
    (line,) = eventually(lambda: said(operator, "standing by until the CRD is mended"))
    assert "upgrade the CRD" in line["because"]
    assert not operator.leads()

    cluster.apply(crd())
    operator.until_leading()
    deployed(cluster, "team", "iris")

    cluster.kubectl("delete", "crd", "modeldeployments.serinus.dev", "--timeout=50s")
    eventually(lambda: operator.metric("serinus_deployments") == 0)
    waiting = "the ModelDeployment CRD is not installed; waiting for it"
    eventually(lambda: len(said(operator, waiting)) == 2)
    cluster.apply(crd())
    wait_until_established(cluster.kubectl, "modeldeployments.serinus.dev")
    deployed(cluster, "team", "rose")
    assert operator.metric("serinus_crashes_total") == 0


def test_spec_that_got_past_the_api_server_stalls_its_resource_and_no_other(
    bare: tuple[Cluster, OperatorProcess],
) -> None:
    cluster, operator = bare
    cluster.apply(crd(anything_goes=True))
    wait_until_established(cluster.kubectl, "modeldeployments.serinus.dev")
    operator.start().until_leading()
    good = deployed(cluster, "team", "iris")
    before = named(children(cluster, "team", "iris"))
    broken = model_deployment("iris", scaling={"replicas": "many"}, rollout={"canary": {"steps": 7}})
    cluster.apply(broken, namespace="team")
    eventually(lambda: cluster.condition("iris", "team", "Stalled").get("reason") == "InvalidSpec")
    message = cluster.condition("iris", "team", "Stalled")["message"]
    assert "spec.scaling.replicas" in message
    assert "spec.rollout.canary.steps" in message
    assert named(children(cluster, "team", "iris")) == before, "the last good state stays"
    assert deployed(cluster, "team", "rose")

    cluster.kubectl("replace", "-n", "team", "-f", "-", stdin=json.dumps(model_deployment("iris")))
    eventually(lambda: cluster.condition("iris", "team", "Stalled").get("status") == "False")
    assert revision_of(cluster, "team", "iris") == good


# A process that can't even start -----------------------------------------------------------------------------------


def run_to_its_end(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SERINUS_", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "serinus"],
        cwd=ROOT / "operator",
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_settings_that_make_no_sense_are_all_named_and_end_the_process_with_2() -> None:
    ended = run_to_its_end(SERINUS_CONCURRENCY="many", SERINUS_HTTP_PORT="0")
    assert ended.returncode == 2
    assert "SERINUS_CONCURRENCY='many': write a whole number from 1 to 1000" in ended.stderr
    assert "SERINUS_HTTP_PORT='0'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_missing_credentials_are_explained_and_end_the_process_with_3(tmp_path: Path) -> None:
    ended = run_to_its_end(KUBECONFIG=str(tmp_path / "nothing"), HOME=str(tmp_path))
    assert ended.returncode == 3
    assert str(tmp_path / "nothing") in ended.stderr
    assert "Traceback" not in ended.stderr
