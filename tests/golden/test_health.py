"""What GitOps tools see of typical rollouts, second by second, compared with the files in `health/`.

Each line is what Argo CD calls the resource, what kstatus calls it, and the actions that Argo CD's menu has then. In
every moment Argo CD, Flux and the plugin have to agree. `UPDATE_GOLDEN=1` rewrites the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serinus.api.status import ModelDeploymentStatus
from serinus.cli.asking import Ask, Verb, ask, new_token, pause, resume
from serinus.cli.report import situation_of
from serinus.cli.state import State, state_of
from tests.gitops.argo_cd import SCRIPTS, ScriptError, enabled, health, patch_of
from tests.gitops.kstatus import Kstatus, kstatus
from tests.golden.stories import STORIES, Look, played

FOLDER = Path(__file__).parent / "health"
THE_SAME = {
    "Healthy": {(State.SERVING, Kstatus.CURRENT)},
    "Progressing": {(State.PROGRESSING, Kstatus.IN_PROGRESS), (State.UNSEEN, Kstatus.IN_PROGRESS)},
    "Suspended": {(State.NEEDS_A_PERSON, Kstatus.IN_PROGRESS)},
    "Degraded": {(State.FAILED, Kstatus.FAILED)},
}
"""What Argo CD says, with what the plugin and kstatus say."""


def offered_by_the_plugin(look: Look) -> dict[str, str | None]:
    """The actions that mean something now, with the revision and the step that each names."""
    s = situation_of(look.resource, look.objects, look.pods, look.at)
    asked = {verb.value: ask(s, verb, new_token(look.at)) for verb in Verb if verb is not Verb.RETURN_TO}
    asked |= {"pause": pause(s), "resume": resume(s)}
    return {name: what.value and what.value.split("#")[0] for name, what in asked.items() if isinstance(what, Ask)}


def offered_by_argo_cd(resource: dict[str, Any]) -> dict[str, str | None]:
    """The same, by carrying each of them out."""
    offered: dict[str, str | None] = {}
    for name in enabled(resource):
        patch = patch_of(resource, name)
        annotations = patch["metadata"]["annotations"]
        key = "pause" if name == "resume" else name
        assert patch == {"metadata": {"annotations": annotations}}, "nothing else is changed"
        assert set(annotations) == {f"serinus.dev/{key}"}
        value = annotations[f"serinus.dev/{key}"]
        offered[name] = value and value.split("#")[0]
    return offered


def shown(look: Look) -> str:
    """What the tools make of it, which has to be the same."""
    resource = look.resource
    status, _ = health(resource)
    state = state_of(resource, ModelDeploymentStatus.model_validate(resource.get("status", {})))
    assert (state, kstatus(resource)) in THE_SAME[status], f"{look.clock} {resource}"
    offered = offered_by_argo_cd(resource)
    assert offered == offered_by_the_plugin(look), f"{look.clock} {resource}"
    for name in set(SCRIPTS) - set(offered) - {"pause", "resume"}:
        with pytest.raises(ScriptError, match=f"^{name} would do nothing: "):
            patch_of(resource, name)
    return f"{status:<12} {kstatus(resource):<11} {', '.join(sorted(offered))}"


def lines(looks: Iterable[Look]) -> Iterator[str]:
    version = before = ""
    for look in looks:
        if look.happened is not None:
            yield f"{look.clock}  # {look.happened}\n"
        elif look.resource["metadata"]["resourceVersion"] != version:
            version, now = look.resource["metadata"]["resourceVersion"], shown(look)
            if now != before:
                yield f"{look.clock}    {now}\n"
            before = now


@pytest.mark.parametrize("name", STORIES)
def test_a_story_looks_as_recorded_and_alike_to_argo_cd_to_kstatus_and_to_the_plugin(name: str) -> None:
    told = "".join(lines(played(name).looks))
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(told)

    assert told == golden.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


def test_every_recorded_view_is_of_a_story() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(STORIES)
