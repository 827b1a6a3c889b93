"""Things that exist completely or not at all: folders of the cache and files of the state. For every module."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.progress import note


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it when its holder dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"waiting for another process that holds {path}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Return the folder `target`, letting `make` fill it first if it is not there.

    `make` gets a scratch folder that becomes `target` by one rename, so a `target` that exists is whole. Of several
    processes one makes it and the others wait.
    """
    if target.is_dir():
        return target
    with file_lock(target.with_name(target.name + ".lock")):
        if not target.is_dir():
            partial = target.with_name(target.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            make(partial)
            partial.rename(target)
    return target


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that other processes see either as it was or as it shall be."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.chmod(mode)
    partial.rename(path)


def digest(parts: Iterable[str | bytes]) -> str:
    """Return 12 hexadecimal digits that stand for the content of all parts in their order."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:12]
