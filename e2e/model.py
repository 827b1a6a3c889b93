"""A small ModelDeployment that an end-to-end test puts through something, in a namespace of its own.

It serves the digits example with one replica behind the gateway; its canary is one step at half of the requests, whose
limits are wide, so that a hundred answers decide. Used by the end-to-end tests.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from e2e.load.pod import LoadPod
from e2e.load.report import LoadReport
from e2e.stage import GATEWAY_URL, Stage, digits, wait_until
from e2e.story import ROWS, finish_load, first_answer_at, read_load, start_load
from e2e.watching import Watch, condition, phase, stable_version, told

NAME = "digits"
STEP_WEIGHT = 50
REQUESTS_PER_SECOND = 40.0
READY_SECONDS = 180
"""Several times what a busy machine takes from the manifest to the first ready pod."""
ROLLOUT_SECONDS = 240
STRICT: dict[str, Any] = {
    "analysis": {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "5"}, "minSamples": 50}]}
}
"""Sections with a limit that version 3, which fails one request in five, is well beyond."""

Manifest = dict[str, Any]

_ASK = """
import collections, json, sys, urllib.error, urllib.request
url, rows, headers, count = json.loads(sys.argv[1])
bodies = [json.dumps(row["body"]).encode() for row in json.load(open(rows))]
seen = collections.Counter()
for number in range(count):
    asked = urllib.request.Request(url, bodies[number % len(bodies)], headers | {"content-type": "application/json"})
    try:
        answer = urllib.request.urlopen(asked, timeout=10)
        seen[f"{answer.headers.get('x-model-version')} {answer.status}"] += 1
    except urllib.error.HTTPError as refused:
        seen[f"{refused.headers.get('x-model-version')} {refused.code}"] += 1
print(json.dumps(seen))
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway of the cluster."""

    parent: dict[str, str]
    """How a route refers to it."""
    url: str
    """Where it answers, from inside the cluster."""


TRAEFIK = Gateway({"name": "public", "namespace": "gateway-system"}, GATEWAY_URL)


def small(version: str, host: str, hold_seconds: int = 10, *, gateway: Gateway = TRAEFIK, **sections: Any) -> Manifest:
    """The manifest of a version; `sections` are merged into the spec's sections, a None removes a field."""
    return digits(
        version,
        serving={"startupSeconds": 60, "drainSeconds": 5, **sections.get("serving", {})},
        scaling={"replicas": 1, **sections.get("scaling", {})},
        traffic={
            "gateway": {"parentRefs": [gateway.parent], "hostnames": [host]},
            **sections.get("traffic", {}),
        },
        rollout={
            "canary": {"steps": [{"name": "half", "weightPercent": STEP_WEIGHT, "holdSeconds": hold_seconds}]},
            "progressDeadlineSeconds": 120,
            "watchSeconds": 5,
            "scaleDownDelaySeconds": 5,
            **sections.get("rollout", {}),
        },
        analysis={
            "intervalSeconds": 5,
            "metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "20"}, "minSamples": 50}],
            **sections.get("analysis", {}),
        },
        **{name: fields for name, fields in sections.items() if name in {"model", "placement"}},
    )


class Model:
    """The ModelDeployment `digits` of one namespace, followed from before its first version on."""

    def __init__(self, stage: Stage, namespace: str, gateway: Gateway = TRAEFIK) -> None:
        """`stage` is where it runs, `namespace` exists, requests come in at `gateway`."""
        self.stage = stage
        self.namespace = namespace
        self.gateway = gateway
        self.host = f"{namespace}.example.com"
        self.resource = Watch(stage.kubectl, "modeldeployments", namespace, NAME)
        self.route = Watch(stage.kubectl, "httproutes", namespace, NAME, lambda _: told(self.resource.newest))
        self._clients: LoadPod | None = None
        self._applied = 0
        """The generation that was applied last."""

    # What people do -----------------------------------------------------------------------------------------------

    def apply(self, version: str, hold_seconds: int = 10, **sections: Any) -> None:
        """Apply a version of the small manifest."""
        self.stage.apply(small(version, self.host, hold_seconds, gateway=self.gateway, **sections), self.namespace)
        self._applied = self.get("modeldeployment", NAME)["metadata"]["generation"]

    def serve(self, version: str = "1.0.0", **sections: Any) -> None:
        """Apply the first version and wait until it serves."""
        self.apply(version, **sections)
        self.wait_until_ready()

    def send_requests(
        self, rate_per_second: float = REQUESTS_PER_SECOND, url: str = "", *, new_connections: bool = False
    ) -> None:
        """Start clients of the gateway, or of `url`, and wait for their first answer."""
        self._clients = start_load(
            *(self.stage, self.namespace, self.host, rate_per_second, url or self.gateway.url),
            new_connections=new_connections,
        )
        first_answer_at(self.stage, self._clients)

    def ask(self, headers: dict[str, str], requests: int) -> Counter[str]:
        """Send requests with these headers to the gateway, one after the other; answers by version and status."""
        told = json.dumps([f"{self.gateway.url}/read", ROWS, {"host": self.host} | headers, requests])
        return Counter(json.loads(self.kubectl("exec", "clients", "--", "python", "-c", _ASK, told)))

    def kubectl(self, *words: str, timeout_seconds: float = 120) -> str:
        """Kubectl in the model's namespace."""
        return self.stage.kubectl.run(f"--namespace={self.namespace}", *words, timeout_seconds=timeout_seconds)

    # What comes of it ---------------------------------------------------------------------------------------------

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> Manifest:
        """Wait until the newest spec is observed and Ready."""
        return self.resource.wait_for("it is Ready", _is_ready, seconds)

    def wait_until_holding(self) -> Manifest:
        """Wait until the candidate has its share and the hold counts."""

        def counts(manifest: Manifest) -> bool:
            return self.has_seen_what_was_applied(manifest) and "countingSince" in rollout(manifest)

        return self.resource.wait_for("the hold of its candidate counts", counts, READY_SECONDS)

    def wait_until_promoted(self, version: str) -> Manifest:
        """Wait until a version is stable, was watched, and nothing else is going on."""

        def settled(manifest: Manifest) -> bool:
            return stable_version(manifest) == version and phase(manifest) == "Idle" and _is_ready(manifest)

        return self.resource.wait_for(f"version {version} is promoted", settled, ROLLOUT_SECONDS)

    def wait_until_rejected(self) -> Manifest:
        """Wait until the candidate was rolled back."""

        def rejected(manifest: Manifest) -> bool:
            return self.has_seen_what_was_applied(manifest) and phase(manifest) == "Rejected"

        return self.resource.wait_for("it is rolled back", rejected, ROLLOUT_SECONDS)

    def has_seen_what_was_applied(self, manifest: Manifest) -> bool:
        """Whether a status is about what was applied last, and not about what was there before."""
        return bool(manifest.get("status", {}).get("observedGeneration", 0) >= self._applied)

    def stays(self, what: str, holds: Callable[[Manifest], bool], seconds: float, since: float | None = None) -> None:
        """Fail if something is not so in any version of the resource for `seconds`, from `since` (Unix time) or now."""
        begin = time.time() if since is None else since
        newest = max((at for at, seen in enumerate(self.resource.seen) if seen.at <= begin), default=0)
        while True:
            over = time.time() >= begin + seconds
            for seen in self.resource.seen[newest:]:
                assert holds(seen.manifest), f"not for {seconds:.0f} s: {what}\n{told(seen.manifest)}"
            if over:
                return
            time.sleep(0.2)

    def weights(self) -> dict[str, int]:
        """What the route says now: percent by revision."""
        return weights_of(self.get("httproute", NAME))

    def splits_since(self, moment: float) -> list[dict[str, int]]:
        """The weights that the route had at a moment (Unix time), and all that it has had since, in their order."""
        had = max((at for at, seen in enumerate(self.route.seen) if seen.at <= moment), default=0)
        return [weights for weights, _ in groupby(weights_of(seen.manifest) for seen in self.route.seen[had:])]

    def get(self, kind: str, name: str) -> Manifest:
        """An object of the namespace as it is now."""
        manifest: Manifest = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return manifest

    def objects(self, kinds: str, selector: str = f"serinus.dev/deployment={NAME}") -> list[Manifest]:
        """The objects of some kinds that belong to the model."""
        items: list[Manifest] = json.loads(
            self.kubectl("get", kinds, f"--selector={selector}", "--output=json"),
        )["items"]
        return items

    def pods(self, revision: str) -> list[str]:
        """Names of the pods of a revision."""
        return [pod["metadata"]["name"] for pod in self.objects("pods", f"serinus.dev/revision={revision}")]

    def running_pods(self, revision: str) -> list[str]:
        """Those of them whose containers have not ended for good: they take room."""
        return [
            pod["metadata"]["name"]
            for pod in self.objects("pods", f"serinus.dev/revision={revision}")
            if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
        ]

    def ready_pods(self, revision: str) -> list[str]:
        """Those of them that are ready and not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in self.objects("pods", f"serinus.dev/revision={revision}")
            if "deletionTimestamp" not in pod["metadata"] and _has(pod, "Ready")
        ]

    def post(self, path: str, manifest: Manifest) -> None:
        """Send an object to a path of the API server."""
        self.stage.kubectl.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(manifest))

    def report(self) -> LoadReport:
        """What the clients have seen so far."""
        assert self._clients is not None, "no clients were started"
        return read_load(self.stage, self._clients)

    def stop_requests(self) -> LoadReport:
        """Let the clients end, and return all that they saw."""
        assert self._clients is not None, "no clients were started"
        return finish_load(self.stage, self._clients)

    def wait_for_answers(self, of_seconds: int = 3) -> LoadReport:
        """Wait for the answers of the next seconds, and return them alone."""
        begin = time.time() + 1

        def answered() -> LoadReport | None:
            report = self.report().between(begin, begin + of_seconds)
            return report if len(report.seconds) >= of_seconds else None

        report: LoadReport = wait_until(f"clients in {self.namespace} go on sending", answered, 30 + of_seconds)
        return report

    def wait_until_only(self, version: str) -> None:
        """Wait until one version gives all answers: nodes follow a Service's selector a moment later."""
        wait_until(
            f"only {version} answers in {self.namespace}", lambda: self.wait_for_answers().versions == {version}, 30
        )

    def nobody_saw_a_failure(self, report: LoadReport) -> None:
        """Fail if a request failed, with what the route, the rollout and the pods did around that time."""
        failures = [
            (count.first_at, f"{count.requests} x {count.outcome} of version {answers.version}")
            for second in report.seconds
            for answers in second.versions
            for count in answers.outcomes
            if count.is_failure
        ]
        assert not failures, self.story(failures) + self.kubectl("get", "events,pods,endpointslices")

    def story(self, more: Iterable[tuple[float, str]] = ()) -> str:
        """Every state of the route and the rollout with its time, and what else is known, for messages."""
        routes = [(seen.at, f"route {weights_of(seen.manifest)}") for seen in self.route.seen]
        rollouts = [(seen.at, f"rollout {rollout(seen.manifest)}") for seen in self.resource.seen]
        return "".join(f"{at:.2f} {what}\n" for at, what in sorted([*more, *routes, *rollouts]))

    def told(self) -> str:
        """The resource's own words, for messages."""
        return told(self.resource.newest)


@contextmanager
def model_in(stage: Stage, namespace: str, gateway: Gateway = TRAEFIK) -> Iterator[Model]:
    """A model in a new namespace; both are gone afterwards."""
    stage.make_namespace(namespace)
    try:
        model = Model(stage, namespace, gateway)
        with model.resource, model.route:
            yield model
    finally:
        stage.kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def rollout(manifest: Manifest) -> Manifest:
    """`status.rollout`."""
    found: Manifest = manifest.get("status", {}).get("rollout", {})
    return found


def revision(manifest: Manifest, role: str) -> str:
    """The revision that has a role: stable, candidate or previous; "" for none."""
    return str((manifest.get("status", {}).get(role) or {}).get("revision", ""))


def weights_of(route: Manifest) -> dict[str, int]:
    """Percent by revision, as a route has it."""
    refs = route["spec"]["rules"][-1]["backendRefs"]  # rules for headers stand before it
    return {ref["name"].rpartition("-")[2]: ref.get("weight", 1) for ref in refs}


def events_of(manifest: Manifest) -> list[tuple[str, str]]:
    """`status.history`, oldest first: event and revision."""
    return [(entry["event"], entry["revision"]) for entry in reversed(manifest["status"].get("history", []))]


def _has(manifest: Manifest, kind: str) -> bool:
    return condition(manifest, kind)[0] == "True"


def _is_ready(manifest: Manifest) -> bool:
    observed = manifest.get("status", {}).get("observedGeneration") == manifest["metadata"]["generation"]
    return observed and condition(manifest, "Ready")[0] == "True"
