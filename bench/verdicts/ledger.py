"""What has been played so far, on disk: a full run takes several sittings.

One file for each kind of traffic and one for each limit that is to be found broken, so that a sitting that is cut off
loses no more than what was under way. What was played with another engine or other traffic is told apart by a
fingerprint of the code, and is not counted. Written by `bench.verdicts.play`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, Final

import serinus.core
from bench.verdicts.results import Tally

_CORE: Final = Path(serinus.core.__file__).parent
_HERE: Final = Path(__file__).parent
_DECISIVE: Final = (
    *sorted((_CORE / "evidence").glob("*.py")),
    _CORE / "verdicts.py",
    *(_HERE / f"{name}.py" for name in ("kinds", "traffic", "attempt", "rules", "detection")),
)


def fingerprint() -> str:
    """Of all code that decides an attempt; comments, layout and docstrings don't count."""
    digest = hashlib.sha256()
    for path in _DECISIVE:
        digest.update(ast.dump(_bare(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()[:12]


def _bare(tree: ast.Module) -> ast.Module:
    """The code without strings that are no values."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [each for each in body if not _is_text(each)] or [ast.Pass()]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


class Ledger:
    """The attempts of all sittings with one seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder / f"verdicts-seed-{seed}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._fingerprint = fingerprint()

    def tallies(self, kind: str) -> dict[str, Tally]:
        """By rule: the attempts of a kind that were played so far, the first ones of the seed."""
        found = self._read(kind)
        return {rule: Tally(*numbers) for rule, numbers in found.items()} if found else {}

    def keep_tallies(self, kind: str, tallies: dict[str, Tally]) -> None:
        """Instead of what was kept."""
        self._write(kind, {rule: astuple(tally) for rule, tally in tallies.items()})

    def requests(self, limit: str, times: float) -> list[float]:
        """Requests until a limit was found broken, by attempt; infinite where it was not found."""
        return [math.inf if each is None else each for each in self._read(f"{limit} {times:g}") or []]

    def keep_requests(self, limit: str, times: float, requests: list[float]) -> None:
        """Instead of what was kept."""
        self._write(f"{limit} {times:g}", [each if math.isfinite(each) else None for each in requests])

    def _path(self, name: str) -> Path:
        return self._folder / f"{re.sub('[^0-9a-zρ.]+', '-', name)}.json"

    def _read(self, name: str) -> Any:
        try:
            kept = json.loads(self._path(name).read_text())
        except FileNotFoundError:
            return None
        of_now = kept["fingerprint"] == self._fingerprint and kept["columns"] == _COLUMNS
        return kept["played"] if of_now else None

    def _write(self, name: str, played: Any) -> None:
        content = {"name": name, "fingerprint": self._fingerprint, "columns": _COLUMNS, "played": played}
        path = self._path(name)
        written = path.with_suffix(".new")
        written.write_text(json.dumps(content, ensure_ascii=False))
        written.replace(path)


_COLUMNS: Final = [each.name for each in fields(Tally)]
