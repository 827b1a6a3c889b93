"""Builds container images and gives them to the cluster. The same Dockerfiles, by Docker or by buildah.

Called by `lifecycle`, the demo, the end-to-end tests and the command line:

    build_image("localhost/iris:1", context=Path("examples/iris"))
    load_images(["localhost/iris:1"])

Every Dockerfile of the project says `ARG BASE_IMAGE=python:3.11-slim-bookworm` and starts `FROM ${BASE_IMAGE}`. An
image whose context, Dockerfile, arguments and base did not change is neither built nor loaded again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from e2e.cluster import kind, native
from e2e.cluster.context import Build
from e2e.cluster.locations import BUILT_IMAGES
from e2e.cluster.once import file_lock, write_whole
from e2e.cluster.process import ClusterError
from e2e.cluster.progress import step


def backend() -> ModuleType:
    """Return the module that makes the cluster here: `kind` where a Docker engine answers, else `native`."""
    return kind if kind.engine_answers() else native


def build_image(
    tag: str, context: Path, dockerfile: Path | None = None, build_args: Mapping[str, str] | None = None
) -> str:
    """Build an image, remember it under `tag` for `load_images`, and return the key of the build.

    `tag` is a name with a version, such as `localhost/iris:1`; `dockerfile` defaults to the context's own. Honours the
    context's .dockerignore. The key changes whenever the image could. Raises `ClusterError` with the failing line of
    the Dockerfile.
    """
    _check(tag)
    context = context.resolve()
    dockerfile = dockerfile.resolve() if dockerfile else context / "Dockerfile"
    if not dockerfile.is_file():
        raise ClusterError(f"image {tag} can't be built: there is no {dockerfile}", "name the Dockerfile")
    chosen = backend()
    with step(f"image {tag}"):
        base = {"BASE_IMAGE": chosen.base_image()} if "BASE_IMAGE" in dockerfile.read_text() else {}
        what = Build(context, dockerfile, {**base, **(build_args or {})})
        key = what.key()
        chosen.build(what, key)
        _remember(tag, key)
    return key


def load_images(tags: Iterable[str]) -> None:
    """Give the running cluster images that `build_image` built; those it has unchanged cost nothing."""
    wanted = list(tags)
    known = _known()
    unknown = [tag for tag in wanted if tag not in known]
    if unknown:
        raise ClusterError(f"never built in this checkout: {', '.join(unknown)}", "build them first: build_image")
    with step(f"loading {', '.join(wanted)}"):
        backend().load({tag: known[tag] for tag in wanted})


def _check(tag: str) -> None:
    name, _, version = tag.rpartition(":")
    domain = name.partition("/")[0]
    if not version or "/" in version or domain == name or not ("." in domain or ":" in domain or domain == "localhost"):
        raise ClusterError(f"{tag!r} does not name an image in full", "name it like localhost/iris:1")


def _remember(tag: str, key: str) -> None:
    with file_lock(BUILT_IMAGES.with_suffix(".lock")):
        write_whole(BUILT_IMAGES, json.dumps({**_known(), tag: key}, indent=2) + "\n")


def _known() -> dict[str, str]:
    known: dict[str, str] = json.loads(BUILT_IMAGES.read_text()) if BUILT_IMAGES.exists() else {}
    return known
