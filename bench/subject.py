"""What is measured: an operator, its resource, and how to tell that a resource is as it should be.

`bench.subjects.serinus` is this project's operator, `bench.subjects.argo` the one that it is compared with. Both go
through the same phases with the same pods, steps and numbers; what one's API can't say, its module says in words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from bench.api import Api, Manifest
from bench.operators import OperatorProcess
from e2e.cluster.controlplane import ControlPlane

Key = tuple[str, str]
"""Namespace and name."""
Wanted = Callable[[Manifest], bool]
"""Whether a resource is what somebody waits for."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a canary."""

    name: str
    weight_percent: int
    hold_seconds: int


REPLICAS: Final = 2
STEPS: Final = (Step("fifth", 20, 5), Step("half", 50, 5))
SLOW_STEPS: Final = (Step("fifth", 20, 90), Step("half", 50, 5))
"""Longer than the outage that falls into the first of them."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A subject in a control plane: what its processes need."""

    kubeconfig: Path
    environment: Mapping[str, str]
    prometheus_url: str


class Subject(ABC):
    """An operator that is measured."""

    slug: ClassVar[str]
    """In file names, in the user's options, and in the results."""
    title: ClassVar[str]
    resources: ClassVar[str]
    """What its resources are called."""
    user: ClassVar[str]
    """Its name in the audit log."""
    lease: ClassVar[str]
    """Path of the Lease that its processes compete for."""
    root: ClassVar[str]
    """API path of the group and version of its resource."""
    plural: ClassVar[str]
    pod_label: ClassVar[str]
    """The label of its pods that holds the name of their resource."""
    phases: ClassVar[tuple[str, ...]]
    """The phases that make sense for it, in their order."""

    routed: bool
    """Whether a step's share is one of the requests, which something routes; else it is one of the pods."""

    @property
    @abstractmethod
    def conditions(self) -> Mapping[str, str]:
        """What its figures depend on: its version, its settings."""

    @property
    def label(self) -> str:
        """What tells it from the other subjects of the same run."""
        return self.title

    @property
    def file_name(self) -> str:
        """The same for names of files."""
        return self.slug

    @abstractmethod
    def install(self, plane: ControlPlane, folder: Path, prometheus_url: str) -> Installed:
        """Install all but its processes, with the rights that it ships with."""

    @abstractmethod
    def start(self, installed: Installed, folder: Path, number: int) -> OperatorProcess:
        """Start one process of it."""

    @abstractmethod
    def leads(self, process: OperatorProcess) -> bool:
        """Whether the process has begun to work."""

    @abstractmethod
    def holder(self, process: OperatorProcess) -> str | None:
        """The name by which the process holds the Lease; None before it has one."""

    @abstractmethod
    def counters(self, samples: Mapping[str, float]) -> dict[str, float]:
        """What is kept of a process's own metrics: numbers that only grow."""

    @abstractmethod
    def tally(self, grown: Mapping[str, float], events_arrived: int) -> dict[str, float]:
        """PASSES, EVENTS_EMITTED and EVENTS_LOST of a phase, as `bench.figures` names them.

        From the growth of its counters, and from how many writes of Events the API server has accepted.
        """

    @abstractmethod
    def manifest(self, key: Key, version: str) -> Manifest:
        """A resource with REPLICAS pods and the canary of STEPS, which holds alone decide."""

    def crds(self) -> tuple[Path, ...]:
        """Files of CRDs that others install for it; by default none."""
        return ()

    def companions(self, key: Key) -> tuple[tuple[str, Manifest], ...]:
        """Objects that a person makes before a resource, each with the path of its collection; by default none."""
        del key
        return ()

    @abstractmethod
    def new_version(
        self, version: str, *, judged_every_seconds: int | None = None, steps: Sequence[Step] = STEPS
    ) -> dict[str, Any]:
        """What is merged into the spec for a new version: decided by holds alone, or by metrics too."""

    @abstractmethod
    def scaled(self, replicas: int) -> dict[str, Any]:
        """What is merged into the spec for another number of pods."""

    @abstractmethod
    async def before_metrics(self, api: Api, namespaces: Iterable[str], prometheus_url: str) -> None:
        """Make what a person has to make before metrics can be used."""

    @abstractmethod
    def serves(self, version: str) -> Wanted:
        """Whether this version alone serves, for the spec as it is now."""

    @abstractmethod
    def is_held(self, found: Manifest) -> bool:
        """Whether the rollout of the spec as it is now is in a step, and judged where it is to be."""

    @abstractmethod
    def is_aborted(self, found: Manifest) -> bool:
        """Whether the rollout of the spec as it is now has been given up, or is about to be."""

    @abstractmethod
    def is_rejected(self, found: Manifest) -> bool:
        """Whether it has been given up and its pods are gone."""

    @abstractmethod
    def is_at_rest(self, found: Manifest) -> bool:
        """Whether nothing is left of a rollout."""

    @abstractmethod
    def is_observed(self, found: Manifest) -> bool:
        """Whether the operator has looked at the spec as it is now."""


def image(version: str) -> str:
    return f"registry.example.com/model:{version}"
