"""The operator as its users run it: `python -m serinus`, with the chart's rights and no others.

Started by the tests of this folder. A process ends with the test that started it, even where that one is killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from e2e.cluster import tools
from e2e.cluster.controlplane import ControlPlane
from tests.integration.endpoint_slices import endpoint_slice_of, is_of_a_revision

ROOT = Path(__file__).parents[3]
T = TypeVar("T")

IMPATIENT = {"LEASE_DURATION_SECONDS": "6", "LEASE_RENEW_DEADLINE_SECONDS": "4", "LEASE_RETRY_SECONDS": "0.4"}
FAILOVER_SECONDS = 6 + 2 * 0.4 * 1.2
"""The lease's duration, counted from when the standby last saw it change, and the pauses around that."""
BUSY_SECONDS = 10
"""What a busy machine adds to what would take a moment."""


def eventually(look: Callable[[], T], seconds: float = 90.0, doing: str = "") -> T:
    """What `look` returns, as soon as it returns something true and raises no AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            if found:
                return found
            assert time.monotonic() < deadline, f"{doing or look}: not within {seconds:g} s, but {found!r}"
        time.sleep(0.1)


def lease_name(namespace: str) -> str:
    """The Lease of the operator whose home is the namespace, and the name of its release."""
    return f"{namespace}-operator"


def release_of(namespace: str, name: str) -> str:
    """The release, and the Lease, of one of several operators in a namespace: no other test's in the whole cluster."""
    return f"{namespace}-{name}"


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """A control plane, seen through kubectl by its administrator."""

    def __init__(self, plane: ControlPlane, cache: Path) -> None:
        self.plane = plane
        self._environment = os.environ | {"KUBECACHEDIR": str(cache)}

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """The output of kubectl, which has to succeed unless `check` is off."""
        done = subprocess.run(
            [str(self.plane.kubectl), f"--kubeconfig={self.plane.kubeconfig}", *arguments],
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *manifests: dict[str, Any], namespace: str = "default") -> None:
        """Server-side apply, as a user would."""
        text = yaml.safe_dump_all(manifests)
        self.kubectl("apply", "--server-side", "--force-conflicts", f"--namespace={namespace}", "-f", "-", stdin=text)

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """The object; None where there is none."""
        text = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def list(self, kinds: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of these kinds."""
        text = self.kubectl("get", kinds, "-n", namespace, "-o", "json", f"--selector={selector}")
        items: list[dict[str, Any]] = json.loads(text)["items"]
        return items

    def patch(self, kind: str, name: str, namespace: str, patch: dict[str, Any], *more: str) -> None:
        """JSON merge patch."""
        self.kubectl("patch", kind, name, "-n", namespace, "--type=merge", f"--patch={json.dumps(patch)}", *more)

    def make_pods_ready(self, namespace: str, deployment: str) -> None:
        """Do what a kubelet does with healthy pods. There is none here."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        true = [{"type": name, "status": "True", "lastTransitionTime": now} for name in ("PodScheduled", "Ready")]
        running = {
            "name": "model",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        for pod in self.list("pods", namespace, f"serinus.dev/deployment={deployment}"):
            if pod["status"].get("containerStatuses"):
                continue
            container = running | {"image": "x", "imageID": "x"}
            status = {"phase": "Running", "conditions": true, "containerStatuses": [container]}
            self.patch("pod", pod["metadata"]["name"], namespace, {"status": status}, "--subresource=status")
        for service in self.list("services", namespace, f"serinus.dev/deployment={deployment}"):
            if is_of_a_revision(service):
                self.apply(endpoint_slice_of(service), namespace=namespace)

    def accept_route(self, namespace: str, name: str) -> None:
        """Do what a gateway does with a route that it likes. There is none here."""
        route = self.get("httproute", name, namespace)
        assert route is not None
        generation, now = route["metadata"]["generation"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        said = {"status": "True", "observedGeneration": generation, "lastTransitionTime": now, "reason": "Accepted"}
        conditions = [said | {"type": "Accepted", "message": ""}, said | {"type": "ResolvedRefs", "message": ""}]
        (parent,) = route["spec"]["parentRefs"]
        answer = {"parentRef": parent, "controllerName": "example.com/gateway", "conditions": conditions}
        self.patch("httproute", name, namespace, {"status": {"parents": [answer]}}, "--subresource=status")

    def condition(self, deployment: str, namespace: str, name: str) -> dict[str, Any]:
        """A condition of a ModelDeployment; empty where it is not there yet."""
        found = self.get("modeldeployment", deployment, namespace) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == name), {})

    def kubeconfig_for_operator(
        self,
        namespace: str,
        path: Path,
        *,
        watch: tuple[str, ...],
        name: str | None = None,
        server: str | None = None,
        namespaced: bool = False,
    ) -> Path:
        """A kubeconfig for the service account of the chart, with the rights that the chart gives it.

        `name` is the release's and its Lease's, where that is not the one of the only operator in the namespace. It
        leads to `server`, where one is given, which may be anything that leads to the API server. `namespaced`: with
        rights in namespaces only.
        """
        named = f"--set=fullnameOverride={name or lease_name(namespace)}"
        values = [f"--set-json=watchNamespaces={json.dumps(watch)}", "--set=crds.install=false", named]
        values += [f"--set=rbac.namespaced={str(namespaced).lower()}"]
        chart = subprocess.run(
            [tools.packaged() / "helm", "template", namespace, ROOT / "charts/serinus", f"-n={namespace}", *values],
            capture_output=True,
            text=True,
            check=True,
        )
        rendered = [each for each in yaml.safe_load_all(chart.stdout) if each]
        kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
        rights = [each for each in rendered if each["kind"] in kinds]
        for place in {each["metadata"].get("namespace", namespace) for each in rights}:
            there = (each for each in rights if each["metadata"].get("namespace", namespace) == place)
            self.apply(*there, namespace=place)
        (account,) = (each["metadata"]["name"] for each in rendered if each["kind"] == "ServiceAccount")
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration=1h").strip()
        kubeconfig = yaml.safe_load(self.plane.kubeconfig.read_text())
        kubeconfig["users"] = [{"name": user["name"], "user": {"token": token}} for user in kubeconfig["users"]]
        if server is not None:
            kubeconfig["clusters"][0]["cluster"]["server"] = server
        path.write_text(yaml.safe_dump(kubeconfig))
        return path


class OperatorProcess:
    """One operator process; `start` may be called again after it ended."""

    def __init__(self, kubeconfig: Path, log: Path, namespace: str, **settings: str) -> None:
        """Its Lease is in `namespace`. Settings are named as their variables, without the prefix."""
        self._port = free_port()
        values = {
            "HTTP_PORT": str(self._port),
            "LEASE_NAMESPACE": namespace,
            "LEASE_NAME": lease_name(namespace),
            "LOG_FORMAT": "json",
            **IMPATIENT,
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SERINUS_", "KUBERNETES_"))}
        self._environment = kept | {f"SERINUS_{name}": value for name, value in values.items()}
        self._environment["KUBECONFIG"] = str(kubeconfig)
        self._environment["TMPDIR"] = str(log.parent)  # a process that is killed leaves its temporary files
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> OperatorProcess:
        """Start it; it logs into its file."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "serinus"],
                cwd=ROOT / "operator",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def end(self, number: signal.Signals, seconds: float = 60.0) -> tuple[int, float]:
        """Send a signal and wait; returns the exit code and how long the end took."""
        assert self._process is not None
        sent_at = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(seconds)
        self._process = None
        return code, time.monotonic() - sent_at

    def send(self, number: signal.Signals) -> None:
        """Send a signal that does not end it."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit code, when it ends by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)

    def get(self, path: str) -> tuple[int, str]:
        """What it answers over HTTP; (0, reason) where it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels; 0 without any."""
        status, text = self.get("/metrics")
        assert status == 200, text
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        series = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for found, value in series if wanted <= set(found.split(",")))

    def leads(self) -> bool:
        """Whether it says that it leads."""
        return self.get("/metrics")[0] == 200 and self.metric("serinus_leading") == 1

    def lines(self) -> list[dict[str, Any]]:
        """Its log, line by line: every line has to be JSON, but for one that is still being written."""
        return [json.loads(line) for line in self._log.read_text().rpartition("\n")[0].splitlines()]

    def forbidden(self) -> list[str]:
        """What the API server did not let it do."""
        return [line for line in self._log.read_text().splitlines() if "Forbidden" in line]

    def until_leading(self) -> OperatorProcess:
        """Wait until it leads."""
        eventually(lambda: self.leads() or self._still_running(), doing=f"leads; log:\n{self._log}")
        return self

    def until_quiet(self) -> None:
        """Wait until nothing waits to be worked on, and nothing more is written."""

        def quiet() -> bool:
            before = self.metric("serinus_pass_seconds_count"), self.metric("serinus_writes_total")
            time.sleep(0.6)
            after = self.metric("serinus_pass_seconds_count"), self.metric("serinus_writes_total")
            return before == after and self.metric("serinus_queue_length") == 0

        eventually(quiet, doing="quiet")

    def _still_running(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        return False
