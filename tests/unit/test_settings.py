"""Settings are read from the environment, and nonsense is refused with what to write instead."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from serinus.api.gateways import Gateway, GatewayFeature
from serinus.api.notifications import AllowedHost, Receiver
from serinus.settings import VARIABLES, LogFormat, LogLevel, Settings, SettingsError, from_environment

HOSTS = (AllowedHost("https", "a.example", False, 443), AllowedHost("http", "b", False, 8080))
HEADERS = {"X-Scope-OrgID": "a|b", "B": "x: y"}


def test_empty_environment_gives_the_defaults() -> None:
    settings = from_environment({"PATH": "/bin", "SERINUS_PROMETHEUS_URL": "", "SERINUS_WATCH_NAMESPACES": " "})
    assert settings == Settings(identity=settings.identity)
    assert settings.prometheus_url is None
    assert settings.watch_namespaces == ()


def test_identity_tells_processes_of_one_host_apart() -> None:
    assert from_environment({}).identity != from_environment({}).identity


def test_every_setting_has_a_variable() -> None:
    assert set(VARIABLES.values()) == {setting.name for setting in fields(Settings)}
    assert all(variable == f"SERINUS_{name.upper()}" for variable, name in VARIABLES.items())


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("SERINUS_PROMETHEUS_URL", "http://prometheus:9090/", "prometheus_url", "http://prometheus:9090"),
        ("SERINUS_PROMETHEUS_URL", "https://[::1]:9090/prom", "prometheus_url", "https://[::1]:9090/prom"),
        ("SERINUS_PROMETHEUS_TIMEOUT_SECONDS", "2.5", "prometheus_timeout_seconds", 2.5),
        ("SERINUS_PROMETHEUS_HEADERS", "X-Scope-OrgID: a|b\nB: x: y\n", "prometheus_headers", HEADERS),
        ("SERINUS_PROMETHEUS_GATEWAY", "traefik", "prometheus_gateway", Gateway.TRAEFIK),
        ("SERINUS_PROMETHEUS_TOKEN_FILE", "/etc/token", "prometheus_token_file", Path("/etc/token")),
        ("SERINUS_WATCH_NAMESPACES", "team-a, team-b,team-a", "watch_namespaces", ("team-a", "team-b")),
        ("SERINUS_SELECTOR", "shard=a", "selector", "shard=a"),
        ("SERINUS_SELECTOR", "!example.com/shard,team == x", "selector", "!example.com/shard,team == x"),
        ("SERINUS_SELECTOR", "shard notin (a, b), team, x!=", "selector", "shard notin (a, b), team, x!="),
        ("SERINUS_GATEWAY_CLASSES", "{}", "gateway_classes", {}),
        ("SERINUS_CONCURRENCY", "4", "concurrency", 4),
        ("SERINUS_GATEWAY_FEATURES", "{}", "gateway_features", {}),
        (
            "SERINUS_GATEWAY_FEATURES",
            '{"a.b/c": {"HTTPRouteRequestMirror": true, "HTTPRoute": false}}',
            "gateway_features",
            {"a.b/c": {GatewayFeature.MIRROR: True, GatewayFeature.HEADERS: False}},
        ),
        ("SERINUS_LOG_LEVEL", "WARNING", "log_level", LogLevel.WARNING),
        ("SERINUS_LOG_FORMAT", "json", "log_format", LogFormat.JSON),
        ("SERINUS_METRICS_POD_LABEL", "exported_pod", "metrics_pod_label", "exported_pod"),
        ("SERINUS_IDENTITY", "serinus-7d9c5b-x2x9k", "identity", "serinus-7d9c5b-x2x9k"),
        ("SERINUS_LEASE_RETRY_SECONDS", "0.5", "lease_retry_seconds", 0.5),
        ("SERINUS_PROFILE_PORT", "6060", "profile_port", 6060),
        ("SERINUS_PROFILE_ADDRESS", "::1", "profile_address", "::1"),
        ("SERINUS_ROUTE_MARGIN_SECONDS", "0", "route_margin_seconds", 0),
        ("SERINUS_DISRUPTION_BUDGETS", "false", "disruption_budgets", False),
        ("SERINUS_NETWORK_POLICIES", "true", "network_policies", True),
        ("SERINUS_SCRAPER_NAMESPACE", "monitoring", "scraper_namespace", "monitoring"),
        ("SERINUS_RECEIVERS", "{}", "receivers", {}),
        ("SERINUS_RECEIVER_DIRECTORY", "/run/receivers", "receiver_directory", Path("/run/receivers")),
        ("SERINUS_RECEIVER_HOSTS", "a.example, http://b:8080", "receiver_hosts", HOSTS),
        ("SERINUS_CLUSTER_NAME", "prod eu", "cluster_name", "prod eu"),
    ],
)
def test_variable_fills_its_field(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(from_environment({variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text", "advice"),
    [
        ("SERINUS_GATEWAY_FEATURES", "traefik: mirror", "write JSON of controllerNames and features"),
        ("SERINUS_GATEWAY_FEATURES", '["a.b/c"]', "write JSON of controllerNames and features"),
        ("SERINUS_GATEWAY_FEATURES", '{"a.b/c": true}', "write JSON of controllerNames and features"),
        (
            "SERINUS_GATEWAY_FEATURES",
            '{"a.b/c": {"Mirror": true}}',
            "the features are HTTPRoute, HTTPRouteRequestMirror",
        ),
        ("SERINUS_GATEWAY_FEATURES", '{"a.b/c": {"HTTPRoute": "yes"}}', "write JSON of controllerNames and features"),
        ("SERINUS_GATEWAY_FEATURES", '{"traefik": {"HTTPRoute": true}}', 'such as {"example.com/gateway-controller"'),
        ("SERINUS_GATEWAY_CLASSES", "traefik", "write JSON of GatewayClasses"),
        ("SERINUS_GATEWAY_CLASSES", '["traefik"]', "write JSON of GatewayClasses"),
        ("SERINUS_GATEWAY_CLASSES", '{"traefik": true}', "write JSON of GatewayClasses"),
        ("SERINUS_GATEWAY_CLASSES", '{"traefik": "traefik"}', 'such as {"traefik": "traefik.io/gateway-controller"}'),
        ("SERINUS_GATEWAY_CLASSES", '{"My Class": "a.b/c"}', "write JSON of GatewayClasses"),
        ("SERINUS_PROMETHEUS_URL", "prometheus:9090", "such as http://prometheus.monitoring:9090"),
        ("SERINUS_PROMETHEUS_URL", "http://", "such as http://prometheus.monitoring:9090"),
        ("SERINUS_PROMETHEUS_URL", "http://prometheus:port", "such as http://prometheus.monitoring:9090"),
        ("SERINUS_PROMETHEUS_URL", "http://prometheus/?query=up", "such as http://prometheus.monitoring:9090"),
        ("SERINUS_PROMETHEUS_URL", "http://pro metheus", "such as http://prometheus.monitoring:9090"),
        ("SERINUS_PROMETHEUS_GATEWAY", "nginx", "write one of Traefik, EnvoyGateway"),
        ("SERINUS_PROMETHEUS_TOKEN_FILE", "token", "write the absolute path of a file"),
        ("SERINUS_PROFILE_ADDRESS", "everywhere", "write an IP address such as 127.0.0.1"),
        ("SERINUS_PROMETHEUS_TIMEOUT_SECONDS", "nan", "write a number of seconds from 0.1 to 60"),
        ("SERINUS_PROMETHEUS_TIMEOUT_SECONDS", "5s", "write a number of seconds"),
        ("SERINUS_PROMETHEUS_TIMEOUT_SECONDS", "inf", "write a number of seconds"),
        ("SERINUS_WATCH_NAMESPACES", "Team A", "write names of namespaces"),
        ("SERINUS_WATCH_NAMESPACES", "a,,b", "write names of namespaces"),
        ("SERINUS_SELECTOR", "shard=a,", "write a label selector, such as shard=a"),
        ("SERINUS_SELECTOR", "shard in a", "write a label selector"),
        ("SERINUS_SELECTOR", "shard = a b", "write a label selector"),
        ("SERINUS_SELECTOR", "a/b/c=d", "write a label selector"),
        ("SERINUS_CONCURRENCY", "0", "write a whole number from 1 to 1000"),
        ("SERINUS_CONCURRENCY", "3.5", "write a whole number"),
        ("SERINUS_LOG_LEVEL", "loud", "write one of debug, info, warning, error"),
        ("SERINUS_NETWORK_POLICIES", "no", "write true or false"),
        ("SERINUS_SCRAPER_NAMESPACE", "Monitoring", "write a name"),
        ("SERINUS_METRICS_POD_LABEL", 'pod"', "write a name"),
        ("SERINUS_LEASE_NAME", "My Lease", "write a name"),
        ("SERINUS_HTTP_PORT", "70000", "write a whole number from 1 to 65535"),
        ("SERINUS_WATCH_STALE_SECONDS", "10", "write a number of seconds from 90"),
    ],
)
def test_nonsense_names_the_variable_its_value_and_what_to_write(variable: str, text: str, advice: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({variable: text})
    assert str(refused.value).startswith(f"{variable}={text!r}: ")
    assert advice in str(refused.value)


def test_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="leave user and password out") as refused:
        from_environment({"SERINUS_PROMETHEUS_URL": "http://me:hunter2@prometheus:9090"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Proxy-Authorization", "Cookie", "Host"])
def test_a_header_that_is_a_secret_or_not_the_settings_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(SettingsError, match=f"leave {name} out") as refused:
        from_environment({"SERINUS_PROMETHEUS_HEADERS": f"X-Scope-OrgID: a\n{name}: Bearer hunter2"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["X-Scope-OrgID", "X-Scope-OrgID:", "X Scope: a", "X: naïve", ": a", "X: a\x1bb"])
def test_a_line_that_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write lines such as X-Scope-OrgID: team-a"):
        from_environment({"SERINUS_PROMETHEUS_HEADERS": text})


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (("USERNAME",), "set both or neither"),
        (("PASSWORD",), "set both or neither"),
        (("CERTIFICATE",), "set both or neither"),
        (("KEY",), "set both or neither"),
        (("TOKEN", "USERNAME", "PASSWORD"), "set one of them at most"),
        (("CA",), "begins with https://"),
        (("CERTIFICATE", "KEY"), "begins with https://"),
    ],
)
def test_credentials_that_do_not_fit_together_are_refused(files: tuple[str, ...], advice: str) -> None:
    environment = {f"SERINUS_PROMETHEUS_{file}_FILE": f"/etc/{file}" for file in files}
    with pytest.raises(SettingsError, match=advice):
        from_environment(environment | {"SERINUS_PROMETHEUS_URL": "http://prometheus:9090"})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({"SERINUS_LOG_LEVEL": "loud", "SERINUS_CONCURRENCY": "many"})
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize(("retry", "deadline", "duration"), [(2, 10, 10), (10, 10, 15), (2, 20, 15)])
def test_lease_times_that_let_two_lead_are_refused(retry: float, deadline: float, duration: float) -> None:
    with pytest.raises(SettingsError, match="has to be below"):
        Settings(lease_retry_seconds=retry, lease_renew_deadline_seconds=deadline, lease_duration_seconds=duration)


def test_profiles_are_not_served_where_other_machines_ask_for_metrics() -> None:
    with pytest.raises(SettingsError, match="SERINUS_PROFILE_PORT=8080 is SERINUS_HTTP_PORT"):
        from_environment({"SERINUS_PROFILE_PORT": "8080"})


@pytest.mark.parametrize(
    ("variable", "text", "advice"),
    [
        ("SERINUS_RECEIVERS", "slack", "write JSON of receivers by name"),
        ("SERINUS_RECEIVERS", '{"slack": {"body": {"text": "{secret}"}}}', "there is no place {secret}"),
        ("SERINUS_RECEIVERS", '{"slack": {"url": "https://hooks.example/T0"}}', "slack.url: Extra inputs"),
        ("SERINUS_RECEIVER_HOSTS", "https://hooks.slack.com/services", "write hosts such as hooks.slack.com"),
        ("SERINUS_RECEIVER_HOSTS", "a.example,", "write hosts such as hooks.slack.com"),
        ("SERINUS_RECEIVER_HOSTS", "a.example:70000", "write hosts such as hooks.slack.com"),
        ("SERINUS_RECEIVER_HOSTS", "*", "write hosts such as hooks.slack.com"),
        ("SERINUS_RECEIVER_HOSTS", "user@a.example", "write hosts such as hooks.slack.com"),
        ("SERINUS_CLUSTER_NAME", "a\x00b", "printable"),
    ],
)
def test_nonsense_about_notifications_is_refused_with_advice(variable: str, text: str, advice: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({variable: text})
    assert str(refused.value).startswith(f"{variable}=")
    assert advice in str(refused.value)
    assert "T0" not in str(refused.value), "a template or a mistake may hold a secret"


def test_receivers_that_nothing_may_be_sent_to_are_refused() -> None:
    with pytest.raises(SettingsError, match="SERINUS_RECEIVERS need SERINUS_RECEIVER_HOSTS"):
        from_environment({"SERINUS_RECEIVERS": '{"slack": {}}'})
    told = from_environment({"SERINUS_RECEIVERS": '{"slack": {}}', "SERINUS_RECEIVER_HOSTS": "a.example"})
    assert told.receivers == {"slack": Receiver()}


NAMESPACED = {"SERINUS_NAMESPACED": "true", "SERINUS_WATCH_NAMESPACES": "team-a"}


def test_an_operator_with_rights_in_namespaces_only_is_told_which_and_what_it_cannot_look_up() -> None:
    classes = '{"traefik": "traefik.io/gateway-controller"}'
    settings = from_environment(NAMESPACED | {"SERINUS_GATEWAY_NAMESPACES": "edge", "SERINUS_GATEWAY_CLASSES": classes})
    assert settings.namespaced
    assert settings.gateway_namespaces == ("edge",)
    assert settings.gateway_classes == {"traefik": "traefik.io/gateway-controller"}


@pytest.mark.parametrize(
    ("environment", "advice"),
    [
        ({"SERINUS_NAMESPACED": "true"}, "needs SERINUS_WATCH_NAMESPACES"),
        ({"SERINUS_GATEWAY_NAMESPACES": "edge"}, "are for SERINUS_NAMESPACED=true only"),
        ({"SERINUS_GATEWAY_CLASSES": '{"a": "b.c/d"}'}, "are for SERINUS_NAMESPACED=true only"),
    ],
)
def test_settings_that_do_not_fit_the_rights_are_refused(environment: dict[str, str], advice: str) -> None:
    with pytest.raises(SettingsError, match=advice):
        from_environment(environment)
