"""Raw objects become what decisions are made on."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from serinus.kube.observation import (
    has_lost_pods,
    observe_children,
    only_ready_endpoints,
    only_what_is_counted,
    only_what_is_observed,
    pod_state,
    replica_set_state,
    route_state,
)

REVISION = "5c1e0a9b77"
OTHER = "91b2f0c4de"
LABELS = {"serinus.dev/deployment": "fraud", "serinus.dev/revision": REVISION}
T0, T1, T2 = "2026-03-01T10:00:00Z", "2026-03-01T10:00:05Z", "2026-03-01T10:01:00Z"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def owned(kind: str, name: str, *, owner: str = "deployment-uid", **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "team",
        "uid": f"{name}-uid",
        "resourceVersion": "12",
        "generation": 3,
        "labels": dict(LABELS),
        "ownerReferences": [
            {"kind": "Other", "name": "x", "uid": "not-a-controller"},
            {"kind": "ModelDeployment", "name": "fraud", "uid": owner, "controller": True},
        ],
    }
    metadata |= fields.pop("metadata", {})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def replica_set(**status: Any) -> dict[str, Any]:
    return owned("ReplicaSet", f"fraud-{REVISION}", spec={"replicas": 4}, status={"observedGeneration": 3, **status})


def pod(name: str = "fraud-pod", **status: Any) -> dict[str, Any]:
    return owned("Pod", name, owner=f"fraud-{REVISION}-uid", status=status)


def condition(kind: str, status: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": T1, **more}


def model(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "model", "restartCount": 0, "state": state, **more}


# Children


def test_only_what_the_deployment_controls_is_its_own():
    ours, foreign = owned("Service", "fraud"), owned("Service", "fraud-candidate", owner="another-uid")
    uncontrolled = {"kind": "Service", "metadata": {"name": "plain", "uid": "p", "resourceVersion": "1"}}

    children = observe_children("fraud", "deployment-uid", [ours, foreign, uncontrolled])

    assert set(children.objects) == {("Service", "fraud")}
    assert children.objects["Service", "fraud"].uid == "fraud-uid"
    assert children.objects["Service", "fraud"].resource_version == "12"


def test_pods_count_where_their_replica_set_is_ours():
    mine, stray = pod("mine"), owned("Pod", "stray", owner="another-replica-set")

    children = observe_children("fraud", "deployment-uid", [replica_set()], [mine, stray])

    assert [state.name for state in children.pods] == ["mine"]


@pytest.mark.parametrize(
    ("annotation", "moves"), [("41", 41), ("", 0), ("-1", 0), ("x", 0), ("٣", 0), ("9" * 400, 0), (None, 0)]
)
def test_the_fence_is_read_from_the_child(annotation: str | None, moves: int):
    annotations = {} if annotation is None else {"serinus.dev/moves": annotation}
    service = owned("Service", "fraud", metadata={"annotations": annotations})

    children = observe_children("fraud", "deployment-uid", [service])

    assert children.objects["Service", "fraud"].moves == moves


def test_a_replica_set_tells_what_it_wants_has_and_lacks():
    failing = condition("ReplicaFailure", "True", reason="FailedCreate", message="exceeded quota: pods")
    children = observe_children(
        "fraud", "deployment-uid", [replica_set(replicas=3, readyReplicas=2, conditions=[failing])]
    )

    state = children.replica_sets[REVISION]
    assert (state.desired, state.current, state.ready) == (4, 3, 2)
    assert state.failure == "FailedCreate: exceeded quota: pods"


def test_a_replica_set_that_nobody_has_seen_yet_has_nothing_ready():
    fresh = owned("ReplicaSet", f"fraud-{REVISION}", spec={"replicas": 1})

    state = observe_children("fraud", "deployment-uid", [fresh]).replica_sets[REVISION]

    assert (state.ready, state.current, state.failure) == (0, 0, None)


def endpoint_slice(name: str, *pods: str, of: str = f"fraud-{REVISION}", ready: bool | None = True) -> dict[str, Any]:
    conditions = {} if ready is None else {"ready": ready}
    endpoints = [{"targetRef": {"kind": "Pod", "uid": uid}, "conditions": conditions} for uid in pods]
    return owned("EndpointSlice", name, owner=f"{of}-uid", endpoints=endpoints)


@pytest.mark.parametrize(
    ("slices", "ready"),
    [
        ([], 0),
        ([endpoint_slice("a", "pod-1", "pod-2")], 2),
        ([endpoint_slice("a", "pod-1"), endpoint_slice("b", "pod-2")], 2),
        ([endpoint_slice("v4", "pod-1"), endpoint_slice("v6", "pod-1")], 1),
        ([endpoint_slice("a", "pod-1", ready=False)], 0),
        ([endpoint_slice("a", "pod-1", ready=None)], 1),
        ([endpoint_slice("a", "pod-1", "pod-2", "pod-3")], 2),
        ([endpoint_slice("a", "pod-1", of="fraud")], 0),
        ([endpoint_slice("a", "pod-1", of="elsewhere")], 0),
    ],
    ids=[
        "no slice",
        "all",
        "in two slices",
        "one pod in both address families",
        "not ready",
        "unknown",
        "more than the ReplicaSet says",
        "of the stable Service",
        "of somebody else's Service",
    ],
)
@pytest.mark.parametrize("keep", [only_ready_endpoints, dict], ids=["as kept", "as told"])
def test_a_pod_can_serve_behind_a_route_once_its_replica_set_and_its_revisions_service_know_of_it(
    slices: list[dict[str, Any]], ready: int, keep: Callable[[dict[str, Any]], Any]
):
    role = {"labels": {**LABELS, "serinus.dev/role": "revision"}}
    objects = [
        replica_set(replicas=3, readyReplicas=2),
        owned("Service", f"fraud-{REVISION}", metadata=role),
        owned("Service", "fraud", metadata={"labels": {**LABELS, "serinus.dev/role": "stable"}}),
        owned("HTTPRoute", "fraud", spec={"rules": []}),
    ]

    children = observe_children("fraud", "deployment-uid", objects, (), [keep(each) for each in slices])

    assert children.ready(REVISION) == ready
    assert children.ready(OTHER) == 0


def test_without_a_route_a_pod_can_serve_once_its_replica_set_knows_of_it():
    objects = [replica_set(replicas=3, readyReplicas=2), owned("Service", "fraud")]

    assert observe_children("fraud", "deployment-uid", objects).ready(REVISION) == 2


def test_the_stable_selector_is_that_of_the_service_of_the_deployments_name():
    stable = owned("Service", "fraud", spec={"selector": {"serinus.dev/revision": REVISION}})
    candidate = owned("Service", "fraud-candidate", spec={"selector": {"serinus.dev/revision": OTHER}})

    both = observe_children("fraud", "deployment-uid", [candidate, stable])

    assert both.stable_selector == {"serinus.dev/revision": REVISION}
    assert observe_children("fraud", "deployment-uid", [candidate]).stable_selector is None


# Pods


def test_a_ready_pod():
    state = pod_state(
        pod(
            conditions=[condition("PodScheduled", "True"), condition("Ready", "True", lastTransitionTime=T2)],
            containerStatuses=[model({"running": {"startedAt": T1}}, restartCount=2, ready=True)],
        )
    )

    assert state.ready
    assert state.ready_since == at(T2)
    assert state.scheduled_at == at(T1)
    assert state.started_at == datetime(2026, 3, 1, 10, 0, 5, tzinfo=UTC)
    assert (state.restarts, state.trouble, state.revision) == (2, None, REVISION)


def test_a_pod_that_is_just_coming_up_has_no_trouble():
    waiting = model({"waiting": {"reason": "ContainerCreating"}})
    state = pod_state(pod(conditions=[condition("PodScheduled", "True")], containerStatuses=[waiting]))

    assert (state.ready, state.ready_since, state.started_at, state.trouble) == (False, None, None, None)


def test_a_pod_on_its_way_out_is_marked():
    leaving = pod(conditions=[condition("Ready", "True")])
    leaving["metadata"]["deletionTimestamp"] = T2

    assert pod_state(leaving).deleting


@pytest.mark.parametrize(
    ("phase", "ended"), [("Pending", False), ("Running", False), ("Failed", True), ("Succeeded", True)]
)
def test_a_pod_whose_containers_have_ended_for_good_is_marked(phase: str, ended: bool):
    assert pod_state(pod(phase=phase)).ended is ended


IMAGE_CURE = "; correct serving.image, or serving.imagePullSecrets where the registry asks who pulls"
TROUBLE = {
    "the scheduler finds no node": (
        {
            "conditions": [
                condition("PodScheduled", "False", reason="Unschedulable", message="0/3 nodes: 3 Insufficient gpu")
            ]
        },
        "Unschedulable: 0/3 nodes: 3 Insufficient gpu",
    ),
    "the image can't be pulled": (
        {"containerStatuses": [model({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling x"}})]},
        f"ImagePullBackOff: Back-off pulling x{IMAGE_CURE}",
    ),
    "the image must be on the node and is not": (
        {"containerStatuses": [model({"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}})]},
        f"ErrImageNeverPull: not present{IMAGE_CURE}",
    ),
    "the container keeps failing": (
        {
            "containerStatuses": [
                model(
                    {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                    lastState={"terminated": {"exitCode": 3, "reason": "Error", "message": "no such model: x\n"}},
                )
            ]
        },
        "CrashLoopBackOff: back-off 40s; it last ended with Error, exit code 3: no such model: x",
    ),
    "the container was killed for memory": (
        {"containerStatuses": [model({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})]},
        "Terminated: it ended with OOMKilled, exit code 137",
    ),
    "an init container fails": (
        {
            "initContainerStatuses": [
                {"name": "fetch", "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "404"}}}
            ],
            "containerStatuses": [model({"waiting": {"reason": "PodInitializing"}})],
        },
        "container fetch: Terminated: it ended with Error, exit code 1: 404",
    ),
    "the model is still loading": (
        {"containerStatuses": [model({"running": {"startedAt": T1}}, started=False)]},
        (
            "NotReady: the container runs, and its startup probe, GET /readyz, has not succeeded yet: the model is "
            "still loading, or listens on another port than serving.port"
        ),
    ),
    "readiness fails": (
        {"containerStatuses": [model({"running": {"startedAt": T1}}, started=True)]},
        "NotReady: the container runs, and its readiness probe, GET /readyz, fails",
    ),
    "the pod was evicted": (
        {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
        "Evicted: The node was low on resource: memory.",
    ),
}


@pytest.mark.parametrize(("status", "words"), TROUBLE.values(), ids=TROUBLE.keys())
def test_a_pod_that_is_not_ready_says_why(status: dict[str, Any], words: str):
    assert pod_state(pod(**status)).trouble == words


def test_an_init_container_that_succeeded_is_no_trouble():
    done = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    waiting = model({"waiting": {"reason": "PodInitializing"}})

    assert pod_state(pod(initContainerStatuses=[done], containerStatuses=[waiting])).trouble is None


def test_words_of_any_length_are_cut():
    waiting = model({"waiting": {"reason": "ErrImagePull", "message": "x" * 5000}})
    trouble = pod_state(pod(containerStatuses=[waiting])).trouble

    assert trouble is not None
    assert len(trouble) == 500
    assert trouble.endswith(IMAGE_CURE), "what to do is not cut"


def test_a_pod_whose_probes_fail_names_the_port_that_they_ask():
    template = {"spec": {"containers": [{"name": "model", "ports": [{"name": "http", "containerPort": 3001}]}]}}
    ours = replica_set() | {"spec": {"replicas": 4, "template": template}}
    starting = pod(containerStatuses=[model({"running": {"startedAt": T1}}, started=False)])
    (state,) = observe_children("fraud", "deployment-uid", [ours], [starting]).pods
    assert "GET /readyz on port 3001" in (state.trouble or "")


def test_what_an_informer_keeps_of_a_pod_is_enough():
    status = {
        "conditions": [condition("PodScheduled", "True"), condition("Ready", "True")],
        "containerStatuses": [model({"running": {"startedAt": T1}}, restartCount=1)],
        "podIP": "10.0.0.9",
    }
    whole = {**pod(**status), "spec": {"containers": [{"name": "model"}]}}
    kept = only_what_is_observed(whole)

    assert pod_state(kept) == pod_state(whole)
    assert "spec" not in kept
    assert "podIP" not in kept["status"]


def test_what_an_informer_keeps_of_a_replica_set_is_enough():
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    status = {
        "replicas": 3,
        "readyReplicas": 2,
        "conditions": [failure],
        "availableReplicas": 2,
        "fullyLabeledReplicas": 3,
        "observedGeneration": 4,
    }
    name = f"fraud-{REVISION}"
    whole = owned("ReplicaSet", name, spec={"replicas": 4, "template": {"spec": {}}}, status=status)
    whole["metadata"]["managedFields"] = [{"manager": "kube-controller-manager"}]
    kept = only_what_is_counted(whole)

    assert replica_set_state("fraud", kept) == replica_set_state("fraud", whole)
    assert kept["spec"] == whole["spec"]
    assert set(kept["status"]) == {"replicas", "readyReplicas", "conditions"}
    assert "managedFields" not in kept["metadata"]


# Routes


def route(
    parents: list[dict[str, Any]], answers: list[dict[str, Any]], *backends: tuple[str, int | None], generation: int = 7
) -> dict[str, Any]:
    backend_refs = [{"name": name, **({} if weight is None else {"weight": weight})} for name, weight in backends]
    return owned(
        "HTTPRoute",
        "fraud",
        metadata={"generation": generation},
        spec={"parentRefs": parents, "rules": [{"backendRefs": backend_refs}]},
        status={"parents": answers},
    )


PUBLIC = {"name": "public", "namespace": "gateways", "sectionName": "http"}


def answer(parent: dict[str, Any], *, generation: int = 7, **conditions: tuple[str, str, str]) -> dict[str, Any]:
    said = {"Accepted": ("True", "Accepted", ""), "ResolvedRefs": ("True", "ResolvedRefs", ""), **conditions}
    return {
        "parentRef": parent,
        "controllerName": "example.com/gateway",
        "conditions": [
            condition(kind, status, reason=reason, message=message, observedGeneration=generation)
            for kind, (status, reason, message) in said.items()
        ],
    }


def test_weights_are_told_by_revision():
    state = route_state("fraud", route([], [], (f"fraud-{REVISION}", 95), (f"fraud-{OTHER}", 5)))

    assert state.weights == {REVISION: 95, OTHER: 5}


def test_a_backend_without_a_weight_has_one_and_a_stranger_keeps_its_name():
    state = route_state("fraud", route([], [], (f"fraud-{REVISION}", None), ("backdoor", 3)))

    assert state.weights == {REVISION: 1, "backdoor": 3}


def test_the_rule_without_headers_says_the_weights():
    split = route([], [], (f"fraud-{REVISION}", 90), (f"fraud-{OTHER}", 10))
    testers = {"matches": [{"headers": [{"name": "x-cohort", "value": "beta"}]}]}
    split["spec"]["rules"].insert(0, {**testers, "backendRefs": [{"name": f"fraud-{OTHER}", "weight": 1}]})

    state = route_state("fraud", split)
    assert state.weights == {REVISION: 90, OTHER: 10}
    assert state.matches == {OTHER: ((("x-cohort", "beta"),),)}


def test_a_mirror_that_somebody_wrote_counts_by_its_fraction_or_as_all():
    split = route([], [], (f"fraud-{REVISION}", 90))
    target = {"backendRef": {"name": f"fraud-{OTHER}", "port": 80}}
    for told, percent in ({"fraction": {"numerator": 1, "denominator": 20}}, 5), ({}, 100), ({"percent": 7}, 7):
        split["spec"]["rules"][0]["filters"] = [{"type": "RequestMirror", "requestMirror": {**target, **told}}]
        assert route_state("fraud", split).mirrors == {OTHER: percent}


def test_a_long_name_is_told_by_its_services_as_well():
    from serinus.api.revision import child_name

    name = "a-very-long-name-of-a-model-deployment-that-goes-on-and-on"[:53]
    assert route_state(name, route([], [], (child_name(name, REVISION), 100))).weights == {REVISION: 100}


def test_a_route_is_accepted_when_every_gateway_accepts_it():
    inner = {"name": "inner"}
    both = route([PUBLIC, inner], [answer(PUBLIC), answer({**inner, "namespace": "team"})])

    assert route_state("fraud", both).accepted


def test_spelt_out_defaults_are_the_same_gateway():
    spelt_out = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": "inner",
        "namespace": "team",
        "port": None,
    }

    assert route_state("fraud", route([{"name": "inner"}], [answer(spelt_out)])).accepted


def test_a_route_without_gateways_is_not_accepted():
    assert not route_state("fraud", route([], [])).accepted


@pytest.mark.parametrize(
    "other",
    [
        {**PUBLIC, "name": "private"},
        {**PUBLIC, "namespace": "team"},
        {**PUBLIC, "sectionName": "https"},
        {"name": "public", "namespace": "gateways"},
        {**PUBLIC, "port": 8080},
        {**PUBLIC, "kind": "Service", "group": ""},
    ],
    ids=["name", "namespace", "listener", "no listener", "port", "kind"],
)
def test_the_answer_of_another_gateway_is_no_answer(other: dict[str, Any]):
    state = route_state("fraud", route([PUBLIC], [answer(other)]))

    assert not state.accepted
    assert not state.carried
    assert state.parents[0].message.startswith("Gateway gateways/public, listener http has not answered the route")


def test_an_answer_for_an_earlier_route_does_not_count():
    state = route_state("fraud", route([PUBLIC], [answer(PUBLIC, generation=6)]))

    assert not state.accepted
    assert state.carried
    assert "has not answered generation 7 of the route yet; Accepted is of generation 6" in state.parents[0].message


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (
            {"Accepted": ("False", "NotAllowedByListeners", "namespace team is not allowed")},
            "says Accepted=False, NotAllowedByListeners: namespace team is not allowed",
        ),
        (
            {"ResolvedRefs": ("False", "BackendNotFound", "service not found")},
            "says ResolvedRefs=False, BackendNotFound: service not found",
        ),
    ],
)
def test_a_refusal_is_quoted(conditions: dict[str, tuple[str, str, str]], words: str):
    state = route_state("fraud", route([PUBLIC], [answer(PUBLIC, **conditions)]))

    assert not state.accepted
    assert state.parents[0].message == f"Gateway gateways/public, listener http {words}"


def test_an_answer_that_leaves_a_condition_out_is_not_enough():
    half = answer(PUBLIC)
    half["conditions"] = half["conditions"][:1]
    state = route_state("fraud", route([PUBLIC], [half]))

    assert state.parents[0].message.endswith("has not said ResolvedRefs yet")


def test_one_of_several_controllers_that_carries_the_route_is_enough():
    refusing = answer(PUBLIC, Accepted=("False", "NoMatchingParent", "not mine"))

    assert route_state("fraud", route([PUBLIC], [refusing, answer(PUBLIC)])).accepted


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        pytest.param((3, 3), (3, 2), True, id="a ready pod is gone"),
        pytest.param((3, 3), (2, 2), False, id="it was scaled down"),
        pytest.param((3, 2), (3, 3), False, id="a pod became ready"),
        pytest.param((3, 3), (3, 3), False, id="nothing of that kind changed"),
        pytest.param((3, 3), (0, 0), False, id="it was scaled to zero"),
    ],
)
def test_lost_pods_are_told_from_pods_that_were_sent_away(
    before: tuple[int, int], after: tuple[int, int], lost: bool
) -> None:
    sets = [
        owned("ReplicaSet", "fraud-1", spec={"replicas": wanted}, status={"readyReplicas": ready})
        for wanted, ready in (before, after)
    ]
    assert has_lost_pods(*sets) is lost


def job(*conditions: dict[str, Any]) -> dict[str, Any]:
    return owned("Job", "fraud-preflight-3", status={"conditions": list(conditions)})


def job_pod(name: str, state: dict[str, Any], *, owner: str = "fraud-preflight-3-uid", **more: Any) -> dict[str, Any]:
    container = {"name": "try", "state": state, **more}
    return owned("Pod", name, owner=owner, status={"phase": "Failed", "containerStatuses": [container]})


def ended(code: int, at: str, message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": "Error", "message": message, "finishedAt": at}}


FAILED = condition("Failed", "True", reason="BackoffLimitExceeded", message="Job has reached the backoff limit")


def test_a_failed_job_is_told_in_its_words_and_those_of_the_pod_that_failed_last():
    pods = [job_pod("b", ended(1, T2, "accuracy 0.71 is below 0.9")), job_pod("c", ended(1, T1, "accuracy 0.72"))]
    (state,) = observe_children("fraud", "deployment-uid", [job(FAILED)], preflight_pods=pods).jobs.values()

    assert (state.failed, state.succeeded, state.revision) == (True, False, REVISION)
    assert state.words == (
        "BackoffLimitExceeded: Job has reached the backoff limit; pod b: container try: Terminated: it ended with "
        "Error, exit code 1: accuracy 0.71 is below 0.9"
    )


def test_a_job_whose_pods_do_not_start_says_why_and_is_not_over():
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pods = [job_pod("b", pulling), job_pod("stranger", ended(1, T1), owner="another-job")]
    (state,) = observe_children("fraud", "deployment-uid", [job()], preflight_pods=pods).jobs.values()

    assert not state.finished
    assert state.words == "pod b: container try: ImagePullBackOff: no such image"


def test_a_job_that_has_succeeded_says_so():
    done = job(condition("SuccessCriteriaMet", "True"), condition("Complete", "True"))
    (state,) = observe_children("fraud", "deployment-uid", [done]).jobs.values()

    assert (state.succeeded, state.failed, state.words) == (True, False, "")


def test_a_job_about_to_fail_whose_pods_still_run_is_not_over():
    (state,) = observe_children("fraud", "deployment-uid", [job(condition("FailureTarget", "True"))]).jobs.values()

    assert not state.finished
