"""Text for a terminal or a file: colours and widths of a terminal only there, and no control codes that users wrote.

Called by every command that prints.
"""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from datetime import datetime, timedelta
from typing import Any, Final, TextIO

import yaml
from rich.console import Console, RenderableType
from rich.text import Text

_TURNS: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Characters that change the direction in which what follows is read."""
_WIDE: Final = 10_000
"""Where there is no terminal nothing is wrapped: lines are for grep."""


def console_for(stream: TextIO | None = None) -> Console:
    """A console on standard output: in colour and wrapped on a terminal, plain lines elsewhere."""
    out = stream or sys.stdout
    if out.isatty():
        return Console(file=out, highlight=False, markup=False, emoji=False)
    return Console(
        file=out, highlight=False, markup=False, emoji=False, width=_WIDE, color_system=None, legacy_windows=False
    )


def show(renderable: RenderableType) -> None:
    """Print on standard output."""
    if sys.stdout.isatty():
        console_for().print(renderable)
    else:
        sys.stdout.write(as_text(renderable))
        sys.stdout.flush()  # a watch goes on, and who reads a pipe wants to see it now


def as_text(renderable: RenderableType) -> str:
    """The same without a terminal: no colours, no wrapping, no blanks at the ends of lines."""
    buffer = io.StringIO()
    console_for(buffer).print(renderable)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def show_data(data: Any, form: str) -> None:
    """Print JSON or YAML."""
    if form == "json":
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120))
    sys.stdout.flush()


def show_documents(documents: list[Any], form: str) -> None:
    """Print manifests: one YAML document each, or a JSON list."""
    if form == "json":
        show_data({"apiVersion": "v1", "kind": "List", "items": documents}, "json")
    else:
        sys.stdout.write(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120))


def complain(message: str) -> None:
    """Print on standard error."""
    sys.stderr.write(f"{harmless(message)}\n")


def harmless(text: str) -> str:
    """The text without what could write anything on a terminal, or turn the order of its words; line breaks stay."""
    return "".join("�" if _does_harm(char) else char for char in text)


def _does_harm(char: str) -> bool:
    if unicodedata.bidirectional(char) in _TURNS:
        return True
    return unicodedata.category(char) == "Cc" and char not in "\n\t"


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text of plain and (text, style) parts, harmless all of them."""
    return Text.assemble(*(harmless(part) if isinstance(part, str) else (harmless(part[0]), part[1]) for part in parts))


def duration(seconds: float | timedelta) -> str:
    """About how long, in at most two units: `45 s`, `6 min`, `2 h 10 min`, `3 d 4 h`."""
    total = round(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    if total < 0:
        return f"-{duration(-total)}"
    if total < 100:
        return f"{total} s"
    minutes = round(total / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 7 else f"{days} d"


def clock(at: datetime, now: datetime) -> str:
    """The time of day in UTC, with the date where it is another day."""
    pattern = "%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M UTC"
    return at.strftime(pattern)
