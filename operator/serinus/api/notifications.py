"""Whom the operator may tell of rollouts, as the platform team sets it up.

No field of a ModelDeployment says where a notification goes: it names a receiver, and the receiver is one of these.
Addresses and signing keys are in Secrets, not here. Read once by `serinus.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from serinus.api import templates
from serinus.api.reasons import Happening
from serinus.api.values import DnsLabel, Flag, matches

MOST_RECEIVERS_OF_ONE: Final = 10
"""A ModelDeployment is told of to so many at most."""

EVENTS: Final = (
    Happening.CANDIDATE_STARTED,
    Happening.PREFLIGHT_PASSED,
    Happening.FIRST_DEPLOYMENT,
    Happening.STEP_ENTERED,
    Happening.STEP_PASSED,
    Happening.STEP_SKIPPED,
    Happening.STEPS_CHANGED,
    Happening.MAKING_ROOM,
    Happening.AWAITING_APPROVAL,
    Happening.APPROVED,
    Happening.RECOMMENDED,
    Happening.PAUSED,
    Happening.PROMOTED,
    Happening.PROMOTED_UNDECIDED,
    Happening.WATCH_ENDED,
    Happening.RETIRED,
    Happening.ROLLED_BACK,
    Happening.SUPERSEDED,
    Happening.ROLLBACK_FINISHED,
    Happening.RETURN_BEGUN,
    Happening.RETURNED,
    Happening.RETRIED,
    Happening.STATUS_RECOVERED,
)
"""What comes into the history, and so can be told; the chart's schema has the same."""

STANDARD_BODY: Final[Mapping[str, Any]] = {
    "type": "modeldeployment.{event}",
    "timestamp": "{time}",
    "data": {
        "id": "{id}",
        "cluster": "{cluster}",
        "namespace": "{namespace}",
        "name": "{name}",
        "uid": "{uid}",
        "event": "{event}",
        "revision": "{revision}",
        "version": "{version}",
        "image": "{image}",
        "by": "{by}",
        "fieldManager": "{fieldManager}",
        "message": "{message}",
    },
}
"""Of a receiver without a body of its own: the shape that Standard Webhooks 1.0 recommends."""


ALLOWED_HOST_PATTERN: Final = r"^(http://)?(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$"
"""The chart's schema has the same."""


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """Where notifications may be sent: a host, or all below it, at one port."""

    scheme: str
    """`https` or `http`."""
    host: str
    any_below: bool
    """Whether it is all names below the host, and not the host itself."""
    port: int

    @classmethod
    def parse(cls, text: str) -> AllowedHost:
        """`hooks.example.com`, `*.example.com:8443`, `http://bridge.ops:8080`; https on port 443 unless it says else.

        Raises ValueError where it is none of these.
        """
        if len(text) > 300 or not matches(ALLOWED_HOST_PATTERN, text):
            raise ValueError(text)
        scheme, rest = ("http", text.removeprefix("http://")) if text.startswith("http://") else ("https", text)
        host, _, port = rest.partition(":")
        number = int(port or (80 if scheme == "http" else 443))
        if not 1 <= number <= 65_535:
            raise ValueError(text)
        return cls(scheme, host.removeprefix("*."), host.startswith("*."), number)

    def allows(self, scheme: str, host: str, port: int) -> bool:
        """Whether an address with these parts may be sent to; the host in small letters."""
        there = host.endswith(f".{self.host}") if self.any_below else host == self.host
        return there and (scheme, port) == (self.scheme, self.port)


class Escape(StrEnum):
    """What a receiver makes of texts, and what values have to be spared because of it."""

    NONE = "None"
    """It takes them as they are."""
    SLACK = "Slack"
    """`&`, `<` and `>` lead to links and mentions: they become entities, as Slack asks for."""


def _checked(body: JsonValue) -> JsonValue:
    try:
        templates.check(body)
    except templates.TemplateError as error:
        raise PydanticCustomError("template", "{why}", {"why": str(error)}) from None
    return body


def _told(event: Happening) -> Happening:
    if event not in EVENTS:
        raise PydanticCustomError("event", "nobody is told of {event}: it is no decision", {"event": event.value})
    return event


class Receiver(BaseModel):
    """One receiver of notifications."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    events: tuple[Annotated[Happening, AfterValidator(_told)], ...] = ()
    """Of which it is told. Empty: of all."""
    namespaces: tuple[DnsLabel, ...] = ()
    """Whose ModelDeployments may name it. Empty: all."""
    signed: Flag = True
    """Whether each notification carries a signature. Without, its address is all that is secret."""
    escape: Escape = Escape.NONE
    body: Annotated[JsonValue, AfterValidator(_checked)] = None
    """JSON with places; None: `STANDARD_BODY`."""

    def serves(self, namespace: str) -> bool:
        """Whether ModelDeployments of this namespace may name it."""
        return not self.namespaces or namespace in self.namespaces

    def wants(self, event: Happening) -> bool:
        """Whether it is told of such an event."""
        return not self.events or event in self.events


_RECEIVERS: Final = TypeAdapter(dict[DnsLabel, Receiver])


def parse_receivers(text: str) -> dict[str, Receiver]:
    """Receivers by name, from JSON. Raises ValueError, whose message has a sentence for each mistake."""
    try:
        return _RECEIVERS.validate_json(text)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        told = (f"{'.'.join(str(part) for part in each['loc']) or 'all of it'}: {each['msg']}" for each in details)
        raise ValueError("; ".join(told)) from None
