"""What GitOps tools see of typical rollouts, second by second, compared with the files in `health/`.

Each line is what Argo CD calls the resource, what kstatus calls it, and the actions that Argo CD's menu has then. In
every moment Argo CD, Flux and the plugin have to agree. `UPDATE_GOLDEN=1` rewrites the files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from serinus.api.kinds import CONTROLLER_REVISION, REPLICA_SET
from serinus.api.status import ModelDeploymentStatus
from serinus.cli.asking import Ask, Verb, ask, new_token, pause, resume
from serinus.cli.report import situation_of
from serinus.cli.state import State, state_of
from tests.gitops.argo_cd import SCRIPTS, ScriptError, enabled, health, patch_of
from tests.gitops.kstatus import Kstatus, kstatus
from tests.gitops.stored import stored
from tests.golden.test_decisions import STORIES, Recorded
from tests.world.world import World

FOLDER = Path(__file__).parent / "health"
THE_SAME = {
    "Healthy": {(State.SERVING, Kstatus.CURRENT)},
    "Progressing": {(State.PROGRESSING, Kstatus.IN_PROGRESS), (State.UNSEEN, Kstatus.IN_PROGRESS)},
    "Suspended": {(State.NEEDS_A_PERSON, Kstatus.IN_PROGRESS)},
    "Degraded": {(State.FAILED, Kstatus.FAILED)},
}
"""What Argo CD says, with what the plugin and kstatus say."""


def offered_by_the_plugin(world: World, resource: dict[str, Any]) -> dict[str, str | None]:
    """The actions that mean something now, with the revision and the step that each names."""
    objects = [each for kind in (REPLICA_SET, CONTROLLER_REVISION) for each in world.api.of(kind.kind)]
    s = situation_of(resource, objects, world.api.of("Pod"), world.now)
    asked = {verb.value: ask(s, verb, new_token(world.now)) for verb in Verb if verb is not Verb.RETURN_TO}
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


class Seen(Recorded):
    """A world that writes down what GitOps tools see of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.version, self.shown = "", ""

    async def _second(self) -> None:
        await World._second(self)  # what is decided is recorded elsewhere
        resource = stored(self)
        if resource["metadata"]["resourceVersion"] == self.version:
            return
        self.version = resource["metadata"]["resourceVersion"]
        shown = self.seen(resource)
        if shown != self.shown:
            self.lines.append(f"{self._clock()}    {shown}")
        self.shown = shown

    def seen(self, resource: dict[str, Any]) -> str:
        status, _ = health(resource)
        state = state_of(resource, ModelDeploymentStatus.model_validate(resource.get("status", {})))
        assert (state, kstatus(resource)) in THE_SAME[status], self.describe()
        offered = offered_by_argo_cd(resource)
        assert offered == offered_by_the_plugin(self, resource), self.describe()
        for name in set(SCRIPTS) - set(offered) - {"pause", "resume"}:
            with pytest.raises(ScriptError, match=f"^{name} would do nothing: "):
                patch_of(resource, name)
        return f"{status:<12} {kstatus(resource):<11} {', '.join(sorted(offered))}"


@pytest.mark.parametrize("name", STORIES)
def test_a_story_looks_as_recorded_and_alike_to_argo_cd_to_kstatus_and_to_the_plugin(name: str) -> None:
    world = Seen()
    for happened in STORIES[name](world):
        world.write(happened)
    told = "\n".join(world.lines) + "\n"
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(told)

    assert told == golden.read_text(), f"if this is meant: UPDATE_GOLDEN=1 pytest {Path(__file__).name}"


def test_every_recorded_view_is_of_a_story() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(STORIES)
