"""One line per record on standard error: text with `key=value` pairs for people, or JSON for log collectors.

Set up once by `serinus.__main__`. Code logs a fixed message and passes what varies as `extra`; what a user wrote can
neither break a line nor add one.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from serinus.settings import LogFormat, LogLevel

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record carries; the rest came as `extra`."""
_QUIET: Final = {
    "kopf": logging.WARNING,  # INFO has a line for every event
    "kopf._cogs.clients": logging.CRITICAL,  # a line for every attempt while the API server is away; we say it once
    "kopf._core.reactor.orchestration": logging.CRITICAL,  # a traceback when its kind vanishes; we say that too
    "kopf._core.reactor.running": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}


def set_up(level: LogLevel, form: LogFormat) -> None:
    """Log to standard error from now on, in place of whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else TextLines())
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


class TextLines(logging.Formatter):
    """`2026-11-21T11:00:00.123Z INFO serinus.shell.app: message key=value`; tracebacks follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {_one_line(record.getMessage())}{pairs}"
        trace = _trace(self, record)
        return line + "".join(f"\n    {each}" for each in trace.splitlines())


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the pairs, and `exception` with the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {key: value for key, value in _extra(record).items() if key not in fields}
        if trace := _trace(self, record):
            fields["exception"] = trace
        return json.dumps(fields, default=str, ensure_ascii=False)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    if not record.name.startswith("serinus"):
        return {}  # other packages pass whole objects along
    return {key: value for key, value in vars(record).items() if key not in _OWN and value is not None}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    return "\n".join([*parts, *([record.stack_info] if record.stack_info else [])])


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _quoted(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    plain = text and text.isprintable() and not any(character in text for character in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
