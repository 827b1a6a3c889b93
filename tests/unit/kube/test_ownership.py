"""Moving what was created by POST into the books of server-side apply."""

from typing import Any

import pytest

from serinus.api.deployment import ObjectMeta
from serinus.api.kinds import AUTOSCALER, CONTROLLER_REVISION, HTTP_ROUTE, REPLICA_SET, SERVICE
from serinus.kube.ownership import (
    booked_as_apply,
    changed_by,
    is_booked,
    only_whether_booked,
    only_who_asked,
    takes_nothing_out,
)


def entry(manager: str, operation: str, fields: dict[str, Any], subresource: str | None = None) -> dict[str, Any]:
    made = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1"}
    return {**made, "fieldsV1": fields, **({"subresource": subresource} if subresource else {})}


PORT = {"f:spec": {"f:ports": {"f:a": {}}}}
LABEL = {"f:metadata": {"f:labels": {"f:a": {}}}}


def test_what_is_booked_already_is_left_alone():
    scaled = entry("autoscaler", "Update", {"f:spec": {"f:replicas": {}}}, "scale")
    assert booked_as_apply(REPLICA_SET, [entry("serinus", "Apply", PORT), scaled]) is None
    assert booked_as_apply(SERVICE, [entry("serinus", "Apply", PORT), entry("kubectl", "Update", LABEL)]) is None


def test_a_create_becomes_an_apply():
    others = [entry("kubectl", "Update", LABEL), entry("serinus", "Update", PORT, "status")]

    booked = booked_as_apply(SERVICE, [entry("serinus", "Update", PORT), *others])

    assert booked == [entry("serinus", "Apply", PORT), *others]


def test_two_entries_of_ours_become_one():
    booked = booked_as_apply(SERVICE, [entry("serinus", "Apply", LABEL), entry("serinus", "Update", PORT)])

    assert booked == [entry("serinus", "Apply", {**PORT, **LABEL})]


def test_what_others_put_into_the_spec_is_taken_and_the_rest_left_to_them():
    edited = entry("kubectl-edit", "Update", {**LABEL, "f:spec": {"f:selector": {"f:app": {}}}})

    booked = booked_as_apply(SERVICE, [entry("serinus", "Apply", PORT), edited])

    assert booked == [
        entry("serinus", "Apply", {"f:spec": {"f:ports": {"f:a": {}}, "f:selector": {"f:app": {}}}}),
        entry("kubectl-edit", "Update", LABEL),
    ]


def test_how_fast_an_autoscaler_goes_is_left_to_people():
    theirs = entry("kubectl-edit", "Update", {"f:spec": {"f:behavior": {"f:scaleDown": {}}}})
    most = {"f:spec": {"f:maxReplicas": {}}}

    assert booked_as_apply(AUTOSCALER, [entry("serinus", "Update", most), theirs]) == [
        entry("serinus", "Apply", most),
        theirs,
    ]
    with_behavior = {"metadata": {}, "spec": {"minReplicas": 2, "maxReplicas": 4, "behavior": {"scaleDown": {}}}}
    assert takes_nothing_out(AUTOSCALER, with_behavior, {"metadata": {}, "spec": {"minReplicas": 1, "maxReplicas": 9}})


def test_an_object_that_others_made_becomes_ours():
    booked = booked_as_apply(SERVICE, [entry("kubectl", "Update", PORT)])

    assert booked == [entry("serinus", "Apply", PORT)]


def test_the_replicas_that_somebody_edited_stay_theirs():
    edited = entry("kubectl-edit", "Update", {"f:spec": {"f:replicas": {}, "f:template": {}}})

    booked = booked_as_apply(REPLICA_SET, [edited])

    assert booked == [
        entry("serinus", "Apply", {"f:spec": {"f:template": {}}}),
        entry("kubectl-edit", "Update", {"f:spec": {"f:replicas": {}}}),
    ]
    assert booked_as_apply(REPLICA_SET, booked) is None


def test_the_replicas_of_a_replica_set_are_never_applied():
    fields = {"f:spec": {"f:replicas": {}, "f:template": {}}}

    booked = booked_as_apply(REPLICA_SET, [entry("serinus", "Update", fields)])

    assert booked == [entry("serinus", "Apply", {"f:spec": {"f:template": {}}})]


def test_the_caches_keep_of_the_books_only_whether_they_are_in_order():
    def kept(*fields: dict[str, Any]) -> dict[str, Any]:
        manifest = {"kind": "Service", "metadata": {"name": "iris", "managedFields": list(fields)}, "spec": {}}
        return dict(only_whether_booked(SERVICE, manifest))

    ours, status = entry("serinus", "Apply", PORT), entry("gateway", "Update", {"f:status": {}}, "status")
    assert is_booked(kept(ours, status, entry("kubectl", "Update", LABEL)))
    assert kept(ours)["metadata"] == {"name": "iris", "managedFields": []}
    assert not is_booked(kept(ours, entry("kubectl-edit", "Update", PORT)))
    assert not is_booked(kept(entry("serinus", "Update", PORT)))
    assert not is_booked(kept())
    assert kept(entry("serinus", "Update", PORT))["metadata"] == {"name": "iris"}


def test_who_changed_the_spec_after_us_is_known_in_the_caches_too():
    def seen(*fields: dict[str, Any]) -> tuple[str, str]:
        manifest = {"kind": "Service", "metadata": {"name": "iris", "managedFields": list(fields)}, "spec": {}}
        kept = dict(only_whether_booked(SERVICE, manifest))
        assert len(str(kept)) < 200
        return changed_by(manifest), changed_by(kept)

    at = "2026-03-01T12:00:{:02}Z".format
    ours = entry("serinus", "Update", PORT) | {"time": at(10)}
    theirs = entry("kubectl-edit", "Update", PORT)
    assert seen(ours, theirs | {"time": at(11)}) == ("kubectl-edit", "kubectl-edit")
    assert seen(ours, theirs | {"time": at(10)}) == ("kubectl-edit", "kubectl-edit"), "in the same second"
    assert seen(ours, theirs | {"time": at(9)}) == ("", ""), "we have written since"
    assert seen(ours, entry("helm", "Update", LABEL) | {"time": at(11)}) == ("", ""), "labels of theirs"
    assert seen(ours, entry("gateway", "Update", PORT, "status") | {"time": at(11)}) == ("", "")
    assert seen(ours, theirs) == ("", ""), "nobody knows when"
    assert seen() == ("", "")


def service(selected: str = "a", port: int = 80, **filled_in: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": port, "protocol": "TCP", "targetPort": "http"}]
    labels = {"serinus.dev/deployment": "iris", "app.kubernetes.io/name": "iris"}
    spec = {"type": "ClusterIP", "selector": {"serinus.dev/revision": selected}, "ports": ports}
    return {"metadata": {"name": "iris", "labels": labels}, "spec": spec | filled_in}


def test_an_apply_that_only_changes_the_selector_takes_nothing_out():
    there = service(clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"], ipFamilies=["IPv4"], sessionAffinity="None")
    assert takes_nothing_out(SERVICE, there, service("b"))


def test_an_apply_that_only_changes_weights_takes_nothing_out():
    there = {"metadata": {"name": "iris"}, "spec": {"hostnames": [], "rules": [{"backendRefs": [1]}]}}
    wanted = {"metadata": {"name": "iris"}, "spec": {"hostnames": [], "rules": [{"backendRefs": [1, 2]}]}}
    assert takes_nothing_out(HTTP_ROUTE, there, wanted)


@pytest.mark.parametrize(
    "there",
    [
        service(port=81),
        service(externalName="elsewhere"),
        service() | {"metadata": {"labels": {"serinus.dev/old": "x"}}},
        service() | {"metadata": {"annotations": {"serinus.dev/adopt": "iris"}}},
    ],
    ids=["another port", "a field of somebody else", "a label of an earlier version", "an annotation of ours"],
)
def test_what_has_to_go_needs_the_books(there: dict[str, Any]):
    assert not takes_nothing_out(SERVICE, there, service())


def test_labels_of_others_do_not_matter():
    there = service()
    there["metadata"]["labels"] |= {"team": "blue"}
    assert takes_nothing_out(SERVICE, there, service("b"))


def test_of_other_kinds_nothing_is_known():
    assert not takes_nothing_out(CONTROLLER_REVISION, service(), service())


def annotations(*names: str) -> dict[str, Any]:
    return {"f:metadata": {"f:annotations": {f"f:{name}": {} for name in names}}}


def test_of_a_model_deployment_only_who_asked_for_something_is_kept_and_the_newest_is_named():
    abort, owner = "serinus.dev/abort", "example.com/owner"
    applied = entry("argocd", "Apply", annotations(owner) | PORT)
    older = entry("kubectl-edit", "Update", annotations(abort)) | {"time": "2026-03-01T11:00:00Z"}
    newer = entry("kubectl-annotate", "Update", annotations(abort, owner)) | {"time": "2026-03-01T12:00:00Z"}
    metadata = {"name": "iris", "managedFields": [applied, newer, older]}

    kept = only_who_asked({"metadata": metadata})["metadata"]

    assert [each["manager"] for each in kept["managedFields"]] == ["kubectl-annotate", "kubectl-edit"]
    assert all(each["fieldsV1"] == annotations(abort) for each in kept["managedFields"])
    assert ObjectMeta.model_validate(kept).manager_of(abort) == "kubectl-annotate"
    assert ObjectMeta.model_validate(kept).manager_of("serinus.dev/retry") == ""
    assert "managedFields" not in only_who_asked({"metadata": {"name": "iris", "managedFields": [applied]}})["metadata"]
