"""What is shipped for Argo CD is made of its Lua files, keeps to what Argo CD opens, and is told as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy.argocd import render
from serinus.api.kinds import GROUP, MODEL_DEPLOYMENT
from serinus.cli.access import FIELD_MANAGER
from serinus.cli.asking import Verb
from tests.gitops import argo_cd

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gitops.md").read_text()
LUA = {path.relative_to(render.SCRIPTS).as_posix(): path.read_text() for path in render.SCRIPTS.rglob("*.lua")}


def test_the_committed_file_is_made_of_the_lua_files() -> None:
    assert render.FILE.read_text() == render.rendered(), "run `make generate`"


def test_every_lua_file_is_shipped() -> None:
    shipped = {"health.lua": argo_cd.HEALTH, "actions/discovery.lua": argo_cd.ACTIONS["discovery.lua"]}
    shipped |= {f"actions/{name}/action.lua": script for name, script in argo_cd.SCRIPTS.items()}
    assert shipped == LUA


def test_argo_cd_finds_it_by_the_kind_and_keeps_its_other_entries() -> None:
    found = yaml.safe_load(render.FILE.read_text())
    assert (found["kind"], found["metadata"]["name"]) == ("ConfigMap", "argocd-cm")
    assert "namespace" not in found["metadata"], "Argo CD may be installed in any"
    kind = f"{GROUP}_{MODEL_DEPLOYMENT.kind}"
    assert set(found["data"]) == {f"resource.customizations.{part}.{kind}" for part in ("health", "actions")}


def test_there_is_an_action_for_all_that_a_person_may_decide_under_gitops() -> None:
    """To return to another revision than the spec's is left to Git, and to the plugin."""
    assert set(argo_cd.SCRIPTS) == {verb.value for verb in Verb} - {Verb.RETURN_TO.value} | {"pause", "resume"}


def test_the_machine_of_the_tests_has_what_argo_cd_opens_and_no_more() -> None:
    found = argo_cd.run("local names = {} for name in pairs(_G) do table.insert(names, name) end return names", {})
    assert {"string", "math", "io", "os", "debug", "coroutine"} & set(found) == set()
    assert argo_cd.run('return {type(require("os").time), type(require("os").getenv)}', {}) == ["function", "nil"]
    with pytest.raises(argo_cd.ScriptError):
        argo_cd.run('return {("a"):upper()}', {})


@pytest.mark.parametrize("name", sorted(LUA))
def test_a_script_asks_for_dates_in_letters_that_argo_cds_machine_knows(name: str) -> None:
    formats = re.findall(r'os\.date\("([^"]*)"', LUA[name])
    assert {letter for each in formats for letter in re.findall(r"%(.)", each)} <= argo_cd.DATE_LETTERS


def test_the_page_names_every_health_and_action_as_they_are() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == {
        *("Healthy", "Progressing", "Suspended", "Degraded"),
        *("Current", "InProgress", "Failed"),
    }
    menu = re.search(r"offers what makes sense.*?They set", PAGE, re.DOTALL)
    assert menu is not None
    assert set(re.findall(r"`([a-z-]+)`", menu[0])) == set(argo_cd.SCRIPTS)
    assert set(re.findall(rf"action/{GROUP}/{MODEL_DEPLOYMENT.kind}/([a-z-]+)", PAGE)) <= set(argo_cd.SCRIPTS)


def test_every_manifest_of_the_page_can_be_read() -> None:
    manifests = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert [each["kind"] for each in manifests] == ["Kustomization", "Application", "Kustomization"]


def test_what_the_plugin_writes_is_not_taken_for_an_edit_by_kubectl_that_flux_undoes() -> None:
    """Its kustomize-controller removes what was written by managers whose names begin so, before it applies."""
    assert not FIELD_MANAGER.startswith(("kubectl", "before-first-apply", "kustomize-controller"))
