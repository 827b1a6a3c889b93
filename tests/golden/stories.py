"""Typical rollouts in the simulated world, each played once for all tests that hold what is seen of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serinus.api.kinds import CONTROLLER_REVISION, LABEL_REVISION, REPLICA_SET
from serinus.core.plan import Manifest
from tests.gitops.stored import stored
from tests.world.traffic import Behaviour, JobBehaviour
from tests.world.world import NAMESPACE, START, World, spec_of

OLD, NEW, NEWER = "model:1", "model:2", "model:3"

Story = Callable[[World], Iterator[str]]


def deploy(world: World, image: str, **sections: Any) -> str:
    world.deploy(spec_of(image, **sections))
    return f"a person deploys {image}"


def started(world: World, **sections: Any) -> Iterator[str]:
    yield deploy(world, OLD, **sections)
    world.run_until(lambda: world.condition("Ready")[0] == "True")
    world.run(2)


def promotion(world: World) -> Iterator[str]:
    yield from started(world)
    yield deploy(world, NEW)
    world.run(280)


def rollback(world: World) -> Iterator[str]:
    world.behaviours[NEW] = Behaviour(error_share=0.3)
    yield from started(world)
    yield deploy(world, NEW)
    world.run(120)


def superseded(world: World) -> Iterator[str]:
    yield from started(world)
    yield deploy(world, NEW)
    world.run(30)
    yield deploy(world, NEWER)
    world.run(60)
    yield deploy(world, OLD)
    world.run(60)


def prometheus_outage(world: World) -> Iterator[str]:
    yield from started(world)
    yield deploy(world, NEW)
    world.run(30)
    world.prometheus.down = True
    yield "Prometheus stops answering"
    world.run(120)
    world.prometheus.down = False
    yield "Prometheus answers again"
    world.run(90)


def pods_lost(world: World) -> Iterator[str]:
    yield from started(world)
    yield deploy(world, NEW)
    world.run(30)
    kill(world, NEW)
    yield f"the pod of {NEW} dies"
    world.run(30)
    world.behaviours[OLD] = Behaviour(startup_seconds=20)
    kill(world, OLD)
    yield f"all pods of {OLD} die"
    world.run(45)


def watch_return(world: World) -> Iterator[str]:
    yield from started(world)
    yield deploy(world, NEW)
    world.run_until_phase("Watching").run(5)
    world.behaviours[NEW] = Behaviour(error_share=0.3)
    yield f"{NEW} begins to fail"
    world.run(90)


def approval(world: World) -> Iterator[str]:
    yield from started(world)
    spec = spec_of(NEW)
    five, half = spec["rollout"]["canary"]["steps"]
    spec["rollout"]["canary"]["steps"] = [five, {"name": "sign-off", "approval": {}}, half]
    world.deploy(spec)
    yield f"a person deploys {NEW}, to be approved after its first step"
    world.run(110)
    world.annotate(approve=f"{world.revision_of(NEW)}/five")
    yield "a person approves another step"
    world.run(10)
    world.annotate(approve=f"{world.revision_of(NEW)}/sign-off")
    yield "a person approves the step that waits"
    world.run(30)
    world.annotate(skip_step=f"{world.revision_of(NEW)}/half")
    yield "a person skips the last step"
    world.run(120)


def match_first(world: World) -> Iterator[str]:
    world.tester_share = 0.3
    spec = spec_of(NEW)
    match = {"headers": [{"name": "x-cohort", "value": "beta"}]}
    by_headers = {"name": "testers", "match": match, "holdSeconds": 30}
    steps = [by_headers, *spec["rollout"]["canary"]["steps"]]
    rollout = {"rollout": {**spec["rollout"], "canary": {"steps": steps}}}
    yield from started(world, **rollout)
    yield deploy(world, NEW, **rollout)
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.behaviours[NEWER] = Behaviour(error_share=0.3)
    yield deploy(world, NEWER, **rollout)
    world.run(80)


def shadow(world: World) -> Iterator[str]:
    spec = spec_of(NEW)
    copies = {"name": "shadow", "shadowPercent": 40, "holdSeconds": 30}
    steps = [copies, *spec["rollout"]["canary"]["steps"][1:]]
    rollout = {"rollout": {**spec["rollout"], "canary": {"steps": steps}}}
    yield from started(world, **rollout)
    yield deploy(world, NEW, **rollout)
    world.run(30)
    kill(world, NEW)
    yield f"all pods of {NEW} die"
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.behaviours[NEWER] = Behaviour(error_share=0.3)
    yield deploy(world, NEWER, **rollout)
    world.run(80)


def plain(**strategy: Any) -> dict[str, Any]:
    """Sections without a gateway, with a strategy and short times."""
    times = {"watchSeconds": 30, "scaleDownDelaySeconds": 120, "progressDeadlineSeconds": 80}
    return {"traffic": {}, "rollout": {**times, **strategy}}


def blue_green(world: World) -> Iterator[str]:
    sections = plain(blueGreen={"holdSeconds": 20})
    yield from started(world, **sections)
    yield deploy(world, NEW, **sections)
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.behaviours[NEWER] = Behaviour(error_share=0.3)
    yield deploy(world, NEWER, **sections)
    world.run(100)


def preflight(world: World) -> Iterator[str]:
    containers = {"containers": [{"name": "try", "image": "try:1"}]}
    asked = {"preflight": {"jobTemplate": {"spec": {"template": {"spec": containers}}}}}
    sections = {"rollout": {**plain(blueGreen={})["rollout"], **asked}}
    yield from started(world, **sections)
    yield deploy(world, NEW, **sections)
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.jobs[NEWER] = JobBehaviour(seconds=20, fails=True)
    yield deploy(world, NEWER, **sections)
    world.run(60)
    world.jobs.clear()
    world.annotate(retry=world.revision_of(NEWER))
    yield f"a person retries {NEWER}"
    world.run(40)


def canary_by_pods(world: World) -> Iterator[str]:
    sections = plain(canary={"steps": spec_of(NEW)["rollout"]["canary"]["steps"]})
    yield from started(world, **sections)
    yield deploy(world, NEW, **sections)
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.behaviours[NEWER] = Behaviour(error_share=0.3)
    yield deploy(world, NEWER, **sections)
    world.run(150)


def recreate(world: World) -> Iterator[str]:
    sections = plain(recreate={})
    yield from started(world, **sections)
    yield deploy(world, NEW, **sections)
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    world.behaviours[NEWER] = Behaviour(never_ready=True)
    yield deploy(world, NEWER, **sections)
    world.run(120)


def return_by_spec(world: World) -> Iterator[str]:
    steps = spec_of(NEW)["rollout"]["canary"]["steps"]
    sections = {"rollout": plain(canary={"steps": steps})["rollout"]}
    yield from started(world, **sections)
    yield deploy(world, NEW, **sections)
    world.run_until_phase("Watching").run_until_phase("Idle").run(5)
    yield deploy(world, OLD, **sections)
    world.run(60)


def return_to(world: World) -> Iterator[str]:
    yield from started(world)
    yield deploy(world, NEW)
    world.run_until_phase("Watching").run_until_phase("Idle").run(10)
    world.annotate(return_to=world.revision_of(OLD))
    yield f"a person returns to {OLD}"
    world.run(60)
    yield deploy(world, OLD)
    world.run(5)


def autoscaling(world: World) -> Iterator[str]:
    sections = {"scaling": {"autoscaling": {"minReplicas": 2, "maxReplicas": 8}}}
    yield from started(world, **sections)
    world.autoscaler_asks = 5
    yield "the load takes five pods"
    world.run(15)
    yield deploy(world, NEW, **sections)
    world.run_until(lambda: world.status.rollout.step == "half").run(20)
    world.autoscaler_asks = 2
    yield "the autoscaler would take three pods from a stable revision with half of the requests"
    world.run_until_phase("Idle").run(60)
    world.behaviours[NEWER] = Behaviour(error_share=0.3)
    world.autoscaler_asks = 4
    yield "the load takes four pods"
    world.run(15)
    yield deploy(world, NEWER, **sections)
    world.run_until(lambda: len(world.weights()) == 2)
    world.autoscaler_asks = 8
    yield "the load doubles"
    world.run(90)


def holding(world: World) -> Iterator[str]:
    """A rollout, looked at now and then."""
    world.behaviours[OLD] = Behaviour(error_share=0.002)
    list(started(world))
    deploy(world, NEW)
    for seconds in (2, 8, 40, 60):
        world.run(seconds)
        yield f"{seconds} seconds more"
    world.run_until_phase("Watching").run(10)
    yield "it is watched"


def kill(world: World, image: str) -> None:
    for pod in list(world.api.of("Pod")):
        if pod["metadata"]["labels"][LABEL_REVISION] == world.revision_of(image):
            world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        promotion,
        rollback,
        superseded,
        prometheus_outage,
        pods_lost,
        watch_return,
        approval,
        match_first,
        shadow,
        return_to,
        return_by_spec,
        blue_green,
        preflight,
        canary_by_pods,
        recreate,
        autoscaling,
    )
}


@dataclass(frozen=True)
class Look:
    """What an API server shows at one moment of a story. Objects are replaced when they change, so it stays true."""

    at: datetime
    resource: Manifest
    objects: tuple[Manifest, ...]
    pods: tuple[Manifest, ...]
    happened: str | None = None
    """What somebody did just before; None at the end of a second in which time only passed."""

    @property
    def clock(self) -> str:
        minutes, seconds = divmod(int((self.at - START).total_seconds()), 60)
        return f"{minutes:02}:{seconds:02}"


class Recorded(World):
    """A world that writes down what is decided and what becomes of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lines: list[str] = []
        self.looks: list[Look] = []
        self._told, self._last = 0, ""

    async def _second(self) -> None:
        await super()._second()
        look = self._look()
        for note in self.notes[self._told :]:
            self.lines.append(f"{look.clock}  > {note.happening}: {self._named(note.message)}")
        self._told = len(self.notes)
        state = self._state()
        if state != self._last:
            self.lines.append(f"{look.clock}    {state}")
        self._last = state
        self.looks.append(look)

    def write(self, line: str) -> None:
        """Something that happened to the world."""
        self.looks.append(self._look(line))
        self.lines.append(f"{self.looks[-1].clock}  # {line}")

    def _look(self, happened: str | None = None) -> Look:
        objects = (each for kind in (REPLICA_SET, CONTROLLER_REVISION) for each in self.api.of(kind.kind))
        return Look(self.now, stored(self), tuple(objects), tuple(self.api.of("Pod")), happened)

    def _state(self) -> str:
        rollout = self.status.rollout
        where = f"{rollout.phase}" + (f"/{rollout.step}" if rollout.step else "")
        weights = self._shares(self.weights(), " %")
        weights += "".join(f", testers {self._named(revision)}" for revision in self.by_headers())
        weights += "".join(f", copies of {part} % {self._named(revision)}" for revision, part in self.copied().items())
        return f"{where:<20} traffic {weights:<30} pods {self._shares(self.replicas(), '')}"

    def _shares(self, shares: dict[str, int], unit: str) -> str:
        told = (f"{self._named(revision)} {share}{unit}" for revision, share in shares.items() if share)
        return ", ".join(sorted(told)) or "none"

    def _named(self, text: str) -> str:
        for image in (OLD, NEW, NEWER):
            revision = self.revision_of(image)
            text = text.replace(revision, image) if revision else text
        return text


@functools.cache
def played(name: str) -> Recorded:
    """The world at the end of a story, with all that was written down. It is for looking at only."""
    world = Recorded()
    for happened in holding(world) if name == "holding" else STORIES[name](world):
        world.write(happened)
    return world
