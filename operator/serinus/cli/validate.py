"""`kubectl serinus validate`: what is wrong with files, by themselves, for a cluster, and for a metric source.

By themselves is what `serinus.cli.checking` finds. The cluster's policies and gateways, and the answers of Prometheus,
are asked for only where the user says so, so that a pipeline needs neither.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from serinus.api import defaults
from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import (
    CLUSTER_ROLLOUT_POLICY,
    GATEWAY,
    GATEWAY_CLASS,
    MODEL_DEPLOYMENT,
    NAMESPACE,
    ROLLOUT_POLICY,
    Kind,
)
from serinus.api.revision import child_name
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.checking import Finding, findings, findings_of_policy
from serinus.cli.files import Document, documents
from serinus.cli.gateways import checks
from serinus.cli.metric_source import prometheus_at
from serinus.cli.offline import Files, in_force
from serinus.cli.options import Output
from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.cli.state import status_of
from serinus.cli.terminal import complain, harmless, show_data
from serinus.core.readings import Counters, Grid, Missing, MissingReason
from serinus.kube.cluster import Forbidden, NotFound
from serinus.kube.policies import labels_of
from serinus.kube.refusals import without_what_next
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import request_for

_WINDOW_SECONDS: Final = 600.0
"""Old enough for two scrapes, and new enough to speak of what serves now."""
_UNTIL_IT_SERVES: Final = frozenset({MissingReason.EMPTY, MissingReason.NOT_COVERED, MissingReason.CANDIDATE_SILENT})
"""What is no fault of a resource of which nothing serves yet."""
_OF_THE_SOURCE: Final = frozenset({MissingReason.SOURCE_UNAVAILABLE, MissingReason.TIMEOUT})
"""What is the same for all metrics."""


def validate(
    filename: Files,
    namespace: options.Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="As text, or as data.")] = Output.TEXT,
    *,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also hold them against the policies and the gateways of the cluster.")
    ] = False,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", help="Also ask Prometheus, at this URL, for each of their metrics.")
    ] = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Check ModelDeployments and policies in files: schema, rules, unknown fields, and what is not carried out.

    ModelDeployments are held against the policies in the same files. Needs no cluster but for --cluster, and no metric
    source but for --prometheus; other kinds are passed over. Ends with 1 where something is wrong.
    """
    checked = [each for each in documents(filename) if each.is_model_deployment or each.is_policy]
    where = Where(kubeconfig, context, namespace)
    if cluster:
        found = with_cluster(where, lambda access: _found(checked, access.namespace, prometheus, _Cluster(access)))
    else:
        found = asyncio.run(_found(checked, where.likely_namespace, prometheus, None))
    if output in {Output.JSON, Output.YAML}:
        show_data(
            [
                {"file": each.file, "line": each.line_of(wrong.field), "resource": each.name}
                | {"field": wrong.field, "message": wrong.message}
                for each, wrong in found
            ],
            output.value,
        )
    else:
        for each, wrong in found:
            _say(f"{each.file}:{each.line_of(wrong.field)}: {wrong.field}: {wrong.message}")
        broken = {id(each) for each, _ in found}
        for each in checked:
            if id(each) not in broken:
                _say(f"{each.file}: {each.data.get('kind')} {each.name} is valid")
    if found:
        raise typer.Exit(ExitCode.ERROR)
    if not checked:
        raise CommandFailed(f"there is no ModelDeployment in {', '.join(filename)}")


async def _found(
    checked: Sequence[Document], home: str, prometheus: str | None, there: _Cluster | None
) -> list[tuple[Document, Finding]]:
    """What is wrong, in the order of the files and of their lines. `home` is for resources that name no namespace."""
    found: list[tuple[Document, Finding]] = []
    async with prometheus_at(prometheus) if prometheus is not None else nullcontext() as source:
        for each in checked:
            wrong = await _findings(each, home, there, source)
            found += [(each, finding) for finding in sorted(wrong, key=lambda finding: each.line_of(finding.field))]
    return found


async def _findings(
    document: Document, home: str, there: _Cluster | None, source: PrometheusSource | None
) -> list[Finding]:
    """What is wrong with a manifest. What reads in it makes sense first: nobody else is asked about the rest."""
    if document.is_policy:
        return findings_of_policy(document.data)
    if there is not None:
        document = await there.around(document, home)
    found = findings(document.data, datetime.now(UTC), document.beside)
    if found:
        return found
    deployment, _ = in_force(document, home)
    if there is not None:
        found += await there.findings(deployment)
    if source is not None:
        stable = await there.stable(deployment) if there is not None else None
        found += await findings_of_source(deployment, source, stable)
    return found


class _Cluster:
    """What a cluster has that a ModelDeployment is held against, as far as the user may see it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._gateways: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
        self._policies: dict[str, list[dict[str, Any]]] = {}
        self._namespaces: dict[str, list[dict[str, Any]]] = {}

    async def around(self, document: Document, home: str) -> Document:
        """The document in its namespace, beside the policies there; of two of one name the one in the files counts."""
        metadata = document.data.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        home = document.namespace or home
        in_files = {_identity(each, home) for each in document.beside}
        there = [*await self._namespace(home), *await self._policies_of("", CLUSTER_ROLLOUT_POLICY)]
        there += await self._policies_of(home, ROLLOUT_POLICY)
        beside = (*document.beside, *(each for each in there if _identity(each, home) not in in_files))
        return replace(document, data={**document.data, "metadata": {**named, "namespace": home}}, beside=beside)

    async def findings(self, deployment: ModelDeployment) -> list[Finding]:
        """What its gateways can't do, or won't."""
        if deployment.spec.traffic.gateway is None:
            return []
        try:
            gateways, classes = await self._gateways_and_classes()
        except Forbidden as error:
            complain(f"gateways are not looked at: {without_what_next(error)}")
            return []
        namespace = await self._namespace(deployment.metadata.namespace)
        labels = labels_of(deployment.metadata.namespace, next(iter(namespace), None))
        told = checks(deployment, gateways, classes, labels)
        return [Finding("spec.traffic.gateway", each.message) for each in told if each.fine is False]

    async def stable(self, deployment: ModelDeployment) -> str | None:
        """The revision of it that is stable now, if it is there and one is."""
        metadata = deployment.metadata
        try:
            found = status_of(await self._access.cluster.get(MODEL_DEPLOYMENT, metadata.namespace, metadata.name))
        except NotFound:
            return None
        return found.stable.revision if found.stable else None

    async def _gateways_and_classes(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if self._gateways is None:
            gateways = await self._access.listed(GATEWAY, everywhere=True)
            self._gateways = gateways, await self._access.listed(GATEWAY_CLASS, everywhere=True)
        return self._gateways

    async def _policies_of(self, namespace: str, kind: Kind) -> list[dict[str, Any]]:
        if namespace not in self._policies:
            inside = replace(self._access, namespace=namespace)
            listed = await inside.listed(kind, everywhere=not namespace, optional=True)
            self._policies[namespace] = [{**each, "kind": kind.kind} for each in listed]
        return self._policies[namespace]

    async def _namespace(self, name: str) -> list[dict[str, Any]]:
        """The namespace as a list of one; of none where it isn't there yet, or may not be read."""
        if name not in self._namespaces:
            try:
                read = await self._access.cluster.get(NAMESPACE, "", name)
                self._namespaces[name] = [{**read, "kind": NAMESPACE.kind}]
            except NotFound:
                complain(f"namespace {name} is not there yet")
                self._namespaces[name] = []
            except Forbidden as error:
                complain(f"labels of namespace {name} are not known: {without_what_next(error)}")
                self._namespaces[name] = []
        return self._namespaces[name]


def _identity(manifest: Mapping[str, Any], home: str) -> tuple[object, object, object]:
    """Kind, namespace (for what lives in one and names none, `home`) and name."""
    metadata, kind = manifest.get("metadata"), manifest.get("kind")
    fields: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    return kind, (fields.get("namespace") or home) if kind == ROLLOUT_POLICY.kind else "", fields.get("name")


async def findings_of_source(
    deployment: ModelDeployment, source: PrometheusSource, stable: str | None
) -> list[Finding]:
    """Which metrics can't be read now, and why.

    They are asked for the pods of the revision that is `stable`; without one for those of any revision, and then it is
    no fault that none reports.
    """
    analysis, metadata = deployment.spec.analysis, deployment.metadata
    if analysis.disabled:
        return []
    end = time.time() - 1
    found: list[Finding] = []
    for index, metric in enumerate(analysis.metrics or defaults.METRICS):
        question = request_for(
            metric,
            namespace=metadata.namespace,
            pod_prefix=child_name(metadata.name, stable) if stable else metadata.name,
            grid=Grid(end - _WINDOW_SECONDS, 60.0),
            end=end,
        )
        reading = await source.read(question)
        if isinstance(reading, Counters) and not any(each.samples for each in reading.series):
            reading = Missing(
                MissingReason.EMPTY,
                f"no pod of revision {stable} has reported in the last {_WINDOW_SECONDS / 60:.0f} min. Check that they "
                f"are scraped, and that Prometheus knows them by these labels. Asked was {source.query(question)}",
            )
        if not isinstance(reading, Missing) or (stable is None and reading.reason in _UNTIL_IT_SERVES):
            continue
        if reading.reason in _OF_THE_SOURCE:
            return [*found, Finding("spec.analysis", f"{reading.reason}: {reading.detail}")]
        found.append(Finding(f"spec.analysis.metrics[{index}]", f"{metric.name}: {reading.reason}: {reading.detail}"))
    return found


def _say(line: str) -> None:
    sys.stdout.write(f"{harmless(line)}\n")
