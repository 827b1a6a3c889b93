"""The way to the API server with the user's own kubeconfig and rights, and errors in words that help.

Every command that needs the cluster goes through `with_cluster`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from serinus.api.deployment import InvalidSpec
from serinus.api.kinds import CONTROLLER_REVISION, LABEL_DEPLOYMENT, MODEL_DEPLOYMENT, POD, REPLICA_SET, Kind
from serinus.cli.outcome import CommandFailed
from serinus.cli.terminal import complain
from serinus.core.plan import Manifest
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.cluster import ApiError, Forbidden, NotFound, Unavailable
from serinus.kube.credentials import (
    SERVICE_ACCOUNT_DIRECTORY,
    CredentialsError,
    context_namespace,
    find_credentials,
    from_kubeconfig,
    in_cluster,
)
from serinus.kube.refusals import without_what_next

T = TypeVar("T")
FIELD_MANAGER: Final = "serinus-plugin"
"""As whom the plugin's writes are booked: what `status.history[].fieldManager` says of an action.

Not `kubectl-…`: Flux takes back what it finds under such a name, a pause among it.
"""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster and namespace a command is about, as its options say."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    @property
    def named_namespace(self) -> str:
        """The namespace: as given, else that of the context."""
        if self.namespace:
            return self.namespace
        try:
            if self.is_in_a_pod:
                return (SERVICE_ACCOUNT_DIRECTORY / "namespace").read_text(encoding="utf-8").strip()
            return context_namespace(self.kubeconfig, self.context)
        except (CredentialsError, OSError) as error:
            raise CommandFailed(f"which namespace? Say it with --namespace: {error}") from error

    @property
    def likely_namespace(self) -> str:
        """The same for a command that needs no cluster: `default` where no kubeconfig can be read and none is named."""
        if self.namespace or self.kubeconfig or self.context:
            return self.named_namespace
        try:
            return self.named_namespace
        except CommandFailed:
            return "default"

    @property
    def is_in_a_pod(self) -> bool:
        """Whether a pod's service account is used, as no kubeconfig is named."""
        named = self.kubeconfig or self.context or os.environ.get("KUBECONFIG")
        return not named and in_cluster() is not None


@dataclass(frozen=True, slots=True)
class Access:
    """An open connection, and the namespace that is meant."""

    cluster: HttpCluster
    namespace: str

    async def deployment(self, name: str) -> dict[str, Any]:
        """The ModelDeployment of that name. Says which others there are, where there is none."""
        try:
            return await self.cluster.get(MODEL_DEPLOYMENT, self.namespace, name)
        except NotFound as error:
            names = [each["metadata"]["name"] for each in await self.listed(MODEL_DEPLOYMENT, optional=True)]
            there = f"there: {', '.join(sorted(names)[:10])}" if names else "there is none in it that you may see"
            raise CommandFailed(
                f"ModelDeployment {name} is not in namespace {self.namespace}; {there}; is it another --namespace?"
            ) from error

    async def listed(
        self, kind: Kind, selector: str | None = None, *, everywhere: bool = False, optional: bool = False
    ) -> list[dict[str, Any]]:
        """All objects of a kind; with `optional`, none where the user may not list them, and a word about it."""
        items: list[dict[str, Any]] = []
        namespace = None if everywhere else self.namespace
        try:
            async for page in self.cluster.list_pages(kind, namespace, label_selector=selector):
                items.extend(page.items)
        except Forbidden as error:
            if not optional:
                raise
            complain(f"{kind.plural} are not shown: {without_what_next(error)}")
        return items

    async def children(self, name: str) -> tuple[list[Manifest], list[Manifest]]:
        """ReplicaSets and records of a resource, and its pods, as far as the user may see them."""
        selector = f"{LABEL_DEPLOYMENT}={name}"
        kinds = (REPLICA_SET, CONTROLLER_REVISION, POD)
        sets, records, pods = [await self.listed(kind, selector, optional=True) for kind in kinds]
        return [*sets, *records], list(pods)


def with_cluster(where: Where, act: Callable[[Access], Awaitable[T]], *, needs_namespace: bool = True) -> T:
    """What `act` returns, with a connection that is open while it runs. Raises `CommandFailed` with a cure."""

    async def run() -> T:
        credentials = find_credentials() if where.is_in_a_pod else from_kubeconfig(where.kubeconfig, where.context)
        namespace = where.named_namespace if needs_namespace else (where.namespace or "")
        async with open_cluster(credentials) as cluster:
            return await act(Access(cluster, namespace))

    try:
        return asyncio.run(run())
    except (CredentialsError, InvalidSpec) as error:
        raise CommandFailed(str(error)) from error
    except ApiError as error:
        raise CommandFailed(in_words(error)) from error


def in_words(error: ApiError) -> str:
    """What happened, and what to do about it."""
    said = without_what_next(error)
    if isinstance(error, Forbidden):
        return f"{said}\n{_right_for(said)}"
    if isinstance(error, Unavailable) and "401" in said:
        return f"{said}\nlog in again: the kubeconfig's credentials were not accepted"
    if isinstance(error, NotFound):
        return f"{said}\nis Serinus installed? `kubectl get crd modeldeployments.serinus.dev` says"
    return said


def _right_for(said: str) -> str:
    """Which of the chart's roles has the right that is missing."""
    if "verb approve" in said:
        return "ask for the role serinus-approve: approvals, promotions and skipped steps need the verb approve here"
    writes = any(f"cannot {verb} " in said for verb in ("patch", "update", "create"))
    role = "serinus-operate" if writes else "serinus-view"
    return f"the right is named above; the cluster role {role} has it: ask for a RoleBinding to it in this namespace"
