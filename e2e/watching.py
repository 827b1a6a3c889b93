"""Follows one object through `kubectl get --watch`, and keeps every version of it with the time at which it was seen.

Called by the story of the demo and by the end-to-end tests.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from e2e.cluster import tools
from e2e.cluster.kubectl import Kubectl


@dataclass(frozen=True, slots=True)
class Seen:
    """A version of the object."""

    at: float
    """Unix seconds."""
    manifest: dict[str, Any]


class Watch:
    """A context in which one object is followed. It need not exist yet."""

    def __init__(
        self,
        kubectl: Kubectl,
        kind: str,
        namespace: str,
        name: str,
        tell: Callable[[dict[str, Any] | None], str] | None = None,
    ) -> None:
        """`tell` has the words for what was last seen, for messages; by default those of a ModelDeployment."""
        self.seen: list[Seen] = []
        self._tell = tell or told
        self._what = f"{kind} {namespace}/{name}"
        self._command = [
            str(tools.kubernetes() / "kubectl"),
            f"--kubeconfig={kubectl.kubeconfig}",
            "get",
            kind,
            f"--namespace={namespace}",
            f"--field-selector=metadata.name={name}",
            "--watch",
            "--output=json",
        ]
        self._news = threading.Condition()
        self._closing = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name=self._what, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        if self._process is not None:
            self._process.terminate()
        self._thread.join(timeout=10)

    @property
    def newest(self) -> dict[str, Any] | None:
        """The object as last seen."""
        return self.seen[-1].manifest if self.seen else None

    def wait_for(self, what: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 180) -> dict[str, Any]:
        """Wait until a version of the object fulfils `reached`, and return it.

        Raises AssertionError with the object's own words for where it stands.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            while self.newest is None or not reached(self.newest):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{self._what}: not within {seconds:.0f} s: {what}\n{self._tell(self.newest)}")
                self._news.wait(left)
            return self.newest

    def _follow(self) -> None:
        decoder = json.JSONDecoder()
        while not self._closing:  # kubectl ends when the API server closes the watch
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
            )
            assert self._process.stdout is not None
            text = ""
            for line in self._process.stdout:
                text += line
                if line != "}\n":
                    continue
                manifest, _ = decoder.raw_decode(text.lstrip())
                text = ""
                if manifest["kind"] == "Status":  # the watch has failed, says kubectl, and begins anew
                    continue
                with self._news:
                    self.seen.append(Seen(time.time(), manifest))
                    self._news.notify_all()
            self._process.wait()
            if not self._closing:
                time.sleep(0.5)


def told(manifest: dict[str, Any] | None) -> str:
    """What a ModelDeployment says of itself: phase, conditions, history."""
    if manifest is None:
        return "  it was never seen"
    status = manifest.get("status", {})
    lines = [f"  rollout: {json.dumps(status.get('rollout', {}))}"]
    lines += [
        f"  {c['type']}={c['status']} {c.get('reason')}: {c.get('message')}" for c in status.get("conditions", [])
    ]
    lines += [f"  {h['at']} {h['event']} {h['revision']}: {h.get('because')}" for h in status.get("history", [])[:8]]
    return "\n".join(lines)


def condition(manifest: dict[str, Any], kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    for each in manifest.get("status", {}).get("conditions", []):
        if each["type"] == kind:
            return each["status"], each.get("reason", ""), each.get("message", "")
    return "Unknown", "", ""


def phase(manifest: dict[str, Any]) -> str:
    """The rollout's phase."""
    return str(manifest.get("status", {}).get("rollout", {}).get("phase", ""))


def stable_version(manifest: dict[str, Any]) -> str:
    """Version of the stable revision."""
    return str((manifest.get("status", {}).get("stable") or {}).get("version", ""))
