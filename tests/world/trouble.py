"""What goes wrong at random: pods, the gateway, the API server, watches, Prometheus, clocks, the operator's process."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from serinus.api.kinds import LABEL_REVISION
from tests.world import people
from tests.world.api_server import Mishap
from tests.world.caches import CHILD_KINDS, WATCHED
from tests.world.prometheus import Lie
from tests.world.world import NAME, NAMESPACE

if TYPE_CHECKING:
    from tests.world.random_walk import Walk


# Pods and the gateway -------------------------------------------------------------------------------------------------


def pod_dies(walk: Walk, _: int) -> str:
    pods = list(walk.world.api.of("Pod"))
    if not pods:
        return ""
    first = walk.random.choice(pods)
    revision = first["metadata"]["labels"][LABEL_REVISION]
    doomed = [first] if walk.random.random() < 0.6 else [p for p in pods if _revision(p) == revision]
    for pod in doomed:
        walk.world.api.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    return f"{len(doomed)} pods of {revision} die"


def container_restarts(walk: Walk, _: int) -> str:
    pods = list(walk.world.api.of("Pod"))
    if not pods:
        return ""
    name = walk.random.choice(pods)["metadata"]["name"]
    walk.world.restart(name)
    return f"the container of {name} restarts"


def gateway(walk: Walk, second: int) -> str:
    world = walk.world
    world.gateway_accepts = False
    return f"the gateway refuses for {walk.for_a_while(second, lambda: setattr(world, 'gateway_accepts', True), 30)} s"


def endpoints_lag(walk: Walk, second: int) -> str:
    """The controllers of EndpointSlices, and the gateway, are behind."""
    world = walk.world
    before = world.endpoints_delay_seconds, world.gateway_delay_seconds
    world.endpoints_delay_seconds, world.gateway_delay_seconds = walk.random.randint(1, 8), walk.random.randint(1, 8)
    told = f"endpoints are {world.endpoints_delay_seconds} s behind, the gateway {world.gateway_delay_seconds} s"

    def over() -> None:
        world.endpoints_delay_seconds, world.gateway_delay_seconds = before

    return f"{told}, for {walk.for_a_while(second, over, 30)} s"


# The operator's process -----------------------------------------------------------------------------------------------


def operator_restarts(walk: Walk, second: int) -> str:
    if walk.random.random() < 0.5:
        walk.world.restart_operator()
        return "the operator restarts"
    walk.world.stop_operator()
    return f"the operator is away for {walk.for_a_while(second, walk.world.restart_operator, 40)} s"


def operator_dies_at_a_write(walk: Walk, _: int) -> str:
    following = len(walk.world.api.writes) + walk.random.randint(1, 3)
    faults = walk.world.api.faults
    if walk.random.random() < 0.5:
        faults.kill_after |= {following}
        return f"the operator is to die after write {following}"
    faults.lose_response_of |= {following}
    return f"the answer to write {following} is to be lost"


def leader_freezes(walk: Walk, _: int) -> str:
    seconds = walk.random.randint(1, 40)
    if walk.random.random() < 0.4:
        if walk.world.operator_is_up:
            walk.world.freeze_operator(seconds)
        return f"the operator freezes for {seconds} s, another one takes over"
    faults, following = walk.world.api.faults, walk.world.api.calls + walk.random.randint(1, 5)
    faults.mishaps[following], faults.hold_seconds = Mishap.FREEZE, seconds
    return f"the operator is to freeze for {seconds} s before call {following}, another one takes over"


def passes_for_nothing(walk: Walk, second: int) -> str:
    """Duplicated events: passes without a cause, now and soon again."""
    walk.world._mark()
    walk.for_a_while(second, walk.world._mark, 3)
    return "passes for nothing"


def clock_steps(walk: Walk, second: int) -> str:
    seconds = walk.random.choice([-60, -20, -5, -1, 1, 4, 8, 12, 20, 60])
    walk.world.clock_offset = timedelta(seconds=seconds)
    walk.clock_steps += 2

    def back() -> None:
        walk.world.clock_offset = timedelta(0)

    return f"the operator's clock is {seconds} s off for {walk.for_a_while(second, back, 60)} s"


def clock_is_set(walk: Walk, second: int) -> str:
    """By far more than Prometheus' answers may be off: nothing can be judged until it is set right."""
    seconds = walk.random.choice([-86400, -3600, -300, 300, 3600, 86400])
    walk.world.clock_offset = timedelta(seconds=seconds)
    walk.clock_steps += 2

    def back() -> None:
        walk.world.clock_offset = timedelta(0)

    return f"the operator's clock is {seconds} s off for {walk.for_a_while(second, back, 60)} s"


# The API server and its watches ---------------------------------------------------------------------------------------


def api_server(walk: Walk, second: int) -> str:
    faults = walk.world.api.faults
    faults.down = True
    return f"the API server is away for {walk.for_a_while(second, lambda: setattr(faults, 'down', False), 25)} s"


def mishap(walk: Walk, _: int) -> str:
    faults = walk.world.api.faults
    following = walk.world.api.calls + walk.random.randint(1, 4)
    which = walk.random.choice([each for each in Mishap if each is not Mishap.FREEZE])
    faults.mishaps[following], faults.hold_seconds = which, walk.random.randint(1, 15)
    return f"call {following} {which}"


def mishaps(walk: Walk, second: int) -> str:
    """The API server is overloaded for a while."""
    faults = walk.world.api.faults
    often = walk.random.choice([0.2, 0.5, 0.9])
    which = [Mishap.THROTTLED, Mishap.ERROR, Mishap.TIMEOUT, Mishap.LOST, Mishap.CONFLICT, Mishap.SLOW]
    chances = random.Random(f"{walk.seed} {second} mishaps")
    faults.hold_seconds = walk.random.randint(1, 4)
    faults.mishap = lambda: chances.choice(which) if chances.random() < often else None

    def over() -> None:
        faults.mishap = lambda: None

    return f"{often:.0%} of the calls go wrong for {walk.for_a_while(second, over, 20)} s"


def writes_are_refused(walk: Walk, second: int) -> str:
    """A quota or a webhook."""
    kind = walk.random.choice(CHILD_KINDS)
    faults = walk.world.api.faults
    faults.refused_kinds |= {kind}

    def over() -> None:
        faults.refused_kinds -= {kind}

    return f"{kind} may not be written for {walk.for_a_while(second, over, 40)} s"


def meanwhile(walk: Walk, second: int) -> str:
    """Somebody does something between an observation and the write that follows from it."""
    following = walk.world.api.calls + walk.random.randint(1, 4)
    acts = {each: 1 for each in walk.kind.acts if each in _QUICK}

    def does() -> None:
        walk.random = random.Random(f"{walk.seed} {second} meanwhile")
        walk.act(second, walk.one_of(acts))

    walk.world.api.faults.meanwhile[following] = does
    return f"something is to happen right before call {following}"


def lag(walk: Walk, second: int) -> str:
    """Each kind's cache has a watch of its own."""
    kinds = WATCHED if walk.random.random() < 0.4 else walk.random.sample(WATCHED, walk.random.randint(1, 3))
    lags = {kind: walk.random.randint(1, 5) for kind in kinds}
    caches = walk.world.caches
    for kind, seconds in lags.items():
        caches.fall_behind(kind, seconds)

    def over() -> None:
        for kind in lags:
            caches.fall_behind(kind, 0)

    return f"caches are behind for {walk.for_a_while(second, over, 30)} s: {lags}"


def watch_is_lost(walk: Walk, second: int) -> str:
    """A half-open connection, or an API server that forgets: nothing is told until all is listed again."""
    kinds = WATCHED if walk.random.random() < 0.3 else walk.random.sample(WATCHED, walk.random.randint(1, 3))
    caches = walk.world.caches
    for kind in kinds:
        caches.lose_watch(kind)

    def listed() -> None:
        for kind in kinds:
            caches.list_again(kind)

    return f"the watches of {', '.join(kinds)} are lost for {walk.for_a_while(second, listed, 40)} s"


def deletion_is_missed(walk: Walk, second: int) -> str:
    child = walk.a_child(*CHILD_KINDS, "Pod", "EndpointSlice")
    if child is None:
        return ""
    kind, name = child["kind"], child["metadata"]["name"]
    caches = walk.world.caches
    caches.miss_deletion((kind, NAMESPACE, name))
    seconds = walk.for_a_while(second, lambda: caches.list_again(kind), 40)
    return f"{kind} {name} is deleted, and the watch does not tell for {seconds} s"


def end_of_the_resource_is_missed(walk: Walk, second: int) -> str:
    """And for a while nobody makes it anew: what the operator makes meanwhile has no owner."""
    if not walk.resource_is_there:
        return ""
    caches = walk.world.caches
    caches.miss_deletion(("ModelDeployment", NAMESPACE, NAME))

    def again() -> None:
        if not walk.resource_is_there:
            walk.world.deploy(walk.spec)
        caches.list_again("ModelDeployment")

    return f"the ModelDeployment is deleted, and the watch does not tell for {walk.for_a_while(second, again, 15)} s"


# Prometheus -----------------------------------------------------------------------------------------------------------


def prometheus(walk: Walk, second: int) -> str:
    of = walk.world.prometheus
    of.down = True
    return f"Prometheus is away for {walk.for_a_while(second, lambda: setattr(of, 'down', False), 40)} s"


def prometheus_is_slow(walk: Walk, second: int) -> str:
    of = walk.world.prometheus
    of.slow_seconds = walk.random.choice([1, 3, 7, 12])
    duration = walk.for_a_while(second, lambda: setattr(of, "slow_seconds", 0), 40)
    return f"Prometheus takes {of.slow_seconds} s for {duration} s"


def prometheus_lies(walk: Walk, second: int) -> str:
    of = walk.world.prometheus
    of.lie = walk.random.choice(list(Lie))
    return f"Prometheus {of.lie} for {walk.for_a_while(second, lambda: setattr(of, 'lie', None), 40)} s"


def prometheus_comes_and_goes(walk: Walk, second: int) -> str:
    """Away, slow and lying by turns: what it says one second it may not say the next."""
    of = walk.world.prometheus

    def shows(down: bool, slow_seconds: int, lie: Lie | None) -> None:
        of.down, of.slow_seconds, of.lie = down, slow_seconds, lie

    sides = [(True, 0, None), (False, 3, None), (False, 12, None), (False, 0, None), *((False, 0, lie) for lie in Lie)]
    turns = walk.random.sample(sides, walk.random.randint(2, 6))
    at = 0
    for turn in [*turns, (False, 0, None)]:
        at += walk.for_a_while(second + at, partial(shows, *turn), 10)
    return f"Prometheus is away, slow or lying by turns for {at} s: {turns}"


def prometheus_forgets(walk: Walk, _: int) -> str:
    walk.world.prometheus.forget()
    return "Prometheus has lost its volume"


def prometheus_is_deaf(walk: Walk, second: int) -> str:
    of, pods = walk.world.prometheus, list(walk.world.api.of("Pod"))
    of.deaf_to = frozenset(p["metadata"]["name"] for p in pods if walk.random.random() < 0.5)
    duration = walk.for_a_while(second, lambda: setattr(of, "deaf_to", frozenset()), 40)
    return f"Prometheus can't scrape {sorted(of.deaf_to)} for {duration} s"


def _revision(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"][LABEL_REVISION])


OF_MACHINERY = {
    operator_restarts: 3,
    operator_dies_at_a_write: 4,
    leader_freezes: 3,
    passes_for_nothing: 1,
    clock_steps: 2,
    clock_is_set: 1,
    api_server: 2,
    mishap: 4,
    mishaps: 2,
    writes_are_refused: 1,
    meanwhile: 2,
    lag: 3,
    watch_is_lost: 3,
    prometheus: 2,
    prometheus_is_slow: 2,
    prometheus_lies: 3,
    prometheus_comes_and_goes: 1,
    prometheus_forgets: 1,
    prometheus_is_deaf: 1,
}
"""Trouble that no request may ever notice."""
ALL = OF_MACHINERY | {
    pod_dies: 4,
    container_restarts: 2,
    gateway: 2,
    endpoints_lag: 1,
    deletion_is_missed: 2,
    end_of_the_resource_is_missed: 1,
}
_QUICK = frozenset(
    {
        people.new_image,
        people.storm_of_specs,
        people.replicas,
        people.annotation,
        people.child_goes,
        people.child_edited,
        people.status_lost,
        people.made_anew,
        pod_dies,
    }
)
"""What may happen between two calls of a pass."""
