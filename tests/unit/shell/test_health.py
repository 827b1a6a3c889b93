"""The probes and the metrics, over HTTP."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from serinus.settings import SettingsError
from serinus.shell.health import Health, serve
from serinus.shell.telemetry import Telemetry


def healthy() -> Health:
    return Health(
        contacts={"services": time.monotonic},
        stale_after_seconds=180,
        longest_pass_seconds=lambda: 1.0,
        defects=(lambda: None,),
        unready=lambda: None,
    )


def ago(seconds: float) -> Callable[[], float]:
    return lambda: time.monotonic() - seconds


@asynccontextmanager
async def served(health: Health, telemetry: Telemetry | None = None) -> AsyncIterator[str]:
    async with serve(0, health, telemetry or Telemetry("test"), host="127.0.0.1") as port:
        yield f"http://127.0.0.1:{port}"


async def answer(health: Health, path: str) -> tuple[int, str]:
    async with served(health) as url, aiohttp.ClientSession() as session, session.get(url + path) as response:
        return response.status, await response.text()


async def test_process_that_works_is_alive_and_ready() -> None:
    assert await answer(healthy(), "/healthz") == (200, "ok\n")
    assert await answer(healthy(), "/readyz") == (200, "ok\n")


async def test_silent_watch_fails_the_liveness_probe_and_is_named() -> None:
    health = replace(healthy(), contacts={"services": ago(181), "pods": ago(179)})
    status, text = await answer(health, "/healthz")
    assert status == 503
    assert text == "the watch of services has been silent for 181 s, more than 180 s\n"


async def test_watch_that_never_spoke_counts_from_the_start() -> None:
    fresh = replace(healthy(), contacts={"services": lambda: None})
    assert (await answer(fresh, "/healthz"))[0] == 200
    assert (await answer(replace(fresh, started_at=time.monotonic() - 200), "/healthz"))[0] == 503


async def test_hanging_pass_fails_the_liveness_probe() -> None:
    status, text = await answer(replace(healthy(), longest_pass_seconds=lambda: 200.0), "/healthz")
    assert (status, text) == (503, "a pass has taken 200 s and is not over\n")


async def test_defect_fails_the_liveness_probe_in_its_own_words() -> None:
    health = replace(healthy(), defects=(lambda: None, lambda: "2 of 16 workers have ended by themselves"))
    assert await answer(health, "/healthz") == (503, "2 of 16 workers have ended by themselves\n")


async def test_empty_caches_fail_only_the_readiness_probe() -> None:
    health = replace(healthy(), unready=lambda: "the children are not listed yet")
    assert await answer(health, "/readyz") == (503, "the children are not listed yet\n")
    assert (await answer(health, "/healthz"))[0] == 200


async def test_metrics_are_in_the_format_that_prometheus_reads() -> None:
    telemetry = Telemetry("pod-1")
    telemetry.gauge("serinus_leading", "1 while this process holds the Lease.", lambda: True)
    telemetry.happenings.labels("Promoted").inc()
    async with (
        served(healthy(), telemetry) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/metrics") as response,
    ):
        text = await response.text()
        assert response.content_type == "text/plain"
    lines = text.splitlines()
    assert 'serinus_happenings_total{happening="Promoted"} 1.0' in lines
    assert "serinus_leading 1.0" in lines
    assert any(line.startswith("serinus_build_info{") and 'identity="pod-1"' in line for line in lines)
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


async def test_port_that_is_taken_is_said_with_the_setting_that_names_it() -> None:
    async with serve(0, healthy(), Telemetry("test"), host="127.0.0.1") as port:
        with pytest.raises(SettingsError, match=f"SERINUS_HTTP_PORT={port}: can't listen there"):
            async with serve(port, healthy(), Telemetry("test"), host="127.0.0.1"):
                pass
