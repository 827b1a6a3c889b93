"""The port between Serinus and a Kubernetes API server: the few calls that carrying a plan out needs.

`serinus.kube.client` implements it over HTTP; the simulated world of the tests implements it in memory, and one
contract suite runs against both.
"""

# ruff: noqa: N818 -- the errors are called what the API server calls them

from __future__ import annotations

from typing import Protocol

from serinus.api.kinds import Kind
from serinus.core.plan import Manifest


class ApiError(Exception):
    """A call that the API server refused or did not answer. The subclasses say what to do about it."""


class Conflict(ApiError):
    """409 for an outdated resourceVersion or uid: somebody wrote in between. Observe again, decide again."""


class AlreadyExists(ApiError):
    """409 for a create: an object of that name is there. Either the cache is behind or the name is taken."""


class NotFound(ApiError):
    """404: the object (or its kind) is not there. Observe again."""


class Rejected(ApiError):
    """400, 403, 422 and their like: the API server will not take this write however often it is sent.

    The message carries the API server's own words.
    """


class Forbidden(Rejected):
    """403: a right is missing, or an admission policy forbids it. The message says whose, and which."""


class StatusPruned(Rejected):
    """The API server does not hold all of a status that was sent: its CRD is older than this operator.

    `fields` are the paths that are missing or differ, e.g. `status.rollout.countingSince`.
    """

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fields = fields


class Expired(ApiError):
    """410: the resourceVersion or continue token is older than what the API server remembers. List again."""


class Unavailable(ApiError):
    """No answer, a time-out, 429 or 5xx. Nothing is known about the outcome: back off, observe, go on."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Cluster(Protocol):
    """Reads and writes of single objects. Manifests are plain JSON values. Every method may raise `ApiError`."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """The object as it is now."""

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """POST: make a new object, never touch an existing one (`AlreadyExists`)."""

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, resource_version: str, *, booked: bool = False
    ) -> Manifest:
        """Server-side apply with force, as field manager `serinus`; `Conflict` if the object has moved on.

        The manifest carries the `metadata.uid` of the observed object: without it, API servers take no notice of the
        resourceVersion where the object is gone, and make a new one. `booked`: its spec is known to be booked as
        applied by Serinus in that version, or nothing has to go from it; else that is seen to first.
        """

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int, resource_version: str) -> None:
        """Set `spec.replicas` through the scale subresource; `Conflict` if the object has moved on."""

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete in the background the object that has this uid; one that is gone already is no error."""

    async def write_status(self, namespace: str, name: str, status: Manifest, resource_version: str) -> Manifest:
        """Replace the status of a ModelDeployment; returns the whole object; `Conflict` if it has moved on.

        `StatusPruned` if the result does not hold all that was sent.
        """
