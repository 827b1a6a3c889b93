"""The plugin and the operator together: what people ask for is answered, and what is shown is what there is."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.integration.operator.operator_process import Cluster, eventually
from tests.integration.operator.test_operator_resources import deployed, model_deployment, revision_of
from tests.integration.test_plugin import Plugin

STEPS = {"rollout": {"blueGreen": {"holdSeconds": 3600}}}


def test_an_abort_is_taken_up_and_seen_in_status_and_history(cluster: Cluster, served: str, name: str) -> None:
    plugin = Plugin(Path(cluster.plane.kubeconfig), served)
    old = deployed(cluster, served, name, **STEPS)
    assert f"{served}/{name}  Serving" in plugin("status", name, "--wait").stdout
    assert "nothing to do" in plugin("promote", name).stdout
    cluster.apply(model_deployment(name, "registry.example.com/iris:2.0.0", **STEPS), namespace=served)
    new = eventually(lambda: {revision_of(cluster, served, name)} - {old, ""}).pop()

    shown = json.loads(plugin("status", name, "-o", "json").stdout)
    assert {(line["role"], line["revision"]) for line in shown["revisions"]} == {("candidate", new), ("stable", old)}
    assert "+    image: registry.example.com/iris:2.0.0" in plugin("diff", name).stdout
    said = plugin("abort", name).stdout
    assert "the operator has taken it up" in said

    plugin("status", name, "--wait", "--timeout", "60s", code=3)
    (decision,) = [
        each
        for each in map(json.loads, plugin("history", name, "--audit").stdout.splitlines())
        if each["event"] == "RolledBack"
    ]
    assert (decision["by"], decision["fieldManager"], decision["revision"]) == ("person", "serinus-plugin", new)
    assert "the operator has taken it up" in plugin("retry", name).stdout


def test_a_rendered_file_is_what_the_operator_makes(cluster: Cluster, served: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "iris.yaml"
    file.write_text(yaml.safe_dump(model_deployment(name)))
    plugin = Plugin(Path(cluster.plane.kubeconfig), served)
    deployed(cluster, served, name)

    for made in yaml.safe_load_all(plugin("render", "-f", str(file)).stdout):
        real = cluster.get(made["kind"], made["metadata"]["name"], served)
        assert real is not None
        assert made["metadata"]["labels"].items() <= real["metadata"]["labels"].items()
        assert made.get("data") == real.get("data")
        if made["kind"] == "Service":
            assert made["spec"].items() <= {key: real["spec"][key] for key in made["spec"]}.items()
