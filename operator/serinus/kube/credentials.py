"""As whom, and over which TLS, Serinus speaks to the API server: a pod's service account, or a kubeconfig.

Called once at start-up by the shell, for its own client and for kopf's session. A token may rotate at any time; it is
looked up for every request and never kept in a session's headers.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import aiohttp
from aiohttp import hdrs
from yarl import URL

from serinus.kube.calls import OnCall, telling

SERVICE_ACCOUNT_DIRECTORY: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_KEPT_SECONDS: Final = 15.0
"""How long a connection that nobody uses is kept. Where a network has forgotten all of them, call after call would try
one of those and wait in vain; after the time that a call may take there are none any more."""
_FRESH_SECONDS: Final = 30.0
"""How long a token is used without looking at its source again; kubelets renew it minutes before it ends."""


class CredentialsError(Exception):
    """No usable way to reach the API server. The message says where it was looked for and what to provide."""


class Authorization(Protocol):
    """Source of the `Authorization` header."""

    async def header(self) -> str:
        """The header's value as of now. Raises `CredentialsError` if there is none."""

    def forget(self) -> None:
        """The last value was refused: look at its source again next time."""


class TokenFile:
    """A bearer token in a file that somebody else rotates, as the kubelet does for service accounts."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._value = ""
        self._read_at: float | None = None

    async def header(self) -> str:
        """`Bearer …` with the token in the file, read again when the last look is over half a minute old."""
        if self._read_at is None or self._clock() - self._read_at > _FRESH_SECONDS:
            self._value = f"Bearer {self._read()}"
            self._read_at = self._clock()
        return self._value

    def forget(self) -> None:
        """Read the file again for the next request."""
        self._read_at = None

    def _read(self) -> str:
        try:
            token = self._path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CredentialsError(
                f"read the service account token {self._path}: {error.strerror}; mount it "
                "(automountServiceAccountToken: true) or give a kubeconfig"
            ) from error
        if not token:
            raise CredentialsError(f"the service account token {self._path} is empty; the kubelet has to write it")
        return token


class _KubeconfigValues(Protocol):
    """The part of `kubernetes.client.Configuration` that is used here; that package is loaded late, and untyped."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    verify_ssl: bool

    def get_api_key_with_prefix(self, identifier: str) -> str | None: ...


class KubeconfigUser:
    """The token or password of a kubeconfig's user, by the official client: tokens, basic auth, exec plugins, OIDC."""

    def __init__(self, configuration: _KubeconfigValues, clock: Callable[[], float] = time.monotonic) -> None:
        self._configuration = configuration
        self._clock = clock
        self._value = ""
        self._read_at: float | None = None
        self._lock = asyncio.Lock()

    async def header(self) -> str:
        """What the kubeconfig's user sends; empty if a client certificate is all there is."""
        async with self._lock:  # an exec plugin may ask a person: once is enough
            if self._read_at is None or self._clock() - self._read_at > _FRESH_SECONDS:
                found = await asyncio.to_thread(self._configuration.get_api_key_with_prefix, "BearerToken")
                self._value = found or ""
                self._read_at = self._clock()
        return self._value

    def forget(self) -> None:
        """Ask the kubeconfig's user anew for the next request."""
        self._read_at = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """Address of an API server and how to be somebody there."""

    server: str
    """Base URL without a slash at its end."""
    tls: ssl.SSLContext | None = None
    """None for plain HTTP."""
    authorization: Authorization | None = None
    tls_server_name: str | None = None
    """Name to expect in the server's certificate when it is not the URL's host."""
    proxy: str | None = None


def in_cluster(
    environment: Mapping[str, str] = os.environ, directory: Path = SERVICE_ACCOUNT_DIRECTORY
) -> Credentials | None:
    """Credentials of the pod's service account; None outside a pod.

    Raises `CredentialsError` for a pod whose service account is not mounted.
    """
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        return None
    authority = directory / "ca.crt"
    try:
        tls = ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise CredentialsError(
            f"read the API server's certificate authority {authority}: {error}; "
            "mount the service account (automountServiceAccountToken: true)"
        ) from error
    address = f"[{host}]" if ":" in host else host
    return Credentials(f"https://{address}:{port}", tls, TokenFile(directory / "token"))


def from_kubeconfig(path: str | Path | None = None, context: str | None = None) -> Credentials:
    """Credentials of a kubeconfig's context: of `path`, else of $KUBECONFIG, else of ~/.kube/config.

    Raises `CredentialsError` if there is no such file or context, or if its certificates can't be read.
    """
    # Loaded only here: the package costs a second and 40 MB that an operator in a pod has no use for.
    from kubernetes import client, config  # noqa: PLC0415

    configuration = client.Configuration()
    shown = str(path or os.environ.get("KUBECONFIG") or "~/.kube/config")
    try:
        config.load_kube_config(str(path) if path else None, context, configuration, persist_config=False)  # type: ignore[no-untyped-call] # untyped package
        tls = _kubeconfig_tls(configuration)
    except (config.ConfigException, OSError, ssl.SSLError) as error:
        raise CredentialsError(
            f"load kubeconfig {shown}{f', context {context}' if context else ''}: {error}; "
            "name another one by $KUBECONFIG, or run inside a cluster"
        ) from error
    return Credentials(
        configuration.host.rstrip("/"),
        tls,
        KubeconfigUser(configuration) if configuration.api_key.get("BearerToken") else None,
        configuration.tls_server_name or None,
        configuration.proxy or None,
    )


def context_namespace(path: str | Path | None = None, context: str | None = None) -> str:
    """The namespace that a kubeconfig's context names, as kubectl takes it; `default` where it names none.

    Raises `CredentialsError` as `from_kubeconfig` does.
    """
    from kubernetes import config  # noqa: PLC0415 -- see from_kubeconfig

    try:
        contexts, active = config.list_kube_config_contexts(str(path) if path else None)  # type: ignore[no-untyped-call] # untyped package
    except (config.ConfigException, OSError) as error:
        raise CredentialsError(f"read the contexts of the kubeconfig: {error}; name another by $KUBECONFIG") from error
    named = active if context is None else next((each for each in contexts if each["name"] == context), None)
    return str(((named or {}).get("context") or {}).get("namespace") or "default")


def find_credentials(kubeconfig: str | Path | None = None, context: str | None = None) -> Credentials:
    """The kubeconfig that is named, else the pod's service account, else the user's kubeconfig.

    Raises `CredentialsError`.
    """
    if kubeconfig is None and context is None and (found := in_cluster()) is not None:
        return found
    return from_kubeconfig(kubeconfig, context)


def open_session(credentials: Credentials, on_call: OnCall | None = None) -> aiohttp.ClientSession:
    """A session that authenticates every request to the API server, and none to any other server.

    It follows a rotating token, and repeats a request once with a fresh token when the API server answers 401. Requests
    take absolute URLs. `on_call` hears of each. The caller closes the session (kopf closes the one it is given).
    """
    middleware = _Authenticator(credentials)
    connector = aiohttp.TCPConnector(
        limit=0,  # watches stay open, and the client bounds its calls itself
        ssl=credentials.tls if credentials.tls is not None else True,
        keepalive_timeout=_KEPT_SECONDS,
    )
    traces = [] if on_call is None else [telling(on_call)]
    return aiohttp.ClientSession(
        connector=connector, middlewares=(middleware,), proxy=credentials.proxy, trace_configs=traces
    )


class _Authenticator:
    """Client middleware: adds the `Authorization` header, on the API server's own address only."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._origin = URL(credentials.server).origin()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.url.origin() != self._origin:
            return await handler(request)
        if self._credentials.tls_server_name:
            request.server_hostname = self._credentials.tls_server_name
        authorization = self._credentials.authorization
        if authorization is None:
            return await handler(request)
        request.headers[hdrs.AUTHORIZATION] = await authorization.header()
        response = await handler(request)
        if response.status != 401:
            return response
        authorization.forget()
        fresh = await authorization.header()
        if fresh == request.headers[hdrs.AUTHORIZATION]:
            return response
        response.release()
        request.headers[hdrs.AUTHORIZATION] = fresh
        return await handler(request)


def _kubeconfig_tls(configuration: _KubeconfigValues) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:  # the kubeconfig's insecure-skip-tls-verify: the user's explicit wish
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
