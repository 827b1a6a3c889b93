"""A walk of random user edits and random trouble through one world: the same seed, the same walk."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serinus.api.kinds import LABEL_REVISION
from serinus.api.reasons import Phase
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World, spec_of

HOLD_SECONDS = 12
IMAGES = {
    "model:1": Behaviour(startup_seconds=2),
    "model:2": Behaviour(startup_seconds=3),
    "model:3": Behaviour(startup_seconds=2, error_share=0.4),
    "model:4": Behaviour(never_ready=True),
    "model:5": Behaviour(startup_seconds=3, crash_every_seconds=25),
    "model:6": Behaviour(unschedulable=True),
}
LAST = "model:1"
"""What people settle on in the end."""


@dataclass
class Walk:
    """Acts at random on a world, second by second."""

    seed: int
    world: World = field(default_factory=lambda: World(requests_per_second=400, behaviours=dict(IMAGES)))
    told: list[str] = field(default_factory=list)
    """What was done and when, for a failing test."""
    promoted_by_hand: set[str] = field(default_factory=set)
    ends: dict[int, Callable[[], None]] = field(default_factory=dict)
    """Trouble ends, by the second in which it does."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # a walk, not a secret
        self.spec = settled_spec()

    def go(self, seconds: int) -> Walk:
        """`seconds` of random acts, from a revision that serves."""
        self.world.deploy(self.spec)
        self.world.run(10)
        for second in range(seconds):
            self.ends.pop(second, lambda: None)()
            if self.random.random() < 0.18:
                self._act(second)
            self.world.run(1)
        return self

    def settle(self) -> Walk:
        """Trouble is over, and people want one good revision."""
        for end in self.ends.values():
            end()
        self.ends.clear()
        world = self.world
        if not world.operator_is_up:
            world.restart_operator()
        world.annotate(pause=None, abort=None, promote=None, retry=None)
        self.spec = settled_spec()
        world.deploy(self.spec)
        self.told.append(f"{world.now:%H:%M:%S} settles")
        return self

    def help_out(self) -> None:
        """What people do where Serinus waits for them.

        They try again what was rejected, and decide by hand where stable itself is broken: no evidence can then speak
        for a candidate.
        """
        status = self.world.status
        if status.rollout.phase is Phase.REJECTED:
            self.world.annotate(retry=f"{status.rejected[0].revision}#by-hand")
        broken = any(metric.reason == "StableBreaksLimit" for metric in status.analysis)
        if broken and status.candidate is not None and status.rollout.phase in {Phase.HOLDING, Phase.PAUSED}:
            self.promoted_by_hand.add(status.candidate.revision)
            self.world.annotate(promote=f"{status.candidate.revision}#by-hand")

    def _act(self, second: int) -> None:
        weights = {act: weight for act, weight in _ACTS.items() if weight}
        act = self.random.choices(list(weights), list(weights.values()))[0]
        said = act(self, second)
        if said:
            self.told.append(f"{self.world.now:%H:%M:%S} {said}")

    def _deploy(self, **changes: Any) -> None:
        self.spec = {**copy.deepcopy(self.spec), **changes}
        self.world.deploy(self.spec)

    def _for_a_while(self, second: int, end: Callable[[], None], longest: int) -> int:
        duration = self.random.randint(1, longest)
        while second + duration in self.ends:
            duration += 1
        self.ends[second + duration] = end
        return duration


def settled_spec() -> dict[str, Any]:
    """A canary of two short steps."""
    spec = spec_of(LAST)
    spec["rollout"] |= {"watchSeconds": 10, "scaleDownDelaySeconds": 15, "progressDeadlineSeconds": 90}
    spec["analysis"] |= {"intervalSeconds": 5}
    for step in spec["rollout"]["canary"]["steps"]:
        step["holdSeconds"] = HOLD_SECONDS
    return spec


# What people do -------------------------------------------------------------------------------------------------------


def _new_image(walk: Walk, _: int) -> str:
    image = walk.random.choice(list(IMAGES))
    walk._deploy(serving={"image": image, "startupSeconds": 60})
    return f"deploys {image}"


def _replicas(walk: Walk, _: int) -> str:
    replicas = walk.random.choice([0, 1, 2, 3, 5])
    walk._deploy(scaling={"replicas": replicas})
    return f"scales to {replicas}"


def _strategy(walk: Walk, _: int) -> str:
    rollout = {key: value for key, value in walk.spec["rollout"].items() if key not in {"canary", "blueGreen"}}
    weights = sorted(walk.random.sample([5, 10, 30, 50, 80], walk.random.randint(0, 3)))
    names = walk.random.sample(["five", "half", "a", "b"], len(weights))
    steps = [
        {"name": name, "weightPercent": weight, "holdSeconds": HOLD_SECONDS}
        for name, weight in zip(names, weights, strict=True)
    ]
    walk._deploy(rollout={**rollout, **({"canary": {"steps": steps}} if steps else {"blueGreen": {}})})
    return f"changes the steps to {dict(zip(names, weights, strict=True))}"


def _analysis(walk: Walk, _: int) -> str:
    analysis = settled_spec()["analysis"] | walk.random.choice(
        [
            {"undecided": {"afterSeconds": 10, "action": walk.random.choice(["Pause", "Rollback"])}},
            {"missing": {"afterSeconds": 10, "action": walk.random.choice(["Pause", "Rollback"])}},
            {"metrics": [{"name": "latency", "latency": {"thresholdMilliseconds": 500}, "limit": {"maxPercent": "5"}}]},
            {},
        ]
    )
    walk._deploy(analysis=analysis)
    return f"changes the analysis to {analysis}"


def _suspend(walk: Walk, _: int) -> str:
    suspended = walk.random.random() < 0.4
    walk._deploy(suspend=suspended)
    return f"suspend: {suspended}"


def _unusable(walk: Walk, _: int) -> str:
    change = walk.random.choice([{"scaling": {"replicas": -1}}, {"scaling": {"autoscaling": {"maxReplicas": 4}}}, {}])
    walk.world.deploy(walk.spec | change)
    return f"writes a spec with {change}"


def _annotation(walk: Walk, _: int) -> str:
    status = walk.world.status
    known = [role.revision for role in (status.stable, status.candidate, status.previous) if role] or ["0123456789"]
    action = walk.random.choice(["abort", "retry", "promote", "pause", "pause"])
    revision = walk.random.choice(known)
    value = walk.random.choice(["true", None]) if action == "pause" else f"{revision}#{len(walk.told)}"
    if action == "promote":
        walk.promoted_by_hand.add(revision)
    walk.world.annotate(**{action: value})
    return f"annotates {action}: {value}"


# What goes wrong ------------------------------------------------------------------------------------------------------


def _pod_dies(walk: Walk, _: int) -> str:
    pods = list(walk.world.api.of("Pod"))
    if not pods:
        return ""
    first = walk.random.choice(pods)
    revision = first["metadata"]["labels"][LABEL_REVISION]
    doomed = [first] if walk.random.random() < 0.6 else [p for p in pods if _revision(p) == revision]
    for pod in doomed:
        walk.world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    return f"{len(doomed)} pods of {revision} die"


def _child_goes(walk: Walk, _: int) -> str:
    kind = walk.random.choice(["Service", "HTTPRoute", "ReplicaSet", "ControllerRevision"])
    objects = list(walk.world.api.of(kind))
    if not objects:
        return ""
    name = walk.random.choice(objects)["metadata"]["name"]
    walk.world.api.remove(kind, NAMESPACE, name)
    return f"{kind} {name} is deleted"


def _child_edited(walk: Walk, _: int) -> str:
    api = walk.world.api
    if api.find("HTTPRoute", NAMESPACE, NAME) is None:
        return ""
    if walk.random.random() < 0.5:
        weight = walk.random.choice([1, 1000])
        api.edit("HTTPRoute", NAMESPACE, NAME, lambda m: m["spec"]["rules"][0]["backendRefs"][0].update(weight=weight))
        return f"somebody writes weight {weight} into the route"
    api.edit("HTTPRoute", NAMESPACE, NAME, lambda m: m["metadata"]["annotations"].update({"serinus.dev/moves": "9999"}))
    return "somebody writes a fence into the route"


def _operator_restarts(walk: Walk, second: int) -> str:
    if walk.random.random() < 0.5:
        walk.world.restart_operator()
        return "the operator restarts"
    walk.world.operator_is_up = False
    return f"the operator is away for {walk._for_a_while(second, walk.world.restart_operator, 40)} s"


def _operator_dies_at_a_write(walk: Walk, _: int) -> str:
    following = len(walk.world.api.writes) + walk.random.randint(1, 3)
    faults = walk.world.api.faults
    if walk.random.random() < 0.5:
        faults.kill_after |= {following}
        return f"the operator is to die after write {following}"
    faults.lose_response_of |= {following}
    return f"the answer to write {following} is to be lost"


def _prometheus(walk: Walk, second: int) -> str:
    prometheus = walk.world.prometheus
    prometheus.down = True
    return f"Prometheus is away for {walk._for_a_while(second, lambda: setattr(prometheus, 'down', False), 40)} s"


def _api_server(walk: Walk, second: int) -> str:
    faults = walk.world.api.faults
    faults.down = True
    return f"the API server is away for {walk._for_a_while(second, lambda: setattr(faults, 'down', False), 25)} s"


def _gateway(walk: Walk, second: int) -> str:
    world = walk.world
    world.gateway_accepts = False
    return f"the gateway refuses for {walk._for_a_while(second, lambda: setattr(world, 'gateway_accepts', True), 30)} s"


def _lag(walk: Walk, second: int) -> str:
    world = walk.world
    world.lag_seconds = walk.random.randint(1, 3)
    duration = walk._for_a_while(second, lambda: setattr(world, "lag_seconds", 0), 30)
    return f"the caches are {world.lag_seconds} s behind for {duration} s"


def _revision(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"][LABEL_REVISION])


_ACTS: dict[Callable[[Walk, int], str], int] = {
    _new_image: 10,
    _replicas: 2,
    _strategy: 2,
    _analysis: 2,
    _suspend: 1,
    _unusable: 2,
    _annotation: 4,
    _pod_dies: 4,
    _child_goes: 2,
    _child_edited: 2,
    _operator_restarts: 3,
    _operator_dies_at_a_write: 3,
    _prometheus: 2,
    _api_server: 2,
    _gateway: 2,
    _lag: 2,
}
