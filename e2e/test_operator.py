"""What the operator says of itself after all rollouts of the modules before this one."""

from __future__ import annotations

import re

import pytest

from e2e import operator_pods
from e2e.stage import OPERATOR_NAMESPACE, Stage


def scraped(stage: Stage, pod: str) -> dict[str, float]:
    """A pod's own metrics: value by series."""
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy/metrics"
    lines = stage.kubectl.run("get", f"--raw={path}").splitlines()
    pairs = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
    return {series: float(value) for series, _, value in pairs}


def test_one_leads_one_stands_by_and_neither_had_to_be_started_again(stage: Stage) -> None:
    pods = operator_pods.pods(stage)
    assert len(pods) == 2
    assert operator_pods.leader(stage) in {pod["metadata"]["name"] for pod in pods}
    for pod in pods:
        (container,) = pod["status"]["containerStatuses"]
        assert container["ready"], container
        assert container["restartCount"] == 0, container


@pytest.mark.usefixtures("story")
def test_its_metrics_tell_of_decisions_and_writes_and_of_no_crash_and_no_refused_write(stage: Stage) -> None:
    leader = operator_pods.leader(stage)
    metrics = {name: scraped(stage, name) for name in operator_pods.names(stage)}
    for name, series in metrics.items():
        crashes = {key: value for key, value in series.items() if key.startswith("serinus_crashes_total{") and value}
        refused = {key: value for key, value in series.items() if re.match(r"serinus_writes_total.*Rejected", key)}
        assert not crashes, name
        assert not refused, name
    assert metrics[leader]['serinus_happenings_total{happening="Promoted"}'] >= 1
    assert metrics[leader]['serinus_happenings_total{happening="RolledBack"}'] >= 1
    standby = (set(metrics) - {leader}).pop()
    assert not [key for key in metrics[standby] if key.startswith("serinus_writes_total{")], "a standby wrote"
