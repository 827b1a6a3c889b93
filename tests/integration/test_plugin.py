"""The installed console script `kubectl-serinus` against a real API server, as its users run it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.controlplane import ControlPlane
from serinus.api.names import SCHEMA_VERSION
from serinus.api.revision import revision_hash
from tests.integration.conftest import Kubectl
from tests.integration.prometheus_process import PATIENCE_SECONDS, Prometheus, scraping
from tests.integration.scraped_pods import Namespace as PrometheusNamespace
from tests.integration.test_chart import CHART, done, helm_for, wait_for

SCRIPT = Path(sys.executable).with_name("kubectl-serinus")
STABLE = "5c1e0a9b77"
SPEC: dict[str, Any] = {
    "serving": {"image": "registry.example.com/iris:2"},
    "traffic": {"gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["iris.example.com"]}},
    "rollout": {
        "canary": {
            "steps": [
                {"name": "five", "weightPercent": 5, "holdSeconds": 60},
                {"name": "sign-off", "approval": {}},
                {"name": "half", "weightPercent": 50},
            ]
        }
    },
}
CANDIDATE = revision_hash(SPEC)
FINE = "max(vector(1) or up{%pods%})"
TRUE = {"status": "True", "reason": "AsTold", "message": "", "observedGeneration": 1}
Result = subprocess.CompletedProcess[str]


class Plugin:
    """The plugin in a namespace, as a user of a kubeconfig."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None) -> Result:
        """What it prints; it has to end with this code."""
        ended = self.start(*words).communicate(stdin, timeout=180)
        result = Result(words, self.last.returncode, *ended)
        assert result.returncode == code, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        return result

    def exit_code(self, *words: str) -> int:
        self.start(*words).communicate(timeout=180)
        return self.last.returncode

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "FORCE_COLOR"}}
        self.last = subprocess.Popen(
            [str(SCRIPT), *words, *(["-n", self.namespace] if "-A" not in words else [])],
            env=environment | {"KUBECONFIG": str(self.kubeconfig)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.last


@pytest.fixture
def plugin(plane: ControlPlane, crd: str, namespace: str) -> Plugin:
    return Plugin(Path(plane.kubeconfig), namespace)


def instant(age_seconds: float = 0) -> str:
    return (
        datetime.fromtimestamp(time.time() - age_seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def condition(kind: str, true: bool, reason: str = "AsTold", message: str = "as told") -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True" if true else "False",
        "observedGeneration": 1,
        "lastTransitionTime": instant(60),
        "reason": reason,
        "message": message,
    }


def status(phase: str = "AwaitingApproval", step: str = "sign-off", index: int = 1, *true: str) -> dict[str, Any]:
    """What an operator would have written in this phase. There is none here."""
    kinds = ("Available", "Ready", "Reconciling", "Stalled", "Paused")
    return {
        "observedGeneration": 1,
        "moves": 7,
        "conditions": [condition(kind, kind in true) for kind in kinds],
        "stable": {"revision": STABLE, "version": "1", "replicas": 1, "readyReplicas": 1, "weightPercent": 95},
        "candidate": {"revision": CANDIDATE, "version": "2", "replicas": 1, "readyReplicas": 1, "weightPercent": 5},
        "rollout": {
            "phase": phase,
            "step": step,
            "stepIndex": index,
            "stepCount": 3,
            "weightPercent": 5,
            "startedAt": instant(300),
            "evidenceStartedAt": instant(200),
        },
        "analysis": [
            {
                "name": "errors",
                "verdict": "Undecided",
                "candidate": {"bad": 0, "total": 50},
                "stable": {"bad": 1, "total": 950},
                "limit": "1 %",
                "needed": 240,
                "at": instant(),
            }
        ],
        "history": [
            {"at": instant(100), "event": "StepEntered", "revision": CANDIDATE, "because": "Step five (5 %)"},
            {"at": instant(300), "event": "CandidateStarted", "revision": CANDIDATE, "because": "It starts"},
        ],
    }


@pytest.fixture
def iris(kubectl: Kubectl, namespace: str, crd: str) -> Callable[..., None]:
    """Makes the ModelDeployment `iris`, or gives the one that is there another status."""

    def set_status(told: dict[str, Any] | None = None, name: str = "iris") -> None:
        kind = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name}}
        done(kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps({**kind, "spec": SPEC})))
        patch = json.dumps(
            {"status": told or status("AwaitingApproval", "sign-off", 1, "Available", "Reconciling", "Paused")}
        )
        done(
            kubectl("patch", "mdep", name, "-n", namespace, "--type=merge", "--subresource=status", f"--patch={patch}")
        )

    return set_status


@pytest.fixture
def annotations(kubectl: Kubectl, namespace: str) -> Callable[[], dict[str, str]]:
    def look() -> dict[str, str]:
        found = json.loads(done(kubectl("get", "mdep", "iris", "-n", namespace, "-o", "json", "--show-managed-fields")))
        named: dict[str, str] = found["metadata"].get("annotations") or {}
        return {key: value for key, value in named.items() if key.startswith("serinus.dev/")}

    return look


def test_a_status_is_shown_without_a_terminal_in_plain_lines(plugin: Plugin, iris: Callable[..., None]) -> None:
    iris()
    shown = plugin("status", "iris").stdout
    assert f"{plugin.namespace}/iris  NeedsAPerson: AwaitingApproval, step sign-off (2 of 3)" in shown
    assert "about 240 more requests in this step, 16 min at this rate" in shown
    assert f"kubectl serinus approve iris -n {plugin.namespace}" in shown
    assert "\x1b" not in shown
    data = json.loads(plugin("status", "iris", "-o", "json").stdout)
    assert data == yaml.safe_load(plugin("status", "iris", "-o", "yaml").stdout) | {
        "metrics": data["metrics"]  # their age goes on
    }
    assert [step["progress"] for step in data["steps"]] == ["Done", "Now", "Ahead"]


def test_a_pipeline_waits_until_it_serves_and_is_told_by_the_exit_code(
    plugin: Plugin, iris: Callable[..., None]
) -> None:
    iris(status("Holding", "five", 0, "Available", "Reconciling"))
    assert "iris is Progressing after 1 s" in plugin("status", "iris", "--wait", "--timeout", "1s", code=5).stderr
    waiting = plugin.start("status", "iris", "--wait", "--timeout", "60s")
    assert waiting.stderr is not None
    assert "Progressing: Holding five (1 of 3)" in waiting.stderr.readline()
    iris(status("Watching", "five", 0, "Available", "Ready"))
    shown, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert "Serving: Watching" in shown
    iris(status("Rejected", "five", 0, "Available", "Stalled"))
    plugin("status", "iris", "--wait", code=3)
    iris()
    plugin("status", "iris", "--wait", code=4)
    plugin("status", "iris", "--wait", "--past-approvals", "--timeout", "1s", code=5)


def read_until(process: subprocess.Popen[str], text: str, seconds: float = 60) -> str:
    """What a process writes until a text is in it."""
    assert process.stdout is not None
    said, deadline = "", time.monotonic() + seconds
    while text not in said:
        there, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert there, f"not within {seconds:.0f} s: {text}\n{said}"
        more = os.read(process.stdout.fileno(), 65_536).decode()
        assert more, f"it ended before it said {text}\n{said}"
        said += more
    return said


@pytest.mark.parametrize(
    ("output", "first", "then"),
    [
        ("text", "NeedsAPerson: AwaitingApproval", "Serving: Idle"),
        ("yaml", "state: NeedsAPerson", "state: Serving"),
    ],
)
def test_a_watch_shows_each_change_when_it_comes_also_into_a_pipe(
    plugin: Plugin, iris: Callable[..., None], output: str, first: str, then: str
) -> None:
    iris()
    watching = plugin.start("status", "iris", "--watch", "-o", output)
    try:
        before = read_until(watching, first)
        iris(status("Idle", "five", 0, "Available", "Ready"))
        after = read_until(watching, then)
    finally:
        watching.terminate()
        rest, errors = watching.communicate(timeout=60)
    assert "Traceback" not in errors
    if output == "yaml":
        assert [each["state"] for each in yaml.safe_load_all(before + after + rest)] == ["NeedsAPerson", "Serving"]


def test_a_list_has_those_first_that_need_a_person(plugin: Plugin, iris: Callable[..., None]) -> None:
    iris(status("Idle", "five", 0, "Available", "Ready"), name="a")
    iris(name="b")
    lines = plugin("list").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["b", "NeedsAPerson"], ["a", "Serving"]]
    assert [row["name"] for row in json.loads(plugin("list", "--state", "Serving", "-o", "json").stdout)] == ["a"]
    assert plugin.namespace in plugin("list", "-A").stdout
    assert "2 others do not match" in plugin("list", "--phase", "Promoting").stderr


def test_one_resource_that_is_nested_without_end_hides_no_other_in_a_list(
    plugin: Plugin, iris: Callable[..., None], kubectl: Kubectl, namespace: str
) -> None:
    iris(name="a")
    kind = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "deep"}}
    spec = {"serving": {"image": "registry.example.com/iris:1", "podTemplate": {"spec": "DEEP"}}}
    manifest = json.dumps({**kind, "spec": spec}).replace('"DEEP"', '{"a":' * 2_000 + "1" + "}" * 2_000)
    path = f"--raw=/apis/serinus.dev/v1alpha1/namespaces/{namespace}/modeldeployments"
    done(kubectl("create", path, "-f", "-", stdin=manifest))
    assert {line.split()[0] for line in plugin("list").stdout.splitlines()[1:]} == {"a", "deep"}


def test_decisions_are_exported_as_json_lines(plugin: Plugin, iris: Callable[..., None]) -> None:
    iris()
    assert "Step five (5 %)" in plugin("history", "iris").stdout
    lines = [json.loads(line) for line in plugin("history", "--audit").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["CandidateStarted", "StepEntered"]
    assert {(line["namespace"], line["name"], line["revision"]) for line in lines} == {
        (plugin.namespace, "iris", CANDIDATE)
    }


def test_an_approval_names_revision_and_step_and_is_booked_as_the_plugins(
    plugin: Plugin, iris: Callable[..., None], annotations: Callable[[], dict[str, str]], kubectl: Kubectl
) -> None:
    iris()
    dry = plugin("approve", "iris", "--dry-run").stdout
    assert "dry run: nothing was changed" in dry
    assert annotations() == {}
    said = plugin("approve", "iris", "--no-wait").stdout
    value = annotations()["serinus.dev/approve"]
    assert value.split("#")[0] == f"{CANDIDATE}/sign-off"
    assert f"serinus.dev/approve={value}" in said
    found = json.loads(
        done(kubectl("get", "mdep", "iris", "-n", plugin.namespace, "-o", "json", "--show-managed-fields"))
    )
    assert "serinus-plugin" in {entry["manager"] for entry in found["metadata"]["managedFields"]}


def test_what_would_do_nothing_is_not_sent(
    plugin: Plugin, iris: Callable[..., None], annotations: Callable[[], dict[str, str]]
) -> None:
    iris()
    assert "which is not skipped but given" in plugin("skip-step", "iris", code=1).stderr
    assert "it is stable already" in plugin("promote", "iris", "--revision", "stable", code=1).stderr
    assert "is none of its revisions" in plugin("abort", "iris", "--revision", "nonsense", code=1).stderr
    assert "it is not paused, it waits for an approval" in plugin("resume", "iris", code=1).stderr
    assert annotations() == {}
    plugin("pause", "iris", "--no-wait")
    assert annotations() == {"serinus.dev/pause": "true"}
    assert "nothing to do" in plugin("pause", "iris").stdout
    plugin("resume", "iris")
    assert annotations() == {}


def test_an_action_that_no_operator_takes_up_says_so(plugin: Plugin, iris: Callable[..., None]) -> None:
    iris()
    assert "no operator has taken it up" in plugin("abort", "iris", code=5).stderr
    assert "no operator has taken it up" in plugin("pause", "iris", code=5).stderr
    shown = plugin("status", "iris").stdout
    assert "serinus.dev/abort is sent at" in shown
    assert "not taken up yet" in shown


def test_a_pause_ends_when_the_operator_says_that_it_has_stopped(
    plugin: Plugin, iris: Callable[..., None], annotations: Callable[[], dict[str, str]]
) -> None:
    iris(status("Holding", "five", 0, "Available", "Reconciling"))
    pausing = plugin.start("pause", "iris")
    wait_for(lambda: annotations() == {"serinus.dev/pause": "true"})
    stopped = status("Paused", "five", 0, "Available", "Reconciling", "Paused")
    stopped["rollout"]["reason"] = "PausedByPerson"
    by_person = [
        each | ({"reason": "PausedByPerson"} if each["type"] == "Paused" else {}) for each in stopped["conditions"]
    ]
    iris(stopped | {"conditions": by_person})
    said, _ = pausing.communicate(timeout=60)
    assert pausing.returncode == 0
    assert "the operator has taken it up: phase Paused" in said
    assert "no operator has taken it up" in plugin("resume", "iris", code=5).stderr
    assert annotations() == {}


def test_a_resource_that_is_not_there_is_named_beside_those_that_are(plugin: Plugin, iris: Callable[..., None]) -> None:
    iris()
    assert (
        f"ModelDeployment rose is not in namespace {plugin.namespace}; there: iris"
        in plugin("status", "rose", code=1).stderr
    )


@pytest.fixture
def user(plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Plugin]]:
    """Makes a plugin that runs as a service account, bound to a role of the chart where one is named."""
    template = ("template", namespace, str(CHART), "--show-only", "templates/userroles.yaml")
    roles_of_the_chart = done(helm_for(plane, tmp_path / "helm")(*template))
    done(kubectl("apply", "-f", "-", stdin=roles_of_the_chart))

    def make(name: str, *roles: str) -> Plugin:
        done(kubectl("create", "serviceaccount", name, "-n", namespace))
        for role in roles:
            to = (f"--clusterrole={namespace}-serinus-{role}", f"--serviceaccount={namespace}:{name}", "-n", namespace)
            done(kubectl("create", "rolebinding", f"{name}-{role}", *to))
        config = yaml.safe_load(Path(plane.kubeconfig).read_text())
        token = done(kubectl("create", "token", name, "-n", namespace)).strip()
        config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
        path = tmp_path / name
        path.write_text(yaml.safe_dump(config))
        made = Plugin(path, namespace)
        wait_for(lambda: not roles or made.exit_code("list") == 0)
        return made

    yield make
    done(kubectl("delete", "-f", "-", stdin=roles_of_the_chart))


def test_a_missing_right_is_named_with_the_role_that_has_it(
    iris: Callable[..., None], user: Callable[..., Plugin], annotations: Callable[[], dict[str, str]]
) -> None:
    iris()
    refused = user("nobody")("status", "iris", code=1).stderr
    assert 'cannot get resource "modeldeployments"' in refused
    assert "the cluster role serinus-view has it" in refused
    refused = user("viewer", "view")("abort", "iris", code=1).stderr
    assert 'cannot patch resource "modeldeployments"' in refused
    assert "the cluster role serinus-operate has it" in refused
    assert annotations() == {}


def test_the_charts_roles_suffice(
    iris: Callable[..., None], user: Callable[..., Plugin], annotations: Callable[[], dict[str, str]]
) -> None:
    iris()
    assert user("viewer", "view")("status", "iris").stderr == "", "everything is shown"
    user("operator", "operate")("abort", "iris", "--no-wait")
    assert annotations()["serinus.dev/abort"].startswith(CANDIDATE)


def test_a_support_bundle_has_what_others_need_and_no_secret(
    plugin: Plugin, iris: Callable[..., None], tmp_path: Path
) -> None:
    iris()
    file = tmp_path / "bundle.tar.gz"
    assert str(file) in plugin("support-bundle", "iris", "--file", str(file)).stdout
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as bundle:
        texts = {each.name.removeprefix("bundle/"): bundle.extractfile(each) for each in bundle.getmembers()}
        read = {name: found.read().decode() for name, found in texts.items() if found is not None}
    assert "NeedsAPerson: AwaitingApproval" in read["status.txt"]
    assert f"the cluster's CRD: schema {SCHEMA_VERSION}" in read["versions.txt"]
    assert yaml.safe_load(read["modeldeployments.yaml"])["metadata"]["name"] == "iris"
    assert "read Gateway" in read["not-read.txt"], "it is not there"
    assert "can't be written" in plugin("support-bundle", "iris", "--file", str(file), code=1).stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A manifest of `iris`."""
    file = tmp_path / "iris.yaml"
    kind = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "iris"}}
    file.write_text(yaml.safe_dump({**kind, "spec": SPEC}))
    return file


@pytest.fixture
def make_gateway(kubectl: Kubectl, namespace: str, gateway_api: None) -> Callable[[], None]:
    """Makes the gateway that `iris` asks for, run by a controller."""

    def make() -> None:
        gateway = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "public"},
            "spec": {"gatewayClassName": "some", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        }
        done(kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(gateway)))
        at = "2026-03-01T12:00:00Z"
        said = [{"type": kind, **TRUE, "lastTransitionTime": at} for kind in ("Accepted", "Programmed")]
        patch = json.dumps({"status": {"conditions": said}})
        done(
            kubectl("patch", "gateway", "public", "-n", namespace, "--type=merge", "--subresource=status", "-p", patch)
        )

    return make


def test_gateways_of_a_file_are_checked_before_it_is_applied(
    plugin: Plugin, file: Path, make_gateway: Callable[[], None]
) -> None:
    assert "✖ Gateway" in plugin("gateway-check", "-f", str(file), code=1).stdout
    make_gateway()
    shown = plugin("gateway-check", "-f", str(file)).stdout
    assert f"✔ Gateway {plugin.namespace}/public lets in routes from namespace {plugin.namespace}" in shown


def test_a_file_is_held_against_the_policies_and_gateways_of_the_cluster(
    plugin: Plugin, kubectl: Kubectl, file: Path, make_gateway: Callable[[], None]
) -> None:
    assert "is valid" in plugin("validate", "-f", str(file)).stdout, "by itself"
    missing = plugin("validate", "-f", str(file), "--cluster", code=1).stdout
    assert f"spec.traffic.gateway: Gateway {plugin.namespace}/public is not there" in missing
    make_gateway()
    assert "is valid" in plugin("validate", "-f", str(file), "--cluster").stdout

    policy = {
        "apiVersion": "serinus.dev/v1alpha1",
        "kind": "RolloutPolicy",
        "metadata": {"name": "careful"},
        "spec": {"bounds": {"rollout": {"allowedAutomation": ["Supervised"]}}},
    }
    done(kubectl("apply", "-n", plugin.namespace, "-f", "-", stdin=json.dumps(policy)))
    forbidden = plugin("validate", "-f", str(file), "--cluster", code=1).stdout
    assert "spec.rollout.automation: RolloutPolicy careful allows Supervised" in forbidden
    allowed = {**policy, "spec": {"bounds": {"rollout": {"allowedAutomation": ["Automatic"]}}}}
    both = f"{file.read_text()}---\n{yaml.safe_dump({**allowed, 'metadata': {'name': 'careful'}})}"
    assert "iris is valid" in plugin("validate", "-f", "-", "--cluster", stdin=both).stdout, (
        "the one in the files counts"
    )


def test_the_metrics_of_a_file_are_asked_of_prometheus(
    plugin: Plugin, iris: Callable[..., None], make_gateway: Callable[[], None], tmp_path: Path
) -> None:
    def told(query: str, *words: str, code: int = 1) -> str:
        file = tmp_path / "iris.yaml"
        metrics = [
            {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}},
            {"name": "load", "value": {"query": query}, "limit": {"max": "1"}},
        ]
        kind = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "iris"}}
        file.write_text(yaml.safe_dump({**kind, "spec": {**SPEC, "analysis": {"metrics": metrics}}}))
        return plugin("validate", "-f", str(file), f"--prometheus={prometheus.url}", *words, code=code).stdout

    prometheus = Prometheus(tmp_path / "prometheus", scraping(0.5, "annotations"))
    pods = PrometheusNamespace(prometheus, plugin.namespace)
    try:
        assert "is valid" in told(FINE, code=0), "nothing serves yet: that nothing reports is no fault"
        refused = told("no_such_function(up{%pods%})")
        assert "spec.analysis.metrics[1]: load: InvalidQuery: " in refused
        assert "unknown function" in refused

        make_gateway()
        iris()
        assert "spec.analysis.metrics[0]: errors: Empty: " in told(FINE, "--cluster")
        pod = pods.pod(f"iris-{STABLE}-abcde")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while plugin.exit_code(
            "validate", "-f", str(tmp_path / "iris.yaml"), "--cluster", f"--prometheus={prometheus.url}"
        ):
            pod.answer(10)
            assert time.monotonic() < deadline, told(FINE, "--cluster")
    finally:
        pods.clear()
        prometheus.kill()
    gone = told(FINE)
    assert gone.count("SourceUnavailable") == 1, gone


def test_names_are_completed_for_kubectl(plugin: Plugin, iris: Callable[..., None]) -> None:
    iris()
    completed = subprocess.run(
        [SCRIPT.with_name("kubectl_complete-serinus"), "status", "-n", plugin.namespace, "ir"],
        env=os.environ | {"KUBECONFIG": str(plugin.kubeconfig)},
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert completed.stdout.splitlines() == ["iris", ":4"]


def test_kubectl_finds_the_plugin(plane: ControlPlane, plugin: Plugin, iris: Callable[..., None]) -> None:
    iris()
    shown = subprocess.run(
        [plane.kubectl, "serinus", "list", "-n", plugin.namespace],
        env=os.environ | {"KUBECONFIG": str(plane.kubeconfig), "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert "iris" in shown.stdout
