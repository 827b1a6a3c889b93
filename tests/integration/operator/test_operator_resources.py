"""What the operator makes of ModelDeployments, on a real API server with real controllers, and without kubelets."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.integration.operator.operator_process import ROOT, Cluster, eventually

MINIMAL = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())
CHILDREN = "controllerrevisions,replicasets,services"


def model_deployment(name: str, image: str = "registry.example.com/iris:1.0.0", **spec: Any) -> dict[str, Any]:
    return MINIMAL | {"metadata": {"name": name}, "spec": {"serving": {"image": image}, **spec}}


def children(cluster: Cluster, namespace: str, name: str) -> list[dict[str, Any]]:
    return cluster.list(CHILDREN, namespace, f"serinus.dev/deployment={name}")


def named(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


def revision_of(cluster: Cluster, namespace: str, name: str) -> str:
    """The candidate's hash, else the stable one's."""
    status = (cluster.get("modeldeployment", name, namespace) or {}).get("status", {})
    found = status.get("candidate") or status.get("stable") or {}
    return str(found.get("revision", ""))


def deployed(cluster: Cluster, namespace: str, name: str, **spec: Any) -> str:
    """Have it deployed and its pods ready; returns its revision."""
    cluster.apply(model_deployment(name, **spec), namespace=namespace)
    generation = (cluster.get("modeldeployment", name, namespace) or {})["metadata"]["generation"]

    def ready() -> bool:
        cluster.make_pods_ready(namespace, name)
        said = cluster.condition(name, namespace, "Ready")
        return said.get("status") == "True" and said["observedGeneration"] == generation

    eventually(ready, doing=f"{name} is ready")
    return revision_of(cluster, namespace, name)


def test_resource_gets_its_children_and_a_status(cluster: Cluster, served: str, name: str) -> None:
    cluster.apply(model_deployment(name), namespace=served)
    revision = eventually(lambda: revision_of(cluster, served, name))
    wanted = {
        ("ControllerRevision", f"{name}-{revision}"),
        ("ReplicaSet", f"{name}-{revision}"),
        ("Service", name),
    }
    eventually(lambda: wanted <= named(children(cluster, served, name)))
    resource = cluster.get("modeldeployment", name, served)
    assert resource is not None
    for child in children(cluster, served, name):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ModelDeployment", name, resource["metadata"]["uid"])
        assert owner["controller"] is True
    assert cluster.condition(name, served, "Ready")["status"] == "False"
    assert cluster.condition(name, served, "Available")["status"] == "False"


def test_first_revision_takes_over_when_its_pods_are_ready_and_an_event_tells_it(
    cluster: Cluster, served: str, name: str
) -> None:
    revision = deployed(cluster, served, name)
    resource = cluster.get("modeldeployment", name, served)
    assert resource is not None
    assert resource["status"]["stable"]["revision"] == revision
    assert resource["status"]["stable"]["readyReplicas"] == 1
    assert resource["status"]["observedGeneration"] == resource["metadata"]["generation"]
    selector = (cluster.get("service", name, served) or {})["spec"]["selector"]
    assert selector["serinus.dev/revision"] == revision

    def told() -> set[str]:
        events = cluster.list("events.events.k8s.io", served)
        return {each["reason"] for each in events if each["regarding"]["name"] == name}

    eventually(lambda: told() >= {"CandidateStarted", "FirstDeployment"})


def test_new_version_takes_over_when_it_is_ready_and_the_old_one_stays_warm(
    cluster: Cluster, served: str, name: str
) -> None:
    old = deployed(cluster, served, name)
    cluster.apply(model_deployment(name, "registry.example.com/iris:2.0.0"), namespace=served)
    new = eventually(lambda: {revision_of(cluster, served, name)} - {old}).pop()

    def switched() -> bool:
        cluster.make_pods_ready(served, name)
        service = cluster.get("service", name, served) or {}
        return bool(service["spec"]["selector"].get("serinus.dev/revision") == new)

    eventually(switched, doing="the stable Service selects the new revision")
    kept = cluster.get("replicaset", f"{name}-{old}", served)
    assert kept is not None
    assert kept["spec"]["replicas"] == 1


def test_edited_service_is_put_back(cluster: Cluster, served: str, name: str) -> None:
    revision = deployed(cluster, served, name)
    edit = {"spec": {"selector": {"serinus.dev/revision": "nonsense"}}, "metadata": {"labels": {"theirs": "kept"}}}
    cluster.patch("service", name, served, edit)

    def put_back() -> bool:
        service = cluster.get("service", name, served) or {}
        return bool(service["spec"]["selector"]["serinus.dev/revision"] == revision)

    eventually(put_back)
    assert (cluster.get("service", name, served) or {})["metadata"]["labels"]["theirs"] == "kept"


def test_deleted_children_come_back_as_they_were(cluster: Cluster, served: str, name: str) -> None:
    revision = deployed(cluster, served, name)
    child = f"{name}-{revision}"
    before = cluster.get("replicaset", child, served)
    assert before is not None
    before_services = named(cluster.list("services", served, f"serinus.dev/deployment={name}"))
    cluster.kubectl("delete", "replicaset", child, "-n", served)
    cluster.kubectl("delete", "service", name, "-n", served)

    def back() -> bool:
        after = cluster.get("replicaset", child, served)
        services = named(cluster.list("services", served, f"serinus.dev/deployment={name}"))
        return bool(after and after["metadata"]["uid"] != before["metadata"]["uid"] and services >= before_services)

    eventually(back)
    after = cluster.get("replicaset", child, served)
    assert after is not None
    assert after["spec"]["template"] == before["spec"]["template"]
    assert after["spec"]["replicas"] == before["spec"]["replicas"]


def test_hand_scaled_replica_set_is_scaled_back(cluster: Cluster, served: str, name: str) -> None:
    revision = deployed(cluster, served, name)
    cluster.kubectl("scale", "replicaset", f"{name}-{revision}", "--replicas=0", "-n", served)
    eventually(lambda: (cluster.get("replicaset", f"{name}-{revision}", served) or {})["spec"]["replicas"] == 1)


def test_the_size_that_is_set_by_the_scale_subresource_reaches_the_pods(
    cluster: Cluster, served: str, name: str
) -> None:
    revision = deployed(cluster, served, name, scaling={"replicas": 1})
    cluster.kubectl("scale", "modeldeployment", name, "--replicas=3", "-n", served)
    eventually(lambda: (cluster.get("replicaset", f"{name}-{revision}", served) or {})["spec"]["replicas"] == 3)

    def told() -> bool:
        cluster.make_pods_ready(served, name)
        path = f"/apis/serinus.dev/v1alpha1/namespaces/{served}/modeldeployments/{name}/scale"
        scale = json.loads(cluster.kubectl("get", f"--raw={path}"))
        selects = f"serinus.dev/revision={revision}" in scale["status"].get("selector", "")
        return scale["spec"]["replicas"] == scale["status"]["replicas"] == 3 and selects

    eventually(told, doing="the scale subresource tells of three pods")


def test_an_autoscaler_gets_the_stable_revision_and_its_size_is_left_alone(
    cluster: Cluster, served: str, name: str
) -> None:
    """Kubernetes' own controller, which has no metrics here and keeps to its bounds."""
    scaling = {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}
    old = deployed(cluster, served, name, scaling=scaling)
    eventually(lambda: cluster.get("hpa", name, served))
    cluster.kubectl("scale", "replicaset", f"{name}-{old}", "--replicas=7", "-n", served)

    def size(revision: str) -> int:
        return int((cluster.get("replicaset", f"{name}-{revision}", served) or {})["spec"]["replicas"])

    eventually(lambda: size(old) == 5, doing="the autoscaler takes it back to its most")
    cluster.apply(model_deployment(name, "registry.example.com/iris:2.0.0", scaling=scaling), namespace=served)
    new = eventually(lambda: {revision_of(cluster, served, name)} - {old}).pop()
    rollout = (cluster.get("modeldeployment", name, served) or {})["status"]["rollout"]
    assert rollout["stableReplicas"] == 5

    def handed_over() -> bool:
        cluster.make_pods_ready(served, name)
        spec = (cluster.get("hpa", name, served) or {})["spec"]
        return bool(spec["scaleTargetRef"]["name"] == f"{name}-{new}" and spec["minReplicas"] == 5)

    eventually(handed_over, doing="the autoscaler is handed over, and is to leave as many for the watch")
    assert {old: size(old), new: size(new)} == {old: 5, new: 5}


def test_child_that_lost_its_label_gets_it_back(cluster: Cluster, served: str, name: str) -> None:
    deployed(cluster, served, name)
    cluster.kubectl("label", "service", name, "serinus.dev/deployment-", "-n", served)

    def labelled() -> bool:
        service = cluster.get("service", name, served) or {}
        return bool(service["metadata"].get("labels", {}).get("serinus.dev/deployment") == name)

    eventually(labelled)


def test_foreign_service_is_left_alone_and_named_until_it_is_handed_over(
    cluster: Cluster, served: str, name: str
) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 8080}]},
    }
    cluster.apply(foreign, namespace=served)
    before = cluster.get("service", name, served)
    cluster.apply(model_deployment(name), namespace=served)
    eventually(lambda: cluster.condition(name, served, "Stalled").get("reason") == "NameTaken")
    message = cluster.condition(name, served, "Stalled")["message"]
    assert f"Service {served}/{name} exists" in message
    assert f"serinus.dev/adopt={name}" in message
    assert cluster.get("service", name, served) == before

    cluster.kubectl("annotate", "service", name, f"serinus.dev/adopt={name}", "-n", served)
    eventually(lambda: cluster.condition(name, served, "Stalled").get("status") == "False")
    adopted = cluster.get("service", name, served)
    assert adopted is not None
    assert adopted["metadata"]["ownerReferences"][0]["kind"] == "ModelDeployment"


def test_resource_behind_a_gateway_waits_for_its_route(cluster: Cluster, served: str, name: str) -> None:
    gateway = {"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["iris.example.com"]}
    cluster.apply(model_deployment(name, traffic={"gateway": gateway}), namespace=served)

    def quoted() -> bool:
        cluster.make_pods_ready(served, name)
        status = (cluster.get("modeldeployment", name, served) or {}).get("status", {})
        return "Gateway gateways/public is not there: create it, or correct parentRefs" in json.dumps(status)

    eventually(quoted, doing="the status says which gateway is not there")
    assert cluster.condition(name, served, "Ready")["status"] == "False"

    def ready() -> bool:
        cluster.accept_route(served, name)
        return cluster.condition(name, served, "Ready").get("status") == "True"

    eventually(ready, doing="ready with an accepted route")
    (rule,) = (cluster.get("httproute", name, served) or {})["spec"]["rules"]
    serving = [each["name"] for each in rule["backendRefs"] if each["weight"] > 0]
    assert serving == [f"{name}-{revision_of(cluster, served, name)}"]


def test_route_that_serves_stays_where_it_is_until_the_gateway_that_is_asked_for_lets_it_in(
    cluster: Cluster, served: str, name: str
) -> None:
    def behind(gateway: str) -> dict[str, Any]:
        return {"gateway": {"parentRefs": [{"name": gateway}], "hostnames": [f"{name}.example.com"]}}

    def parent() -> str:
        route = cluster.get("httproute", name, served) or {"spec": {"parentRefs": [{"name": ""}]}}
        return str(route["spec"]["parentRefs"][0]["name"])

    def ready() -> bool:
        cluster.make_pods_ready(served, name)
        if cluster.get("httproute", name, served) is not None:
            cluster.accept_route(served, name)
        return cluster.condition(name, served, "Ready").get("status") == "True"

    cluster.apply(model_deployment(name, traffic=behind("public")), namespace=served)
    eventually(ready, doing="ready behind a gateway")
    cluster.apply(model_deployment(name, traffic=behind("inner")), namespace=served)

    def told(words: str) -> bool:
        stalled = cluster.condition(name, served, "Stalled")
        return stalled["reason"] == "RouteNotAccepted" and words in stalled["message"]

    eventually(lambda: told(f"Gateway {served}/inner is not there"), doing="the missing gateway is named")
    assert parent() == "public"
    team = {"from": "Selector", "selector": {"matchLabels": {f"{name}.example.com/team": "ranking"}}}
    listener = {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": team}}
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "inner"},
        "spec": {"gatewayClassName": "nobody", "listeners": [listener]},
    }
    cluster.apply(gateway, namespace=served)
    eventually(lambda: told(f"lets in no routes from namespace {served}"), doing="the closed gateway is named")
    assert parent() == "public"
    cluster.kubectl("label", "namespace", served, f"{name}.example.com/team=ranking")
    eventually(lambda: parent() == "inner", doing="the route moves to the gateway that lets it in")


def test_suspended_resource_is_only_watched(cluster: Cluster, served: str, name: str) -> None:
    cluster.apply(model_deployment(name, suspend=True), namespace=served)
    eventually(lambda: cluster.condition(name, served, "Paused").get("status") == "True")
    assert children(cluster, served, name) == []


def test_deletion_takes_all_children_along(cluster: Cluster, served: str, name: str) -> None:
    deployed(cluster, served, name)
    cluster.kubectl("delete", "modeldeployment", name, "-n", served, "--wait=true", "--timeout=50s")
    eventually(lambda: not children(cluster, served, name), doing="the garbage collector has the children")


def test_resource_made_anew_under_the_same_name_starts_over(cluster: Cluster, served: str, name: str) -> None:
    deployed(cluster, served, name)
    first = (cluster.get("modeldeployment", name, served) or {})["metadata"]["uid"]
    cluster.kubectl("delete", "modeldeployment", name, "-n", served, "--wait=true", "--timeout=50s")
    deployed(cluster, served, name)
    owners = {
        child["metadata"]["ownerReferences"][0]["uid"]
        for child in children(cluster, served, name)
        if "deletionTimestamp" not in child["metadata"]
    }
    assert first not in owners
