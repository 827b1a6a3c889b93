"""`kubectl serinus support-bundle`: all that others need to see why a rollout does what it does, without secrets."""

from __future__ import annotations

import io
import os
import platform
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from serinus import __version__
from serinus.api.crd import CRD_NAME
from serinus.api.kinds import CHILD_KINDS, ENDPOINT_SLICE, LABEL_DEPLOYMENT, MODEL_DEPLOYMENT, POD, Kind
from serinus.api.names import SCHEMA_VERSION, SCHEMA_VERSION_ANNOTATION
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.outcome import CommandFailed
from serinus.cli.redaction import redacted
from serinus.cli.report import report
from serinus.cli.terminal import as_text, harmless
from serinus.cli.tree import tree
from serinus.core.plan import Manifest
from serinus.kube.cluster import ApiError
from serinus.kube.refusals import without_what_next

_EVENT: Final = Kind("events.k8s.io", "v1", "Event", "events")
_CRD: Final = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
_GATEWAY: Final = Kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways")


def support_bundle(
    name: options.Name,
    namespace: options.Namespace = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="The archive to write; by default NAME-support-TIME.tar.gz.")
    ] = None,
    *,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Write an archive with the resource, its objects, pods and events, as far as you may see them, without secrets."""
    now = datetime.now(UTC)
    target = file or Path(f"{name}-support-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    texts = with_cluster(Where(kubeconfig, context, namespace), lambda access: _gathered(access, name, now))
    try:
        with open(target, "xb", opener=_private) as out:
            out.write(archive(target.name.removesuffix(".tar.gz"), texts))
    except OSError as error:
        raise CommandFailed(f"{target} can't be written: {error.strerror}; name another with --file") from error
    typer.echo(f"{target}: {len(texts)} files; values of variables, arguments and passwords in URLs are taken out")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def archive(folder: str, texts: dict[str, str]) -> bytes:
    """A compressed tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in texts.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


async def _gathered(access: Access, name: str, now: datetime) -> dict[str, str]:
    resource = await access.deployment(name)
    missing: list[str] = []
    selector = f"{LABEL_DEPLOYMENT}={name}"
    found = {kind: await _all(access, kind, selector, missing) for kind in (*CHILD_KINDS, ENDPOINT_SLICE, POD)}
    events = await _all(access, _EVENT, None, missing)
    told = {
        f"{MODEL_DEPLOYMENT.plural}.yaml": _yaml([resource]),
        **{f"{kind.plural}.yaml": _yaml(items) for kind, items in found.items() if items},
        "events.yaml": _yaml([each for each in events if _regards(each, name)]),
        "gateways.yaml": _yaml(await _gateways(access, resource, missing)),
    }
    children = [each for kind, items in found.items() if kind not in {POD, ENDPOINT_SLICE} for each in items]
    shown = as_text(tree(report(resource, children, found[POD], now), now, wide=True))
    versions = await _versions(access, now, missing)
    return {"status.txt": harmless(shown), "versions.txt": versions, **told, "not-read.txt": "\n".join(missing) + "\n"}


async def _all(access: Access, kind: Kind, selector: str | None, missing: list[str]) -> list[dict[str, Any]]:
    """All objects of a kind, or a line that says why they can't be read."""
    items: list[dict[str, Any]] = []
    try:
        async for page in access.cluster.list_pages(kind, access.namespace, label_selector=selector):
            items.extend(page.items)
    except ApiError as error:
        missing.append(without_what_next(error))
    return items


async def _gateways(access: Access, resource: Manifest, missing: list[str]) -> list[dict[str, Any]]:
    gateway = ((resource.get("spec") or {}).get("traffic") or {}).get("gateway") or {}
    found = []
    for parent in gateway.get("parentRefs") or ():
        try:
            found.append(
                await access.cluster.get(_GATEWAY, parent.get("namespace") or access.namespace, parent.get("name", ""))
            )
        except ApiError as error:
            missing.append(without_what_next(error))
    return found


async def _versions(access: Access, now: datetime, missing: list[str]) -> str:
    lines = [f"at {now:%Y-%m-%d %H:%M:%S} UTC", f"plugin {__version__}, schema {SCHEMA_VERSION}"]
    lines.append(f"Python {platform.python_version()} on {platform.system()}")
    try:
        crd = await access.cluster.get(_CRD, "", CRD_NAME)
        of_crd = (crd["metadata"].get("annotations") or {}).get(SCHEMA_VERSION_ANNOTATION, "unknown")
        lines.append(f"the cluster's CRD: schema {of_crd}")
    except ApiError as error:
        missing.append(without_what_next(error))
    return "\n".join(lines) + "\n"


def _regards(event: Manifest, name: str) -> bool:
    """Whether an Event is about the resource or one of its children."""
    regarding = str((event.get("regarding") or {}).get("name", ""))
    return regarding == name or regarding.startswith(f"{name}-")


def _yaml(manifests: list[dict[str, Any]]) -> str:
    return yaml.safe_dump_all([redacted(each) for each in manifests], sort_keys=False, allow_unicode=True, width=120)
