"""One POST of one notification, to an address that only the platform team can set.

Address, signing key and authorities lie in files that are mounted from Secrets, and are read anew for each POST. An
address has to lie on a host that the operator's settings allow; redirects are not followed, and neither proxies nor
`.netrc` of the environment are used. Nothing of an address but its host gets into a message: those of Slack and Teams
are secrets as a whole. Used by `serinus.shell.notifications`.
"""

from __future__ import annotations

import email.utils
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

import serinus
from serinus.api.notifications import AllowedHost
from serinus.webhooks.signing import keys_of, signature

TIMEOUT_SECONDS: Final = 15.0
"""From looking the name up to the end of the answer; Standard Webhooks recommends 15 to 30."""
LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
URL_FILE: Final = "url"
SIGNING_KEY_FILE: Final = "signing-key"
CA_FILE: Final = "ca.crt"

_MOST_FILE_BYTES: Final = 64 * 1024
_MOST_ANSWER_BYTES: Final = 1024
_MOST_SHOWN: Final = 120
_URL: Final = re.compile(
    r"(https?)://([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)(?::([0-9]{1,5}))?((?:[/?][\x21-\x7e]*)?)", re.IGNORECASE
)
"""Narrower than the standards, so that no two readers of it can see different hosts: no user, no backslash, no `#`."""
_NEVER_TAKEN: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Answers that speak of this very message: sent again, it would be refused again."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The receiver may not have it: to be sent again, later."""

    why: str
    retry_after_seconds: float | None = None
    """What the receiver asks for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver will not take this message however often it is sent."""

    why: str


Answer = Delivered | Failed | Refused


class _UnusableError(Exception):
    """A receiver's files or address can't be used; the message says why, without what is in them."""


class Sender:
    """Sends to receivers by name. To be had from `open_sender`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        directory: Path,
        hosts: Sequence[AllowedHost],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._directory = directory
        self._hosts = hosts
        self._now = now

    async def send(self, receiver: str, message_id: str, body: bytes, *, signed: bool) -> Answer:
        """POST JSON to a receiver. Never raises for what files, network or receiver do."""
        try:
            url, address = self._address(receiver)
            headers = self._headers(receiver, message_id, body, signed=signed)
            trusted = self._trusted(receiver)
        except _UnusableError as error:
            return Failed(str(error))
        where = f"{address.host}:{address.port}"
        try:
            async with self._session.post(
                address, data=body, headers=headers, ssl=trusted, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return Delivered()
                return _not_delivered(where, response, _excerpt(await _beginning_of(response), url))
        except TimeoutError:
            return Failed(f"{where} gave no answer within {self._session.timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(f"{where} can't be reached: {_brief(error)}")

    def _address(self, receiver: str) -> tuple[str, URL]:
        file = self._directory / receiver / URL_FILE
        url = _read(file)
        parts = _URL.fullmatch(url)
        if parts is None:
            raise _UnusableError(
                f"{file} holds no URL such as https://hooks.example.com/path, without user and fragment"
            )
        scheme, host = parts[1].lower(), parts[2].lower().rstrip(".")
        port = int(parts[3] or _DEFAULT_PORTS[scheme])
        if not any(allowed.allows(scheme, host, port) for allowed in self._hosts):
            raise _UnusableError(
                f"{scheme}://{host}:{port} is not among the hosts that the operator may send notifications to: add it "
                "to notifications.allowedHosts in its chart, or correct the url in the receiver's Secret"
            )
        return url, URL(url, encoded=True)

    def _headers(self, receiver: str, message_id: str, body: bytes, *, signed: bool) -> dict[str, str]:
        timestamp = int(self._now())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"serinus/{serinus.__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
        }
        if not signed:
            return headers
        file = self._directory / receiver / SIGNING_KEY_FILE
        try:
            keys = keys_of(_read(file))
        except ValueError as error:
            raise _UnusableError(f"{file} can't be used: {error}") from None
        return {**headers, "webhook-signature": signature(keys, message_id, timestamp, body)}

    def _trusted(self, receiver: str) -> ssl.SSLContext | bool:
        """The receiver's own authorities if it has some, else the public ones. Certificates are always verified."""
        file = self._directory / receiver / CA_FILE
        if not file.exists():
            return True
        try:
            return ssl.create_default_context(cafile=str(file))
        except (OSError, ssl.SSLError):
            raise _UnusableError(f"{file} can't be used: it holds no certificates in PEM") from None


@asynccontextmanager
async def open_sender(
    directory: Path, hosts: Sequence[AllowedHost], timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[Sender]:
    """A sender for the receivers whose files lie in folders of `directory`, on these hosts only.

    Connections are not kept: notifications are rare, and a POST over one that is half closed may arrive twice.
    """
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    connector = aiohttp.TCPConnector(force_close=True, use_dns_cache=False)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        yield Sender(session, directory, hosts)


async def _beginning_of(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of an answer; none where they do not come, or make no sense: its status tells what matters."""
    try:
        return await response.content.read(_MOST_ANSWER_BYTES)
    except (TimeoutError, aiohttp.ClientError):
        return b""


def _not_delivered(where: str, response: aiohttp.ClientResponse, said: str) -> Failed | Refused:
    status = response.status
    told = f"{where} answered {status}{said}"
    if status in _NEVER_TAKEN:
        return Refused(told)
    if 300 <= status < 400:
        return Failed(f"{told}: redirects are not followed; set the url in the receiver's Secret to where it leads")
    return Failed(told, _seconds(response.headers.get("Retry-After")))


def _seconds(retry_after: str | None) -> float | None:
    """The header in seconds or as a date, at most an hour; None where it says nothing that makes sense."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_FILE_BYTES)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise _UnusableError(f"{file} can't be read: {why}; look at the Secret that the receiver names") from None
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise _UnusableError(f"{file} can't be read: it is not UTF-8") from None


def _excerpt(said: bytes, url: str) -> str:
    """The first words of an answer, without any part of the address: it is a secret, and servers repeat it."""
    text = " ".join(said.decode(errors="replace").split())
    for part in sorted({url, *re.split(r"[/?&=]", url)}, key=len, reverse=True):
        if len(part) >= 4:
            text = text.replace(part, "(hidden)")
    shown = "".join(letter for letter in text if letter.isprintable())[:_MOST_SHOWN]
    return f": {shown}" if shown else ""


def _brief(error: Exception) -> str:
    """Why there was no answer, without the address."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted ({error.certificate_error})"
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or str(error.os_error)
        case _:
            return type(error).__name__
