"""A walk of random edits and random trouble through one world: the same seed, the same walk.

What happens in a second depends on the seed and on that second alone, so that a walk that fails can be walked again
with most of its acts left out: see `tests.world.many_walks`. Acts can also be given by name: so walks that once failed
are kept, and stay the same when other acts are added; and so hypothesis makes up walks of its own
(`tests/world/test_told_walks.py`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serinus.api.reasons import Phase
from tests.world import governing, people, trouble
from tests.world.api_server import Faults
from tests.world.caches import ALL_WATCHED, CHILD_KINDS
from tests.world.people import LAST, settled_spec
from tests.world.traffic import Behaviour
from tests.world.world import NAME, NAMESPACE, World

GOOD, BROKEN, UNREADY, CRASHING, HOMELESS = "model:2", "model:3", "model:4", "model:5", "model:6"
IMAGES = {
    LAST: Behaviour(startup_seconds=2),
    GOOD: Behaviour(startup_seconds=3),
    BROKEN: Behaviour(startup_seconds=2, error_share=0.4),
    UNREADY: Behaviour(never_ready=True),
    CRASHING: Behaviour(startup_seconds=3, crash_every_seconds=25),
    HOMELESS: Behaviour(unschedulable=True),
}

Act = Callable[["Walk", int], str]
"""Does something in a second; says what, or "" for nothing."""


@dataclass(frozen=True)
class Kind:
    """What may happen in a walk, and how often."""

    name: str
    acts: Mapping[Act, int]
    chance: float
    seconds: tuple[int, int]
    images: tuple[str, ...] = tuple(IMAGES)
    gateway: bool = True
    """Whether the resource is behind a gateway, or a plain Service that is switched."""
    faultless_traffic: bool = False
    """Whether nothing happens to pods, children and the gateway: then no request may be lost, whatever else happens."""
    testers: bool = False
    """Whether the candidate gets copies of requests first, and then testers, by a header of theirs."""


EVERYTHING = Kind("everything", people.DEPLOYS | people.MEDDLES | trouble.ALL, 0.18, (60, 150))
MACHINERY = Kind(
    "machinery",
    people.NEW_IMAGES | trouble.OF_MACHINERY,
    0.25,
    (60, 120),
    images=(LAST, GOOD, BROKEN, UNREADY, HOMELESS),
    faultless_traffic=True,
)
STORM = Kind("storm", people.DEPLOYS | people.MEDDLES | trouble.ALL, 0.7, (15, 50))
MEDDLING = Kind("meddling", people.DEPLOYS | people.MEDDLES, 0.3, (40, 90))
PLAIN = Kind("plain", people.DEPLOYS | people.MEDDLES | trouble.ALL, 0.3, (40, 120), gateway=False)
PLAIN_MACHINERY = replace(MACHINERY, name="plain machinery", gateway=False)
TESTERS = replace(MACHINERY, name="testers", testers=True)
GOVERNED = Kind("governed", people.DEPLOYS | people.MEDDLES | governing.GOVERNS | trouble.ALL, 0.35, (40, 120))
KINDS = (EVERYTHING, MACHINERY, STORM, MEDDLING, PLAIN, PLAIN_MACHINERY, TESTERS)
"""Of walks by seed."""
ALL_KINDS = (*KINDS, GOVERNED)
ACTS = {act.__name__: act for act in people.DEPLOYS | people.MEDDLES | governing.GOVERNS | trouble.ALL}


@dataclass
class Walk:
    """Acts at random on a world, second by second."""

    seed: int
    acts: Mapping[int, str] | None = None
    """What happens, by second and by the name of the act; None: what the seed says."""
    kind_name: str | None = None
    """None: the seed's kind."""
    world: World = field(
        default_factory=lambda: World(requests_per_second=400, tester_share=0.25, behaviours=dict(IMAGES))
    )
    told: list[str] = field(default_factory=list)
    """What was done and when, for a failing test."""
    acted: dict[int, str] = field(default_factory=dict)
    """The acts so far, as `acts` takes them."""
    promoted_by_hand: set[str] = field(default_factory=set)
    clock_steps: int = 0
    ends: dict[int, Callable[[], None]] = field(default_factory=dict)
    """Trouble ends, by the second in which it does."""

    def __post_init__(self) -> None:
        by_name = {kind.name: kind for kind in ALL_KINDS}
        self.kind = by_name[self.kind_name] if self.kind_name else KINDS[self.seed % len(KINDS)]
        self.random = random.Random(self.seed)  # a walk, not a secret
        self.seconds = self.random.randint(*self.kind.seconds)
        self.world.ending_seconds = random.Random(f"{self.seed} pods").choice([0, 0, 6])
        self.spec = settled_spec(gateway=self.kind.gateway)
        if self.kind.faultless_traffic:
            self.spec |= people.testers_first() if self.kind.testers else self.random.choice(people.steady_strategies())

    def go(self) -> Walk:
        """Random acts, from a revision that serves."""
        self.world.deploy(self.spec)
        self.world.run(10)
        for second in range(self.seconds):
            self.ends.pop(second, lambda: None)()
            self.random = random.Random(f"{self.seed} {second}")
            act = self._drawn()
            if self.acts is not None:
                act = ACTS[self.acts[second]] if second in self.acts else None
            if act is not None:
                self.acted[second] = act.__name__
                self.act(second, act)
            self.world.run(1)
        return self

    def _drawn(self) -> Act | None:
        """What the seed has for this second. It is drawn even if it is given, for what the act draws after it."""
        happens, act = self.random.random() < self.kind.chance, self.one_of(self.kind.acts)
        return act if happens else None

    def one_of(self, acts: Mapping[Act, int]) -> Act:
        """Any of these, by how often each may happen."""
        return self.random.choices(list(acts), list(acts.values()))[0]

    def act(self, second: int, act: Act) -> None:
        """Something happens."""
        if said := act(self, second):
            self.told.append(f"{self.world.now:%H:%M:%S} [{second}] {said}")

    def settle(self) -> Walk:
        """Trouble is over, and people want one good revision."""
        for end in self.ends.values():
            end()
        self.ends.clear()
        world = self.world
        world.api.faults, world.autoscaler_asks = Faults(), None
        world.thaw()
        if not world.operator_is_up:
            world.restart_operator()
        for kind in ALL_WATCHED:
            world.caches.list_again(kind)
        self.spec = settled_spec(gateway=self.kind.gateway)
        world.deploy(self.spec)
        governing.nobody_governs(self)
        names = ("pause", "abort", "promote", "retry", "approve", "skip_step", "return_to")
        world.annotate(**dict.fromkeys(names))
        self.told.append(f"{world.now:%H:%M:%S} settles")
        return self

    def help_out(self) -> None:
        """What people do where Serinus waits for them.

        They try again what was rejected, end a return that they asked for before, decide by hand where stable itself is
        broken, or has no ready pod as the status says (no evidence can then speak for a candidate), and hand over what
        has lost its owner.
        """
        status, world = self.world.status, self.world
        if status.rollout.phase is Phase.REJECTED and status.rejected:
            rejected = {each.revision for each in status.rejected} & {world.revision_of(LAST)}
            world.annotate(retry=f"{min(rejected, default=status.rejected[0].revision)}#by-hand")
        if status.rollout.return_from is not None and status.candidate is not None:
            world.annotate(abort=f"{status.candidate.revision}#by-hand")
        stable, undecided = status.stable, {Phase.STARTING, Phase.HOLDING, Phase.PAUSED}
        broken = any(metric.reason == "StableBreaksLimit" for metric in status.analysis)
        broken = broken or (stable is not None and not stable.ready_replicas)
        if broken and status.candidate is not None and status.rollout.phase in undecided:
            self.promoted_by_hand.add(status.candidate.revision)
            world.annotate(promote=f"{status.candidate.revision}#by-hand")
        stalled = world.condition("Stalled")[1]
        if stalled == "NameTaken":
            people.hand_over_orphans(self)
        if stalled == "PolicyGone":
            governing.set_what_is_gone(self)
        if stalled == "StatusLost":
            people.name_the_stable_revision(self)

    @property
    def resource_is_there(self) -> bool:
        """Whether nobody has deleted the ModelDeployment."""
        return self.world.api.find("ModelDeployment", NAMESPACE, NAME) is not None

    def deploy(self, **changes: Any) -> None:
        """Change sections of the spec."""
        self.spec = {**copy.deepcopy(self.spec), **changes}
        self.world.deploy(self.spec)

    def for_a_while(self, second: int, end: Callable[[], None], longest: int) -> int:
        """`end` is called after some seconds, which are returned."""
        duration = self.random.randint(1, longest)
        while second + duration in self.ends:
            duration += 1
        self.ends[second + duration] = end
        return duration

    def a_child(self, *kinds: str) -> dict[str, Any] | None:
        """Any object of these kinds (none: of all children)."""
        objects = [each for kind in kinds or CHILD_KINDS for each in self.world.api.of(kind)]
        return self.random.choice(objects) if objects else None
