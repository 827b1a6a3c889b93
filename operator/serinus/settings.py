"""What the person who installs the operator decides, read once from `SERINUS_…` environment variables.

The Helm chart writes the variables, `serinus.__main__` reads them, and `serinus.shell` gets the result; nothing below
the shell knows where a number came from. A variable is named after its field: `lease_name` is `SERINUS_LEASE_NAME`.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from serinus.api.gateways import Gateway, GatewayFeature
from serinus.api.notifications import AllowedHost, Receiver, parse_receivers
from serinus.api.values import DNS_LABEL_PATTERN, DNS_SUBDOMAIN_PATTERN, PROMETHEUS_LABEL_PATTERN, matches

PREFIX: Final = "SERINUS_"

_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY: Final = rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_NAME}"
_REQUIREMENT: Final = rf"(!?{_KEY}|{_KEY} *(=|==|!=) *({_NAME})?|{_KEY} +(in|notin) +[(] *{_NAME}( *, *{_NAME})* *[)])"
SELECTOR_PATTERN: Final = rf"{_REQUIREMENT}( *, *{_REQUIREMENT})*"
"""Label selectors as kubectl takes them, without the rare `>` and `<`; the chart's schema has the same pattern."""

CONTROLLER_NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/._~%!$&'()*+,;=:-]+$"
"""The controllerName of a GatewayClass: a domain and a path."""
HEADER_PATTERN: Final = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
"""Names of HTTP headers, as the chart's schema has them too."""
HEADER_VALUE_PATTERN: Final = r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?"
RESERVED_HEADERS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "accept-encoding",
    }
)
"""Headers, in small letters, that are not for the settings."""


class LogLevel(StrEnum):
    """The least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    TEXT = "text"
    """`key=value` pairs behind the message, for people."""
    JSON = "json"
    """One JSON object a line, for log collectors."""


class SettingsError(ValueError):
    """One or more settings make no sense. The message has a line for each: the variable, its value, what to write."""


def _identity() -> str:
    """A name that no other process has, still telling the host (in a pod: the pod) it runs on."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one operator process. The defaults are those of the Helm chart.

    Raises `SettingsError` where values contradict each other.
    """

    prometheus_url: str | None = None
    """Base URL of the Prometheus that every metric is read from. None: no metric source, so that canaries are refused
    unless their analysis is disabled."""

    prometheus_timeout_seconds: float = 5.0
    """Longest wait for one answer of Prometheus; then the reading is missing, and the rollout holds."""

    prometheus_scrape_interval_seconds: float = 30.0
    """How often that Prometheus scrapes the models. Readings are at least two of these apart, and a pod has to have
    reported within a few of them; too small a number makes evidence look missing."""

    prometheus_headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every question to that Prometheus, such as the tenant. Nothing secret."""

    prometheus_token_file: Path | None = None
    """File with a bearer token for that Prometheus. Read again when it changes, as all the files below."""

    prometheus_username_file: Path | None = None
    """File with the user of basic authentication. With a password file, and without a token file."""

    prometheus_password_file: Path | None = None
    """File with that user's password."""

    prometheus_ca_file: Path | None = None
    """PEM file with the authorities that may have signed Prometheus' certificate. None: the public ones."""

    prometheus_certificate_file: Path | None = None
    """PEM file with the operator's certificate for mutual TLS. With a key file."""

    prometheus_key_file: Path | None = None
    """PEM file with the key of that certificate."""

    prometheus_gateway: Gateway | None = None
    """The gateway whose counts of requests to each backend that Prometheus has. None: what the models count is all."""

    metrics_namespace_label: str = "namespace"
    """Label that carries a pod's namespace in that Prometheus: part of what `%pods%` becomes."""

    metrics_pod_label: str = "pod"
    """Label that carries a pod's name in that Prometheus: part of what `%pods%` becomes."""

    watch_namespaces: tuple[str, ...] = ()
    """Namespaces whose ModelDeployments are served. Empty: all of them."""

    namespaced: bool = False
    """Whether the operator has rights in namespaces only, and none on what has no namespace: then GatewayClasses and
    its own CRD are not read, and Gateways in `watch_namespaces` and `gateway_namespaces`."""

    gateway_namespaces: tuple[str, ...] = ()
    """Namespaces whose Gateways are looked up beside those in `watch_namespaces`, where `namespaced`."""

    gateway_classes: Mapping[str, str] = field(default_factory=dict)
    """The controllerName of each GatewayClass, by its name, where `namespaced`: it can't be looked up then."""

    selector: str = ""
    """Label selector of the ModelDeployments that are served. Empty: all of them. Those it leaves out are another
    operator's, or nobody's."""

    gateway_features: Mapping[str, Mapping[GatewayFeature, bool]] = field(default_factory=dict)
    """What gateways can do, by the controllerName of their GatewayClass, where the operator does not know it or is
    wrong. It overrules what the operator knows and what the GatewayClass publishes."""

    config_key_file: Path | None = None
    """File with the key by which the content of ConfigMaps and Secrets becomes part of revisions
    (`serving.configChecksum: Auto`). None: neither is ever read."""

    config_secrets: bool = True
    """Whether Secrets are read for that, too."""
    receivers: Mapping[str, Receiver] = field(default_factory=dict)
    """Whom the operator tells of rollouts, by the name that the annotation serinus.dev/notify has."""

    receiver_hosts: tuple[AllowedHost, ...] = ()
    """Where their addresses may lie."""

    receiver_directory: Path = Path("/etc/serinus/receivers")
    """Folder with a folder for each receiver: its url, signing-key and ca.crt. Read again for each notification."""

    cluster_name: str = ""
    """What notifications call this cluster."""

    concurrency: int = 16
    """How many resources are worked on at once."""

    watch_stale_seconds: float = 180.0
    """Longest silence of a watch (no event, no bookmark, no renewal) before `/healthz` fails and the kubelet restarts
    the process. Watches are renewed about once a minute."""

    route_margin_seconds: float = 3.0
    """Wait between a route's confirmation and the first consequence: gateways report a route as accepted up to 2 s
    before their data plane has it."""

    rollback_drain_seconds: float = 30.0
    """How long a candidate's pods stay after its traffic was taken off in a rollback."""

    disruption_budgets: bool = True
    """Whether each revision that serves gets a PodDisruptionBudget."""

    network_policies: bool = True
    """Whether the pods of each ModelDeployment get a NetworkPolicy."""

    scraper_namespace: str | None = None
    """Namespace whose pods that NetworkPolicy lets reach every port of a model's pods, for metrics beside the model's
    own. None: the serving port alone is reached, where BentoML has its metrics too."""

    lease_name: str = "serinus"
    """Name of the Lease that decides which replica leads."""

    lease_namespace: str = "serinus-system"
    """Namespace of that Lease; in the cluster, the operator's own."""

    lease_duration_seconds: float = 15.0
    """How long a leader that has fallen silent is still believed to lead: a fail-over takes this and one retry."""

    lease_renew_deadline_seconds: float = 10.0
    """How long the leader goes on without having renewed the Lease; then it stops writing at once."""

    lease_retry_seconds: float = 2.0
    """Pause between two attempts to take or to renew the Lease."""

    identity: str = field(default_factory=_identity)
    """Who this process is, in the Lease and in the log. Unique to the process."""

    http_port: int = 8080
    """Port of `/healthz`, `/readyz` and `/metrics`."""

    profile_port: int | None = None
    """Port of `/debug/profile` and `/debug/heap`. None: they are not served."""

    profile_address: str = "127.0.0.1"
    """Address they are served on. Whoever reaches it can slow the operator down and read the names of its functions."""

    log_level: LogLevel = LogLevel.INFO
    """The least severity that is logged."""

    log_format: LogFormat = LogFormat.TEXT
    """How a log line is written."""

    def __post_init__(self) -> None:
        if not self.lease_retry_seconds < self.lease_renew_deadline_seconds < self.lease_duration_seconds:
            raise SettingsError(
                f"{PREFIX}LEASE_RETRY_SECONDS ({self.lease_retry_seconds:g}) has to be below "
                f"{PREFIX}LEASE_RENEW_DEADLINE_SECONDS ({self.lease_renew_deadline_seconds:g}), and that below "
                f"{PREFIX}LEASE_DURATION_SECONDS ({self.lease_duration_seconds:g}): "
                "otherwise two replicas could lead at once, or none could keep the lease"
            )
        self._require_whole_credentials()
        if self.receivers and not self.receiver_hosts:
            raise SettingsError(
                f"{PREFIX}RECEIVERS need {PREFIX}RECEIVER_HOSTS: name the hosts that notifications may be sent to"
            )
        if self.namespaced and not self.watch_namespaces:
            raise SettingsError(f"{PREFIX}NAMESPACED=true needs {PREFIX}WATCH_NAMESPACES: name the namespaces to serve")
        if not self.namespaced and (self.gateway_namespaces or self.gateway_classes):
            raise SettingsError(
                f"{PREFIX}GATEWAY_NAMESPACES and {PREFIX}GATEWAY_CLASSES are for {PREFIX}NAMESPACED=true only: "
                "otherwise Gateways and their classes are looked up in the whole cluster"
            )
        if self.profile_port == self.http_port:
            raise SettingsError(
                f"{PREFIX}PROFILE_PORT={self.profile_port} is {PREFIX}HTTP_PORT, "
                "which other machines reach: name another port"
            )

    def _require_whole_credentials(self) -> None:
        url, prometheus = self.prometheus_url, f"{PREFIX}PROMETHEUS_"
        if (self.prometheus_username_file is None) != (self.prometheus_password_file is None):
            raise SettingsError(f"{prometheus}USERNAME_FILE and {prometheus}PASSWORD_FILE: set both or neither")
        if self.prometheus_token_file is not None and self.prometheus_username_file is not None:
            raise SettingsError(f"{prometheus}TOKEN_FILE and {prometheus}USERNAME_FILE: set one of them at most")
        if (self.prometheus_certificate_file is None) != (self.prometheus_key_file is None):
            raise SettingsError(f"{prometheus}CERTIFICATE_FILE and {prometheus}KEY_FILE: set both or neither")
        of_tls = self.prometheus_ca_file is not None or self.prometheus_certificate_file is not None
        if of_tls and url is not None and not url.startswith("https://"):
            raise SettingsError(
                f"{prometheus}CA_FILE and {prometheus}CERTIFICATE_FILE need a {prometheus}URL that begins with "
                f"https://, not {url}"
            )


_Choice = TypeVar("_Choice", bound=StrEnum)


class _UnreadableError(ValueError):
    """A text that is no value of its setting. The message says what to write instead."""


def _number(at_least: float, at_most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not at_least <= number <= at_most:
            raise _UnreadableError(f"write a number of seconds from {at_least:g} to {at_most:g}, such as {at_least:g}")
        return number

    return parse


def _integer(at_least: int, at_most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not at_least <= int(text) <= at_most:
            raise _UnreadableError(f"write a whole number from {at_least} to {at_most}")
        return int(text)

    return parse


def _pattern(pattern: str, example: str, longest: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) > longest or not matches(pattern, text):
            raise _UnreadableError(f"write a name of at most {longest} characters such as {example}")
        return text

    return parse


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise _UnreadableError("write an IP address such as 127.0.0.1, or 0.0.0.0 for all") from None


def _prometheus_url(text: str) -> str:
    try:
        url = urlsplit(text)
        whole = url.scheme in {"http", "https"} and bool(url.hostname) and not url.query and not url.fragment
        _ = url.port  # raises where it is no port
    except ValueError:
        whole = False
    if not whole or re.search(r"\s", text):
        raise _UnreadableError("write the base URL, such as http://prometheus.monitoring:9090")
    if url.username is not None or url.password is not None:
        raise _UnreadableError("leave user and password out of the URL: it is shown in pod specs and logs")
    return text.rstrip("/")


def _headers(text: str) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not (colon and re.fullmatch(HEADER_PATTERN, name) and re.fullmatch(HEADER_VALUE_PATTERN, value)):
            raise _UnreadableError("write lines such as X-Scope-OrgID: team-a, of printable ASCII")
        if name.lower() in RESERVED_HEADERS:
            raise _UnreadableError(f"leave {name} out: credentials belong in a Secret, the rest is set by itself")
        headers[name] = value
    return headers


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise _UnreadableError("write the absolute path of a file, such as /etc/serinus/prometheus/token")
    return path


def _namespaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(len(name) <= 63 and matches(DNS_LABEL_PATTERN, name) for name in names):
        raise _UnreadableError("write names of namespaces with commas between them, such as team-a,team-b; or nothing")
    return names


def _selector(text: str) -> str:
    if len(text) > 1000 or not re.fullmatch(SELECTOR_PATTERN, text):
        raise _UnreadableError(
            "write a label selector, such as shard=a or shard notin (a, b) or !shard, several with commas between them"
        )
    return text


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise _UnreadableError("write true or false")
    return text == "true"


def _gateway_features(text: str) -> dict[str, dict[GatewayFeature, bool]]:
    try:
        told = json.loads(text)
        found = {
            _controller(controller): {GatewayFeature(feature): _said(can) for feature, can in features.items()}
            for controller, features in told.items()
        }
    except (ValueError, AttributeError):  # no JSON, no objects, no feature of ours
        raise _UnreadableError(
            "write JSON of controllerNames and features, such as "
            f'{{"example.com/gateway-controller": {{"{GatewayFeature.MIRROR}": true}}}}; '
            f"the features are {', '.join(GatewayFeature)}"
        ) from None
    return found


def _receivers(text: str) -> dict[str, Receiver]:
    try:
        return parse_receivers(text)
    except ValueError as error:
        raise _UnreadableError(f"write JSON of receivers by name; {error}") from None


def _receiver_hosts(text: str) -> tuple[AllowedHost, ...]:
    try:
        return tuple(AllowedHost.parse(host.strip()) for host in text.split(","))
    except ValueError:
        raise _UnreadableError(
            "write hosts such as hooks.slack.com, *.example.com:8443 or http://bridge.ops:8080, with commas between"
        ) from None


def _cluster_name(text: str) -> str:
    if len(text) > 100 or not text.isprintable():
        raise _UnreadableError("write at most 100 printable characters")
    return text


def _gateway_classes(text: str) -> dict[str, str]:
    try:
        told = json.loads(text)
        found = {_class_name(name): _controller(controller) for name, controller in told.items()}
    except (ValueError, AttributeError, TypeError):  # no JSON, no object, no texts
        raise _UnreadableError(
            "write JSON of GatewayClasses and their controllerNames, such as "
            '{"traefik": "traefik.io/gateway-controller"}'
        ) from None
    return found


def _class_name(name: str) -> str:
    if len(name) > 253 or not matches(DNS_SUBDOMAIN_PATTERN, name):
        raise ValueError(name)
    return name


def _controller(name: str) -> str:
    if not matches(CONTROLLER_NAME_PATTERN, name):
        raise ValueError(name)
    return name


def _said(can: object) -> bool:
    if not isinstance(can, bool):
        raise ValueError(can)  # noqa: TRY004 -- one error for all that can't be read
    return can


def _one_of(choices: type[_Choice]) -> Callable[[str], _Choice]:
    def parse(text: str) -> _Choice:
        try:
            return next(choice for choice in choices if choice.lower() == text.lower())
        except StopIteration:
            raise _UnreadableError(f"write one of {', '.join(choices)}") from None

    return parse


_SECONDS = _number(0, 86_400)
_POSITIVE_SECONDS = _number(0.1, 86_400)

_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "prometheus_url": _prometheus_url,
    "prometheus_timeout_seconds": _number(0.1, 60),
    "prometheus_scrape_interval_seconds": _number(0.1, 3600),
    "prometheus_headers": _headers,
    "prometheus_token_file": _path,
    "prometheus_username_file": _path,
    "prometheus_password_file": _path,
    "prometheus_ca_file": _path,
    "prometheus_certificate_file": _path,
    "prometheus_key_file": _path,
    "prometheus_gateway": _one_of(Gateway),
    "metrics_namespace_label": _pattern(PROMETHEUS_LABEL_PATTERN, "namespace", 128),
    "metrics_pod_label": _pattern(PROMETHEUS_LABEL_PATTERN, "pod", 128),
    "watch_namespaces": _namespaces,
    "namespaced": _switch,
    "gateway_namespaces": _namespaces,
    "gateway_classes": _gateway_classes,
    "selector": _selector,
    "gateway_features": _gateway_features,
    "config_key_file": _path,
    "config_secrets": _switch,
    "receivers": _receivers,
    "receiver_hosts": _receiver_hosts,
    "receiver_directory": _path,
    "cluster_name": _cluster_name,
    "concurrency": _integer(1, 1000),
    "watch_stale_seconds": _number(90, 86_400),
    "route_margin_seconds": _SECONDS,
    "rollback_drain_seconds": _SECONDS,
    "disruption_budgets": _switch,
    "network_policies": _switch,
    "scraper_namespace": _pattern(DNS_LABEL_PATTERN, "monitoring", 63),
    "lease_name": _pattern(DNS_SUBDOMAIN_PATTERN, "serinus", 253),
    "lease_namespace": _pattern(DNS_LABEL_PATTERN, "serinus-system", 63),
    "lease_duration_seconds": _POSITIVE_SECONDS,
    "lease_renew_deadline_seconds": _POSITIVE_SECONDS,
    "lease_retry_seconds": _POSITIVE_SECONDS,
    "identity": _pattern(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "serinus-7d9c5b-x2x9k", 253),
    "http_port": _integer(1, 65_535),
    "profile_port": _integer(1, 65_535),
    "profile_address": _address,
    "log_level": _one_of(LogLevel),
    "log_format": _one_of(LogFormat),
}

VARIABLES: Final = {f"{PREFIX}{setting.name.upper()}": setting.name for setting in fields(Settings)}
"""Every environment variable that is read, and the field it fills."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings that these variables give; unset and empty ones leave the default.

    Raises `SettingsError`, which names every variable that makes no sense at once.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for variable, name in VARIABLES.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        try:
            values[name] = _PARSERS[name](text)
        except _UnreadableError as problem:
            secret = "@" in text or name in {"prometheus_headers", "receivers"}  # any may carry a password
            shown = "(hidden)" if secret else repr(text)
            problems.append(f"{variable}={shown}: {problem}")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)
