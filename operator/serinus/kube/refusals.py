"""What an API server's answer other than success means: one of the `ApiError` family, with a message for people.

Called by `serinus.kube.client`, and by the kubectl plugin to show an error. Every message says what was tried on which
object, the API server's own words, and what happens next; it never carries a token or the body that was sent.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from serinus.kube.cluster import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    NotFound,
    Rejected,
    Unavailable,
)

_WHAT_NEXT: Final[dict[type[ApiError], str]] = {
    Conflict: "somebody else wrote in between: it is read again and decided anew",
    AlreadyExists: "an object of that name is there: it is read and compared",
    NotFound: "it is not there, or its kind or namespace is gone: what is there is read again",
    Expired: "the API server has forgotten that version: everything is listed again",
    Rejected: "sending it again would not help: it waits for the cause to be mended",
    Forbidden: "sending it again would not help: it waits for the right to be granted",
    Unavailable: "nothing is known about the outcome: it is tried again after a pause",
}
_TRANSIENT: Final = frozenset({401, 408, 425, 429})
_LONGEST_WORDS: Final = 2000


def refusal(attempt: str, http_status: int, answer: bytes, retry_after: str | None = None) -> ApiError:
    """The error that an answer means.

    `attempt` says verb and object, as in `create ReplicaSet team/iris-5c1e0a9b77`; `answer` is the body, normally a
    metav1.Status; `retry_after` the header of that name, in seconds.
    """
    status = _parse(answer)
    reason = str(status.get("reason") or "")
    words = str(status.get("message") or answer.decode("utf-8", "replace").strip() or "no message")[:_LONGEST_WORDS]
    kind = NotFound if _namespace_is_going(status) else _kind_of_error(http_status, reason)
    what = f"the API server answered {http_status}{f' {reason}' if reason else ''}: {words}"
    message = describe(kind, attempt, what)
    if kind is Unavailable:
        return Unavailable(message, _seconds(status, retry_after))
    return kind(message)


def describe(kind: type[ApiError], attempt: str, what: str) -> str:
    """The full message of an error: what was tried, what happened, what happens next."""
    return f"{attempt}: {what}; {_WHAT_NEXT[kind]}"


def without_what_next(error: ApiError) -> str:
    """What was tried and what the API server said, without what the operator would do about it."""
    return str(error).removesuffix(f"; {_WHAT_NEXT.get(type(error), '')}")


def _namespace_is_going(status: dict[str, Any]) -> bool:
    """Whether a 403 says that nothing new is made in a namespace that is being deleted; it is no lack of rights."""
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(isinstance(cause, dict) and cause.get("reason") == "NamespaceTerminating" for cause in causes or ())


def _kind_of_error(http_status: int, reason: str) -> type[ApiError]:
    if http_status == 409:
        return AlreadyExists if reason == "AlreadyExists" else Conflict
    if http_status == 403:
        return Forbidden
    if http_status == 404:
        return NotFound
    if http_status == 410:
        return Expired
    if http_status in _TRANSIENT or http_status >= 500 or http_status < 400:
        return Unavailable
    return Rejected


def _parse(answer: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}


def _seconds(status: dict[str, Any], retry_after: str | None) -> float | None:
    details = status.get("details")
    named = retry_after or (details.get("retryAfterSeconds") if isinstance(details, dict) else None)
    try:
        return max(0.0, float(named)) if named else None
    except ValueError:  # an HTTP date, which API servers do not send
        return None
