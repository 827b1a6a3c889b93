"""Sends the rows of a data set to a model at a constant rate, as its clients would, and says each second what came.

Runs as a pod (see ``pod.py``) from this one file, so it imports nothing of the project: only the standard library and
aiohttp, which every BentoML image carries. ``report.py`` reads what it prints.

The rows are a JSON list of ``{"body": {…}, "answer": {…}}``: the request as it is sent, and the fields that a right
answer has. Requests start at fixed times whatever happens to the earlier ones (an open loop), so a slow server does
not slow its clients down. When too many are under way, a request whose time has come is skipped and counted; it is
never sent late. A request is *failed* if its answer is not 2xx, or if none comes: no connection, or a time-out.

Standard output has one JSON object per line. Times are Unix seconds, latencies milliseconds.

``{"kind": "second", "at": 1700000000, "sent": …, "skipped": …, "inFlight": …, "lagMilliseconds": …, "versions": […]}``
stands for one second; an answer belongs to the second in which it came, ``lagMilliseconds`` is how late the latest
request of the second started. Each of ``versions`` is ``{"version": "1.0.0", "right": …, "outcomes": {"200":
{"requests": …, "firstAt": …}}, "p50": …, "p95": …, "p99": …, "latencies": {"24": …}}``. The version is null where
nobody said which model answered; an outcome is a status code or one of ``timeout``, ``connect``, ``disconnect``,
``protocol``; ``latencies`` counts answers per bucket, bucket *i* reaching up to 1.1^i milliseconds.

``{"kind": "total", "startedAt": …, "endedAt": …, …}`` comes last, with the same counts over the whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import aiohttp

LATENCY_FACTOR: Final = 1.1
MAX_SECONDS: Final = 7200.0
MAX_RATE: Final = 2000.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What to send, where, how often and for how long."""

    url: str
    host: str | None
    rows: Path
    rate_per_second: float
    seconds: float
    timeout_seconds: float
    max_in_flight: int
    version_header: str
    new_connections: bool = False
    """Whether each request opens a connection of its own, as those of many clients do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request, encoded once, and the fields of its right answer."""

    body: bytes
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    at: float
    version: str | None
    outcome: str
    right: bool
    latency_milliseconds: float


@dataclass(slots=True)
class VersionTally:
    """Counts of the answers of one version."""

    right: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    first_at: dict[str, float] = field(default_factory=dict)
    latencies: dict[int, int] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.right += answer.right
        self.requests[answer.outcome] = self.requests.get(answer.outcome, 0) + 1
        self.first_at.setdefault(answer.outcome, answer.at)
        bucket = latency_bucket(answer.latency_milliseconds)
        self.latencies[bucket] = self.latencies.get(bucket, 0) + 1

    def as_json(self, version: str | None) -> dict[str, Any]:
        """One element of ``versions``."""
        return {
            "version": version,
            "right": self.right,
            "outcomes": {
                outcome: {"requests": count, "firstAt": round(self.first_at[outcome], 3)}
                for outcome, count in sorted(self.requests.items())
            },
            "p50": quantile_milliseconds(self.latencies, 0.50),
            "p95": quantile_milliseconds(self.latencies, 0.95),
            "p99": quantile_milliseconds(self.latencies, 0.99),
            "latencies": {str(bucket): count for bucket, count in sorted(self.latencies.items())},
        }


@dataclass(slots=True)
class Tally:
    """Counts over one second, or over the whole run."""

    sent: int = 0
    skipped: int = 0
    lag_seconds: float = 0.0
    versions: dict[str | None, VersionTally] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Count one answer under its version."""
        self.versions.setdefault(answer.version, VersionTally()).add(answer)

    def is_empty(self) -> bool:
        """Whether nothing was sent, skipped or answered."""
        return not (self.sent or self.skipped or self.versions)

    def as_json(self) -> dict[str, Any]:
        """The fields that a ``second`` and a ``total`` line share."""
        versions = sorted(self.versions.items(), key=lambda item: item[0] or "")
        return {
            "sent": self.sent,
            "skipped": self.skipped,
            "lagMilliseconds": round(self.lag_seconds * 1000, 1),
            "versions": [tally.as_json(version) for version, tally in versions],
        }


def latency_bucket(milliseconds: float) -> int:
    """The smallest i with milliseconds ≤ 1.1^i, at least 0."""
    return max(0, math.ceil(math.log(max(milliseconds, 1.0), LATENCY_FACTOR) - 1e-9))


def quantile_milliseconds(latencies: dict[int, int], share: float) -> float:
    """The upper end of the bucket that holds the quantile: at most 10 % above the exact one."""
    rank = share * sum(latencies.values())
    below = 0
    for bucket, count in sorted(latencies.items()):
        below += count
        if below >= rank:
            return round(LATENCY_FACTOR**bucket, 2)
    return math.nan


class Record:
    """All that was sent and answered: prints each second once it is over, and the total at the end."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print_line = print_line
        self._seconds: dict[int, Tally] = {}
        self._total = Tally()
        self._started_at = time.time()

    def sent(self, lag_seconds: float) -> None:
        """A request was started, so much later than planned."""
        for tally in self._tallies(time.time()):
            tally.sent += 1
            tally.lag_seconds = max(tally.lag_seconds, lag_seconds)

    def skipped(self) -> None:
        """A request was not started, as too many were under way."""
        for tally in self._tallies(time.time()):
            tally.skipped += 1

    def answered(self, answer: Answer) -> None:
        """A request came to its end."""
        for tally in self._tallies(answer.at):
            tally.add(answer)

    def print_seconds_before(self, at: float, in_flight: int) -> None:
        """Print the seconds that ended before a time; they can't change any more."""
        for second in sorted(second for second in self._seconds if second + 1 <= at):
            tally = self._seconds.pop(second)
            if not tally.is_empty():
                self._print({"kind": "second", "at": second, "inFlight": in_flight, **tally.as_json()})

    def print_total(self, in_flight: int) -> None:
        """Print the seconds that are left, and the total."""
        self.print_seconds_before(math.inf, in_flight)
        self._print(
            {
                "kind": "total",
                "startedAt": round(self._started_at, 3),
                "endedAt": round(time.time(), 3),
                "inFlight": in_flight,
                **self._total.as_json(),
            }
        )

    def _tallies(self, at: float) -> tuple[Tally, Tally]:
        return self._seconds.setdefault(int(at), Tally()), self._total

    def _print(self, line: dict[str, Any]) -> None:
        self._print_line(json.dumps(line, separators=(",", ":"), allow_nan=False))


async def generate(settings: Settings, rows: Sequence[Row], record: Record, stop: asyncio.Event) -> None:
    """Send rows at the rate until the time is up or ``stop`` is set; then wait for what is under way."""
    connections = aiohttp.TCPConnector(limit=settings.max_in_flight, force_close=settings.new_connections)
    timeout = aiohttp.ClientTimeout(total=settings.timeout_seconds)
    headers = {"Content-Type": "application/json"} | ({"Host": settings.host} if settings.host else {})
    in_flight: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(connector=connections, timeout=timeout, headers=headers) as session:
        printing = asyncio.create_task(print_each_second(record, in_flight))
        try:
            async for row, lag_seconds in paced(rows, settings, stop):
                if len(in_flight) >= settings.max_in_flight:
                    record.skipped()
                    continue
                record.sent(lag_seconds)
                task = asyncio.create_task(send(session, settings, row, record))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
            if in_flight:
                await asyncio.wait(in_flight, timeout=settings.timeout_seconds + 1)
        finally:
            printing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await printing
            record.print_total(len(in_flight))


async def paced(rows: Sequence[Row], settings: Settings, stop: asyncio.Event) -> AsyncIterator[tuple[Row, float]]:
    """Yield the rows in turn, again and again, each at its time, with how late it is in seconds."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number, row in enumerate(cycle(rows)):
        due = number / settings.rate_per_second
        if due >= settings.seconds:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(started + due):
                await stop.wait()
        if stop.is_set():
            return
        yield row, max(0.0, loop.time() - started - due)


async def send(session: aiohttp.ClientSession, settings: Settings, row: Row, record: Record) -> None:
    """Send one row and record what became of it."""
    began = time.perf_counter()
    version: str | None = None
    right = False
    try:
        async with session.post(settings.url, data=row.body) as response:
            version = response.headers.get(settings.version_header)
            outcome = str(response.status)
            right = is_right(await response.read(), row.answer)
    except TimeoutError:
        outcome = "timeout"
    except aiohttp.ClientConnectorError:
        outcome = "connect"
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError):
        outcome = "disconnect"
    except aiohttp.ClientError:
        outcome = "protocol"
    record.answered(Answer(time.time(), version, outcome, right, (time.perf_counter() - began) * 1000))


def is_right(body: bytes, expected: dict[str, Any]) -> bool:
    """Whether a body is a JSON object with all the expected fields."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and all(answer.get(name) == value for name, value in expected.items())


async def print_each_second(record: Record, in_flight: set[asyncio.Task[None]]) -> None:
    """Print every second shortly after its end."""
    while True:
        await asyncio.sleep(1.0 - time.time() % 1.0 + 0.01)
        record.print_seconds_before(time.time(), len(in_flight))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; ValueError says what is wrong with it."""
    entries = json.loads(path.read_text())
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: a JSON list with at least one row is needed")
    return [Row(json.dumps(entry["body"]).encode(), dict(entry.get("answer", {}))) for entry in entries]


def parse_settings(arguments: Sequence[str]) -> Settings:
    """The settings on the command line; exits with a message where they make no sense."""
    parser = argparse.ArgumentParser(description="Send the rows of a data set to a model at a constant rate.")
    parser.add_argument("--url", required=True, help="where the model answers, path included")
    parser.add_argument("--host", help="the Host header, if it is not the URL's host")
    parser.add_argument("--rows", required=True, type=Path, help="JSON file with the rows")
    parser.add_argument("--rate", required=True, type=float, help=f"requests per second, at most {MAX_RATE:g}")
    parser.add_argument("--seconds", required=True, type=float, help=f"how long, at most {MAX_SECONDS:g}")
    parser.add_argument("--timeout", default=10.0, type=float, help="seconds that a client waits for its answer")
    parser.add_argument("--max-in-flight", default=128, type=int, help="requests under way at once")
    parser.add_argument("--new-connections", action="store_true", help="open a connection for each request")
    parser.add_argument("--version-header", default="x-model-version", help="response header with the model's version")
    given = parser.parse_args(arguments)
    if not 0 < given.rate <= MAX_RATE:
        parser.error(f"--rate must be above 0 and at most {MAX_RATE:g}, got {given.rate:g}")
    if not 0 < given.seconds <= MAX_SECONDS:
        parser.error(f"--seconds must be above 0 and at most {MAX_SECONDS:g}, got {given.seconds:g}")
    if given.timeout <= 0 or given.max_in_flight < 1:
        parser.error("--timeout must be above 0 and --max-in-flight at least 1")
    return Settings(
        url=given.url,
        host=given.host,
        rows=given.rows,
        rate_per_second=given.rate,
        seconds=given.seconds,
        timeout_seconds=given.timeout,
        max_in_flight=given.max_in_flight,
        version_header=given.version_header,
        new_connections=given.new_connections,
    )


async def run(settings: Settings) -> None:
    """Generate until the end, SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await generate(settings, read_rows(settings.rows), Record(lambda line: print(line, flush=True)), stop)


if __name__ == "__main__":
    asyncio.run(run(parse_settings(sys.argv[1:])))
