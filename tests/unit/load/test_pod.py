"""The objects that run the load generator in a cluster."""

from dataclasses import replace

from e2e.load.generator import parse_settings
from e2e.load.pod import SOURCE, LoadPod

LOAD = LoadPod(
    name="clients",
    namespace="demo",
    image="localhost/serinus-example-digits:1.0.0",
    url="http://10.0.0.1/read",
    host="digits.example.com",
    rows="/opt/digits/model/held_out.json",
    rate_per_second=50,
    seconds=600,
)


def test_the_pod_meets_the_restricted_standard_and_writes_nothing() -> None:
    spec = LOAD.objects()[1]["spec"]
    container = spec["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False


def test_the_pod_runs_the_generator_with_arguments_that_it_understands() -> None:
    source, pod = LOAD.objects()
    container = pod["spec"]["containers"][0]
    assert source["data"] == {SOURCE.name: SOURCE.read_text()}
    assert pod["spec"]["volumes"] == [{"name": "source", "configMap": {"name": source["metadata"]["name"]}}]
    settings = parse_settings(container["args"])
    assert (settings.url, settings.host, settings.rate_per_second) == (LOAD.url, LOAD.host, LOAD.rate_per_second)


def test_clients_keep_their_connections_unless_they_are_to_be_many() -> None:
    assert not parse_settings(LOAD.objects()[1]["spec"]["containers"][0]["args"]).new_connections
    many = replace(LOAD, new_connections=True)
    assert parse_settings(many.objects()[1]["spec"]["containers"][0]["args"]).new_connections


def test_the_pod_cannot_outlive_its_run() -> None:
    spec = LOAD.objects()[1]["spec"]
    assert spec["restartPolicy"] == "Never"
    assert LOAD.seconds + LOAD.timeout_seconds < spec["activeDeadlineSeconds"] < LOAD.seconds + 600
    assert spec["terminationGracePeriodSeconds"] > LOAD.timeout_seconds
