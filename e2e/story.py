"""The demo's story: a good version is promoted on evidence and a broken one rolled back, while clients send requests.

`play` runs it on a stage and returns what happened; the demo prints that, the end-to-end test asserts on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from e2e.load.pod import LoadPod
from e2e.load.report import LoadReport
from e2e.stage import DIGITS_IMAGE, GATEWAY_URL, Stage, digits, wait_until
from e2e.watching import Seen, Watch, condition, phase, stable_version

NAME = "digits"
HOST = "digits.example.com"
ROWS = "/opt/digits/model/held_out.json"
RATE_PER_SECOND = 120.0
LONGEST_SECONDS = 1800.0
ROLLOUT_SECONDS = 600.0
"""Several times what an idle machine takes: where stable stumbles, a candidate has to show more."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WeightSet:
    """A split of the requests, and when the route first had it."""

    at: float
    weights: dict[str, int]
    """By version of the model, in percent."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the story between two moments (Unix seconds)."""

    title: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Story:
    """What happened."""

    chapters: tuple[Chapter, ...]
    weights: tuple[WeightSet, ...]
    history: tuple[dict[str, Any], ...]
    """`status.history`, oldest first."""
    promoted: dict[str, Any]
    """The resource when version 2 had been promoted and watched."""
    rejected: dict[str, Any]
    """The resource when version 3 had been rolled back."""
    report: LoadReport
    """What the clients saw."""

    @property
    def broken_weight_off_at(self) -> float:
        """When the route gave version 3 no more weight."""
        had = [each.at for each in self.weights if each.weights.get("3.0.0", 0) > 0]
        return min(each.at for each in self.weights if each.at > max(had) and not each.weights.get("3.0.0"))

    @property
    def seconds_from_first_bad_answer_to_zero(self) -> float:
        """How long version 3 could do harm."""
        first = self.report.first_bad_answer_at("3.0.0")
        assert first is not None, "version 3 never failed a request"
        return self.broken_weight_off_at - first


def play(stage: Stage, namespace: str, tell: Tell, host: str = HOST) -> Story:
    """Play the story in a fresh namespace, which is left as it is in the end. No other route may have the same host."""
    served = {"gateway": {**digits("1.0.0")["spec"]["traffic"]["gateway"], "hostnames": [host]}}
    tell("version 1 serves first")
    stage.make_namespace(namespace)
    with (
        Watch(stage.kubectl, "modeldeployments", namespace, NAME) as resource,
        Watch(stage.kubectl, "httproutes", namespace, NAME) as route,
    ):
        stage.apply(digits("1.0.0", traffic=served), namespace)
        resource.wait_for("version 1 is Ready", lambda m: condition(m, "Ready")[0] == "True", 240)
        load = start_load(stage, namespace, host)
        began = first_answer_at(stage, load)
        tell(f"clients send {RATE_PER_SECOND:.0f} requests a second; version 2, a better one, is applied")
        stage.apply(digits("2.0.0", traffic=served), namespace)
        promoted = resource.wait_for("version 2 serves all requests", _settled_on("2.0.0"), ROLLOUT_SECONDS)
        second = _now(resource)
        tell("version 2 was promoted and watched; version 3, a broken one, is applied")
        stage.apply(digits("3.0.0", traffic=served), namespace)
        rejected = resource.wait_for("version 3 is rolled back", lambda m: phase(m) == "Rejected", ROLLOUT_SECONDS)
        third = _now(resource)
        tell("version 3 was rolled back")
        versions = {**_versions(promoted, resource.seen), **_versions(rejected, resource.seen)}
        report = finish_load(stage, load)
        return Story(
            chapters=(
                Chapter("version 2 rolls out", began, second),
                Chapter("version 3 is tried", second, third),
            ),
            weights=_weights(route.seen, versions),
            history=tuple(reversed(rejected["status"]["history"])),
            promoted=promoted,
            rejected=rejected,
            report=report,
        )


def start_load(
    stage: Stage,
    namespace: str,
    host: str = HOST,
    rate_per_second: float = RATE_PER_SECOND,
    url: str = GATEWAY_URL,
    *,
    new_connections: bool = False,
) -> LoadPod:
    """Start the clients: a pod that sends the held-out images, normally through the gateway."""
    load = LoadPod(
        name="clients",
        namespace=namespace,
        image=f"{DIGITS_IMAGE}:1.0.0",
        url=f"{url}/read",
        host=host,
        rows=ROWS,
        rate_per_second=rate_per_second,
        seconds=LONGEST_SECONDS,
        new_connections=new_connections,
    )
    stage.apply(load.objects(), namespace)
    return load


def first_answer_at(stage: Stage, load: LoadPod) -> float:
    """Wait for the first answered requests, and say when they came."""

    def answered() -> float | None:
        report = read_load(stage, load)
        return report.first_answer_at("1.0.0")

    return float(wait_until(f"pod {load.name} sends requests that version 1 answers", answered, 90))


def read_load(stage: Stage, load: LoadPod) -> LoadReport:
    """What the clients have seen so far."""
    log = stage.kubectl.try_run("logs", f"--namespace={load.namespace}", f"pod/{load.name}")
    return LoadReport.parse(log + "\n" if log else "")


def finish_load(stage: Stage, load: LoadPod) -> LoadReport:
    """Let the clients end what is under way, and return all that they saw."""
    place = f"--namespace={load.namespace}"
    # Whether this command ends well is a race with its container's end; that it did its work is seen below.
    stage.kubectl.try_run("exec", place, load.name, "--", "python", "-c", "import os; os.kill(1, 15)")

    def ended() -> LoadReport | None:
        report = read_load(stage, load)
        return report if report.total is not None else None

    report: LoadReport = wait_until(f"pod {load.name} ends its run", ended, 60)
    return report


def _settled_on(version: str) -> Callable[[dict[str, Any]], bool]:
    return lambda manifest: stable_version(manifest) == version and phase(manifest) == "Idle"


def _now(watch: Watch) -> float:
    return watch.seen[-1].at


def _versions(manifest: dict[str, Any], seen: list[Seen]) -> dict[str, str]:
    """Version by revision, of all revisions that ever had a role."""
    roles = ("stable", "candidate", "previous")
    statuses = [each.manifest.get("status", {}) for each in seen] + [manifest["status"]]
    held = [status[role] for status in statuses for role in roles if status.get(role)]
    return {each["revision"]: each["version"] for each in held if each.get("version")}


def _weights(seen: list[Seen], versions: dict[str, str]) -> tuple[WeightSet, ...]:
    """Every change of the route's weights."""
    changes: list[WeightSet] = []
    for each in seen:
        refs = each.manifest["spec"]["rules"][-1]["backendRefs"]
        weights = {versions.get(ref["name"].rpartition("-")[2], ref["name"]): ref.get("weight", 1) for ref in refs}
        if not changes or changes[-1].weights != weights:
            changes.append(WeightSet(each.at, weights))
    return tuple(changes)


def instant(text: str) -> float:
    """Unix seconds of a Kubernetes time."""
    return datetime.fromisoformat(text).timestamp()
