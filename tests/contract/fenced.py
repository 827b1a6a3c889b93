"""The documentation as data: its pages, and the fenced blocks and code spans in them.

Read by the tests that hold what is written there against what is so. A block that no test can check says why, in a
comment right before it: `<!-- unchecked: a rule of prometheus-adapter -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "operator" / "adr").glob("*.md")])
USED = sorted({*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "examples").rglob("*.md")})
"""Pages whose blocks people copy."""
LANGUAGES = {"console", "yaml", "text"}
"""What the tests can check. A block in another language says why nothing does."""

_FENCE = re.compile(
    r"^(?:(?P<mark>[ ]*<!-- unchecked: (?P<why>[^\n]*) -->)\n)?"
    r"(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block, and where it stands."""

    page: Path
    line: int
    language: str
    text: str
    unchecked: str | None
    """Why nothing checks it; None where something does."""

    @property
    def place(self) -> str:
        """`docs/install.md:22`"""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        indent = len(found["indent"])
        inner = "".join(line[indent:] if line.strip() else line for line in found["text"].splitlines(keepends=True))
        yield Block(page, text.count("\n", 0, found.start("language")) + 1, found["language"], inner, found["why"])


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def code_spans(page: Path) -> Iterator[str]:
    """What stands between backticks in the text of a page."""
    yield from re.findall(r"`([^`\n]+)`", prose(page))


BLOCKS = [block for page in USED for block in blocks(page)]
