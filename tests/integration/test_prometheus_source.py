"""Readings from a real Prometheus that scrapes pods as BentoML would show them: restarts, copies, outages, odd names.

A pod is an HTTP server with BentoML's /metrics; what it has answered is known, so every reading can be held against it.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from serinus.api.analysis import Analysis
from serinus.api.defaults import METRICS
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.intervals import intervals_of, total_of
from serinus.core.evidence.judge import judge
from serinus.core.evidence.policy import alpha_fail, alpha_pass, policy_of
from serinus.core.readings import Counters, Gauge, Grid, Missing, MissingReason, Part, PodStart
from serinus.core.verdicts import Fail, Pass
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.promql import quote, re2_literal
from serinus.metrics.source import ErrorShare, EventRatio, QueryValue, ReadingRequest, SlowShare, request_for
from tests.integration.prometheus_process import PATIENCE_SECONDS, Prometheus, scraping
from tests.integration.scraped_pods import Namespace, Pod

SCRAPE_SECONDS = 0.25
STEP_SECONDS = 1.0
ERRORS = ErrorShare(("5..", "429"), client_errors=True)

CONFIG = scraping(SCRAPE_SECONDS, "annotations", "monitoring/podmonitor")


@pytest.fixture(scope="module")
def shared_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus.running(tmp_path_factory.mktemp("prometheus"), CONFIG) as prometheus:
        yield prometheus


@pytest.fixture
def namespace(shared_prometheus: Prometheus) -> Iterator[Namespace]:
    namespace = Namespace(shared_prometheus, f"test-{uuid.uuid4().hex[:8]}")
    yield namespace
    namespace.clear()


@pytest.fixture
async def source(shared_prometheus: Prometheus) -> AsyncIterator[PrometheusSource]:
    source = PrometheusSource(shared_prometheus.url)
    yield source
    await source.close()


class Question:
    """A reading asked again and again until it says what it should."""

    def __init__(
        self, source: PrometheusSource, namespace: Namespace, measure, prefix="m-1", grid=None, **fields
    ) -> None:
        self.source = source
        self.grid = grid or Grid(anchor=float(int(time.time())), step_seconds=STEP_SECONDS)
        self.fields = {"measure": measure, "namespace": namespace.name, "pod_prefix": prefix} | fields

    async def ask(self):
        return await self.source.read(ReadingRequest(grid=self.grid, end=time.time(), **self.fields))

    async def until(self, check: Callable[[object], bool]):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not check(reading := await self.ask()):
            assert time.monotonic() < deadline, f"the last reading was {reading}"
            await asyncio.sleep(0.2)
        return reading


def counted(reading, pods, latency=False):
    """Requests by the core's own arithmetic: total, surely bad, possibly bad, refused."""
    if not isinstance(reading, Counters):
        return None
    intervals = intervals_of(reading, [pod.start if isinstance(pod, Pod) else pod for pod in pods], latency=latency)
    return None if isinstance(intervals, Missing) else total_of(t for i in intervals for t in i.strata.values())


def counts(*expected: float, pods, latency=False):
    """A check of a reading: these counts, given pods (or starts) that began inside the window."""
    return lambda reading: counted(reading, pods, latency) == expected


async def test_every_request_is_counted_once_across_late_codes_and_restarts(source, namespace):
    question = Question(source, namespace, ERRORS)
    pod = namespace.pod("m-1-aaaaa")
    pod.answer(40)
    pod.answer(2, "500")
    await question.until(counts(42, 2, 2, 0, pods=(pod,)))

    pod.answer(3, "429")
    pod.answer(5, "400")
    await question.until(counts(50, 5, 5, 5, pods=(pod,)))

    pod.restart()
    pod.answer(7)
    pod.answer(1, "504")
    reading = await question.until(counts(58, 6, 6, 5, pods=(pod,)))
    assert {series.pod for series in reading.series} == {"m-1-aaaaa"}


async def test_what_an_older_pod_served_before_the_window_is_not_counted(source, namespace):
    early = Question(source, namespace, ERRORS)
    pod = namespace.pod("m-1-aaaaa")
    pod.answer(1000)
    await early.until(counts(1000, 0, 0, 0, pods=(pod,)))

    question = Question(source, namespace, ERRORS)
    await question.until(counts(0, 0, 0, 0, pods=()))
    pod.answer(30)
    pod.answer(4, "503")
    await question.until(counts(34, 4, 4, 0, pods=()))


async def test_a_pod_scraped_by_two_jobs_is_counted_once(source, namespace):
    question = Question(source, namespace, ERRORS)
    pod = namespace.pod("m-1-aaaaa")
    namespace.scrape(pod, "podmonitor", endpoint="http", container="model")
    namespace.scrape(pod, "podmonitor", endpoint="http", container="sidecar", service="m")
    pod.answer(20)
    pod.answer(2, "500")
    check = counts(22, 2, 2, 0, pods=(pod,))
    await question.until(check)
    copies = QueryValue("count(bentoml_service_request_total{%pods%,http_response_code='200'})")
    value = Question(source, namespace, copies)
    await value.until(lambda reading: isinstance(reading, Gauge) and reading.samples[-1].value == 3)
    await question.until(check)


async def test_pods_known_only_to_the_prometheus_operator_are_read_by_their_path(source, namespace):
    question = Question(source, namespace, ERRORS)
    pod = Pod(namespace.name, "m-1-aaaaa")
    namespace.pods.append(pod)
    namespace.scrape(pod, "podmonitor", endpoint="http", container="model")
    pod.answer(9)
    pod.answer(70, path="/readyz")
    reading = await question.until(counts(9, 0, 0, 0, pods=(pod,)))
    assert {series.stratum for series in reading.series} == {"/read"}


async def test_probes_and_paths_that_do_not_exist_are_not_counted(source, namespace):
    question = Question(source, namespace, ERRORS, peer_prefixes=("m-2",))
    pod = namespace.pod("m-1-aaaaa")
    pod.answer(10)
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        pod.answer(100, path=path)
    pod.answer(50, "404", path="/nope")
    await question.until(counts(10, 0, 0, 0, pods=(pod,)))


async def test_requests_to_a_path_that_only_the_other_revision_has_are_refused_ones(source, namespace):
    question = Question(source, namespace, ERRORS, prefix="m-2", peer_prefixes=("m-1",))
    namespace.pod("m-1-aaaaa", routes=("/read",))
    renamed = namespace.pod("m-2-aaaaa", routes=("/predict",))
    renamed.answer(25, "404", path="/read")
    await question.until(counts(25, 0, 0, 25, pods=(renamed,)))


async def test_revisions_and_namespaces_are_told_apart(source, namespace):
    question = Question(source, namespace, ERRORS)
    pods = [namespace.pod(name) for name in ("m-1-aaaaa", "m-1-bbbbb")]
    others = [namespace.pod(name) for name in ("m-11-aaaaa", "m-2-aaaaa", "xm-1-aaaaa", "m-1")]
    for number, pod in enumerate([*pods, *others]):
        pod.answer(10**number)
    await question.until(counts(11, 0, 0, 0, pods=tuple(pods)))


async def test_slow_requests_are_bounded_by_the_buckets_around_the_threshold(source, namespace):
    grid = Question(source, namespace, ERRORS).grid
    pod = namespace.pod("m-1-aaaaa")
    pod.answer(50, seconds=0.05)
    pod.answer(10, seconds=0.6)
    pod.answer(5, seconds=3.0)
    pod.answer(2, "500", seconds=0.001)
    for threshold, surely, possibly in ((0.5, 17, 17), (0.7, 7, 17), (0.2, 17, 17), (9.0, 2, 7)):
        question = Question(source, namespace, SlowShare(threshold, compared=True), grid=grid)
        await question.until(counts(67, surely, possibly, 0, pods=(pod,), latency=True))


async def test_a_pod_without_traffic_reports_a_total_of_zero(source, namespace):
    pod = namespace.pod("m-1-aaaaa")
    for measure in (ERRORS, SlowShare(0.5, compared=True)):
        question = Question(source, namespace, measure)
        reading = await question.until(lambda reading: isinstance(reading, Counters) and bool(reading.series))
        assert {series.pod for series in reading.series} == {pod.name}
        assert {sample.value for series in reading.series for sample in series.samples} == {0.0}


HOSTILE = ('"', "\\", "a\nb", 'x"} or vector(1) #', ".*", "a|b", "%pods%", "naïve-モデル", "[", "\\d+", "`", "{", " ")


def exposed(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


async def test_hostile_label_values_select_exactly_their_series(source, namespace):
    grid = Question(source, namespace, ERRORS).grid
    pod = namespace.pod("m-1-aaaaa")
    pod.extra = "\n".join(f'hostile_total{{value="{exposed(text)}"}} {place}' for place, text in enumerate(HOSTILE, 1))
    for place, text in enumerate(HOSTILE, 1):
        equal = f"hostile_total{{value={quote(text)},%pods%}}"
        alike = f"hostile_total{{%pods%,value=~{quote(re2_literal(text))}}}"
        question = Question(source, namespace, EventRatio(equal, alike), grid=grid)
        await question.until(counts(place, place, place, 0, pods=(pod,)))


async def test_hostile_names_of_namespaces_and_pods_reach_nothing_else(source, shared_prometheus, namespace):
    namespace.pod("m-1-aaaaa").answer(1000)
    grid = Question(source, namespace, ERRORS).grid
    hostile = [Namespace(shared_prometheus, f"{namespace.name}{name}") for name in HOSTILE]
    try:
        pods = [each.pod(f"{name}-aaaaa") for each, name in zip(hostile, HOSTILE, strict=True)]
        for place, pod in enumerate(pods, 1):
            pod.answer(place)
        for place, (each, name) in enumerate(zip(hostile, HOSTILE, strict=True), 1):
            question = Question(source, each, ERRORS, prefix=name, grid=grid)
            await question.until(counts(place, 0, 0, 0, pods=(pods[place - 1],)))
    finally:
        for each in hostile:
            each.clear()


async def test_a_users_counters_are_read_by_their_own_label_of_the_pod(source, namespace):
    exporter = namespace.pod("exporter")
    rows = {"m-1-aaaaa": (3, 50), "m-1-bbbbb": (1, 40), "m-2-aaaaa": (9, 9)}
    exporter.extra = "\n".join(
        f'nulls_total{{of="{pod}"}} {bad}\npredictions_total{{of="{pod}"}} {total}'
        for pod, (bad, total) in rows.items()
    )
    measure = EventRatio("nulls_total{%pods%}", "predictions_total{%pods%}")
    question = Question(source, namespace, measure, pod_label="of")
    starts = [PodStart(pod, time.time()) for pod in rows]
    await question.until(counts(90, 4, 4, 0, pods=starts))


async def test_a_value_is_one_number_of_the_revisions_pods(source, namespace):
    for name, value in (("m-1-aaaaa", 10), ("m-1-bbbbb", 30), ("m-2-aaaaa", 99)):
        namespace.pod(name).extra = f"memory {value}"
    question = Question(source, namespace, QueryValue("max(memory{%pods%})"))
    await question.until(lambda reading: isinstance(reading, Gauge) and reading.samples[-1].value == 30)


NO_NUMBER = (
    ("memory{%pods%}", MissingReason.AMBIGUOUS, "max(…)"),
    ("max(nothing{%pods%})", MissingReason.EMPTY, "nothing{"),
    ("max(broken{%pods%})", MissingReason.NOT_A_NUMBER, "nan"),
    ("max(memory{%pods%}", MissingReason.INVALID_QUERY, "parse error"),
    ("quantile(2, memory{%pods%})", MissingReason.WARNING, "quantile"),
)


async def test_a_query_that_gives_no_number_is_missing_with_the_reason(source, namespace):
    for name in ("m-1-aaaaa", "m-1-bbbbb"):
        namespace.pod(name).extra = "memory 1\nbroken NaN"
    ready = Question(source, namespace, QueryValue("count(memory{%pods%})"))
    await ready.until(lambda reading: isinstance(reading, Gauge) and reading.samples[-1].value == 2)
    for query, why, said in NO_NUMBER:
        question = Question(source, namespace, QueryValue(query), grid=ready.grid)
        missing = await question.until(lambda found, why=why: isinstance(found, Missing) and found.reason is why)
        assert said in missing.detail, query


async def test_an_informational_note_of_prometheus_does_not_make_a_reading_missing(source, namespace):
    namespace.pod("m-1-aaaaa").extra = "memory 5"
    question = Question(source, namespace, QueryValue("max(rate(memory{%pods%}[2s]))"))
    await question.until(lambda reading: isinstance(reading, Gauge) and reading.samples[-1].value == 0)


class Comparison:
    """A candidate (m-2) beside a stable revision (m-1), judged by one of the default metrics."""

    def __init__(self, source: PrometheusSource, namespace: Namespace, metric) -> None:
        self.source, self.namespace, self.metric = source, namespace, metric
        self.grid = Question(source, namespace, ERRORS).grid
        self.stable = [namespace.pod("m-1-aaaaa")]
        self.candidate = [namespace.pod("m-2-aaaaa"), namespace.pod("m-2-bbbbb")]

    def read(self, own: str, peer: str):
        request = request_for(
            self.metric,
            namespace=self.namespace.name,
            pod_prefix=own,
            grid=self.grid,
            end=time.time(),
            peer_prefixes=(peer,),
        )
        return self.source.read(request)

    async def judge(self):
        analysis = Analysis()
        candidate, stable = await asyncio.gather(self.read("m-2", "m-1"), self.read("m-1", "m-2"))
        circumstances = Circumstances(
            now=time.time(),
            step_started_at=self.grid.anchor,
            alpha_fail=alpha_fail(analysis, watched=False),
            alpha_pass=alpha_pass(analysis),
            stale_after_seconds=3 * STEP_SECONDS,
            candidate_pods=tuple(pod.start for pod in self.candidate),
            stable_pods=tuple(pod.start for pod in self.stable),
        )
        policy = next(policy for policy in policy_of(analysis) if policy.name == self.metric.name)
        return judge(policy, candidate, stable, circumstances)

    async def until(self, check, serve=lambda: None):
        deadline = time.monotonic() + 2 * PATIENCE_SECONDS
        while not check(found := await self.judge()):
            assert time.monotonic() < deadline, f"the last verdict was {found}"
            serve()
            await asyncio.sleep(0.2)
        return found


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
async def test_a_harmless_candidate_passes_on_what_prometheus_has(source, namespace, metric):
    comparison = Comparison(source, namespace, metric)

    def serve():
        for pod in comparison.candidate:
            pod.answer(100)
        comparison.stable[0].answer(400)
        comparison.stable[0].answer(1, "500")

    found = await comparison.until(lambda found: isinstance(found.verdict, Pass | Fail), serve)
    assert isinstance(found.verdict, Pass), found.message


@pytest.mark.parametrize(
    ("metric", "harm"),
    [(METRICS[0], {"code": "500"}), (METRICS[0], {"code": "400"}), (METRICS[1], {"seconds": 3.0})],
    ids=["fails", "refuses valid input", "slow"],
)
async def test_a_bad_candidate_fails_on_what_prometheus_has(source, namespace, metric, harm):
    comparison = Comparison(source, namespace, metric)

    def serve():
        for pod in comparison.candidate:
            pod.answer(16)
            pod.answer(4, **harm)
        comparison.stable[0].answer(400)

    found = await comparison.until(lambda found: isinstance(found.verdict, Pass | Fail), serve)
    assert isinstance(found.verdict, Fail), found.message


async def test_a_pod_that_vanishes_leaves_its_revision_uncovered_and_then_silent(source, namespace):
    comparison = Comparison(source, namespace, METRICS[0])

    def missing(reason):
        return lambda found: isinstance(found.verdict, Missing) and found.verdict.reason is reason

    await comparison.until(lambda found: not isinstance(found.verdict, Missing))
    comparison.candidate[0].stop()
    namespace.pods.remove(comparison.candidate[0])
    found = await comparison.until(missing(MissingReason.NOT_COVERED))
    assert "m-2-aaaaa" in found.message
    comparison.candidate[1].stop()
    namespace.pods.remove(comparison.candidate[1])
    await comparison.until(missing(MissingReason.CANDIDATE_SILENT))


async def test_an_outage_of_prometheus_is_missing_and_loses_no_request(tmp_path):
    prometheus = Prometheus(tmp_path, CONFIG)
    namespace = Namespace(prometheus, "prod")
    source = PrometheusSource(prometheus.url)
    try:
        question = Question(source, namespace, ERRORS)
        lasting, lost = namespace.pod("m-1-aaaaa"), namespace.pod("m-1-bbbbb")
        pods = (lasting, lost)
        lasting.answer(20)
        lost.answer(10)
        await question.until(counts(30, 0, 0, 0, pods=pods))

        prometheus.kill()
        died_at = time.time()
        reading = await question.ask()
        assert isinstance(reading, Missing)
        assert reading.reason is MissingReason.SOURCE_UNAVAILABLE
        assert "Connection refused" in reading.detail
        namespace.remove(lost)
        lasting.answer(15)
        lasting.answer(5, "500")
        lasting.answer(2, "429")

        prometheus.start()
        reading = await question.until(counts(52, 7, 7, 0, pods=pods))
        # Nobody told Prometheus that this pod has gone: it repeats the last value for minutes.
        newest = max(s.samples[-1].at for s in reading.series if s.pod == lost.name and s.part is Part.TOTAL)
        assert newest <= died_at + STEP_SECONDS
    finally:
        await source.close()
        namespace.clear()
        prometheus.kill()
