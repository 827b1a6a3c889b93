"""What is shipped for Argo CD, on a real API server: into its ConfigMap, and the patches that its actions send."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.gitops.argo_cd import DATA, patch_of
from tests.integration.conftest import Kubectl
from tests.unit.api.bad_specs import IMAGE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gitops.md").read_text()


def test_the_entries_are_added_as_the_page_says_and_the_others_are_left(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "configmap", "argocd-cm", "-n", namespace, "--from-literal=url=https://argocd.example.com")
    told = re.search(r"^kubectl (apply --server-side .*argocd-cm.yaml)$", PAGE, re.MULTILINE)
    assert told is not None
    command = told[1].replace("--namespace argocd", f"--namespace {namespace}")
    command = command.replace("deploy/argocd", str(ROOT / "deploy" / "argocd"))
    for _ in range(2):
        applied = kubectl(*shlex.split(command))
        assert applied.returncode == 0, applied.stderr
    found = json.loads(kubectl("get", "configmap", "argocd-cm", "-n", namespace, "-o", "json").stdout)["data"]
    assert found == {"url": "https://argocd.example.com", **DATA}


@pytest.mark.usefixtures("crd")
def test_a_pause_and_a_resume_change_an_annotation_and_nothing_else(kubectl: Kubectl, namespace: str) -> None:
    spec = {"serving": {"image": IMAGE, "volumes": [{"name": "tmp", "emptyDir": {}}]}}
    manifest = {
        "apiVersion": "serinus.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "iris"},
        "spec": spec,
    }
    created = kubectl("create", "-n", namespace, "-o", "json", "-f", "-", stdin=json.dumps(manifest))
    before = json.loads(created.stdout)
    now = before
    for action, left in (("pause", {"serinus.dev/pause": "true"}), ("resume", {})):
        patch = json.dumps(patch_of(now, action))
        sent = kubectl("patch", "mdep", "iris", "-n", namespace, "--type=merge", "-p", patch, "-o", "json")
        assert sent.returncode == 0, sent.stderr
        now = json.loads(sent.stdout)
        assert now["metadata"].get("annotations", {}) == left
        assert (now["spec"], now["status"]) == (before["spec"], before["status"])
        assert now["metadata"]["generation"] == 1
