"""What people do at random: they deploy, change their minds, and meddle with what Serinus owns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from serinus.api.kinds import ANNOTATION_ADOPT, ANNOTATION_MOVES, LABEL_DEPLOYMENT, LABEL_REVISION
from serinus.api.reasons import Phase
from tests.world.caches import BESIDE_KINDS, CHILD_KINDS
from tests.world.world import NAME, NAMESPACE, spec_of

if TYPE_CHECKING:
    from tests.world.random_walk import Walk

HOLD_SECONDS = 12
STRATEGIES = frozenset({"canary", "blueGreen", "recreate"})
LAST = "model:1"
"""What people settle on in the end."""


def settled_spec(*, gateway: bool = True) -> dict[str, Any]:
    """A canary of two short steps; without a gateway blue-green."""
    spec = spec_of(LAST)
    spec["rollout"] |= {"watchSeconds": 10, "scaleDownDelaySeconds": 15, "progressDeadlineSeconds": 90}
    spec["analysis"] |= {"intervalSeconds": 5}
    for step in spec["rollout"]["canary"]["steps"]:
        step["holdSeconds"] = HOLD_SECONDS
    if not gateway:
        spec["traffic"] = {}
        del spec["rollout"]["canary"]
        spec["rollout"]["blueGreen"] = {}
    return spec


def steady_strategies() -> list[dict[str, Any]]:
    """Sections of a spec with which no request may be lost, whatever happens to the operator."""
    settled = settled_spec()
    times = {key: value for key, value in settled["rollout"].items() if key not in STRATEGIES}
    preview = {**times, "blueGreen": {"holdSeconds": HOLD_SECONDS}}
    plain: dict[str, Any] = {"traffic": {}}
    return [{}, plain, {"rollout": preview}, {"rollout": preview} | plain]


def testers_first() -> dict[str, Any]:
    """Sections of a spec that gives the candidate copies, then testers, then others: no request may be lost either."""
    rollout = settled_spec()["rollout"]
    shadow = {"name": "shadow", "shadowPercent": 60, "holdSeconds": HOLD_SECONDS}
    match = {"headers": [{"name": "x-cohort", "value": "beta"}]}
    testers = {"name": "testers", "match": match, "holdSeconds": HOLD_SECONDS}
    return {"rollout": {**rollout, "canary": {"steps": [shadow, testers, *rollout["canary"]["steps"]]}}}


# They deploy ----------------------------------------------------------------------------------------------------------


def new_image(walk: Walk, _: int) -> str:
    image = walk.random.choice(walk.kind.images)
    walk.deploy(serving={"image": image, "startupSeconds": 60})
    return f"deploys {image}"


def storm_of_specs(walk: Walk, second: int) -> str:
    """There and back again, some of it within a second."""
    images = walk.random.choices(walk.kind.images, k=walk.random.randint(2, 6))
    for image in images:
        walk.deploy(serving={"image": image, "startupSeconds": 60})

    def again() -> None:
        walk.deploy(serving={"image": images[0], "startupSeconds": 60})

    walk.for_a_while(second, again, 3)
    return f"deploys {', '.join(images)} at once, and {images[0]} again soon"


def replicas(walk: Walk, _: int) -> str:
    wanted = walk.random.choice([0, 1, 2, 3, 5])
    walk.deploy(scaling={"replicas": wanted})
    return f"scales to {wanted}"


def autoscaling(walk: Walk, second: int) -> str:
    """Somebody else chooses the size from now on, and may change their mind about it."""
    least = walk.random.choice([1, 2])
    walk.deploy(scaling={"autoscaling": {"minReplicas": least, "maxReplicas": walk.random.choice([3, 5])}})
    asked = walk.random.choice([1, 2, 4, 7])
    walk.world.autoscaler_asks = asked

    def other_load() -> None:
        walk.world.autoscaler_asks = least

    return f"leaves the size to an autoscaler, which asks for {asked} for {walk.for_a_while(second, other_load, 40)} s"


def mind_is_changed(walk: Walk, second: int) -> str:
    """Another size or image, and back again before all that follows from it is done."""
    before = copy.deepcopy(walk.spec)
    said = walk.random.choice([replicas, new_image, strategy])(walk, second)

    def back() -> None:
        walk.deploy(**before)

    return f"{said}, and takes it back after {walk.for_a_while(second, back, 8)} s"


def strategy(walk: Walk, _: int) -> str:
    rollout = {key: value for key, value in walk.spec["rollout"].items() if key not in STRATEGIES}
    weights = sorted(walk.random.sample([5, 10, 30, 50, 80], walk.random.randint(0, 3)))
    names = walk.random.sample(["five", "half", "a", "b"], len(weights))
    steps: list[dict[str, Any]] = [
        {"name": name, "weightPercent": weight, "holdSeconds": HOLD_SECONDS}
        for name, weight in zip(names, weights, strict=True)
    ]
    if walk.random.random() < 0.4:
        steps.insert(walk.random.randint(0, len(steps)), {"name": "sign-off", "approval": {}})
    rollout["automation"] = walk.random.choice(["Automatic", "Automatic", "Supervised", "Manual"])
    others: list[dict[str, Any]] = [
        {"blueGreen": {}},
        {"blueGreen": {"holdSeconds": HOLD_SECONDS}},
        {"recreate": {}},
    ]
    chosen = {"canary": {"steps": steps}} if steps else walk.random.choice(others)
    walk.deploy(rollout={**rollout, **chosen})
    return f"changes the strategy to {chosen}, {rollout['automation']}"


def other_steps(walk: Walk, _: int) -> str:
    """Steps that lead requests by their headers, or copy them, before, between and after those with weights."""
    rollout = {key: value for key, value in walk.spec["rollout"].items() if key not in STRATEGIES}
    walk.world.tester_share = walk.random.choice([0.0, 0.2, 0.5])
    steps: list[dict[str, Any]] = [
        {"name": "five", "weightPercent": 5, "holdSeconds": HOLD_SECONDS},
        {"name": "half", "weightPercent": 50, "holdSeconds": HOLD_SECONDS},
    ][: walk.random.randint(0, 2)]
    for name, cohort in (("testers", "beta"), ("friends", "gamma"))[: walk.random.randint(1, 2)]:
        match = {"headers": [{"name": "x-cohort", "value": cohort}]}
        step = {"name": name, "match": match, "holdSeconds": HOLD_SECONDS}
        steps.insert(walk.random.randint(0, len(steps)), step)
    if walk.random.random() < 0.6:
        shadow = {"name": "shadow", "shadowPercent": walk.random.choice([20, 100]), "holdSeconds": HOLD_SECONDS}
        steps.insert(walk.random.randint(0, len(steps)), shadow)
    rollout["automation"] = walk.random.choice(["Automatic", "Automatic", "Supervised", "Manual"])
    chosen: dict[str, Any] = {"canary": {"steps": steps}}
    if walk.random.random() < 0.2:
        chosen = {"blueGreen": {"shadowPercent": 50, "holdSeconds": HOLD_SECONDS}}
    walk.deploy(traffic=settled_spec()["traffic"], rollout={**rollout, **chosen})
    return f"changes the strategy to {chosen}, {rollout['automation']}"


def gateway(walk: Walk, _: int) -> str:
    """With it, shares are weights; without it, pods."""
    traffic = {} if walk.spec["traffic"] else settled_spec()["traffic"]
    walk.deploy(traffic=traffic)
    return f"traffic: {traffic}"


def analysis(walk: Walk, _: int) -> str:
    changed = settled_spec()["analysis"] | walk.random.choice(
        [
            {"undecided": {"afterSeconds": 10, "action": walk.random.choice(["Pause", "Rollback"])}},
            {"missing": {"afterSeconds": 10, "action": walk.random.choice(["Pause", "Rollback"])}},
            {"metrics": [{"name": "latency", "latency": {"thresholdMilliseconds": 500}, "limit": {"maxPercent": "5"}}]},
            {},
        ]
    )
    walk.deploy(analysis=changed)
    return f"changes the analysis to {changed}"


def suspend(walk: Walk, _: int) -> str:
    suspended = walk.random.random() < 0.4
    walk.deploy(suspend=suspended)
    return f"suspend: {suspended}"


def unusable(walk: Walk, _: int) -> str:
    change = walk.random.choice([{"scaling": {"replicas": -1}}, {"monitoring": {}}, {}])
    walk.world.deploy(walk.spec | change)
    return f"writes a spec with {change}"


def annotation(walk: Walk, _: int) -> str:
    if not walk.resource_is_there:
        return ""
    status = walk.world.status
    known = [role.revision for role in (status.stable, status.candidate, status.previous) if role] or ["0123456789"]
    action = walk.random.choice(["abort", "retry", "promote", "pause", "pause", "skip_step", "return_to"])
    revision = walk.random.choice([*known, *walk.world.replicas()] if action == "return_to" else known)
    value = walk.random.choice(["true", None]) if action == "pause" else f"{revision}#{len(walk.told)}"
    if action == "skip_step":
        value = f"{revision}/{status.rollout.step}#{len(walk.told)}"
    if action in {"promote", "skip_step"}:
        walk.promoted_by_hand.add(revision)
    walk.world.annotate(**{action: value})
    return f"annotates {action}: {value}"


def timely_annotation(walk: Walk, _: int) -> str:
    """An action that applies now: the step that waits is approved, what is served is left for what was before it, …"""
    if not walk.resource_is_there:
        return ""
    status = walk.world.status
    under_way = status.candidate.revision if status.candidate else ""
    actions: dict[str, str] = {}
    match status.rollout.phase:
        case Phase.AWAITING_APPROVAL:
            actions = {"approve": f"{under_way}/{status.rollout.step}"}
        case Phase.HOLDING | Phase.PAUSED:
            actions = {"skip_step": f"{under_way}/{status.rollout.step}", "abort": under_way, "promote": under_way}
        case Phase.STARTING | Phase.PROMOTING:
            actions = {"abort": under_way, "promote": under_way}
        case Phase.REJECTED if status.rejected:
            actions = {"retry": status.rejected[0].revision}
        case Phase.IDLE | Phase.WATCHING if status.retired:
            actions = {"return_to": walk.random.choice(status.retired).revision}
        case _:
            return ""
    action = walk.random.choice(list(actions))
    if action in {"approve", "skip_step", "promote"}:
        walk.promoted_by_hand.add(under_way)
    walk.world.annotate(**{"pause": None, action: f"{actions[action]}#{len(walk.told)}"})
    return f"annotates {action}: {actions[action]}, in time"


NEW_IMAGES = {new_image: 10, storm_of_specs: 2}
DEPLOYS = NEW_IMAGES | {
    replicas: 2,
    mind_is_changed: 2,
    strategy: 2,
    other_steps: 2,
    gateway: 1,
    analysis: 2,
    suspend: 1,
    unusable: 2,
    annotation: 5,
    timely_annotation: 5,
    autoscaling: 2,
}


# They meddle ----------------------------------------------------------------------------------------------------------


def child_goes(walk: Walk, _: int) -> str:
    child = walk.a_child(*CHILD_KINDS, "EndpointSlice")
    if child is None:
        return ""
    walk.world.api.remove(child["kind"], NAMESPACE, child["metadata"]["name"])
    return f"{child['kind']} {child['metadata']['name']} is deleted"


def child_goes_slowly(walk: Walk, second: int) -> str:
    """Something else has put a finalizer on it."""
    child = walk.a_child()
    if child is None:
        return ""
    kind, name, uid = child["kind"], child["metadata"]["name"], child["metadata"]["uid"]
    api = walk.world.api
    api.edit(kind, NAMESPACE, name, lambda m: m["metadata"].update(finalizers=["example.com/kept"]))
    api.remove(kind, NAMESPACE, name)

    def gone() -> None:
        found = api.find(kind, NAMESPACE, name)
        if found is not None and found["metadata"]["uid"] == uid:
            api.edit(kind, NAMESPACE, name, lambda m: m["metadata"].pop("finalizers", None))

    return f"{kind} {name} is being deleted for {walk.for_a_while(second, gone, 20)} s"


def child_edited(walk: Walk, _: int) -> str:
    child = walk.a_child()
    if child is None:
        return ""
    kind, name = child["kind"], child["metadata"]["name"]
    edits = [edit for edit in _EDITS if kind in _EDITS[edit]]
    edit = walk.random.choice(edits)
    walk.world.api.edit(kind, NAMESPACE, name, lambda m: edit(m, walk))
    return f"{kind} {name}: {edit.__name__}"


def safeguard_is_meddled_with(walk: Walk, second: int) -> str:
    """What stands beside the model is deleted, edited, or may not be written for a while."""
    child = walk.a_child(*BESIDE_KINDS)
    if child is None:
        return ""
    kind, name = child["kind"], child["metadata"]["name"]
    api = walk.world.api
    match walk.random.choice(["goes", "edited", "refused"]):
        case "goes":
            api.remove(kind, NAMESPACE, name)
            return f"{kind} {name} is deleted"
        case "edited":
            edit = walk.random.choice([edit for edit in _EDITS if _EDITS[edit] is CHILD_KINDS])
            api.edit(kind, NAMESPACE, name, lambda m: edit(m, walk))
            return f"{kind} {name}: {edit.__name__}"
        case _:
            api.faults.refused_kinds |= {kind}

            def over() -> None:
                api.faults.refused_kinds -= {kind}

            return f"{kind} may not be written for {walk.for_a_while(second, over, 30)} s"


def status_lost(walk: Walk, _: int) -> str:
    if not walk.resource_is_there:
        return ""
    walk.world.lose_status()
    return "the status is lost"


def made_anew(walk: Walk, _: int) -> str:
    """Deleted and applied again: garbage collection of its children takes a moment."""
    if walk.resource_is_there:
        walk.world.api.remove("ModelDeployment", NAMESPACE, NAME)
    walk.world.deploy(walk.spec)
    return "the ModelDeployment is deleted and made anew"


MEDDLES = {
    child_goes: 3,
    child_goes_slowly: 1,
    child_edited: 4,
    status_lost: 1,
    made_anew: 1,
    safeguard_is_meddled_with: 2,
}


def hand_over_orphans(walk: Walk) -> None:
    """Children that have lost their owner are given to the resource; a record that it will not take is deleted."""
    api = walk.world.api
    told = " ".join(each.message for each in walk.world.status.conditions)
    for kind in (*CHILD_KINDS, *BESIDE_KINDS):
        for each in api.of(kind):
            metadata = each["metadata"]
            if metadata.get("ownerReferences"):
                continue
            if f"{NAMESPACE}/{metadata['name']} is offered for adoption, but holds other data" in told:
                api.remove(kind, NAMESPACE, metadata["name"])
            elif metadata.get("annotations", {}).get(ANNOTATION_ADOPT) != NAME:
                adopt = {ANNOTATION_ADOPT: NAME}
                api.edit(
                    kind,
                    NAMESPACE,
                    metadata["name"],
                    lambda m, a=adopt: m["metadata"].setdefault("annotations", {}).update(a),
                )


def name_the_stable_revision(walk: Walk) -> None:
    """The status is lost, and the stable Service does not say which revision is stable: somebody makes one that does.

    As docs/recover.md has it.
    """
    api = walk.world.api
    found = api.find("Service", NAMESPACE, NAME)
    ours = (each["metadata"] for each in api.of("ReplicaSet") if each["metadata"].get("ownerReferences"))
    names = [each["name"] for each in ours if LABEL_DEPLOYMENT in (each.get("labels") or {})]
    if not names:
        return
    if found is not None:
        api.remove("Service", NAMESPACE, NAME)
    uid = (api.find("ModelDeployment", NAMESPACE, NAME) or {})["metadata"]["uid"]
    owner = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "name": NAME, "uid": uid}
    metadata = {"name": NAME, "labels": {LABEL_DEPLOYMENT: NAME}, "ownerReferences": [owner | {"controller": True}]}
    selector = {LABEL_DEPLOYMENT: NAME, LABEL_REVISION: names[0].removeprefix(f"{NAME}-")}
    spec = {"selector": selector, "ports": [{"port": 80}]}
    api.put("Service", NAMESPACE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def _weight_is_changed(manifest: dict[str, Any], walk: Walk) -> None:
    manifest["spec"]["rules"][0]["backendRefs"][0]["weight"] = walk.random.choice([1, 1000])


def _backends_are_cut(manifest: dict[str, Any], _: Walk) -> None:
    manifest["spec"]["rules"][0]["backendRefs"] = manifest["spec"]["rules"][0]["backendRefs"][-1:]


def _fence_is_raised(manifest: dict[str, Any], _: Walk) -> None:
    manifest["metadata"].setdefault("annotations", {})[ANNOTATION_MOVES] = "9999"


def _annotations_go(manifest: dict[str, Any], _: Walk) -> None:
    manifest["metadata"].pop("annotations", None)


def _label_of_deployment_goes(manifest: dict[str, Any], _: Walk) -> None:
    manifest["metadata"].get("labels", {}).pop(LABEL_DEPLOYMENT, None)


def _label_of_revision_goes(manifest: dict[str, Any], _: Walk) -> None:
    manifest["metadata"].get("labels", {}).pop(LABEL_REVISION, None)


def _labels_go(manifest: dict[str, Any], _: Walk) -> None:
    manifest["metadata"].pop("labels", None)


def _owner_goes(manifest: dict[str, Any], _: Walk) -> None:
    manifest["metadata"].pop("ownerReferences", None)


def _selector_is_changed(manifest: dict[str, Any], _: Walk) -> None:
    manifest["spec"]["selector"]["app"] = "other"


def _is_scaled(manifest: dict[str, Any], walk: Walk) -> None:
    manifest["spec"]["replicas"] = walk.random.choice([0, 1, 2, 7])


_EDITS: dict[Callable[[dict[str, Any], Walk], None], tuple[str, ...]] = {
    _weight_is_changed: ("HTTPRoute",),
    _backends_are_cut: ("HTTPRoute",),
    _fence_is_raised: CHILD_KINDS,
    _annotations_go: CHILD_KINDS,
    _label_of_deployment_goes: CHILD_KINDS,
    _label_of_revision_goes: CHILD_KINDS,
    _labels_go: CHILD_KINDS,
    _owner_goes: CHILD_KINDS,
    _selector_is_changed: ("Service",),
    _is_scaled: ("ReplicaSet",),
}
