"""The user's podTemplate over the rendered one: what is merged, what is refused."""

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serinus.core.render import ReservedField
from tests.unit.core.render.resources import container, pod_spec, template

FIELDS = (
    "name", "containers", "initContainers", "env", "value", "ports", "volumes", "emptyDir", "volumeMounts", "resources",
    "limits", "lifecycle", "securityContext", "tolerations", "affinity", "nodeAffinity", "topologySpreadConstraints",
    "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", "matchExpressions", "imagePullSecrets",
)  # fmt: skip
ROOT = "spec.serving.podTemplate"
MODEL = f"{ROOT}.spec.containers[model]"


def overlaid(spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"serving": {"podTemplate": {"spec": spec or {}, **more}}}


def model(**fields: Any) -> dict[str, Any]:
    return overlaid({"containers": [{"name": "model", **fields}]})


def named(field: str, key: str) -> dict[str, Any]:
    return overlaid(metadata={field: {key: "x"}})


def test_labels_and_annotations_are_added():
    found = template(overlaid(metadata={"labels": {"team": "x"}, "annotations": {"prometheus.io/scrape": "false"}}))

    assert found["metadata"]["labels"]["team"] == "x"
    assert found["metadata"]["labels"]["serinus.dev/deployment"] == "iris"
    assert found["metadata"]["annotations"]["prometheus.io/scrape"] == "false"


def test_the_models_container_is_merged_by_name_and_others_are_added():
    given = overlaid({"containers": [{"name": "shipper", "image": "s:1"}, {"name": "model", "tty": True}]})

    assert [each["name"] for each in pod_spec(given)["containers"]] == ["model", "shipper"]
    assert container(given)["tty"] is True
    assert container(given)["image"] == container()["image"]


def test_maps_are_merged_key_by_key():
    given = overlaid({"securityContext": {"runAsUser": 2000}})

    assert pod_spec(given)["securityContext"] == pod_spec()["securityContext"] | {"runAsUser": 2000}


def test_a_variable_or_volume_of_the_same_name_is_replaced_whole_so_that_it_has_one_source():
    secret = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}
    given = model(env=[secret])
    given["serving"] |= {"env": [{"name": "A", "value": "b"}], "volumes": [{"name": "data", "emptyDir": {}}]}
    given["serving"]["podTemplate"]["spec"]["volumes"] = [claim]

    assert [each for each in container(given)["env"] if each["name"] == "A"] == [secret]
    assert [each for each in pod_spec(given)["volumes"] if each["name"] == "data"] == [claim]


def test_mounts_are_merged_by_path():
    given = model(volumeMounts=[{"name": "big", "mountPath": "/tmp"}])

    assert [each["name"] for each in container(given)["volumeMounts"] if each["mountPath"] == "/tmp"] == ["big"]


def test_tolerations_are_added_and_placement_is_never_undone():
    term = {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    spec = {"tolerations": [{"key": "a", "operator": "Exists"}], "affinity": {"nodeAffinity": required}}
    given = overlaid(spec) | {"placement": {"accelerator": {"anyOf": [{"product": "H100"}]}}}
    found = pod_spec(given)
    (joined,) = found["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]

    assert [each["key"] for each in found["tolerations"]] == ["nvidia.com/gpu", "a"]
    assert [each["key"] for each in joined["matchExpressions"]] == ["nvidia.com/gpu.product", "pool"]


def test_lists_without_identity_are_replaced():
    found = container(model(securityContext={"capabilities": {"drop": ["NET_RAW"]}}))

    assert found["securityContext"]["capabilities"] == {"drop": ["NET_RAW"]}


def test_a_post_start_hook_stands_beside_the_drain():
    found = container(model(lifecycle={"postStart": {"sleep": {"seconds": 1}}}))

    assert set(found["lifecycle"]) == {"preStop", "postStart"}


@pytest.mark.parametrize(
    ("given", "path", "advice"),
    [
        (named("labels", "serinus.dev/revision"), f"{ROOT}.metadata.labels[serinus.dev/revision]", "another domain"),
        (named("labels", "x.serinus.dev/y"), f"{ROOT}.metadata.labels[x.serinus.dev/y]", "another domain"),
        (named("annotations", "serinus.dev/x"), f"{ROOT}.metadata.annotations[serinus.dev/x]", "another domain"),
        (overlaid(metadata={"name": "x"}), f"{ROOT}.metadata.name", "remove it"),
        (overlaid(status={}), f"{ROOT}.status", "remove it"),
        (overlaid({"terminationGracePeriodSeconds": 5}), f"{ROOT}.spec.terminationGracePeriodSeconds", "drainSeconds"),
        (model(readinessProbe={}), f"{MODEL}.readinessProbe", "leave it out"),
        (model(livenessProbe={}), f"{MODEL}.livenessProbe", "leave it out"),
        (model(startupProbe={}), f"{MODEL}.startupProbe", "startupSeconds"),
        (model(lifecycle={"preStop": {}}), f"{MODEL}.lifecycle.preStop", "drainSeconds"),
        (model(image="x"), f"{MODEL}.image", "spec.serving.image"),
        (model(command=["x"]), f"{MODEL}.command", "spec.serving.command"),
        (model(args=["x"]), f"{MODEL}.args", "spec.serving.args"),
        (model(ports=[{"name": "http", "containerPort": 1}]), f"{MODEL}.ports[http]", "spec.serving.port"),
        (model(ports=[{"containerPort": 3000}]), f"{MODEL}.ports[http]", "spec.serving.port"),
        (model(env=[{"name": "BENTOML_PORT", "value": "1"}]), f"{MODEL}.env[BENTOML_PORT]", "spec.serving.port"),
        (model(env=[{"name": "BENTOML_CONFIG_OPTIONS"}]), f"{MODEL}.env[BENTOML_CONFIG_OPTIONS]", "spec.serving.env"),
        (model(resources={"$patch": "replace"}), f"{ROOT}.spec.containers.resources.$patch", "not supported"),
        (overlaid(metadata=[]), f"{ROOT}.metadata", "must be an object"),
        (overlaid(metadata={"labels": "x"}), f"{ROOT}.metadata.labels", "must be an object"),
        (overlaid({"containers": {}}), f"{ROOT}.spec.containers", "must be a list"),
        (overlaid({"containers": ["model"]}), f"{ROOT}.spec.containers", "must be an object"),
        (overlaid({"securityContext": 1}), f"{ROOT}.spec.securityContext", "must be an object"),
        (overlaid({"volumes": "x"}), f"{ROOT}.spec.volumes", "must be a list"),
        (overlaid({"affinity": [1]}), f"{ROOT}.spec.affinity", "must be an object"),
        (model(env={"A": "b"}), f"{MODEL}.env", "must be a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_serinus_relies_on_is_refused_by_its_path(given: dict[str, Any], path: str, advice: str):
    with pytest.raises(ReservedField) as refused:
        pod_spec(given)

    assert refused.value.path == path
    assert advice in refused.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "model", "http"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
@example({"containers": [{"name": "model", "env": [1]}, {"name": "x", "env": [1], "resources": 1}]})
@example({"containers": [{"name": "model", "resources": {"limits": 1}}], "volumes": [{"emptyDir": 1}]})
@example({"tolerations": [1]})
@example(spec={"containers": [{"containers": [None]}, {"containers": []}]})
def test_no_overlay_whatever_its_shape_breaks_more_than_its_own_resource(spec: dict[str, Any]):
    with contextlib.suppress(ReservedField):
        pod_spec(overlaid(spec))
