"""kubectl with the cluster's credentials. Called by `native`, `kind`, `addons` and the end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import tools
from e2e.cluster.locations import KUBECONFIG
from e2e.cluster.process import CommandError, Word, run

_APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=serinus-e2e")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl against one cluster, by default the checkout's."""

    kubeconfig: Path = KUBECONFIG

    def run(self, *arguments: Word, stdin: str | None = None, timeout_seconds: float | None = 120) -> str:
        """Run kubectl and return what it printed; raise `CommandError` if it fails."""
        program = tools.kubernetes() / "kubectl"
        return run(program, f"--kubeconfig={self.kubeconfig}", *arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def try_run(self, *arguments: Word, timeout_seconds: float = 10) -> str | None:
        """Run kubectl and return what it printed, or None if it failed."""
        try:
            return self.run(*arguments, timeout_seconds=timeout_seconds).strip()
        except CommandError:
            return None

    def answers(self) -> bool:
        """Tell whether the API server is ready to serve."""
        return self.try_run("get", "--raw=/readyz", "--request-timeout=5s") == "ok"

    def apply(self, *paths: Path) -> None:
        """Apply manifests by server-side apply; CRDs are too large for any other way."""
        self.run(*_APPLY, *(f"--filename={path}" for path in paths))

    def apply_text(self, manifests: str) -> None:
        """Apply manifests, as YAML, by server-side apply."""
        self.run(*_APPLY, "--filename=-", stdin=manifests)
