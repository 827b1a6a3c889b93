"""What the operator shows to Prometheus and trusts of it: read from files, again whenever they change.

The files are mounted from Secrets, and the kubelet puts new ones in their place while the process runs. Called by
`serinus.metrics.questions` before every call. Nothing that is read here leaves this package but in a request: messages
name files, never what is in them.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from serinus.core.readings import MissingReason
from serinus.metrics.answers import UnreadableError

MAX_SECRET_BYTES: Final = 64 * 1024
HIDDEN: Final = "(hidden)"
_LEAST_HIDDEN: Final = 4
"""Shorter secrets than this are not searched for in messages: they would blot out half of every sentence."""
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFiles:
    """Where the credentials lie; None where there are none. A token excludes user and password."""

    token: Path | None = None
    """A bearer token."""
    username: Path | None = None
    """User of basic authentication, together with `password`."""
    password: Path | None = None
    ca: Path | None = None
    """Certificates of the authorities that Prometheus' own certificate may come from, PEM; None: the public ones."""
    certificate: Path | None = None
    """The operator's certificate for mutual TLS, with the chain, PEM; together with `key`."""
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("basic authentication needs the files of both user and password")
        if self.token is not None and self.username is not None:
            raise ValueError("a bearer token and basic authentication exclude each other")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs the files of both certificate and key")

    @property
    def of_tls(self) -> bool:
        """Whether they are of any use without https."""
        return self.ca is not None or self.certificate is not None

    @property
    def authorize(self) -> bool:
        """Whether something secret goes into every request."""
        return self.token is not None or self.username is not None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the files held a moment ago. Equal ones may share a connection."""

    authorization: str | None = field(default=None, repr=False)
    """Value of the header."""
    ca_file: str | None = None
    client_files: tuple[str, str] | None = None
    """Certificate and key."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """What must not be shown."""
    versions: tuple[tuple[int, ...], ...] = ()
    """Tells one state of the TLS files from the next: a connection reads them when it is opened."""

    def conceal(self, text: str) -> str:
        """The text without the secrets: servers and proxies have been seen to repeat what they were sent."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text


def read(files: CredentialFiles) -> Credentials:
    """What the files hold now. Raises UnreadableError if one can't be used; its message says which, and why."""
    secrets: set[str] = set()
    authorization = None
    if files.token is not None:
        token = _secret(files.token, "bearer token")
        if not _PRINTABLE.fullmatch(token):
            raise _unusable(files.token, "bearer token", "it holds blanks or characters that no token has")
        authorization, secrets = f"Bearer {token}", {token}
    elif files.username is not None and files.password is not None:
        username, password = _secret(files.username, "user"), _secret(files.password, "password")
        if ":" in username:
            raise _unusable(files.username, "user", "it holds a colon, which separates it from the password")
        encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
        authorization, secrets = f"Basic {encoded}", {password, encoded}
    return Credentials(
        authorization=authorization,
        ca_file=None if files.ca is None else str(files.ca),
        client_files=(str(files.certificate), str(files.key)) if files.certificate and files.key else None,
        secrets=frozenset(secret for secret in secrets if len(secret) >= _LEAST_HIDDEN),
        versions=tuple(
            _version(path, what)
            for path, what in (
                (files.ca, "CA bundle"),
                (files.certificate, "client certificate"),
                (files.key, "key of the client certificate"),
            )
            if path is not None
        ),
    )


def _secret(path: Path, what: str) -> str:
    """The text of a file, without the line end that editors and `kubectl create` leave behind."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise _unusable(path, what, error.strerror or type(error).__name__) from None
    try:
        text = content.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise _unusable(path, what, "it is not UTF-8") from None
    if not text:
        raise _unusable(path, what, "it is empty")
    if len(content) > MAX_SECRET_BYTES:
        raise _unusable(path, what, f"it is longer than {MAX_SECRET_BYTES >> 10} KiB")
    return text


def _version(path: Path, what: str) -> tuple[int, ...]:
    try:
        with path.open("rb"):
            found = path.stat()
    except OSError as error:
        raise _unusable(path, what, error.strerror or type(error).__name__) from None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _unusable(path: Path, what: str, why: str) -> UnreadableError:
    return UnreadableError(
        MissingReason.SOURCE_UNAVAILABLE,
        f"the {what} for Prometheus, {path}, can't be used: {why}; look at the Secret that it is mounted from",
    )
