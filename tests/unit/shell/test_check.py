"""`python -m serinus check` against an API server and a Prometheus on loopback that answer as each test says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from serinus.__main__ import main
from serinus.api.names import SCHEMA_VERSION, SCHEMA_VERSION_ANNOTATION
from serinus.core.gateways import TRAEFIK
from serinus.core.installation import Finding, Level
from serinus.core.shards import Shard
from serinus.kube.credentials import Credentials
from serinus.settings import Settings
from serinus.shell.check import findings, run
from serinus.shell.neighbours import claim
from serinus.shell.schema import CRD_NAME
from tests.unit.kube.test_client import cluster_answering
from tests.unit.metrics.servers import serving

ROOT = Path(__file__).parents[3]
GATEWAY_API = "gateway.networking.k8s.io"
SETTINGS = Settings(lease_namespace="ops", identity="check")
NAMESPACED = Settings(
    lease_namespace="ops",
    identity="check",
    namespaced=True,
    watch_namespaces=("team-a", "team-b"),
    gateway_namespaces=("edge",),
    gateway_classes={"traefik": TRAEFIK},
)


def lease(namespace: str, *, born: int, holder: str = "a-pod") -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": "serinus", "uid": namespace, "resourceVersion": "9"}
    metadata["creationTimestamp"] = f"2026-01-01T00:00:{born:02}Z"
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15}
    return {"metadata": {**metadata, **claim(Shard())}, "spec": spec}


class ApiServer:
    """A cluster in which all is as it should be, until a test changes it."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str, str]] = set()
        """Verb, resource with subresource, namespace."""
        self.asked: set[tuple[str, str, str, str]] = set()
        """The same and the name."""
        self.leases = [lease("ops", born=1)]
        self.kinds = {"serinus.dev": ["modeldeployments"], GATEWAY_API: ["httproutes", "gateways", "gatewayclasses"]}
        self.schema_version = SCHEMA_VERSION
        self.models: list[dict[str, Any]] = []
        self.refused: set[str] = set()
        """Kinds whose lists are forbidden."""
        self.read: set[str] = set()
        self.selected: set[tuple[str, str]] = set()
        """Kinds that were listed by a label selector, and by which."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[-1] == "selfsubjectaccessreviews":
            return self._review((await request.json())["spec"]["resourceAttributes"])
        if parts[0] == "apis" and len(parts) == 3:
            kinds = self.kinds.get(parts[1])
            return self._found(kinds and {"resources": [{"name": each} for each in kinds]})
        self.read.add(request.path)
        if selector := request.query.get("labelSelector"):
            self.selected.add((parts[-1], selector))
        if parts[-1] in self.refused:
            return web.json_response({"kind": "Status", "message": "forbidden by a test"}, status=403)
        return self._object(request.path) if parts[-1] in {"serinus", CRD_NAME} else self._listed(request.path)

    def _object(self, path: str) -> web.Response:
        if path.endswith(CRD_NAME):
            annotations = {SCHEMA_VERSION_ANNOTATION: str(self.schema_version)}
            return self._found({"metadata": {"annotations": annotations}})
        return self._found(next((each for each in self.leases if each["metadata"]["namespace"] == "ops"), None))

    def _listed(self, path: str) -> web.Response:
        metadata = {"namespace": "edge", "name": "public", "uid": "1", "resourceVersion": "3"}
        gateway = {"metadata": metadata, "spec": {"gatewayClassName": "traefik"}}
        of_class = {"name": "traefik", "uid": "2", "resourceVersion": "3"}
        items = {
            "gateways": [] if "team" in path else [gateway],
            "gatewayclasses": [{"metadata": of_class, "spec": {"controllerName": TRAEFIK}}],
            "leases": self.leases,
            "modeldeployments": self.models,
        }
        return self._found({"metadata": {"resourceVersion": "7"}, "items": items[path.rsplit("/", 1)[-1]]})

    @staticmethod
    def _found(what: dict[str, Any] | list[str] | None) -> web.Response:
        return web.json_response(what or {"kind": "Status"}, status=200 if what else 404)

    def _review(self, asked: dict[str, str]) -> web.Response:
        resource = asked["resource"] + (f"/{asked['subresource']}" if "subresource" in asked else "")
        right = asked["verb"], resource, asked.get("namespace", "")
        self.asked.add((*right, asked.get("name", "")))
        return web.json_response({"status": {"allowed": right not in self.denied}})


def model(**ready: int) -> dict[str, Any]:
    """A ModelDeployment with so many ready pods of its revisions."""
    revisions = {role: {"revision": role, "replicas": 3, "readyReplicas": each} for role, each in ready.items()}
    return {"metadata": {"namespace": "prod", "name": "fraud", "resourceVersion": "5"}, "status": revisions}


def prometheus(numbers: Mapping[str, float]) -> Any:
    """Answers each query with the number of the first key that is part of it; without one, with nothing."""

    def answer(_: str, parameters: dict[str, str]) -> object:
        found = next((value for part, value in numbers.items() if part in parameters["query"]), None)
        result = [] if found is None else [{"metric": {}, "value": [1_700_000_000, str(found)]}]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}

    return answer


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


async def found_by(server: ApiServer, settings: Settings) -> list[Finding]:
    async with cluster_answering(server.answer) as cluster:
        return list(await findings(settings, cluster))


def about(found: list[Finding], what: str, level: Level) -> list[str]:
    return [each.message for each in found if each.about == what and each.level is level]


async def test_an_installation_in_which_all_is_well_says_so_in_a_line_for_each_part(server: ApiServer) -> None:
    found = await found_by(server, SETTINGS)
    assert [each for each in found if each.level is Level.WRONG] == []
    assert {each.about for each in found} == {"rights", "CRD", "leader", "metrics", "gateway"}
    assert about(found, "gateway", Level.FINE)[0].startswith(f"edge/public ({TRAEFIK}) splits requests by weight")
    assert ("get", "leases", "ops", "serinus") in server.asked
    assert ("get", "customresourcedefinitions", "", "modeldeployments.serinus.dev") in server.asked
    assert ("patch", "replicasets/scale", "", "") in server.asked


async def test_only_rights_that_are_switched_on_are_asked_for(server: ApiServer) -> None:
    def resources() -> set[str]:
        return {resource for _, resource, *_ in server.asked}

    await found_by(server, SETTINGS)
    assert not resources() & {"configmaps", "secrets"}
    await found_by(server, replace(SETTINGS, config_key_file=Path("key"), config_secrets=False))
    assert resources() & {"configmaps", "secrets"} == {"configmaps"}
    await found_by(server, replace(SETTINGS, config_key_file=Path("key"), config_secrets=True))
    assert resources() >= {"configmaps", "secrets"}


async def test_a_right_that_is_missing_is_named(server: ApiServer) -> None:
    server.denied = {("watch", "pods", ""), ("update", "modeldeployments/status", "")}
    (told,) = about(await found_by(server, SETTINGS), "rights", Level.WRONG)
    assert "missing in the whole cluster: update modeldeployments/status.serinus.dev; watch pods;" in told


async def test_with_rights_in_namespaces_it_asks_for_those_in_each_and_for_nothing_of_the_cluster(
    server: ApiServer,
) -> None:
    server.denied = {("list", "gateways", "edge")}
    found = await found_by(server, NAMESPACED)
    (told,) = about(found, "rights", Level.WRONG)
    assert "missing in namespace edge: list gateways.gateway.networking.k8s.io;" in told
    assert {namespace for _, _, namespace, _ in server.asked} == {"ops", "team-a", "team-b", "edge"}
    assert not {path for path in server.read if "/namespaces/" not in path}
    assert "can't be read" in about(found, "CRD", Level.NOTE)[0]
    assert about(found, "gateway", Level.FINE)[0].startswith(f"edge/public ({TRAEFIK})")


async def test_a_crd_that_is_too_old_or_missing_is_told(server: ApiServer) -> None:
    server.schema_version = SCHEMA_VERSION - 1
    assert f"version {SCHEMA_VERSION - 1}" in about(await found_by(server, SETTINGS), "CRD", Level.WRONG)[0]
    del server.kinds["serinus.dev"]
    assert "not installed" in about(await found_by(server, SETTINGS), "CRD", Level.WRONG)[0]


async def test_an_older_operator_of_the_same_resources_and_nobody_who_leads_are_told(server: ApiServer) -> None:
    server.leases = [lease("ops", born=5), lease("platform", born=1)]
    assert "Lease platform/serinus is older" in about(await found_by(server, SETTINGS), "leader", Level.WRONG)[0]
    server.leases = [lease("ops", born=5, holder="")]
    assert "nobody holds Lease ops/serinus" in about(await found_by(server, SETTINGS), "leader", Level.WRONG)[0]
    server.leases = []
    assert "nobody holds Lease ops/serinus" in about(await found_by(server, SETTINGS), "leader", Level.WRONG)[0]


async def test_without_the_gateway_api_nothing_is_wrong(server: ApiServer) -> None:
    del server.kinds[GATEWAY_API]
    found = await found_by(server, SETTINGS)
    assert about(found, "gateway", Level.WRONG) == []
    assert "not installed" in about(found, "gateway", Level.NOTE)[0]


async def test_prometheus_is_asked_for_pods_by_the_labels_of_the_settings(server: ApiServer) -> None:
    numbers = {"count(up)": 12, "count(up{": 7, "bentoml": 2, "quantile": 20}
    with serving(prometheus(numbers)) as http:
        settings = replace(SETTINGS, prometheus_url=http.url, metrics_pod_label="kube_pod")
        found = await found_by(server, settings)
        queries = [parameters["query"] for _, parameters, _ in http.seen]
    assert about(found, "metrics", Level.WRONG) == []
    (told,) = about(found, "metrics", Level.FINE)
    assert "7 of its 12 targets are pods with the labels namespace and kube_pod" in told
    assert 'count(up{namespace!="",kube_pod!=""})' in queries


async def test_a_prometheus_that_scrapes_nothing_is_wrong_only_where_pods_of_models_are_ready(
    server: ApiServer,
) -> None:
    with serving(prometheus({})) as http:
        settings = replace(SETTINGS, prometheus_url=http.url, selector="shard=a")
        for nothing_ready in ([], [{"metadata": {}}, model(candidate=0)]):
            server.models = nothing_ready
            found = await found_by(server, settings)
            assert [each for each in found if each.level is Level.WRONG] == []
            assert "has no series `up`, and no pod of a model is ready" in about(found, "metrics", Level.NOTE)[0]
        server.models = [model(stable=2, candidate=1), model(previous=1)]
        (told,) = about(await found_by(server, settings), "metrics", Level.WRONG)
    assert "has no series `up`, and pods of models are ready (4)" in told
    assert ("modeldeployments", "shard=a") in server.selected


async def test_pods_of_models_are_looked_for_in_the_watched_namespaces(server: ApiServer) -> None:
    server.models = [model(stable=1)]
    with serving(prometheus({})) as http:
        found = await found_by(server, replace(NAMESPACED, prometheus_url=http.url))
    assert "and pods of models are ready (2)" in about(found, "metrics", Level.WRONG)[0]  # the same in both namespaces
    assert not {path for path in server.read if "/namespaces/" not in path}


async def test_models_that_may_not_be_listed_are_a_matter_of_rights_alone(server: ApiServer) -> None:
    server.refused, server.denied = {"modeldeployments"}, {("list", "modeldeployments", "")}
    with serving(prometheus({})) as http:
        found = await found_by(server, replace(SETTINGS, prometheus_url=http.url))
    ((wrong, message),) = [(each.about, each.message) for each in found if each.level is Level.WRONG]
    assert wrong == "rights"
    assert "list modeldeployments.serinus.dev" in message


async def test_without_the_crd_no_model_is_missed_by_prometheus(server: ApiServer) -> None:
    del server.kinds["serinus.dev"]
    with serving(prometheus({})) as http:
        found = await found_by(server, replace(SETTINGS, prometheus_url=http.url))
    assert {each.about for each in found if each.level is Level.WRONG} == {"CRD"}


async def test_a_scrape_interval_that_is_longer_than_configured_is_told(server: ApiServer) -> None:
    with serving(prometheus({"count(up)": 12, "count(up{": 7, "bentoml": 2, "quantile": 59.98})) as http:
        found = await found_by(
            server, replace(SETTINGS, prometheus_url=http.url, prometheus_scrape_interval_seconds=15)
        )
    (told,) = about(found, "metrics", Level.NOTE)
    assert "every 60 s on average lately, where prometheus.scrapeIntervalSeconds says 15" in told


async def test_a_prometheus_without_subqueries_is_usable_all_the_same(server: ApiServer) -> None:
    answer = prometheus({"count(up)": 12, "count(up{": 7, "bentoml": 2})

    def none(path: str, parameters: dict[str, str]) -> object:
        refused = {"status": "error", "errorType": "bad_data", "error": "subqueries are not supported"}
        return refused if "timestamp" in parameters["query"] else answer(path, parameters)

    with serving(none) as http:
        found = await found_by(server, replace(SETTINGS, prometheus_url=http.url))
    assert about(found, "metrics", Level.WRONG) == []
    (told,) = about(found, "metrics", Level.NOTE)
    assert "how often pods are scraped is not known" in told
    assert "subqueries are not supported" in told


async def test_a_prometheus_that_is_away_is_told_with_what_to_look_at(server: ApiServer) -> None:
    settings = replace(SETTINGS, prometheus_url="http://127.0.0.1:1")
    (told,) = about(await found_by(server, settings), "metrics", Level.WRONG)
    assert "no answer from http://127.0.0.1:1" in told


async def test_an_api_server_that_is_away_is_one_line() -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no leader of etcd"}, status=503)

    async with cluster_answering(away) as cluster:
        (finding,) = await findings(SETTINGS, cluster)
    assert finding.level is Level.WRONG
    assert "no leader of etcd" in finding.message


async def test_its_lines_are_written_and_0_is_the_code_where_nothing_is_wrong(server: ApiServer) -> None:
    said: list[str] = []
    async with cluster_answering(server.answer) as cluster:
        code = await run(SETTINGS, Credentials(cluster._server), said.append)
    assert (code, "".join(said).count("\n")) == (0, 5), said


async def test_the_command_ends_with_1_where_something_is_wrong(server: ApiServer, tmp_path: Path) -> None:
    server.denied = {("list", "pods", "")}
    async with cluster_answering(server.answer) as cluster:
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": cluster._server}}],
            "users": [{"name": "me", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")}
        environment |= {"KUBECONFIG": str(tmp_path / "kubeconfig"), "SERINUS_LEASE_NAMESPACE": "ops"}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "serinus", "check"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    assert "✖ rights: missing in the whole cluster: list pods;" in done.stdout


def test_a_command_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chekc"]) == 2
    assert "no such arguments: chekc" in capsys.readouterr().err
