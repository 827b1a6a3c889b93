"""Builds images without a Docker engine and lays them out so that a cluster takes over only what it lacks.

Called by `images` and `native`. buildah's store is in the cache, and each call runs in a mount namespace of its own,
so no mount outlives it. Images are named by the key of their build: checkouts that share the store never meet.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from e2e.cluster import machine
from e2e.cluster.context import Build
from e2e.cluster.locations import IMAGES, cache
from e2e.cluster.once import digest, file_lock, write_whole
from e2e.cluster.process import CommandError, Word, run, succeeds
from e2e.cluster.progress import step

_BASE_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_NOT_NEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists", "var/log")
_KEPT_EXPORTS = 60


def build(what: Build, key: str) -> None:
    """Build an image unless the store has it; every layer that did not change comes from the store."""
    if _has(_name(key)):
        return
    with tempfile.TemporaryDirectory() as scratch:
        settings = _settings(Path(scratch))
        arguments = [f"--build-arg={name}={value}" for name, value in what.arguments.items()]
        _buildah(
            *("bud", "--quiet", "--layers", "--pull=never", "--isolation=chroot", "--network=host", *settings),
            *(*arguments, f"--tag={_name(key)}", f"--file={what.dockerfile}", str(what.context)),
            advice=f"the failing line of {what.dockerfile} is above; correct it and run the same command again",
        )


def base_image() -> str:
    """Return the name of the image that stands in for python:3.11-slim-bookworm, made from Debian's packages."""
    dockerfile = IMAGES / "base" / "Dockerfile"
    key = "base-" + digest([dockerfile.read_bytes(), *_BASE_PACKAGES, *_NOT_NEEDED, machine.SUITE])
    with file_lock(cache() / "containers" / "base.lock"):
        if not _has(_name(key)):
            with step("base image from Debian packages"):
                _make_base(dockerfile, key)
    return _name(key)


def _make_base(dockerfile: Path, key: str) -> None:
    mirror = machine.debian_mirror()
    with tempfile.TemporaryDirectory(dir=cache(), prefix="rootfs-") as scratch:
        root, context = Path(scratch, "rootfs"), Path(scratch, "context")
        include = f"--include={','.join(_BASE_PACKAGES)}"
        run(
            *("unshare", "--mount", "debootstrap", "--variant=minbase", include, machine.SUITE, root),
            *([mirror] if mirror else []),
            advice="check that apt reaches its mirror (apt-get update), then run the same command again",
        )
        if mirror:
            (root / "etc/apt/sources.list").write_text("")  # Builds are told the machine's mirror; images are not.
        for folder in _NOT_NEEDED:
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir(parents=True)
        for folder in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log/apt"):
            (root / folder).mkdir(parents=True)
        context.mkdir()
        run("tar", "--numeric-owner", "-cf", context / "rootfs.tar", "-C", root, ".")
        _buildah("bud", "--quiet", "--isolation=chroot", f"--tag={_name(key)}", f"--file={dockerfile}", context)


def _settings(scratch: Path) -> list[str]:
    """Return the mounts that give a build the machine's certificates and settings of pip and apt.

    Each covers a file that the base image has, so nothing of it stays in the image.
    """
    files = {"/etc/pip.conf": machine.pip_settings(), "/etc/apt/apt.conf.d/00-machine": machine.apt_settings()}
    mirror = machine.debian_mirror()
    if mirror:
        files["/etc/apt/sources.list"] = f"deb {mirror} {machine.SUITE} main\n"
    mounts = []
    for number, (target, text) in enumerate(files.items()):
        source = scratch / str(number)
        source.write_text(text)
        mounts.append(f"--volume={source}:{target}:ro")
    bundle = machine.certificates()
    return [*mounts, *([f"--volume={bundle}:{bundle}:ro"] if bundle else [])]


@dataclass(frozen=True, slots=True)
class Export:
    """An image laid out as files: its manifest and the blobs that the manifest names, by digest."""

    manifest: dict[str, object]
    blobs: list[str]


def export(key: str) -> Export:
    """Lay an image out in the cache, writing only layers that are not there yet, uncompressed."""
    with file_lock(_layout().with_suffix(".lock")):
        entries = _exported()
        if key not in entries:
            target = f"oci:{_layout()}:{key}"
            advice = "build the image again: python3 -m e2e.cluster build"
            _buildah("push", "--quiet", "--disable-compression", _name(key), target, advice=advice)
            _forget_old()
            entries = _exported()
    descriptor = entries[key]
    manifest = json.loads(_blob(str(descriptor["digest"])).read_text())
    parts = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    return Export(descriptor, [str(descriptor["digest"]), *parts])


def write_archive(exports: Mapping[str, Export], present: Collection[str], sink: IO[bytes]) -> None:
    """Write an OCI archive of images, given by their names, without the blobs that the receiver has."""
    index = [
        {**each.manifest, "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}}
        for name, each in exports.items()
    ]
    wanted = dict.fromkeys(blob for each in exports.values() for blob in each.blobs if blob not in present)
    with tarfile.open(fileobj=sink, mode="w|") as archive:
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}))
        for blob in wanted:
            archive.add(_blob(blob), arcname="blobs/" + blob.replace(":", "/"))
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": index}))


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text)
    archive.addfile(entry, io.BytesIO(text.encode()))


def _layout() -> Path:
    return cache() / "containers" / "oci"


def _blob(name: str) -> Path:
    return _layout() / "blobs" / name.replace(":", "/")


def _exported() -> dict[str, dict[str, object]]:
    index = _layout() / "index.json"
    entries = json.loads(index.read_text())["manifests"] if index.exists() else []
    return {entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in entries}


def _forget_old() -> None:
    """Keep the newest images and drop what no image names any more, so that the cache stays bounded."""
    index = _layout() / "index.json"
    document = json.loads(index.read_text())
    dropped, document["manifests"] = document["manifests"][:-_KEPT_EXPORTS], document["manifests"][-_KEPT_EXPORTS:]
    if not dropped:
        return
    write_whole(index, json.dumps(document))
    named = set()
    for entry in document["manifests"]:
        manifest = json.loads(_blob(entry["digest"]).read_text())
        named |= {entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    for blob in (_layout() / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in named:
            blob.unlink()
    for entry in dropped:
        succeeds(*_command("rmi", _name(entry["annotations"]["org.opencontainers.image.ref.name"])))


def _name(key: str) -> str:
    return f"localhost/serinus-build:{key}"


def _has(name: str) -> bool:
    try:
        return bool(_buildah("images", "--quiet", name).strip())
    except CommandError:
        return False


def _buildah(*arguments: Word, advice: str = "") -> str:
    return run(*_command(*arguments), advice=advice)


def _command(*arguments: Word) -> list[Word]:
    store = cache() / "containers"
    state = Path("/run", "serinus-buildah-" + digest([str(store)]))
    return ["unshare", "--mount", "buildah", "--root", store / "storage", "--runroot", state, *arguments]
