"""What a platform team does at random: policies come, change and go, whatever is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY
from tests.world.people import HOLD_SECONDS, STRATEGIES, settled_spec

if TYPE_CHECKING:
    from tests.world.random_walk import Walk

NAMES = ("house", "yard")
SHARED: dict[str, Any] = {"name": "house-errors", "errors": {}, "limit": {"maxPercent": "1"}}


def _steps(*weights: int) -> dict[str, Any]:
    steps = [{"name": f"at-{each}", "weightPercent": each, "holdSeconds": HOLD_SECONDS} for each in weights]
    return {"canary": {"steps": steps}}


POLICIES: list[dict[str, Any]] = [
    {"defaults": {"rollout": _steps(5, 50)}},
    {"defaults": {"rollout": {**_steps(10), "automation": "Supervised"}}},
    {"defaults": {"rollout": {"automation": "Manual"}, "analysis": {"intervalSeconds": 7}}},
    {"defaults": {"rollout": {"blueGreen": {"holdSeconds": HOLD_SECONDS}}}},
    {"defaults": {"rollout": {"canary": {"steps": [{"name": "shadow", "shadowPercent": 50, "holdSeconds": 12}]}}}},
    {"bounds": {"rollout": {"allowedAutomation": ["Supervised", "Manual"]}}},
    {"bounds": {"rollout": {"allowedStrategies": ["Canary"], "minHoldSeconds": HOLD_SECONDS}}},
    {"bounds": {"rollout": {"minWatchSeconds": 11}, "mode": "Audit"}},
    {"metrics": [SHARED], "defaults": {"analysis": {"sharedMetrics": [SHARED["name"]]}}},
    {"metrics": [SHARED], "bounds": {"analysis": {"requiredMetrics": [SHARED["name"]]}}},
    {},
]


def policy_is_set(walk: Walk, _: int) -> str:
    name, spec = walk.random.choice(NAMES), walk.random.choice(POLICIES)
    walk.world.govern(spec, name)
    return f"policy {name} asks for {spec}"


def policy_goes(walk: Walk, _: int) -> str:
    there = [name for name in NAMES if walk.world.api.find(CLUSTER_ROLLOUT_POLICY.kind, "", name)]
    if not there:
        return ""
    name = walk.random.choice(there)
    walk.world.govern(None, name)
    return f"policy {name} is deleted"


def strategy_is_left_open(walk: Walk, _: int) -> str:
    """The resource leaves to policies, or to the operator, how a candidate takes over."""
    open_ = {key: value for key, value in walk.spec["rollout"].items() if key not in STRATEGIES | {"automation"}}
    walk.deploy(rollout=open_)
    return "sets no strategy"


def metrics_are_shared(walk: Walk, _: int) -> str:
    walk.deploy(analysis={"intervalSeconds": 5, "sharedMetrics": [SHARED["name"]]})
    return f"names the shared metric {SHARED['name']}"


GOVERNS = {policy_is_set: 8, policy_goes: 4, strategy_is_left_open: 4, metrics_are_shared: 2}


def nobody_governs(walk: Walk) -> None:
    """In the end there are no policies."""
    for name in NAMES:
        if walk.world.api.find(CLUSTER_ROLLOUT_POLICY.kind, "", name):
            walk.world.govern(None, name)


def set_what_is_gone(walk: Walk) -> None:
    """What people do where a rollout waits since its policy is gone: they say it themselves."""
    rollout = settled_spec(gateway=walk.kind.gateway)["rollout"]
    walk.deploy(rollout={**rollout, "automation": "Automatic"})
