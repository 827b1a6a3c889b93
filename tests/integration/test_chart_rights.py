"""The operator at work with the chart's environment and the chart's rights: it uses every one of them, and no other.

The API server that it talks to writes an audit log, and that is compared with the declared table. The test plays the
ReplicaSet controller and the gateway, since there are no nodes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane, control_plane
from serinus.api.status import format_instant
from serinus.kube.permissions import PERMISSIONS
from tests.integration.endpoint_slices import endpoint_slice_of, is_of_a_revision
from tests.integration.established import wait_until_established
from tests.integration.second_api_server import SecondApiServer

ROOT = Path(__file__).parents[2]
ACCOUNT = "system:serviceaccount:serinus-system:serinus"

Manifest = dict[str, Any]

POD_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "podmonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {
            "kind": "PodMonitor",
            "plural": "podmonitors",
            "listKind": "PodMonitorList",
            "singular": "podmonitor",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
}


LEASE_OF_ANOTHER = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "serinus", "namespace": "serinus-system"},
    "spec": {"holderIdentity": "another", "leaseDurationSeconds": 2},
}
"""The operator is the standby of one that is never heard of again."""


TRIED = {
    "preflight": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "try", "image": "a/b"}]}}}}}
}


def iris(version: str, *, gateway: bool = True, autoscaled: bool = False, tried: bool = False) -> Manifest:
    steps = [{"name": "five", "weightPercent": 5, "holdSeconds": 3600}]
    return {
        "apiVersion": "serinus.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "iris", "namespace": "default"},
        "spec": {
            "serving": {"image": f"registry.example.com/iris:{version}"},
            "scaling": {"autoscaling": {"maxReplicas": 2}} if autoscaled else {},
            "traffic": {"gateway": {"parentRefs": [{"name": "public"}]}} if gateway else {},
            "rollout": {
                "revisionHistoryLimit": 0,
                "watchSeconds": 0,
                "scaleDownDelaySeconds": 0,
                **({"canary": {"steps": steps}} if gateway else {"blueGreen": {}}),
                **(TRIED if tried else {}),
            },
            "analysis": {"disabled": True},
        },
    }


@dataclass
class Cluster:
    """kubectl as administrator, and what the controllers that are not there would do."""

    plane: ControlPlane
    cache: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, may_be_gone: bool = False) -> str:
        result = subprocess.run(
            [str(self.plane.kubectl), f"--kubeconfig={self.plane.kubeconfig}", *arguments],
            input=stdin,
            env=os.environ | {"KUBECACHEDIR": str(self.cache)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        gone = may_be_gone and "NotFound" in result.stderr
        assert result.returncode == 0 or gone, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def apply(self, manifest: Manifest) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))

    def all(self, kinds: str) -> list[Manifest]:
        found: list[Manifest] = json.loads(self.kubectl("get", kinds, "-n", "default", "-o", "json"))["items"]
        return found

    def model(self) -> Manifest:
        found: Manifest = json.loads(self.kubectl("get", "modeldeployment", "iris", "-n", "default", "-o", "json"))
        return found

    def play(self) -> None:
        """Every ReplicaSet has the pods that it should have; every route is accepted as it is."""
        for service in self.all("services"):
            if is_of_a_revision(service):
                self.apply(endpoint_slice_of(service))
        pods = {pod["metadata"]["name"] for pod in self.all("pods")}
        for manifest in self.all("replicasets,httproutes"):
            if manifest["kind"] == "ReplicaSet":
                self.play_pod(manifest, pods)
            generation, status = manifest["metadata"]["generation"], manifest.get("status", {})
            if manifest["kind"] == "ReplicaSet":
                wanted = {
                    "replicas": manifest["spec"]["replicas"],
                    "readyReplicas": manifest["spec"]["replicas"],
                    "observedGeneration": generation,
                }
                played = all(status.get(key, 0) == value for key, value in wanted.items())
            else:
                wanted = {"parents": [accepting(parent, generation) for parent in manifest["spec"]["parentRefs"]]}
                told = [each["conditions"][0]["observedGeneration"] for each in status.get("parents", [])]
                played = told == [generation] * len(wanted["parents"])
            if not played:
                name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
                patch = json.dumps({"status": wanted})
                how = ("--subresource=status", "--type=merge", "-p", patch)
                self.kubectl("patch", name, "-n", "default", *how, may_be_gone=True)

    def play_pod(self, replica_set: Manifest, pods: set[str]) -> None:
        """One ready pod stands for all of a ReplicaSet; none for none."""
        template, metadata = replica_set["spec"]["template"], replica_set["metadata"]
        name = f"{metadata['name']}-0"
        wanted = replica_set["spec"]["replicas"] > 0
        if wanted == (name in pods):
            return
        if not wanted:
            self.kubectl("delete", "pod", name, "-n", "default", "--wait=false")
            return
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": metadata["name"], "uid": metadata["uid"]}
        place = {"name": name, "namespace": "default", "ownerReferences": [owner | {"controller": True}]}
        described = {"metadata": place | {"labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        self.apply({"apiVersion": "v1", "kind": "Pod", **described})
        now = format_instant(datetime.now(UTC))
        true = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("PodScheduled", "Ready")]
        patch = json.dumps({"status": {"phase": "Running", "conditions": true}})
        self.kubectl("patch", "pod", name, "-n", "default", "--subresource=status", "--type=merge", "-p", patch)


def accepting(parent: Manifest, generation: int) -> Manifest:
    condition = {
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": format_instant(datetime.now(UTC)),
    }
    conditions = [condition | {"type": kind} for kind in ("Accepted", "ResolvedRefs")]
    return {"parentRef": parent, "controllerName": "example.com/gateway", "conditions": conditions}


def succeeded() -> Manifest:
    """The status of a Job whose one pod has succeeded."""
    now = format_instant(datetime.now(UTC))
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    return {"status": {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}}


class Operator:
    """`python -m serinus` with a service account's token and the variables of the chart's pod."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self.port = int(environment["SERINUS_HTTP_PORT"])
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SERINUS", "KUBE"))}
        with log.open("w") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serinus"],
                env=inherited | environment | {"PYTHONPATH": str(ROOT / "operator"), "TMPDIR": str(log.parent)},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def answer(self, path: str) -> tuple[int, str]:
        """Status and text of the operator's own server; 0 where there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError as error:
            return 0, str(error)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


async def until(condition: Callable[[], Any], cluster: Cluster, operator: Operator, what: str) -> Any:
    """Play the controllers until the condition holds; what it found."""
    deadline = time.monotonic() + 180
    while True:
        cluster.play()
        if found := condition():
            return found
        assert operator.process.poll() is None, f"the operator ended:\n{operator.log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"not {what}:\n{cluster.model()}\n{operator.log.read_text()[-3000:]}"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def audited(plane: ControlPlane, folder: Path) -> AsyncIterator[tuple[SecondApiServer, Path]]:
    policy, log = folder / "audit-policy.json", folder / "audit.log"
    policy.write_text(json.dumps(AUDIT_POLICY))
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking")
    server = SecondApiServer(plane, folder / "audited.log", *flags)
    try:
        await server.start()
        yield server, log
    finally:
        server.kill()


def installed(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Install the chart; the environment of its pod."""
    command = [str(tools.packaged() / "helm"), "install", "serinus", str(ROOT / "charts" / "serinus")]
    result = subprocess.run(
        [*command, "--namespace=serinus-system", "--create-namespace"],
        env=os.environ
        | {f"HELM_{kind}_HOME": str(folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        | {"KUBECONFIG": str(cluster.plane.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    wait_until_established(cluster.kubectl, "modeldeployments.serinus.dev")
    deployment = json.loads(cluster.kubectl("get", "deployment", "serinus", "-n", "serinus-system", "-o", "json"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    of_the_pod = {"metadata.name": "serinus-0", "metadata.namespace": "serinus-system"}
    return {
        each["name"]: of_the_pod[each["valueFrom"]["fieldRef"]["fieldPath"]]
        if "valueFrom" in each
        else each.get("value", "")
        for each in container["env"]
    }


def kubeconfig_of_the_account(cluster: Cluster, server: str, folder: Path) -> Path:
    config = yaml.safe_load(cluster.plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = server
    token = cluster.kubectl("create", "token", "serinus", "-n", "serinus-system", "--duration=1h").strip()
    config["users"][0]["user"] = {"token": token}
    path = folder / "account.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Use = tuple[str, str, str]
"""Verb, API group, resource with its subresource."""


def uses(log: Path) -> dict[Use, set[int]]:
    """What the audit log says of the operator's requests, with the status codes of the answers."""
    found: dict[Use, set[int]] = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        reference = event.get("objectRef")
        if reference is None:  # discovery
            continue
        resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
        use = (event["verb"], reference.get("apiGroup", ""), resource)
        found.setdefault(use, set()).add(event.get("responseStatus", {}).get("code", 0))
    return found


async def work(cluster: Cluster, operator: Operator) -> None:
    """A life in which the operator has to do everything that it ever does."""

    def history() -> list[str]:
        return [entry["event"] for entry in cluster.model().get("status", {}).get("history", [])]

    def phase() -> str:
        return str(cluster.model().get("status", {}).get("rollout", {}).get("phase", ""))

    def weights() -> list[int]:
        return [
            ref["weight"] for route in cluster.all("httproutes") for ref in route["spec"]["rules"][0]["backendRefs"]
        ]

    async def reached(condition: Callable[[], Any], what: str) -> Any:
        return await until(condition, cluster, operator, what)

    await reached(lambda: operator.answer("/readyz")[0] == 200, "ready")
    cluster.apply(iris("1.0.0", autoscaled=True))
    await reached(lambda: "FirstDeployment" in history(), "serving the first revision")
    await reached(lambda: cluster.all("horizontalpodautoscalers"), "handing it to an autoscaler")

    # By hand: what is there is lost sight of, edited, scaled.
    for kind in ("service/iris", "httproute/iris", "podmonitor/iris", "hpa/iris", "networkpolicy/iris-serving"):
        cluster.kubectl("label", kind, "-n", "default", "serinus.dev/deployment-")
    of_revisions = "replicasets,controllerrevisions,poddisruptionbudgets"
    for manifest in cluster.all(of_revisions):
        name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
        cluster.kubectl("label", name, "-n", "default", "serinus.dev/deployment-")
    kinds = f"services,httproutes,podmonitors,horizontalpodautoscalers,networkpolicies,{of_revisions}"

    def unlabelled() -> list[str]:
        ours = [each for each in cluster.all(kinds) if each["metadata"].get("ownerReferences")]
        return [each["kind"] for each in ours if "serinus.dev/deployment" not in each["metadata"].get("labels", {})]

    await reached(lambda: not unlabelled(), "taking back what lost its label")
    cluster.apply(iris("1.0.0"))
    await reached(lambda: not cluster.all("horizontalpodautoscalers"), "without an autoscaler")
    (replica_set,) = cluster.all("replicasets")
    cluster.kubectl("scale", "replicaset", replica_set["metadata"]["name"], "-n", "default", "--replicas=3")
    await reached(lambda: cluster.all("replicasets")[0]["spec"]["replicas"] == 1, "scaling back")

    # A canary that is tried by a Job, whose label is lost, and then paused twice, with the same words, and aborted.
    cluster.apply(iris("2.0.0", tried=True))
    (job,) = await reached(lambda: cluster.all("jobs"), "trying the candidate")
    name = f"job/{job['metadata']['name']}"
    cluster.kubectl("label", name, "-n", "default", "serinus.dev/deployment-")
    await reached(
        lambda: "serinus.dev/deployment" in cluster.all("jobs")[0]["metadata"]["labels"], "taking back the Job"
    )
    cluster.kubectl(
        *("patch", name, "-n", "default", "--subresource=status", "--type=merge", "-p", json.dumps(succeeded()))
    )
    await reached(lambda: phase() == "Holding" and sorted(weights()) == [5, 95], "splitting the requests")
    candidate = cluster.model()["status"]["candidate"]["revision"]
    for _ in range(2):
        cluster.kubectl("annotate", "mdep", "iris", "-n", "default", "serinus.dev/pause=true")
        await reached(lambda: phase() == "Paused", "paused")
        cluster.kubectl("annotate", "mdep", "iris", "-n", "default", "serinus.dev/pause-")
        await reached(lambda: phase() == "Holding", "resumed")
    cluster.kubectl("annotate", "mdep", "iris", "-n", "default", f"serinus.dev/abort={candidate}")
    await reached(lambda: phase() == "Rejected", "rolled back")

    # The Lease is lost.
    cluster.kubectl("delete", "lease", "serinus", "-n", "serinus-system")
    lease = ("get", "lease", "-n", "serinus-system", "-o", "name")
    await reached(lambda: "serinus" in cluster.kubectl(*lease), "making its Lease again")

    # Back to the old revision, without a gateway: route and candidate go for good.
    cluster.apply(iris("1.0.0", gateway=False))
    await reached(lambda: phase() == "Idle" and not cluster.all("httproutes,jobs"), "without a route and a Job")
    await reached(lambda: len(cluster.all("replicasets,controllerrevisions")) == 2, "without the rejected revision")

    def counted_events() -> list[int]:
        return [event["series"]["count"] for event in cluster.all("events.events.k8s.io") if event.get("series")]

    await reached(lambda: 2 in counted_events(), "telling the second pause in the first one's Event")


async def work_without_safeguards(cluster: Cluster, operator: Operator) -> None:
    """The installation is changed: what it made beside every model goes."""

    def gone() -> bool:
        return not cluster.all("poddisruptionbudgets,networkpolicies")

    await until(gone, cluster, operator, "without disruption budgets and network policies")


async def test_operator_uses_every_right_of_the_chart_and_no_other(tmp_path: Path) -> None:
    with control_plane(tmp_path / "plane") as plane:
        cluster = Cluster(plane, tmp_path / "kubectl")
        environment = installed(cluster, tmp_path)
        of_gateways = ("gatewayclasses", "gateways", "httproutes")
        for kind in of_gateways:
            crd = tools.gateway_api_crds() / f"gateway.networking.k8s.io_{kind}.yaml"
            cluster.kubectl("apply", "--server-side", "-f", str(crd))
        cluster.apply(POD_MONITORS)
        kinds = [f"{kind}.gateway.networking.k8s.io" for kind in of_gateways]
        wait_until_established(cluster.kubectl, *kinds, "podmonitors.monitoring.coreos.com")
        cluster.kubectl("create", "serviceaccount", "default", "-n", "default")
        cluster.apply(LEASE_OF_ANOTHER)

        async with audited(plane, tmp_path) as (server, audit_log):
            kubeconfig = kubeconfig_of_the_account(cluster, server.credentials.server, tmp_path)
            environment |= {
                "KUBECONFIG": str(kubeconfig),
                "SERINUS_HTTP_PORT": str(free_port()),
                "SERINUS_ROUTE_MARGIN_SECONDS": "0",
                "SERINUS_ROLLBACK_DRAIN_SECONDS": "0",
            }
            off = {"SERINUS_DISRUPTION_BUDGETS": "false", "SERINUS_NETWORK_POLICIES": "false"}
            for name, settings, life in (("first", {}, work), ("second", off, work_without_safeguards)):
                operator = Operator(tmp_path / f"{name}.log", environment | settings)
                try:
                    await life(cluster, operator)
                    assert operator.answer("/healthz") == (200, "ok\n")
                    assert "serinus_leading 1" in operator.answer("/metrics")[1]
                    assert operator.stop() == 0
                finally:
                    operator.process.kill()
                    operator.process.wait()
                assert "Traceback" not in operator.log.read_text()

            lease = json.loads(cluster.kubectl("get", "lease", "serinus", "-n", "serinus-system", "-o", "json"))
            assert not lease["spec"].get("holderIdentity"), "the lease was not given back"

            used = uses(audit_log)
            assert {use for use, codes in used.items() if codes & {401, 403}} == set()
            granted = [each for each in PERMISSIONS if not each.switched_on_by]
            declared = {(verb, each.group, each.resource) for each in granted for verb in each.verbs}
            assert set(used) - declared == set(), "used without being declared"
            assert declared - set(used) == set(), "declared without being used"
