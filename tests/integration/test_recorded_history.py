"""`kubectl serinus simulate` and `estimate` over what a real Prometheus has recorded of the stable revision.

An exporter tells half an hour of the past, a quarter of a minute with each scrape, with time stamps of its own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.controlplane import ControlPlane
from serinus.api.deployment import ModelDeployment
from serinus.cli.simulate import measured
from serinus.core.readings import Grid, SliceCounts
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import request_for
from tests.integration.conftest import Kubectl
from tests.integration.prometheus_process import PATIENCE_SECONDS, Prometheus
from tests.integration.scraped_pods import Exporter
from tests.integration.test_plugin import Plugin

CONFIG = """
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
storage: {{tsdb: {{out_of_order_time_window: 1d}}}}
scrape_configs:
- job_name: kubernetes-pods
  static_configs: [{{targets: ["{address}"], labels: {{namespace: "{namespace}", pod: "iris-{stable}-x"}}}}]
"""
STABLE = "5c1e0a9b77"
EVERY_SECONDS = 15.0
INSTANTS = 121
PER_INSTANT = {"DE": 300, "FR": 90}
BAD_EVERY = 500
SPEC: dict[str, Any] = {
    "serving": {"image": "registry.example.com/iris:2"},
    "traffic": {"gateway": {"parentRefs": [{"name": "public"}]}},
    "rollout": {"canary": {"steps": [{"name": "half", "weightPercent": 50, "holdSeconds": 120}]}},
    "analysis": {
        "metrics": [
            {"name": "errors", "errors": {"codes": ["5.."]}, "limit": {"maxPercent": "1"}},
            {
                "name": "nulls",
                "ratio": {"bad": "nulls_total{%pods%}", "total": "predictions_total{%pods%}"},
                "limit": {"maxPercent": "1"},
                "perSlice": "country",
            },
        ]
    },
}


class Past:
    """Half an hour of a pod: at each instant, what its counters stood at. Every scrape is told the next instant."""

    def __init__(self) -> None:
        self.end = time.time() - 2.0
        self.told = 0
        self.exporter = Exporter(self._next)
        self.address = self.exporter.address

    def _next(self) -> str:
        instant, self.told = min(self.told, INSTANTS - 1), self.told + 1
        return self.exposition(instant)

    def exposition(self, instant: int) -> str:
        at = int(1000 * (self.end - (INSTANTS - 1 - instant) * EVERY_SECONDS))
        rows = []
        whole = instant * sum(PER_INSTANT.values())
        for code, count in (("200", whole - whole // BAD_EVERY), ("500", whole // BAD_EVERY)):
            rows.append(f'bentoml_service_request_total{{endpoint="/read",http_response_code="{code}"}} {count} {at}')
        for country, each in PER_INSTANT.items():
            total = instant * each
            rows.append(f'predictions_total{{country="{country}"}} {total} {at}')
            rows.append(f'nulls_total{{country="{country}"}} {total // BAD_EVERY} {at}')
        return "\n".join([*rows, ""])

    def stop(self) -> None:
        self.exporter.stop()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Past]]:
    """A Prometheus that has scraped all of the past, in the namespace `models`."""
    past = Past()
    config = CONFIG.format(address=past.address, namespace="models", stable=STABLE)
    prometheus = Prometheus(tmp_path_factory.mktemp("recorded"), config)
    try:
        deadline = time.monotonic() + 2 * PATIENCE_SECONDS
        while past.told <= INSTANTS:
            assert time.monotonic() < deadline, f"Prometheus has scraped {past.told} times"
            time.sleep(0.1)
        yield prometheus, past
    finally:
        prometheus.kill()
        past.stop()
        shutil.rmtree(prometheus.directory / "data", ignore_errors=True)


def deployment() -> ModelDeployment:
    return ModelDeployment.parse({"metadata": {"name": "iris", "namespace": "models", "uid": "1"}, "spec": SPEC})


async def test_what_prometheus_has_recorded_becomes_the_history(recorded: tuple[Prometheus, Past]) -> None:
    prometheus, past = recorded
    source = PrometheusSource(prometheus.url)
    try:
        found = await measured(source, deployment(), STABLE, hours=0.5, end=past.end)
    finally:
        await source.close()
    served = (INSTANTS - 1) * sum(PER_INSTANT.values())
    assert (found.interval_seconds, found.length) == (60.0, 30)
    assert found.of("errors").total == pytest.approx(served, abs=4 * sum(PER_INSTANT.values()))
    assert found.of("errors").bad == pytest.approx(served / BAD_EVERY, abs=5)
    assert found.of("nulls").total == pytest.approx(served, abs=4 * sum(PER_INSTANT.values()))
    shares = found.of_slices("nulls")
    assert shares.keys() == PER_INSTANT.keys()
    assert shares["FR"] / shares["DE"] == pytest.approx(0.3, rel=0.05)


async def test_the_values_of_a_label_are_surveyed(recorded: tuple[Prometheus, Past]) -> None:
    prometheus, past = recorded
    _, nulls = deployment().spec.analysis.metrics or ()
    grid = Grid(past.end - 1500.0, 1500.0)
    source = PrometheusSource(prometheus.url)
    try:
        question = request_for(nulls, namespace="models", pod_prefix=f"iris-{STABLE}", grid=grid, end=past.end)
        found = await source.slices(question, most=20)
        largest = await source.slices(question, most=1)
    finally:
        await source.close()
    assert isinstance(found, SliceCounts)
    assert found.by_value == pytest.approx({"DE": 30_000.0, "FR": 9_000.0}, rel=0.05)
    assert found.total == pytest.approx(39_000.0, rel=0.05)
    assert isinstance(largest, SliceCounts)
    assert largest.by_value.keys() == {"DE"}
    assert largest.total == pytest.approx(found.total)


@pytest.fixture
def iris(kubectl: Kubectl, crd: str, tmp_path: Path) -> Path:
    """A ModelDeployment in the namespace that was scraped, which has a stable revision; its file."""
    assert crd
    kubectl("create", "namespace", "models")
    manifest = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "iris"}}
    file = tmp_path / "iris.yaml"
    file.write_text(yaml.safe_dump(manifest | {"spec": SPEC}))
    applied = kubectl("apply", "--server-side", "--force-conflicts", "--namespace=models", "-f", str(file))
    assert applied.returncode == 0, applied.stderr
    status = json.dumps({"status": {"stable": {"revision": STABLE}}})
    patched = kubectl(
        *("patch", "modeldeployment", "iris", "--namespace=models"),
        *("--subresource=status", "--type=merge", f"--patch={status}"),
    )
    assert patched.returncode == 0, patched.stderr
    return file


def test_the_plugin_replays_a_policy_over_what_prometheus_has(
    plane: ControlPlane, recorded: tuple[Prometheus, Past], iris: Path
) -> None:
    prometheus, _ = recorded
    plugin = Plugin(plane.kubeconfig, "models")
    words = ("-f", str(iris), "--prometheus", prometheus.url)
    told = json.loads(plugin("simulate", *words, "--hours", "0.5", "--rollouts", "4", "-o", "json").stdout)
    assert told["intervalSeconds"] == 60
    names = [each["candidate"] for each in told["candidates"]]
    assert names[0] == "as stable"
    assert "nulls: 5 × limit where country is FR (5 %)" in names
    assert told["candidates"][0]["wrong"] == 0
    (estimated,) = json.loads(plugin("estimate", *words, "-o", "json").stdout)
    assert estimated["source"] == f"the last hour of revision {STABLE}, from Prometheus"
    (half,) = estimated["steps"]
    forecasts = {(each["name"], each.get("slice", "")) for each in half["metrics"]}
    assert forecasts == {("errors", ""), ("nulls", ""), ("nulls", "country=FR")}
