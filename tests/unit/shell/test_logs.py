"""Log lines, as text and as JSON."""

import json
import logging
from typing import Any

import pytest

from serinus.settings import LogFormat, LogLevel
from serinus.shell import logs


def record(message: str = "decided", name: str = "serinus.shell.telemetry", **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "x.py", 1, message, (), None)
    made.created = 1_767_225_600.5
    vars(made).update(extra)
    return made


def test_text_has_time_level_origin_message_and_pairs() -> None:
    line = logs.TextLines().format(record(namespace="team", because="errors: 3 %", after_seconds=0.25, nothing=None))
    assert line == (
        "2026-01-01T00:00:00.500Z INFO serinus.shell.telemetry: decided "
        'namespace=team because="errors: 3 %" after_seconds=0.25'
    )


@pytest.mark.parametrize("hostile", ['x"\nlevel=ERROR faked', "a\u2028b c", "\x1b[31mred"])
def test_text_stays_one_line_whatever_users_write(hostile: str) -> None:
    line = logs.TextLines().format(record(f"message {hostile}", because=hostile))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_json_is_one_object_with_the_pairs_beside_the_message() -> None:
    line = logs.JsonLines().format(record(namespace="team", because='a "quoted"\nword'))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "serinus.shell.telemetry",
        "message": "decided",
        "namespace": "team",
        "because": 'a "quoted"\nword',
    }


def test_traceback_is_part_of_the_record() -> None:
    error = ZeroDivisionError("no such number")
    failed = record("failed", exc_info=(type(error), error, None))
    assert "ZeroDivisionError: no such number" in json.loads(logs.JsonLines().format(failed))["exception"]
    assert logs.TextLines().format(failed).splitlines()[-1] == "    ZeroDivisionError: no such number"


def test_objects_that_other_packages_pass_along_are_not_printed() -> None:
    assert logs.TextLines().format(record(name="kopf.objects", settings=object())).endswith("kopf.objects: decided")


@pytest.mark.parametrize("form", list(LogFormat))
def test_set_up_replaces_what_was_there_and_keeps_kopf_quiet(
    form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.set_up(LogLevel.INFO, form)
        logging.getLogger("serinus.test").info("heard")
        logging.getLogger("serinus.test").debug("too low")
        logging.getLogger("kopf.objects").info("Handler 'x' succeeded.")
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = before
        root.setLevel(level)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "heard" in lines[0]
