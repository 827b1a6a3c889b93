"""How often a real Prometheus scrapes pods that are some seconds old, as `helm test` asks it."""

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from serinus.core.readings import Missing
from serinus.metrics import promql
from serinus.metrics.prometheus import PrometheusSource
from tests.integration.prometheus_process import PATIENCE_SECONDS, Prometheus, scraping
from tests.integration.scraped_pods import Namespace

SCRAPE_SECONDS = 0.25


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    config = scraping(SCRAPE_SECONDS, "annotations")
    with Prometheus.running(tmp_path_factory.mktemp("prometheus"), config) as prometheus:
        yield prometheus


@pytest.fixture
def namespace(prometheus: Prometheus) -> Iterator[Namespace]:
    namespace = Namespace(prometheus, f"test-{uuid.uuid4().hex[:8]}")
    yield namespace
    namespace.clear()


@pytest.fixture
async def source(prometheus: Prometheus) -> AsyncIterator[PrometheusSource]:
    source = PrometheusSource(prometheus.url)
    yield source
    await source.close()


def seconds_apart(namespace: Namespace, expected_seconds: float) -> str:
    of_pods = promql.Selector("up", (promql.Matcher("namespace", "=", namespace.name),))
    return promql.seconds_between_scrapes(of_pods, expected_seconds)


async def test_the_time_between_scrapes_is_right_from_the_first_scrapes_of_a_pod(source, namespace):
    namespace.pod("m-1-aaaaa")
    query = seconds_apart(namespace, 0.1)
    told: list[float] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(told) < 20:
        assert time.monotonic() < deadline, f"only {told} after {PATIENCE_SECONDS} s"
        found = await source.number(query, time.time())
        assert not isinstance(found, Missing), found
        told += [found] if found else []
        await asyncio.sleep(SCRAPE_SECONDS / 5)
    assert max(told) < 4 * SCRAPE_SECONDS, told  # late once in a while, on a busy machine
    assert statistics.median(told) == pytest.approx(SCRAPE_SECONDS, rel=0.2), told


async def test_nothing_is_told_of_the_time_between_scrapes_until_a_pod_was_there_for_as_long(source, namespace):
    namespace.pod("m-1-aaaaa")
    soon, later = seconds_apart(namespace, 0.1), seconds_apart(namespace, 30)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (at_hand := await source.number(soon, time.time())):
        assert time.monotonic() < deadline
        await asyncio.sleep(SCRAPE_SECONDS)
    assert at_hand < 4 * SCRAPE_SECONDS
    assert await source.number(later, time.time()) == 0


async def test_scrapes_that_are_closer_than_expected_are_never_told_to_be_farther_apart(source, namespace):
    namespace.pod("m-1-aaaaa")
    query = seconds_apart(namespace, 2)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (told := await source.number(query, time.time())):
        assert time.monotonic() < deadline
        await asyncio.sleep(SCRAPE_SECONDS)
    assert SCRAPE_SECONDS <= told < 2
