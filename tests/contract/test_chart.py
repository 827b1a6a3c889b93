"""The chart as Helm renders it: rights, settings, security, and what it says to nonsense."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

import serinus
from e2e.cluster import tools
from serinus.api.admission import BOUNDS, admission, file_name, generated_file
from serinus.api.gateways import Gateway, GatewayFeature
from serinus.api.kinds import POLICY_KINDS, Kind
from serinus.api.policy import AnalysisBounds, RolloutBounds
from serinus.api.values import DNS_SUBDOMAIN_PATTERN
from serinus.kube.permissions import PERMISSIONS, Scope, permissions
from serinus.settings import CONTROLLER_NAME_PATTERN, SELECTOR_PATTERN, VARIABLES, Settings
from tests.contract.chart import (
    CHART,
    Manifest,
    helm,
    manifests_of,
    only,
    operator_container,
    rendered,
    settings_of,
    template,
)

ROOT = Path(__file__).parents[2]
CRDS = sorted(path.name for path in (ROOT / "crds").glob("*.yaml"))

Grant = tuple[Scope, str, str, bool]
CLUSTER_WIDE = {"customresourcedefinitions", "gateways", "gatewayclasses", "clusterrolloutpolicies", "namespaces"}


def grants(manifests: list[Manifest], account: str) -> dict[Grant, set[str]]:
    """Verbs that the service account has, by (where, group, resource, narrowed to names)."""
    roles = {
        (m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]): m["rules"]
        for m in manifests
        if m["kind"] in {"Role", "ClusterRole"}
    }
    granted: dict[Grant, set[str]] = {}
    for binding in (m for m in manifests if m["kind"] in {"RoleBinding", "ClusterRoleBinding"}):
        if account not in {subject["name"] for subject in binding["subjects"]}:
            continue
        reference, namespace = binding["roleRef"], binding["metadata"].get("namespace")
        for rule in roles[reference["kind"], namespace if reference["kind"] == "Role" else None, reference["name"]]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    everywhere = resource in CLUSTER_WIDE or (resource == "leases" and namespace is None)
                    if namespace == "ops":
                        scope = Scope.OWN_NAMESPACE
                    elif namespace is not None and resource == "gateways":
                        scope = Scope.GATEWAY_NAMESPACES
                    elif everywhere:
                        assert binding["kind"] == "ClusterRoleBinding"
                        scope = Scope.CLUSTER
                    else:
                        scope = Scope.WATCHED_NAMESPACES
                    key = (scope, group, resource, "resourceNames" in rule)
                    granted.setdefault(key, set()).update(rule["verbs"])
    return granted


CONFIG_KEY = {"keySecretName": "serinus-config-key", "key": "key"}


def declared(*, namespaced: bool, switched_on: set[str]) -> dict[Grant, set[str]]:
    found: dict[Grant, set[str]] = {}
    for each in permissions(namespaced=namespaced, switched_on=switched_on):
        found.setdefault((each.scope, each.group, each.resource, each.own_names_only), set()).update(each.verbs)
    return found


TWO_NAMESPACES: dict[str, Any] = {"watchNamespaces": ["team-a", "team-b"]}
NAMESPACED: dict[str, Any] = {
    **TWO_NAMESPACES,
    "rbac": {"namespaced": True},
    "crds": {"install": False},
    "gatewayNamespaces": ["edge", "team-b"],
    "gatewayClasses": {"traefik": "traefik.io/gateway-controller"},
}


@pytest.mark.parametrize("values", [{}, TWO_NAMESPACES, NAMESPACED], ids=["all", "two namespaces", "namespaced rights"])
@pytest.mark.parametrize(
    ("config_checksum", "switched_on"),
    [
        (None, set()),
        ({**CONFIG_KEY, "secrets": False}, {"configChecksum.keySecretName"}),
        ({**CONFIG_KEY, "secrets": True}, {"configChecksum.keySecretName", "configChecksum.secrets"}),
    ],
    ids=["by default", "ConfigMaps", "ConfigMaps and Secrets"],
)
def test_roles_grant_exactly_what_the_operator_uses(
    values: dict[str, Any], config_checksum: dict[str, Any] | None, switched_on: set[str]
) -> None:
    given = values | ({"configChecksum": config_checksum} if config_checksum else {})
    assert grants(rendered(given), "serinus") == declared(namespaced=values is NAMESPACED, switched_on=switched_on)


def test_the_key_of_configurations_is_mounted_for_the_operator_alone() -> None:
    manifests = rendered({"configChecksum": {**CONFIG_KEY, "secrets": False}})
    settings = settings_of(manifests)
    assert settings.config_key_file == Path("/etc/serinus/config/key")
    assert settings.config_secrets is False
    (mount,) = operator_container(manifests)["volumeMounts"]
    assert mount == {"name": "config-key", "mountPath": "/etc/serinus/config", "readOnly": True}
    (volume,) = only(manifests, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == "serinus-config-key"
    assert volume["secret"]["defaultMode"] == 0o440


def test_all_secrets_of_an_installation_are_mounted_beside_each_other() -> None:
    manifests = rendered(
        {
            "prometheus": {"url": "https://prometheus", "auth": {"bearerToken": {"secretName": "token"}}},
            "configChecksum": CONFIG_KEY,
            "notifications": {"receivers": {"chat": {"secretName": "chat"}}, "allowedHosts": ["chat.example"]},
        }
    )
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    names = ["prometheus-credentials", "config-key", "receivers"]
    assert [each["name"] for each in operator_container(manifests)["volumeMounts"]] == names
    assert [each["name"] for each in pod["volumes"]] == names
    assert pod["securityContext"]["fsGroup"] == 65532, "else the operator's user could not read them"


def test_rights_in_namespaces_only_need_nothing_of_the_cluster() -> None:
    manifests = rendered(NAMESPACED)
    places = {each["metadata"].get("namespace") for each in manifests}
    assert places == {"ops", "team-a", "team-b", "edge"}, "an object without a namespace needs an administrator"
    assert not [each for each in manifests if each["kind"].startswith("Cluster")]
    settings = settings_of(manifests)
    assert settings.namespaced
    assert settings.watch_namespaces == ("team-a", "team-b")
    assert settings.gateway_namespaces == ("edge", "team-b")
    assert settings.gateway_classes == {"traefik": "traefik.io/gateway-controller"}


def test_each_namespace_of_such_an_installation_has_the_same_rights_and_roles_for_its_people() -> None:
    manifests = rendered(NAMESPACED)
    rules = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each["rules"]
        for each in manifests
        if each["kind"] == "Role"
    }
    for name in ("serinus", "serinus-view", "serinus-operate", "serinus-edit"):
        assert rules["team-a", name] == rules["team-b", name]
    everywhere = {each["metadata"]["name"]: each["rules"] for each in rendered() if each["kind"] == "ClusterRole"}
    for role in ("view", "operate", "edit"):
        assert rules["team-a", f"serinus-{role}"] == of_namespaces(everywhere[f"serinus-{role}"])
    of_gateways = {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["gateways"], "verbs": ["list", "watch"]}
    assert rules["edge", "serinus-gateways"] == [of_gateways]
    assert rules["team-a", "serinus"] == [*everywhere["serinus"], of_gateways]
    assert ("team-b", "serinus-gateways") not in rules, "it is watched, and has that right as it is"
    assert ("team-a", "serinus-govern") not in rules, "who is bound does not hand out the right to unbind"


def of_namespaces(rules: list[Manifest]) -> list[Manifest]:
    """The rules without what has no namespace, which a Role can't grant."""
    return [
        rule | {"resources": [each for each in rule["resources"] if each != "clusterrolloutpolicies"]} for rule in rules
    ]


def test_every_right_has_one_line_and_a_reason() -> None:
    keys = [(p.scope, p.group, p.resource, p.own_names_only) for p in PERMISSIONS]
    assert len(keys) == len(set(keys))
    assert all(p.reason.endswith(".") for p in PERMISSIONS)


def test_rights_stay_within_the_watched_namespaces() -> None:
    manifests = rendered({"watchNamespaces": ["team-a", "team-b"]})
    bound = {
        (each["metadata"].get("namespace"), each["roleRef"]["name"])
        for each in manifests
        if each["kind"] in {"RoleBinding", "ClusterRoleBinding"}
    }
    assert bound == {
        ("team-a", "serinus"),
        ("team-b", "serinus"),
        ("ops", "serinus-lease"),
        (None, "serinus-crd"),
        (None, "serinus-gateways"),
        (None, "serinus-policies"),
        (None, "serinus-leases"),
    }
    assert settings_of(manifests).watch_namespaces == ("team-a", "team-b")


def test_narrowed_rights_name_the_lease_and_the_crd_that_the_operator_uses() -> None:
    manifests = rendered({"fullnameOverride": "canary-bird"})
    named = {
        (rule["resources"][0], *rule["resourceNames"])
        for each in manifests
        if each["kind"] in {"Role", "ClusterRole"}
        for rule in each["rules"]
        if "resourceNames" in rule
    }
    assert named == {("leases", "canary-bird"), ("customresourcedefinitions", "modeldeployments.serinus.dev")}
    assert settings_of(manifests).lease_name == "canary-bird"


def test_chart_defaults_are_the_operators_own() -> None:
    assert settings_of(rendered()) == Settings(identity="serinus-0", lease_namespace="ops")


def test_every_variable_of_the_pod_is_a_setting() -> None:
    names = [entry["name"] for entry in operator_container(rendered())["env"]]
    assert set(names) <= set(VARIABLES)
    assert len(names) == len(set(names))


def test_values_reach_the_operator() -> None:
    manifests = rendered(
        {
            "prometheus": {
                "url": "https://metrics.example.com/prom",
                "timeoutSeconds": 2.5,
                "scrapeIntervalSeconds": 5,
                "labels": {"namespace": "kubernetes_namespace", "pod": "kubernetes_pod"},
                "headers": {"X-Scope-OrgID": "team-a|team-b", "THANOS-TENANT": "x: y"},
                "gateway": "EnvoyGateway",
            },
            "leaderElection": {"leaseDurationSeconds": 6, "renewDeadlineSeconds": 4, "retryPeriodSeconds": 0.5},
            "logLevel": "debug",
            "logFormat": "json",
            "concurrency": 3,
            "gatewayFeatures": {"example.com/gateway": {"HTTPRouteRequestMirror": True, "HTTPRoute": False}},
            "selector": "shard notin (a, b), team=x",
            "profiling": {"enabled": True, "port": 7070, "address": "::1"},
            "safeguards": {"disruptionBudgets": False, "networkPolicies": False, "scraperNamespace": "monitoring"},
        },
        release="ml",
    )
    settings = settings_of(manifests)
    assert settings.prometheus_url == "https://metrics.example.com/prom"
    assert settings.prometheus_timeout_seconds == 2.5
    assert settings.prometheus_scrape_interval_seconds == 5
    assert settings.prometheus_gateway is Gateway.ENVOY_GATEWAY
    assert settings.prometheus_headers == {"X-Scope-OrgID": "team-a|team-b", "THANOS-TENANT": "x: y"}
    assert (settings.metrics_namespace_label, settings.metrics_pod_label) == ("kubernetes_namespace", "kubernetes_pod")
    assert settings.lease_name == "ml-serinus"
    assert settings.lease_duration_seconds == 6
    assert settings.lease_renew_deadline_seconds == 4
    assert settings.lease_retry_seconds == 0.5
    assert (settings.log_level, settings.log_format, settings.concurrency) == ("debug", "json", 3)
    assert settings.selector == "shard notin (a, b), team=x"
    assert settings.gateway_features == {
        "example.com/gateway": {GatewayFeature.MIRROR: True, GatewayFeature.HEADERS: False}
    }
    assert (settings.profile_port, settings.profile_address) == (7070, "::1")
    assert (settings.disruption_budgets, settings.network_policies) == (False, False)
    assert settings.scraper_namespace == "monitoring"


SECRETS: list[tuple[dict[str, Any], dict[str, tuple[str, str]]]] = [
    (
        {"auth": {"bearerToken": {"secretName": "tok"}}},
        {"prometheus_token_file": ("tok", "token")},
    ),
    (
        {"auth": {"basicAuth": {"secretName": "basic", "usernameKey": "user"}}},
        {"prometheus_username_file": ("basic", "user"), "prometheus_password_file": ("basic", "password")},
    ),
    (
        {
            "auth": {"bearerToken": {"secretName": "tls", "key": "also-a-token"}},
            "tls": {"ca": {"secretName": "123"}, "clientCertificate": {"secretName": "tls", "keyKey": "key.pem"}},
        },
        {
            "prometheus_token_file": ("tls", "also-a-token"),
            "prometheus_ca_file": ("123", "ca.crt"),
            "prometheus_certificate_file": ("tls", "tls.crt"),
            "prometheus_key_file": ("tls", "key.pem"),
        },
    ),
]


@pytest.mark.parametrize(("values", "expected"), SECRETS, ids=[json.dumps(values) for values, _ in SECRETS])
def test_secrets_for_prometheus_are_mounted_where_the_operator_reads_them(
    values: dict[str, Any], expected: dict[str, tuple[str, str]]
) -> None:
    manifests = rendered({"prometheus": {"url": "https://prometheus:9090", **values}})
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    (volume,), (mount,) = pod["volumes"], operator_container(manifests)["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert mount["readOnly"]
    assert "subPath" not in mount  # the kubelet never brings those up to date
    assert volume["projected"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    mounted = {
        f"{mount['mountPath']}/{item['path']}": (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    settings = settings_of(manifests)
    paths = {name: getattr(settings, name) for name in VARIABLES.values() if name.endswith("_file")}
    assert {name: mounted[str(path)] for name, path in paths.items() if path} == expected
    assert len(mounted) == len(expected)


def test_no_right_to_read_secrets_comes_with_them() -> None:
    manifests = rendered({"prometheus": {"auth": {"bearerToken": {"secretName": "tok"}}}})
    assert "secrets" not in {resource for _, _, resource, _ in grants(manifests, "serinus")}


def test_operator_runs_restricted() -> None:
    manifests = rendered()
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)
    container = operator_container(manifests)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


def check_pod(manifests: list[Manifest]) -> Manifest:
    return only(manifests, "Pod", "serinus-check")


@pytest.mark.parametrize(
    "values",
    [{}, NAMESPACED, {"prometheus": {"url": "https://p:9090", "auth": {"bearerToken": {"secretName": "tok"}}}}],
    ids=["defaults", "namespaced rights", "secrets"],
)
def test_helm_test_looks_through_the_operators_eyes(values: dict[str, Any]) -> None:
    """The same image, account, settings, credentials and security: what it finds is what the operator would."""
    manifests = rendered(values)
    pod, deployment = check_pod(manifests), only(manifests, "Deployment")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    operators, (container,) = deployment["spec"]["template"]["spec"], pod["spec"]["containers"]
    for field in ("serviceAccountName", "securityContext", "volumes"):
        assert pod["spec"].get(field) == operators.get(field), field
    for field in ("image", "env", "securityContext", "volumeMounts"):
        assert container.get(field) == operator_container(manifests).get(field), field
    assert container["args"] == ["check"]
    assert pod["spec"]["restartPolicy"] == "Never"


def test_the_pod_of_helm_test_is_none_of_the_operators_own() -> None:
    manifests = rendered({"serviceMonitor": {"enabled": True}})
    labels = check_pod(manifests)["metadata"]["labels"].items()
    selectors = [only(manifests, kind)["spec"]["selector"] for kind in ("Deployment", "PodDisruptionBudget", "Service")]
    for selector in selectors:
        assert not selector.get("matchLabels", selector).items() <= labels


def test_plain_manifests_are_what_helm_would_install_without_the_crd_and_the_test(tmp_path: Path) -> None:
    values, manifests = tmp_path / "values.yaml", tmp_path / "out" / "serinus.yaml"
    values.write_text(yaml.safe_dump({"selector": "shard=a"}))
    settings = (f"HELM={tools.packaged() / 'helm'}", f"VALUES={values}", "NAMESPACE=ops", f"MANIFESTS={manifests}")
    made = subprocess.run(
        ["make", "manifests", *settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    plain = list(manifests_of(manifests.read_text()))
    left_out = {"CustomResourceDefinition", "Pod"}
    installed = rendered({"selector": "shard=a"})
    assert plain == [each for each in installed if each["kind"] not in left_out]
    assert {each["kind"] for each in installed} - {each["kind"] for each in plain} == left_out


def test_plain_manifests_that_cant_be_made_leave_those_that_were_there(tmp_path: Path) -> None:
    manifests = tmp_path / "out" / "serinus.yaml"
    manifests.parent.mkdir()
    manifests.write_text("kind: Older\n")
    settings = (f"HELM={tools.packaged() / 'helm'}", f"VALUES={tmp_path / 'none.yaml'}", f"MANIFESTS={manifests}")
    made = subprocess.run(["make", "manifests", *settings], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "none.yaml" in made.stderr
    assert [(each.name, each.read_text()) for each in manifests.parent.iterdir()] == [("serinus.yaml", "kind: Older\n")]


def test_every_value_is_documented() -> None:
    """By a comment above or beside it; what stands deeper than two levels by that of what it stands in."""
    path: list[str] = []
    documented: set[str] = set()
    values: list[str] = []
    before = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        if found := re.match(r"^( *)([A-Za-z]\w*):(.*)$", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            name = ".".join(path)
            of_its_own = before.strip().startswith("#") or " # " in found[3]
            if of_its_own or (len(path) > 2 and name.rpartition(".")[0] in documented):
                documented.add(name)
            if found[3].strip() or len(path) > 1:
                values.append(name)
        before = line
    assert len(values) > 50
    assert [each for each in values if each not in documented] == []


def test_services_of_the_namespace_do_not_leak_into_the_settings() -> None:
    assert only(rendered(), "Deployment")["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_user_roles_join_the_default_ones_only_when_wanted() -> None:
    def labels(values: dict[str, Any]) -> set[str]:
        roles = [m for m in rendered(values) if m["kind"] == "ClusterRole"]
        return {label for role in roles for label in role["metadata"]["labels"] if "aggregate-to" in label}

    assert labels({}) == {f"rbac.authorization.k8s.io/aggregate-to-{role}" for role in ("view", "edit", "admin")}
    assert labels({"rbac": {"aggregateToDefaultRoles": False}}) == set()


def test_one_role_suffices_for_what_the_plugin_shows_and_one_for_its_actions() -> None:
    def may(role: str) -> set[tuple[str, str]]:
        rules = only(rendered(), "ClusterRole", f"serinus-{role}")["rules"]
        return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}

    shown = {"modeldeployments", "replicasets", "controllerrevisions", "pods"}
    looks = {(resource, verb) for resource in shown for verb in ("get", "list", "watch")}
    assert looks <= may("view")
    assert looks | {("modeldeployments", "patch")} <= may("operate")
    assert {verb for _, verb in may("operate")} == {"get", "list", "watch", "patch"}
    assert {verb for _, verb in may("view")} == {"get", "list", "watch"}


def test_approvals_ask_for_a_verb_only_when_wanted_and_only_where_the_operator_watches() -> None:
    assert "ValidatingAdmissionPolicy" not in {each["kind"] for each in rendered()}
    manifests = rendered({"approvalPolicy": {"enabled": True}, "watchNamespaces": ["team-a", "team-b"]})
    policy = only(manifests, "ValidatingAdmissionPolicy")
    binding = only(manifests, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    (expression,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert expression["values"] == ["team-a", "team-b"]
    role = only(manifests, "ClusterRole", "serinus-approve")
    assert role["rules"] == [{"apiGroups": ["serinus.dev"], "resources": ["modeldeployments"], "verbs": ["approve"]}]
    everywhere = only(rendered({"approvalPolicy": {"enabled": True}}), "ValidatingAdmissionPolicy")
    assert "namespaceSelector" not in everywhere["spec"]["matchConstraints"]


def test_single_replica_gets_no_disruption_budget() -> None:
    assert only(rendered(), "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert "PodDisruptionBudget" not in {each["kind"] for each in rendered({"replicas": 1})}


def test_service_monitor_scrapes_the_port_that_the_operator_listens_on() -> None:
    manifests = rendered({"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}})
    monitor, service = only(manifests, "ServiceMonitor"), only(manifests, "Service")
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]
    pod_ports = {each["name"]: each["containerPort"] for each in operator_container(manifests)["ports"]}
    assert pod_ports[port["targetPort"]] == settings_of(manifests).http_port


def test_probes_ask_the_port_that_the_operator_listens_on() -> None:
    manifests = rendered()
    container = operator_container(manifests)
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: get["path"] for name, get in paths.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    (port,) = container["ports"]
    assert {get["port"] for get in paths.values()} == {port["name"]}
    assert port["containerPort"] == settings_of(manifests).http_port


def test_chart_holds_the_generated_crds() -> None:
    assert len(CRDS) == 3
    for name in CRDS:
        assert (CHART / "files" / name).read_text() == (ROOT / "crds" / name).read_text(), "run `make generate`"


def test_crds_are_rendered_unchanged_but_for_their_keep_annotation() -> None:
    there = {each["metadata"]["name"]: each for each in rendered() if each["kind"] == "CustomResourceDefinition"}
    sources = [yaml.load((ROOT / "crds" / name).read_text(), yaml.CSafeLoader) for name in CRDS]
    for source in sources:
        source["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
    assert there == {each["metadata"]["name"]: each for each in sources}


@pytest.mark.parametrize("kind", POLICY_KINDS, ids=lambda kind: kind.kind)
def test_the_api_server_refuses_by_policies_only_when_wanted(kind: Kind) -> None:
    assert "ValidatingAdmissionPolicy" not in {each["kind"] for each in rendered()}
    manifests = rendered({"rolloutPolicies": {"admission": True}, "watchNamespaces": ["team-a"]})
    name = f"serinus-{kind.plural}.serinus.dev"
    policy = only(manifests, "ValidatingAdmissionPolicy", name)["spec"]
    binding = only(manifests, "ValidatingAdmissionPolicyBinding", name)["spec"]
    assert policy["paramKind"] == {"apiVersion": kind.api_version, "kind": kind.kind}
    assert policy["matchConstraints"]["namespaceSelector"]["matchExpressions"][0]["values"] == ["team-a"]
    assert {"variables": policy["variables"], "validations": policy["validations"]} == admission(kind)
    assert binding["policyName"] == name
    assert binding["paramRef"] == {"selector": {}, "parameterNotFoundAction": "Allow"}


@pytest.mark.parametrize("kind", POLICY_KINDS, ids=lambda kind: kind.kind)
def test_chart_holds_what_is_generated_for_the_api_server(kind: Kind) -> None:
    assert (CHART / "files" / file_name(kind)).read_text() == generated_file(kind), "run `make generate`"


def test_the_api_server_knows_every_bound_that_the_operator_knows() -> None:
    sections = {"rollout": RolloutBounds, "analysis": AnalysisBounds}
    fields = {f"{section}.{f.alias}" for section, model in sections.items() for f in model.model_fields.values()}
    assert set(BOUNDS) == fields


def test_who_governs_writes_policies_and_nobody_does_by_another_role() -> None:
    writes = {
        each["metadata"]["name"]
        for each in rendered()
        if each["kind"] == "ClusterRole"
        for rule in each["rules"]
        if {"rolloutpolicies", "clusterrolloutpolicies"} & set(rule["resources"]) and "create" in rule["verbs"]
    }
    assert writes == {"serinus-govern"}
    labels = only(rendered(), "ClusterRole", "serinus-govern")["metadata"]["labels"]
    assert not any("aggregate-to" in label for label in labels)


def test_crd_can_be_left_to_something_else() -> None:
    assert "CustomResourceDefinition" not in {each["kind"] for each in rendered({"crds": {"install": False}})}


def test_versions_of_chart_and_package_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == serinus.__version__
    assert operator_container(rendered())["image"].endswith(f":{serinus.__version__}")


def test_digest_wins_over_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    image = {"repository": "registry.example.com/serinus", "tag": "1.2.3", "digest": digest}
    assert operator_container(rendered({"image": image}))["image"] == f"registry.example.com/serinus@{digest}"


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"image": {"repository": "https://registry.example.com/serinus"}}, "image.repository: Does not match pattern"),
    ({"promtheus": {"url": "http://p"}}, "Additional property promtheus is not allowed"),
    ({"image": {"repo": "x"}}, "image: Additional property repo is not allowed"),
    ({"image": {"pullPolicy": "Sometimes"}}, "image.pullPolicy: image.pullPolicy must be one of"),
    ({"prometheus": {"url": "prometheus:9090"}}, "such as http://prometheus.monitoring:9090"),
    ({"prometheus": {"url": "http://me:secret@prometheus:9090"}}, "without user, password"),
    ({"prometheus": {"gateway": "nginx"}}, "prometheus.gateway must be one of the following"),
    ({"prometheus": {"headers": {"Authorization": "Bearer secret"}}}, "prometheus.headers"),
    ({"prometheus": {"headers": {"X-Scope-OrgID": "a\nb"}}}, "prometheus.headers.X-Scope-OrgID: Does not match"),
    ({"prometheus": {"auth": {"token": "secret"}}}, "prometheus.auth: Additional property token is not allowed"),
    (
        {"prometheus": {"auth": {"bearerToken": {"secretName": "a"}, "basicAuth": {"secretName": "b"}}}},
        "bearerToken and basicAuth exclude each other",
    ),
    (
        {"prometheus": {"url": "http://prometheus:9090", "tls": {"ca": {"secretName": "a"}}}},
        "certificates need a prometheus.url that begins with https://",
    ),
    ({"prometheus": {"timeoutSeconds": 0}}, "prometheus.timeoutSeconds: Must be greater than or equal to 0.1"),
    ({"replicas": 0}, "replicas: Must be greater than or equal to 1"),
    ({"replicas": "two"}, "replicas: Invalid type. Expected: integer, given: string"),
    ({"watchNamespaces": ["Team A"]}, "watchNamespaces.0: Does not match pattern"),
    ({"watchNamespaces": "team-a"}, "watchNamespaces: Invalid type. Expected: array, given: string"),
    ({"logLevel": "loud"}, 'logLevel must be one of the following: "debug", "info", "warning", "error"'),
    ({"leaderElection": {"retryPeriodSeconds": 12}}, "retryPeriodSeconds (12) has to be below renewDeadlineSeconds"),
    ({"leaderElection": {"leaseDurationSeconds": 10}}, "below leaseDurationSeconds (10)"),
    ({"resources": {"limits": {"memory": "lots"}}}, "resources.limits.memory: Does not match pattern"),
    ({"serviceAccount": {"create": False}}, "name the account that the operator runs as"),
    ({"selector": "shard = a b"}, "selector: Does not match pattern"),
    ({"selector": {"shard": "a"}}, "selector: Invalid type. Expected: string, given: object"),
    ({"profiling": {"port": 8080}}, "profiling.port: Must not validate the schema (not)"),
    ({"profiling": {"address": "everywhere"}}, "profiling.address: Does not match pattern"),
    ({"safeguards": {"scraperNamespace": "Monitoring"}}, "safeguards.scraperNamespace: Does not match pattern"),
    ({"gatewayFeatures": {"traefik": {"HTTPRoute": True}}}, "gatewayFeatures"),
    ({"gatewayFeatures": {"a.b/c": {"Mirror": True}}}, "Additional property Mirror is not allowed"),
    ({"gatewayFeatures": {"a.b/c": {"HTTPRoute": "yes"}}}, "Expected: boolean, given: string"),
    (
        {"notifications": {"receivers": {"chat": {"secretName": "a"}}}},
        "name the hosts that notifications may be sent to",
    ),
    (
        {"notifications": {"allowedHosts": ["https://hooks.slack.com/services"]}},
        "allowedHosts.0: Does not match pattern",
    ),
    ({"notifications": {"receivers": {"chat": {}}}}, "secretName is required"),
    ({"notifications": {"receivers": {"chat": {"url": "https://a"}}}}, "Additional property url is not allowed"),
    ({"notifications": {"receivers": {"Chat": {"secretName": "a"}}}}, "notifications.receivers"),
    ({"notifications": {"receivers": {"chat": {"secretName": "a", "events": ["Stalled"]}}}}, "events.0 must be one of"),
    (
        {"notifications": {"receivers": {"chat": {"secretName": "a", "body": {"text": "for {nmae}"}}}}},
        "receivers.chat.body.text: Does not match pattern",
    ),
    (
        {"notifications": {"receivers": {"chat": {"secretName": "a", "body": {"blocks": [{"text": "{name!r}"}]}}}}},
        "receivers.chat.body.blocks.0.text: Does not match pattern",
    ),
    ({"notifications": {"receivers": {"chat": {"secretName": "a", "body": "one } too many"}}}}, "receivers.chat.body"),
    ({"priorityClassName": "high: true"}, "priorityClassName: Does not match pattern"),
    ({"imagePullSecrets": [{"name": "Registry"}]}, "imagePullSecrets.0.name: Does not match pattern"),
    ({"rbac": {"namespaced": True}}, "rbac.namespaced: name the namespaces in watchNamespaces"),
    ({"rbac": {"namespaced": True}, "watchNamespaces": ["a"]}, "and set crds.install=false"),
    (
        NAMESPACED | {"approvalPolicy": {"enabled": True}},
        "have an administrator apply the policy (docs/install-in-namespaces.md)",
    ),
    (
        NAMESPACED | {"rolloutPolicies": {"admission": True}},
        "have an administrator apply the policies (docs/install-in-namespaces.md)",
    ),
    ({"gatewayNamespaces": ["edge"]}, "gatewayNamespaces and gatewayClasses are for rbac.namespaced=true only"),
    ({"gatewayNamespaces": ["Edge"]}, "gatewayNamespaces.0: Does not match pattern"),
    ({"gatewayClasses": {"traefik": "traefik"}}, "gatewayClasses.traefik: Does not match pattern"),
    ({"refuseOverlap": "no"}, "refuseOverlap: Invalid type. Expected: boolean, given: string"),
    ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "podLabels"),
    ({"nodeSelector": {"gpu": True}}, "nodeSelector.gpu: Invalid type. Expected: string, given: boolean"),
]


@pytest.mark.parametrize(("values", "message"), NONSENSE, ids=[json.dumps(values) for values, _ in NONSENSE])
def test_nonsense_is_refused_with_the_value_and_the_rule(values: dict[str, Any], message: str) -> None:
    result = template(values)
    assert result.returncode != 0
    assert message in result.stderr
    assert "secret" not in result.stderr.replace("secretName", "")


def test_schema_covers_every_value_and_is_strict() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    Draft7Validator.check_schema(schema)
    Draft7Validator(schema).validate(values)

    def compare(values: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> None:
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path
            assert set(values) == set(schema["properties"]) - {"global"} or path in {".affinity", ".resources"}, path
            for name, value in values.items():
                if isinstance(value, dict):
                    compare(value, schema["properties"][name], f"{path}.{name}")

    compare(values, schema, "")


def test_gateways_of_the_chart_are_those_that_the_operator_knows() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["prometheus"]["properties"]["gateway"]["enum"] == ["", *Gateway]


def test_selector_is_checked_by_the_operators_own_pattern() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["selector"]["pattern"] == f"^({SELECTOR_PATTERN})?$"


def test_features_of_gateways_are_those_that_the_operator_knows() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["gatewayFeatures"]
    ((pattern, features),) = schema["patternProperties"].items()
    assert pattern == CONTROLLER_NAME_PATTERN
    assert set(features["properties"]) == set(GatewayFeature)


def test_classes_of_gateways_are_checked_by_the_operators_own_patterns() -> None:
    classes = json.loads((CHART / "values.schema.json").read_text())["properties"]["gatewayClasses"]
    assert classes["propertyNames"]["pattern"] == DNS_SUBDOMAIN_PATTERN
    assert classes["additionalProperties"]["pattern"] == CONTROLLER_NAME_PATTERN


@pytest.mark.parametrize("others", [{}, {"selector": "shard=b"}, {"watchNamespaces": ["team-a"]}])
def test_releases_of_two_names_share_no_object(others: dict[str, Any]) -> None:
    def names(release: str, values: dict[str, Any]) -> set[tuple[str, str | None, str]]:
        switched_on = {"serviceMonitor": {"enabled": True}, **values}
        return {
            (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            for each in rendered(switched_on, release)
        }

    first = names("serinus", {"watchNamespaces": others.get("watchNamespaces", [])})
    second = names("serinus-b", {**others, "crds": {"install": False}})
    assert first & second == set()
    leases = {settings_of(rendered({}, release)).lease_name for release in ("serinus", "serinus-b", "blue")}
    assert leases == {"serinus", "serinus-b", "blue-serinus"}


def test_pods_of_two_releases_are_told_apart() -> None:
    for kind in ("Deployment", "PodDisruptionBudget"):
        selectors = [only(rendered({}, each), kind)["spec"]["selector"]["matchLabels"] for each in ("serinus", "blue")]
        assert selectors[0] != selectors[1], kind


def test_chart_lints_without_a_warning() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stdout


def test_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    result = helm("package", str(CHART), "--destination", str(tmp_path))
    assert result.returncode == 0, result.stderr
    (archive,) = tmp_path.iterdir()
    assert helm("template", "serinus", str(archive), "--namespace=ops").stdout == template().stdout
