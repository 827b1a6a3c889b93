"""The load generator against a real HTTP server on the loopback interface."""

import asyncio
import json
import math
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from e2e.load import generator
from e2e.load.generator import Record, Row, Settings, generate, latency_bucket, parse_settings, quantile_milliseconds
from e2e.load.report import LoadReport


@dataclass
class Model:
    """A server that does what each request asks for, and remembers what it was sent."""

    url: str = ""
    hosts: set[str] = field(default_factory=set)
    connections: set[object] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.hosts.add(request.headers["Host"])
        self.connections.add(request.transport.get_extra_info("peername") if request.transport else None)
        self.numbers.append(asked.get("number", -1))
        await asyncio.sleep(asked.get("delay_seconds", 0))
        if asked.get("hang_up"):
            assert request.transport is not None
            request.transport.close()
        headers = {"x-model-version": asked["version"]} if "version" in asked else {}
        return web.json_response({"digit": asked.get("digit")}, status=asked.get("status", 200), headers=headers)


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    served = Model()
    application = web.Application()
    application.router.add_post("/read", served.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}/read"
    yield served
    await runner.cleanup()


def settings_for(url: str, **changes: object) -> Settings:
    settings = Settings(
        url=url,
        host=None,
        rows=Path("unused"),
        rate_per_second=100,
        seconds=0.3,
        timeout_seconds=30,
        max_in_flight=256,
        version_header="x-model-version",
    )
    return replace(settings, **changes)


def rows_of(*bodies: dict[str, object], answer: dict[str, object] | None = None) -> list[Row]:
    return [Row(json.dumps(body).encode(), answer or {}) for body in bodies]


async def report_of(settings: Settings, rows: list[Row]) -> LoadReport:
    lines: list[str] = []
    await generate(settings, rows, Record(lines.append), asyncio.Event())
    return LoadReport.parse("".join(f"{line}\n" for line in lines))


async def test_rows_are_sent_in_turn_with_the_host_that_the_route_matches(model: Model) -> None:
    rows = rows_of(*({"number": number} for number in range(4)))
    report = await report_of(settings_for(model.url, host="digits.example.com", seconds=0.1), rows)
    assert sorted(model.numbers) == sorted([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    assert model.hosts == {"digits.example.com"}
    assert report.requests == report.sent == 10
    assert report.failed == 0


async def test_answers_are_counted_by_the_version_that_gave_them(model: Model) -> None:
    rows = rows_of(
        {"version": "1.0.0", "digit": 7},
        {"version": "1.0.0", "digit": 8},
        {"version": "3.0.0", "status": 500},
        {"status": 503},
        answer={"digit": 7},
    )
    report = await report_of(settings_for(model.url, seconds=0.2), rows)
    assert report.outcomes_of("1.0.0") == {"200": 10}
    assert report.right_of("1.0.0") == 5
    assert report.outcomes_of("3.0.0") == {"500": 5}
    assert report.outcomes_of(None) == {"503": 5}
    assert report.failed_except("3.0.0") == 5


async def test_a_client_that_waits_too_long_counts_a_time_out(model: Model) -> None:
    rows = rows_of({"version": "1.0.0", "delay_seconds": 60})
    report = await report_of(settings_for(model.url, timeout_seconds=0.1, seconds=0.05), rows)
    assert report.outcomes_of(None) == {"timeout": 5}
    assert report.failed == 5
    assert report.latency_milliseconds(0.5) < 30_000


async def test_a_connection_that_is_dropped_under_a_request_is_a_failure(model: Model) -> None:
    report = await report_of(settings_for(model.url, seconds=0.05), rows_of({"hang_up": True}))
    assert report.outcomes_of(None) == {"disconnect": 5}


async def test_a_server_that_refuses_connections_is_a_failure() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and nobody listens there, nor can anybody else
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/read"
        report = await report_of(settings_for(url, seconds=0.05), rows_of({}))
    assert report.outcomes_of(None) == {"connect": 5}


async def test_a_slow_server_does_not_slow_its_clients_down(model: Model) -> None:
    report = await report_of(settings_for(model.url, seconds=0.3), rows_of({"version": "1.0.0", "delay_seconds": 0.5}))
    assert report.sent == report.requests_of("1.0.0") == 30
    assert report.latency_milliseconds(0.5, "1.0.0") >= 500


async def test_requests_over_the_bound_are_skipped_and_said_so(model: Model) -> None:
    rows = rows_of({"version": "1.0.0", "delay_seconds": 60})  # none is answered before the last one's time has come
    report = await report_of(settings_for(model.url, seconds=0.2, max_in_flight=4, timeout_seconds=3), rows)
    assert (report.sent, report.skipped, report.requests) == (4, 16, 4)


async def test_clients_keep_their_connections(model: Model) -> None:
    settings = settings_for(model.url, rate_per_second=50, seconds=0.6, max_in_flight=4)
    report = await report_of(settings, rows_of({"version": "1.0.0"}))
    assert report.sent + report.skipped == 30
    assert report.requests > 4
    assert len(model.connections) <= 4


async def test_the_seconds_add_up_to_the_total(model: Model) -> None:
    rows = rows_of({"version": "1.0.0", "delay_seconds": 0.3}, {"version": "2.0.0"})
    before = time.time()
    report = await report_of(settings_for(model.url, seconds=1.2), rows)
    assert report.total is not None
    assert report.total.sent == report.sent == report.requests == 120
    assert report.total.in_flight == 0
    assert [second.at for second in report.seconds] == sorted({second.at for second in report.seconds})
    first = report.first_answer_at("1.0.0")
    assert first is not None
    assert before + 0.3 <= first <= report.total.ended_at


async def test_sigterm_ends_it_cleanly_with_a_total(model: Model, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"body": {"version": "1.0.0", "digit": 3}, "answer": {"digit": 3}}]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        generator.__file__,
        *(f"--url={model.url}", f"--rows={rows}", "--rate=50", "--seconds=60"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        first = await asyncio.wait_for(process.stdout.readline(), 60)
        process.send_signal(signal.SIGTERM)
        rest = await asyncio.wait_for(process.stdout.read(), 60)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report = LoadReport.parse((first + rest).decode())
    assert report.total is not None
    assert report.total.sent == report.requests == report.right_of("1.0.0") > 0
    assert report.failed == 0


@given(st.lists(st.floats(1, 60_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_a_tenth_above_the_exact_one(milliseconds: list[float], share: float) -> None:
    latencies: dict[int, int] = {}
    for latency in milliseconds:
        bucket = latency_bucket(latency)
        latencies[bucket] = latencies.get(bucket, 0) + 1
    exact = sorted(milliseconds)[math.ceil(share * len(milliseconds)) - 1]
    assert exact * 0.999 - 0.01 <= quantile_milliseconds(latencies, share) <= exact * 1.1 + 0.01


@pytest.mark.parametrize(
    "bad", ["--rate=0", "--rate=100000", "--seconds=0", "--seconds=1e9", "--timeout=0", "--max-in-flight=0"]
)
def test_senseless_settings_are_refused(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--url=http://127.0.0.1/", "--rows=rows.json", "--rate=1", "--seconds=1", bad])
    assert bad.partition("=")[0] in capsys.readouterr().err


def test_rows_that_are_no_list_are_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("{}")
    with pytest.raises(ValueError, match="a JSON list with at least one row"):
        generator.read_rows(rows)
