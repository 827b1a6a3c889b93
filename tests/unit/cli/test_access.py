"""What the plugin says where the API server refuses, and which cluster and namespace it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serinus.cli.access import Where, in_words
from serinus.cli.app import app
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.kube.refusals import refusal


def said(http_status: int, message: str, reason: str = "Forbidden") -> str:
    answer = {"kind": "Status", "status": "Failure", "reason": reason, "message": message}
    return in_words(refusal("read ModelDeployment team/iris", http_status, json.dumps(answer).encode()))


FORBIDDEN = (
    'modeldeployments.serinus.dev "iris" is forbidden: User "jane" cannot {verb} resource "modeldeployments" in API '
    'group "serinus.dev" in the namespace "team"'
)


@pytest.mark.parametrize(
    ("verb", "role"), [("get", "serinus-view"), ("list", "serinus-view"), ("patch", "serinus-operate")]
)
def test_a_missing_right_comes_with_the_role_that_has_it(verb: str, role: str):
    told = said(403, FORBIDDEN.format(verb=verb))
    assert f'User "jane" cannot {verb} resource "modeldeployments"' in told
    assert f"the cluster role {role} has it" in told
    assert "waits for" not in told, "what the operator would do is not the user's concern"


def test_a_command_without_a_cluster_takes_the_namespace_of_the_context_where_there_is_one(
    tmp_path: Path,
):
    file = Path(__file__).parents[3] / "examples" / "minimal.yaml"
    where = os.environ | {"KUBECONFIG": str(tmp_path / "config")}

    def namespaces(*words: str) -> set[str]:
        script = Path(sys.executable).with_name("kubectl-serinus")
        made = subprocess.run([script, "render", "-f", file, *words], env=where, check=True, capture_output=True)
        return {each["metadata"]["namespace"] for each in yaml.safe_load_all(made.stdout)}

    assert namespaces() == {"default"}
    context = {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}
    named = {"clusters": [{"name": "c", "cluster": {}}], "users": [{"name": "u", "user": {}}], "contexts": [context]}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "here", **named}
    (tmp_path / "config").write_text(json.dumps(config))
    assert namespaces() == {"team-a"}
    assert namespaces("--namespace", "team-b") == {"team-b"}


def test_a_missing_approval_right_comes_with_its_role():
    told = said(
        403, "the annotation serinus.dev/approve needs the verb approve on modeldeployments, which jane does not have"
    )
    assert "ask for the role serinus-approve" in told


def test_other_refusals_say_what_to_look_at():
    assert "kubectl get crd modeldeployments.serinus.dev" in said(404, "the server could not find it", "NotFound")
    assert "log in again" in said(401, "Unauthorized", "Unauthorized")


def test_a_cluster_that_is_not_there_is_told_without_a_trace(tmp_path: Path):
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
        "current-context": "x",
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(kubeconfig))
    assert Where(str(path)).named_namespace == "team-a"
    assert Where(str(path), namespace="team-b").named_namespace == "team-b"
    result = CliRunner().invoke(app, ["status", "iris", "--kubeconfig", str(path)])
    assert isinstance(result.exception, CommandFailed)
    assert "read ModelDeployment team-a/iris: no answer" in str(result.exception)
    late = CliRunner().invoke(app, ["status", "iris", "--wait", "--timeout", "0s", "--kubeconfig", str(path)])
    assert isinstance(late.exception, CommandFailed)
    assert late.exception.code is ExitCode.TIMED_OUT


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path):
    result = CliRunner().invoke(app, ["list", "--kubeconfig", str(tmp_path / "none")])
    assert isinstance(result.exception, CommandFailed)
    assert str(tmp_path / "none") in str(result.exception)
