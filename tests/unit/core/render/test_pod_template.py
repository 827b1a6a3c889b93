"""The pod of a revision: probes, drain, rights, writable directories, labels."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core import render
from serinus.core.render import ReservedField
from tests.unit.core.render.resources import IMAGE, container, deployment, environment, pod_spec, template

SECONDS = st.integers(1, 5000)
TEXT = st.text("abcdefghij-$() \"'{}", max_size=12)
SPECS = st.fixed_dictionaries(
    {
        "serving": st.fixed_dictionaries(
            {"image": st.sampled_from([IMAGE, "a/b@sha256:0123456789abcdef", "localhost:5000/x"])},
            optional={
                "port": st.integers(1, 65535),
                "args": st.lists(TEXT, max_size=3),
                "bentoml": st.fixed_dictionaries(
                    {}, optional={"workers": st.integers(1, 9), "requestTimeoutSeconds": SECONDS}
                ),
                "startupSeconds": st.integers(1, 1799),
                "drainSeconds": st.integers(0, 600),
                "env": st.lists(
                    st.fixed_dictionaries({"name": st.sampled_from(["A", "B", "BENTOML_HOME"]), "value": TEXT}),
                    unique_by=lambda each: each["name"],
                ),
                "resources": st.fixed_dictionaries({}, optional={"limits": st.just({"cpu": "1000m", "memory": 2**30})}),
                "podTemplate": st.sampled_from(
                    [
                        {"metadata": {"labels": {"a": "b"}}},
                        {"spec": {"priorityClassName": "x", "volumes": [{"name": "v"}]}},
                    ]
                ),
            },
        )
    },
    optional={
        "placement": st.fixed_dictionaries(
            {},
            optional={
                "accelerator": st.fixed_dictionaries(
                    {}, optional={"count": st.integers(1, 8), "anyOf": st.just([{"product": "A"}, {"minMemoryGiB": 3}])}
                ),
                "nodeSelector": st.just({"pool": "gpu"}),
            },
        )
    },
)


@given(SPECS)
def test_rendering_gives_the_same_bytes_every_time_and_changes_nothing(spec: dict[str, Any]):
    before = copy.deepcopy(spec)
    resource = deployment(spec)
    fields = copy.deepcopy(dict(resource.revision_fields))
    first = render.controller_revision(resource, resource.revision, 1, 1)
    text = json.dumps(first)
    _scribble(first)

    assert json.dumps(render.controller_revision(resource, resource.revision, 1, 1)) == text
    assert json.dumps(render.controller_revision(deployment(spec), resource.revision, 1, 1)) == text
    assert (spec, resource.revision_fields) == (before, fields)


def _scribble(value: Any) -> None:
    """Change every list and map inside, as a careless caller might."""
    if isinstance(value, dict):
        for inner in value.values():
            _scribble(inner)
        value["scribble"] = 1
    elif isinstance(value, list):
        for inner in value:
            _scribble(inner)
        value.append("scribble")


@given(SPECS)
def test_a_pod_is_killed_only_after_drain_and_the_longest_request(spec: dict[str, Any]):
    serving = spec["serving"]
    timeout = serving.get("bentoml", {}).get("requestTimeoutSeconds", 60)

    assert pod_spec(spec)["terminationGracePeriodSeconds"] > serving.get("drainSeconds", 15) + timeout


@given(SPECS)
def test_probes_keep_their_promises(spec: dict[str, Any]):
    serving = spec["serving"]
    startup, readiness, liveness = (container(spec)[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    budget = startup["periodSeconds"] * startup["failureThreshold"]
    silence = liveness["periodSeconds"] * liveness["failureThreshold"]

    assert serving.get("startupSeconds", 600) <= budget < serving.get("startupSeconds", 600) + startup["periodSeconds"]
    assert silence > serving.get("bentoml", {}).get("requestTimeoutSeconds", 60)
    assert [each["httpGet"]["path"] for each in (startup, readiness, liveness)] == ["/readyz", "/readyz", "/livez"]
    assert all(each["timeoutSeconds"] <= each["periodSeconds"] for each in (startup, readiness, liveness))


def test_a_pod_drains_before_it_is_told_to_stop():
    assert container()["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
    assert "lifecycle" not in container({"serving": {"drainSeconds": 0}})


def test_the_port_reaches_container_and_scrape_annotation():
    given = {"serving": {"port": 8001}}

    assert container(given)["ports"] == [{"name": "http", "containerPort": 8001, "protocol": "TCP"}]
    assert template(given)["metadata"]["annotations"]["prometheus.io/port"] == "8001"
    assert container(given)["readinessProbe"]["httpGet"]["port"] == "http"


def test_a_pod_runs_as_bentomls_user_without_rights():
    security = pod_spec()["securityContext"]

    assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, 1034, 1034)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod_spec()["automountServiceAccountToken"] is False


def test_services_of_the_namespace_do_not_become_environment_variables():
    assert pod_spec()["enableServiceLinks"] is False


def test_bentomls_directories_are_writable_on_a_read_only_root():
    mounts = {each["mountPath"]: each["name"] for each in container()["volumeMounts"]}
    volumes = {each["name"]: each for each in pod_spec()["volumes"]}

    assert {"/tmp", environment()["BENTOML_HOME"]} == set(mounts)
    assert all(volumes[name]["emptyDir"] == {} for name in mounts.values())


def test_a_users_mount_takes_the_place_of_a_writable_directory():
    given = {
        "serving": {
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "volumeMounts": [{"name": "scratch", "mountPath": "/tmp/"}],
        }
    }
    mounts = [(each["name"], each["mountPath"]) for each in container(given)["volumeMounts"]]

    assert ("scratch", "/tmp/") in mounts
    assert "/tmp" not in [path for _, path in mounts]
    assert [each["name"] for each in pod_spec(given)["volumes"]] == ["serinus-bentoml-home", "scratch"]


def test_pods_carry_the_labels_that_selectors_and_people_use():
    resource = deployment({"model": {"name": "flowers", "version": "2.3.0"}})

    assert render.pod_template(resource, resource.revision)["metadata"]["labels"] == {
        "serinus.dev/deployment": "iris",
        "serinus.dev/revision": resource.revision,
        "app.kubernetes.io/name": "flowers",
        "app.kubernetes.io/version": "2.3.0",
        "app.kubernetes.io/managed-by": "serinus",
    }


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.example.com:5000/iris:1.0.0", "1.0.0"),
        ("registry.example.com:5000/iris", "latest"),
        ("iris@sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730", "7d865e959b24"),
        ("iris:2@sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730", "2"),
        ("iris:_nightly-", "nightly"),
        ("iris:" + "a" * 62 + ".b", "a" * 62),
        ("iris:___", "unknown"),
    ],
)
def test_the_version_is_the_images_tag_or_the_beginning_of_its_digest(image: str, version: str):
    assert template({"serving": {"image": image}})["metadata"]["labels"]["app.kubernetes.io/version"] == version


def test_quantities_are_written_as_the_api_server_writes_them():
    given = {"serving": {"resources": {"requests": {"cpu": 1, "memory": "1024Mi"}, "limits": {"cpu": "1500m"}}}}

    assert container(given)["resources"] == {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1500m"}}


def test_nothing_empty_is_written_that_the_api_server_would_leave_out():
    def empties(value: Any, path: str = "") -> list[str]:
        if isinstance(value, dict):
            return [hit for key, inner in value.items() for hit in empties(inner, f"{path}.{key}")] or (
                [path] if not value else []
            )
        if isinstance(value, list):
            return [hit for inner in value for hit in empties(inner, path)] or ([path] if not value else [])
        return [path] if value in ("", None) else []

    given = {"serving": {"env": [{"name": "EMPTY", "value": ""}]}}
    assert [path for path in empties(pod_spec(given)) if not path.endswith(".emptyDir")] == []


def test_a_resource_of_the_wrong_shape_is_refused_by_its_path():
    with pytest.raises(ReservedField) as refused:
        pod_spec({"serving": {"resources": {"limits": ["cpu"]}}})

    assert refused.value.path == "spec.serving.resources.limits"
