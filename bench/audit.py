"""Requests, counted from the API server's audit log. For `bench.meter`.

Every request is counted once: when it was answered, or, for a watch, when it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
OPERATOR: Final = "operator"
BUILT_IN: Final = "built-in controllers"
BENCHMARK: Final = "benchmark"
BENCHMARK_USERS: Final = "bench:"
"""With what the names of the benchmark's own users begin."""

_APART: Final = frozenset({"events", "leases"})


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One kind of request."""

    who: str
    """OPERATOR, BUILT_IN or BENCHMARK."""
    user: str
    verb: str
    resource: str
    """Plural name with its subresource, such as `pods/status`; empty for what is no resource."""
    code: int
    """HTTP status of the answer."""

    @property
    def account(self) -> str:
        """The user without the groups that its name begins with: `kube-scheduler` of `system:kube-scheduler`."""
        return self.user.rpartition(":")[2]

    @property
    def is_write(self) -> bool:
        """Whether it was to change something besides Events and Leases, which are counted apart."""
        return self.verb in WRITES and self.resource.split("/")[0] not in _APART

    @property
    def is_refused(self) -> bool:
        return self.code >= 400


def counted(lines: Iterable[bytes], operator_user: str) -> Counter[Use]:
    """How often each kind of request was made, from lines of the audit log."""
    uses: Counter[Use] = Counter()
    for line in lines:
        event = orjson.loads(line)
        if event["stage"] == "ResponseStarted" if event["verb"] == "watch" else event["stage"] != "ResponseStarted":
            uses[_use(event, operator_user)] += 1
    return uses


def total(uses: Counter[Use], who: str, *, writes: bool = False, refused: bool | None = None) -> int:
    """Requests of somebody: all or only writes; answered, refused, or (None) both."""
    return sum(
        count
        for use, count in uses.items()
        if use.who == who and (use.is_write or not writes) and refused in {None, use.is_refused}
    )


def events_written(uses: Counter[Use], who: str) -> int:
    """Writes of Events by somebody that the API server has accepted: new ones, and more of the same."""
    return sum(
        count
        for use, count in uses.items()
        if use.who == who and use.verb in WRITES and use.resource == "events" and not use.is_refused
    )


def is_activity(line: bytes, user: str) -> bool:
    """Whether a line of the log tells of a write by this user, Events included, but for the renewal of a Lease."""
    if user.encode() not in line:  # most lines are about somebody else
        return False
    event = orjson.loads(line)
    resource = (event.get("objectRef") or {}).get("resource")
    return event["user"]["username"] == user and event["verb"] in WRITES and resource != "leases"


def new_lines(log: Path, offset: int) -> Iterator[bytes]:
    """The lines that stand in a log behind an offset, without the one that is still being written."""
    with log.open("rb") as source:
        source.seek(offset)
        for line in source:
            if line.endswith(b"\n"):
                yield line


def _use(event: dict[str, Any], operator_user: str) -> Use:
    reference, user = event.get("objectRef") or {}, event["user"]["username"]
    return Use(
        who=_who(user, operator_user),
        user=user,
        verb=event["verb"],
        resource="/".join(filter(None, (reference.get("resource"), reference.get("subresource")))),
        code=event.get("responseStatus", {}).get("code", 0),
    )


def _who(user: str, operator_user: str) -> str:
    if user == operator_user:
        return OPERATOR
    return BENCHMARK if user == "admin" or user.startswith(BENCHMARK_USERS) else BUILT_IN
