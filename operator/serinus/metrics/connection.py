"""One blocking connection to Prometheus through prometheus-api-client, with a deadline and a size limit for every call.

prometheus-api-client by itself retries for seconds, has no time limit as a whole, rounds the bounds of ranges to
seconds and drops warnings. It takes a `requests` session, and that is where all of this is put right. Used from the
worker threads of `serinus.metrics.questions`, one connection per thread.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from prometheus_api_client.prometheus_connect import PrometheusConnect

from serinus.core.readings import MissingReason
from serinus.metrics import answers
from serinus.metrics.answers import Series, UnreadableError
from serinus.metrics.credentials import Credentials

DEFAULT_TIMEOUT_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_LIMIT: Final = {"limit": str(answers.MAX_SERIES)}
"""Prometheus stops there, and warns. Servers that don't know the parameter leave it be; then `answers` counts."""
_AS_ASKED: Final = {"nocache": "1", "latency_offset": "1ms"}
"""VictoriaMetrics moves the times of long ranges and hides the last 30 s unless it is told this. Nobody else minds."""
_PIECE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where Prometheus is and how it is asked: operator settings, never a user's."""

    url: str
    """Such as `http://prometheus.monitoring:9090`, with the path prefix if there is one. May carry `user:password@`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every call, such as X-Scope-OrgID. Nothing secret: that is in the `Credentials`."""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """For each call from connecting to the last byte."""
    max_answer_bytes: int = MAX_ANSWER_BYTES

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                f"the URL of Prometheus has to be like http://prometheus.monitoring:9090, not {self.public_url!r}"
            )

    @property
    def public_url(self) -> str:
        """The URL without user, password and query."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


class Connection:
    """Blocking calls. Every one returns checked values or raises UnreadableError, and nothing else."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials | None = None) -> None:
        self.credentials = credentials or Credentials()
        """Shown with every call. For others, open another connection."""
        authorization = self.credentials.authorization
        self._session = _BoundedSession(endpoint, self.credentials)
        self._client = PrometheusConnect(
            url=endpoint.url.rstrip("/"),
            headers={**endpoint.headers, **({"Authorization": authorization} if authorization else {})},
            retry=urllib3.Retry(total=0),
            session=self._session,
        )

    def over_range(self, query: str, start: float, end: float, step_seconds: float) -> tuple[Series, ...]:
        """A range query; bounds in Unix seconds, used as they are."""
        result = self._client.custom_query_range(
            query,
            start_time=datetime.fromtimestamp(start, UTC),
            end_time=datetime.fromtimestamp(end, UTC),
            step=_number(step_seconds),
            params={"start": _number(start), "end": _number(end), **_LIMIT, **_AS_ASKED},
        )
        return answers.matrix(result)

    def at_instant(self, query: str, at: float) -> tuple[Series, ...]:
        """An instant query, evaluated at a time in Unix seconds."""
        return answers.vector(self._client.custom_query(query, params={"time": _number(at), **_LIMIT, **_AS_ASKED}))

    def label_values(self, label: str, selector: str, start: float, end: float) -> tuple[str, ...]:
        """The values that a label has in the series of a selector somewhere around this time."""
        params = {"match[]": selector, "start": _number(start), "end": _number(end), **_LIMIT}
        return tuple(self._client.get_label_values(label, params=params))

    def close(self) -> None:
        """Give the sockets back."""
        self._client.close()


class _Answer(requests.Response):
    """A successful answer that has been read, parsed and checked already; the client library takes its piece of it."""

    def __init__(self, data: list[Any] | dict[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self._data = data

    def json(self, **kwargs: Any) -> Any:  # noqa: ARG002 -- the signature is requests'
        return {"data": self._data}


class _BoundedSession(requests.Session):
    """A session that reads answers itself: within the deadline, up to the size limit, and with the warnings."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._credentials = credentials
        self.trust_env = False  # no proxy, no .netrc: the settings say all there is to say
        self.verify = credentials.ca_file or True
        self.cert = credentials.client_files

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Carry one call out, in place of the client library's own way. Raises UnreadableError, without secrets."""
        try:
            return self._carried_out(*args, **kwargs)
        except UnreadableError as error:
            missing = error.missing
            raise UnreadableError(missing.reason, self._credentials.conceal(missing.detail)) from None

    def _carried_out(self, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = time.monotonic() + self._endpoint.timeout_seconds
        kwargs |= {"timeout": self._endpoint.timeout_seconds, "allow_redirects": False, "stream": True}
        try:
            with super().request(*args, **kwargs) as response:
                body = self._body(response, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if any(isinstance(each, TimeoutError) for each in _chain(error)):
                raise self._too_slow() from None
            raise UnreadableError(
                MissingReason.SOURCE_UNAVAILABLE,
                f"no answer from {self._endpoint.public_url}: {_cause(error)}; {_advice(error)}",
            ) from None
        if response.is_redirect:
            raise UnreadableError(
                MissingReason.SOURCE_UNAVAILABLE,
                f"{self._endpoint.public_url} redirects (HTTP {response.status_code}), which is not followed; set the "
                "URL that answers itself",
            )
        try:
            data = answers.data_of(body, response.status_code)
        except UnreadableError:
            # Its words are cut off somewhere: not in the middle of a secret, please.
            answers.data_of(self._credentials.conceal(body.decode(errors="replace")).encode(), response.status_code)
            raise
        if response.url.partition("?")[0].endswith("/values"):
            return _Answer(list(answers.texts(data)))
        return _Answer({"result": answers.result_of(data)})

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        """Read what arrives, piece by piece: a server that drips must not keep the thread."""
        body = bytearray()
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
            body += piece
            if len(body) > self._endpoint.max_answer_bytes:
                raise UnreadableError(
                    MissingReason.SOURCE_UNAVAILABLE,
                    f"the answer of {self._endpoint.public_url} is longer than "
                    f"{self._endpoint.max_answer_bytes >> 20} MiB; narrow the selector or lower its number of series",
                )
            if time.monotonic() > deadline:
                raise self._too_slow()
        return bytes(body)

    def _too_slow(self) -> UnreadableError:
        return UnreadableError(
            MissingReason.TIMEOUT,
            f"{self._endpoint.public_url} did not answer within {self._endpoint.timeout_seconds:g} s",
        )


def _advice(error: BaseException) -> str:
    """What to look at, by what kind of failure is at the bottom of it."""
    if any(isinstance(each, ssl.SSLError) for each in _chain(error)):
        return "do prometheus.tls.ca and prometheus.tls.clientCertificate fit what it presents and asks for?"
    return "is Prometheus up, is its URL right?"


def _number(value: float) -> str:
    """Seconds as Prometheus reads them, to the millisecond that it keeps."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was made of."""
    below: BaseException | None = error
    while below is not None:
        yield below
        held = below.args[0] if below.args and isinstance(below.args[0], BaseException) else None  # urllib3's way
        below = below.__cause__ or below.__context__ or held


def _cause(error: BaseException) -> str:
    """The system's own words at the bottom of a chain of exceptions: no object addresses, no URL."""
    *_, bottom = _chain(error)
    said = bottom.strerror if isinstance(bottom, OSError) else None
    if isinstance(bottom, socket.gaierror):
        return f"its host name can't be resolved ({said})"
    return said or type(bottom).__name__
