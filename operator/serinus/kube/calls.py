"""Which call to the API server a request was, in Kubernetes' own words, and how it ended: for whoever counts them.

Told by every session that `serinus.kube.credentials.open_session` opens, kopf's too. Names of objects and of namespaces
are left out, so that what is counted by these words stays small however many resources there are.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

TIMEOUT: Final = "timeout"
"""The code of a call that was given up because no answer began in time."""
UNREACHABLE: Final = "unreachable"
"""The code of a call to which no answer began, since there was no connection or it broke."""
CANCELLED: Final = "cancelled"
"""The code of a call that Serinus itself cut off."""
DISCOVERY: Final = "discovery"
"""The resource of questions about what kinds there are."""

_PATH: Final = re.compile(
    r"/(?:api/[^/]+|apis/[^/]+/[^/]+)(?:/namespaces/[^/]+)?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?$"
)
_WRITES: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API server, repetitions counted one by one."""

    verb: str
    """As in a role: get, list, watch, create, update, patch, delete."""
    resource: str
    """Plural, with its subresource, as in a role: `replicasets/scale`; or `discovery`."""
    code: str
    """The HTTP status, or why there is none: `timeout`, `unreachable`, `cancelled`."""
    seconds: float
    """Until the answer began. What a list or a watch sends after that is not in it."""


OnCall = Callable[[Call], None]


def verb_and_resource(method: str, url: URL) -> tuple[str, str]:
    """What a request does to which resource, both as in a role."""
    found = _PATH.search(url.raw_path)
    if found is None:
        return "get", DISCOVERY
    resource = f"{found['plural']}/{found['sub']}" if found["sub"] else found["plural"]
    if method in _WRITES:
        return _WRITES[method], resource
    if "watch" in url.query:
        return "watch", resource
    return ("get" if found["name"] else "list"), resource


def telling(on_call: OnCall) -> aiohttp.TraceConfig:
    """A trace for a session, which tells each of its requests when its answer begins or fails to."""

    async def begin(_: object, request: SimpleNamespace, __: object) -> None:
        request.began_at = time.monotonic()

    async def answered(_: object, request: SimpleNamespace, end: aiohttp.TraceRequestEndParams) -> None:
        tell(request, end.method, end.url, str(end.response.status))

    async def unanswered(_: object, request: SimpleNamespace, end: aiohttp.TraceRequestExceptionParams) -> None:
        tell(request, end.method, end.url, _code_of(end.exception))

    def tell(request: SimpleNamespace, method: str, url: URL, code: str) -> None:
        on_call(Call(*verb_and_resource(method, url), code, time.monotonic() - request.began_at))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begin)
    trace.on_request_end.append(answered)
    trace.on_request_exception.append(unanswered)
    trace.freeze()
    return trace


def _code_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return TIMEOUT if isinstance(error, TimeoutError) else UNREACHABLE
