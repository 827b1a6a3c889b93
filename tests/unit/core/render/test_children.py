"""Revisions, Services, routes and the PodMonitor."""

from typing import Any

import pytest

from serinus.api.kinds import ANNOTATION_MOVES
from serinus.api.rollout import MAX_STEPS
from serinus.core import render
from serinus.core.render.routing import gateway_duration
from serinus.kube.observation import route_state
from tests.unit.core.render.resources import IMAGE, deployment

GATEWAY = {"parentRefs": [{"name": "public"}]}
REVISION = "91b2f0c4de"


def owner_of(manifest: Any) -> dict[str, Any]:
    (owner,) = manifest["metadata"]["ownerReferences"]
    return owner


def test_every_child_is_controlled_by_the_resource_and_does_not_hold_up_its_deletion():
    assert owner_of(render.stable_service(deployment(), "abc", 3)) == {
        "apiVersion": "serinus.dev/v1alpha1",
        "kind": "ModelDeployment",
        "name": "iris",
        "uid": "7f0c",
        "controller": True,
        "blockOwnerDeletion": False,
    }


def test_every_child_carries_the_fence():
    assert render.stable_service(deployment(), "abc", 41)["metadata"]["annotations"] == {ANNOTATION_MOVES: "41"}


def test_a_controller_revision_keeps_what_the_user_wrote_and_nothing_else():
    resource = deployment({"serving": {"port": 3000}, "scaling": {"replicas": 3}})
    record = render.controller_revision(resource, resource.revision, 4, 1)

    assert record["data"]["spec"] == {"serving": {"image": IMAGE, "port": 3000}}
    assert record["revision"] == 4
    assert render.template_of(record) == render.pod_template(resource, resource.revision)


def test_a_revision_other_than_the_specs_cannot_be_recorded():
    with pytest.raises(ValueError, match="can't be recorded"):
        render.controller_revision(deployment(), "0123456789", 1, 1)


def test_identity_and_timeout_are_read_from_the_record():
    resource = deployment({"model": {"version": "2"}, "serving": {"bentoml": {"requestTimeoutSeconds": 9}}})
    record = render.controller_revision(resource, resource.revision, 1, 1)

    assert render.identity_of(record) == ("2", IMAGE)
    assert render.request_timeout_of(record) == 9


def test_a_lost_record_is_restored_from_the_pods_template():
    old = deployment({"model": {"version": "1"}})
    kept = render.pod_template(old, old.revision)
    restored = render.restored_revision(deployment({"model": {"version": "2"}}), old.revision, 1, 1, kept)

    assert render.template_of(restored) == kept
    assert render.identity_of(restored) == ("1", IMAGE)
    assert restored["metadata"]["labels"]["app.kubernetes.io/version"] == "1"


def test_an_older_revisions_replica_set_keeps_its_own_template_and_names():
    old = deployment({"model": {"name": "flowers", "version": "1"}})
    kept = render.pod_template(old, old.revision)
    found = render.replica_set(deployment({"model": {"version": "2"}}), old.revision, kept, 3, 1)

    assert found["spec"]["template"] == kept
    assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "flowers"
    assert found["metadata"]["labels"]["app.kubernetes.io/version"] == "1"
    assert found["spec"]["selector"]["matchLabels"].items() <= kept["metadata"]["labels"].items()


def test_replicas_are_written_only_when_asked_for():
    resource = deployment()
    kept = render.pod_template(resource, resource.revision)

    assert render.replica_set(resource, resource.revision, kept, 0, 1)["spec"]["replicas"] == 0
    assert "replicas" not in render.replica_set(resource, resource.revision, kept, None, 1)["spec"]


def test_services_select_one_revision_by_serinus_labels_alone():
    resource = deployment({"traffic": {"port": 8080}})
    revision, stable, candidate = (
        render.revision_service(resource, "abc", 1),
        render.stable_service(resource, "abc", 1),
        render.candidate_service(resource, "abc", 1),
    )

    assert [each["metadata"]["name"] for each in (revision, stable, candidate)] == [
        "iris-abc",
        "iris",
        "iris-candidate",
    ]
    for service, role in ((revision, "revision"), (stable, "stable"), (candidate, "candidate")):
        assert service["spec"]["selector"] == {"serinus.dev/deployment": "iris", "serinus.dev/revision": "abc"}
        assert service["spec"]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP", "targetPort": "http"}]
        assert service["metadata"]["labels"]["serinus.dev/role"] == role


def test_a_route_splits_by_weight_over_the_revisions_services_in_order():
    resource = deployment({"traffic": {"gateway": GATEWAY, "port": 8080}})
    (rule,) = render.http_route(resource, {"new": 5, "old": 95}, 1)["spec"]["rules"]

    assert [(each["name"], each["port"], each["weight"]) for each in rule["backendRefs"]] == [
        ("iris-new", 8080, 5),
        ("iris-old", 8080, 95),
    ]
    assert rule["timeouts"] == {"request": "60s"}
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["filters"] == []


def test_a_routes_timeout_follows_the_spec_unless_a_longer_one_is_in_use():
    resource = deployment({"traffic": {"gateway": GATEWAY}, "serving": {"bentoml": {"requestTimeoutSeconds": 20}}})

    assert render.http_route(resource, {"a": 1}, 1)["spec"]["rules"][0]["timeouts"] == {"request": "20s"}
    assert render.http_route(resource, {"a": 1}, 1, 300)["spec"]["rules"][0]["timeouts"] == {"request": "300s"}


def test_a_route_can_strip_its_prefix():
    gateway = GATEWAY | {"pathPrefix": "/fraud", "rewritePrefix": "/"}
    (rule,) = render.http_route(deployment({"traffic": {"gateway": gateway}}), {"a": 1}, 1)["spec"]["rules"]

    (rewrite,) = rule["filters"]
    assert rewrite["urlRewrite"] == {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}


def test_requests_with_certain_headers_have_one_rule_before_the_one_with_the_weights():
    gateway = {"parentRefs": [{"name": "public"}], "pathPrefix": "/fraud"}
    resource = deployment({"traffic": {"gateway": gateway}})
    beta, gamma = (("x-cohort", "beta"),), (("x-cohort", "gamma"), ("x-region", "eu"))
    by_headers, plain = render.http_route(resource, {"old": 100}, 1, matches={"new": (beta, gamma)})["spec"]["rules"]
    assert [match["headers"] for match in by_headers["matches"]] == [
        [{"type": "Exact", "name": "x-cohort", "value": "beta"}],
        [{"type": "Exact", "name": "x-cohort", "value": "gamma"}, {"type": "Exact", "name": "x-region", "value": "eu"}],
    ]
    assert {match["path"]["value"] for match in by_headers["matches"]} == {"/fraud"}
    assert [backend["name"] for backend in by_headers["backendRefs"]] == ["iris-new"]
    assert [backend["name"] for backend in plain["backendRefs"]] == ["iris-old"]
    assert (by_headers["filters"], by_headers["timeouts"]) == (plain["filters"], plain["timeouts"])


def test_where_a_prefix_is_rewritten_each_match_has_a_rule_of_its_own():
    gateway = {"parentRefs": [{"name": "public"}], "pathPrefix": "/fraud", "rewritePrefix": "/"}
    resource = deployment({"traffic": {"gateway": gateway}})
    headers = ((("x-cohort", "beta"),), (("x-cohort", "gamma"), ("x-region", "eu")))
    route = render.http_route(resource, {"old": 100}, 1, matches={REVISION: headers})
    beta, gamma, plain = route["spec"]["rules"]
    assert [len(rule["matches"]) for rule in (beta, gamma, plain)] == [1, 1, 1]
    assert beta["filters"] == gamma["filters"] == plain["filters"]
    assert route_state(resource.metadata.name, route).matches == {REVISION: headers}


def test_a_route_of_as_many_steps_as_there_may_be_keeps_to_the_limits_of_the_gateway_api():
    resource = deployment({"traffic": {"gateway": {"parentRefs": [{"name": "public"}]}}})
    headers = [tuple((f"x-{number}-{of}", "a") for number in range(16)) for of in range(MAX_STEPS)]
    rules = render.http_route(resource, {"old": 95, "new": 5}, 1, matches={"new": headers})["spec"]["rules"]
    assert len(rules) <= 16
    assert all(len(rule["matches"]) <= 64 for rule in rules)
    assert all(len(match.get("headers", ())) <= 16 for rule in rules for match in rule["matches"])


@pytest.mark.parametrize(("percent", "written"), [(100, {}), (20, {"percent": 20})])
def test_copies_are_of_all_requests_that_do_not_go_by_headers(percent: int, written: dict[str, int]):
    gateway = {"parentRefs": [{"name": "public"}], "rewritePrefix": "/"}
    resource = deployment({"traffic": {"gateway": gateway}})
    matches = {"new": ((("x-cohort", "beta"),),)}
    route = render.http_route(resource, {"old": 100}, 1, matches=matches, mirrors={"new": percent})
    by_headers, plain = route["spec"]["rules"]
    backend = {"group": "", "kind": "Service", "name": "iris-new", "port": 80}
    assert [each["type"] for each in by_headers["filters"]] == ["URLRewrite"]
    rewrite, mirror = plain["filters"]
    assert rewrite["type"] == "URLRewrite"
    assert mirror == {"type": "RequestMirror", "requestMirror": {"backendRef": backend, **written}}


def test_what_is_written_beside_the_weights_is_read_back_from_the_route():
    resource = deployment({"traffic": {"gateway": {"parentRefs": [{"name": "public"}]}}})
    headers = ((("x-cohort", "beta"),), (("x-cohort", "gamma"), ("x-region", "eu")))
    for percent in (1, 99, 100):
        weights, beside = {"old": 95, REVISION: 5}, {"matches": {REVISION: headers}, "mirrors": {REVISION: percent}}
        state = route_state(resource.metadata.name, render.http_route(resource, weights, 1, **beside))
        assert state.matches == {REVISION: headers}
        assert state.mirrors == {REVISION: percent}
        assert state.weights[REVISION] == 5


def test_there_is_no_route_without_a_gateway():
    with pytest.raises(ValueError, match=r"models/iris has no spec\.traffic\.gateway"):
        render.http_route(deployment(), {"a": 1}, 1)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(1, "1s"), (99_999, "99999s"), (100_800, "28h"), (31_536_000, "8760h"), (100_001, "27h2801s")],
)
def test_durations_have_at_most_five_digits_in_a_part(seconds: int, written: str):
    assert gateway_duration(seconds) == written


@pytest.mark.parametrize(("interval_seconds", "scraped"), [(5, "5s"), (15, "15s"), (3600, "15s")])
def test_pods_are_scraped_at_least_as_often_as_the_evidence_is_looked_at(interval_seconds: int, scraped: str):
    monitor = render.pod_monitor(deployment({"analysis": {"intervalSeconds": interval_seconds}}), 1)

    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": scraped}
    assert monitor["spec"]["selector"] == {"matchLabels": {"serinus.dev/deployment": "iris"}}
