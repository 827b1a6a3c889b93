"""What an image is built from, boiled down to a digest. Called by `images` to tell whether a build is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.locations import cache
from e2e.cluster.once import digest


@dataclass(frozen=True, slots=True)
class Build:
    """One image build: its folder, its Dockerfile and the values of the Dockerfile's arguments."""

    context: Path
    dockerfile: Path
    arguments: Mapping[str, str]

    def key(self) -> str:
        """Return a digest that changes whenever the built image could."""
        arguments = [f"{name}={value}" for name, value in sorted(self.arguments.items())]
        return digest([self.dockerfile.read_bytes(), *arguments, *_contents(self.context)])


def _contents(context: Path) -> Iterator[str | bytes]:
    if context.is_relative_to(cache()):
        # Folders of the cache never change once they are there, and are named by their content.
        yield context.name
        return
    ignored = _ignored(context)
    for path in _files(context, context, ignored):
        yield str(path.relative_to(context))
        yield "x" if path.stat().st_mode & 0o100 else "-"
        yield path.read_bytes()


def _files(folder: Path, context: Path, ignored: list[tuple[bool, re.Pattern[str]]]) -> Iterator[Path]:
    exceptions = any(not excludes for excludes, _ in ignored)
    for path in sorted(folder.iterdir()):
        left_out = _is_ignored(path.relative_to(context).as_posix(), ignored)
        if path.is_dir() and not path.is_symlink():
            if not left_out or exceptions:
                yield from _files(path, context, ignored)
        elif not left_out and path.is_file():
            yield path


def _is_ignored(name: str, ignored: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Apply the rules of .dockerignore: the last one that matches the path or a folder above it decides."""
    left_out = False
    for excludes, pattern in ignored:
        if pattern.match(name):
            left_out = excludes
    return left_out


def _ignored(context: Path) -> list[tuple[bool, re.Pattern[str]]]:
    listing = context / ".dockerignore"
    lines = listing.read_text().splitlines() if listing.exists() else []
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [(not rule.startswith("!"), _pattern(rule.removeprefix("!"))) for rule in rules]


def _pattern(rule: str) -> re.Pattern[str]:
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|\*|\?)", rule.strip("/"))
    return re.compile("".join(pieces.get(word, re.escape(word)) for word in words) + r"(?:/.*)?$")
