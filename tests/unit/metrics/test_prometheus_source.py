"""A source against a server that misbehaves in every way: a reading or a reason, in time, and never an exception."""

import asyncio
import socket
import threading
import time
from contextlib import asynccontextmanager

import pytest

from serinus.core.readings import Counters, Gauge, Grid, Missing, MissingReason, Part, Sample
from serinus.metrics.answers import UnreadableError
from serinus.metrics.connection import Connection, Endpoint
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.source import ErrorShare, EventRatio, QueryValue, ReadingRequest, SlowShare
from tests.unit.metrics.servers import serving

GRID = Grid(anchor=1_000.5, step_seconds=10.0)
ERRORS = ErrorShare(("5..", "429"), client_errors=True)
VALUE = QueryValue("max(memory{%pods%})")
RATIO = EventRatio("nulls_total{%pods%}", "predictions_total{%pods%}")


def request(measure=VALUE, *, end=1_030.5, namespace="prod", **fields):
    return ReadingRequest(measure=measure, namespace=namespace, pod_prefix="m-1", grid=GRID, end=end, **fields)


@asynccontextmanager
async def source_at(url, **settings):
    source = PrometheusSource(url, **{"timeout_seconds": 20.0} | settings)
    try:
        yield source
    finally:
        await source.close()


async def read_from(answer, asked=None, **settings):
    with serving(answer) as server:
        async with source_at(server.url, **settings) as source:
            return await source.read(asked or request())


def success(result, **fields):
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **fields}


def row(values, **labels):
    return {"metric": labels, "values": values}


GOOD = success([row([[1_000.5, "1"], [1_010.5, "2"]], pod="m-1-a")])


async def test_a_value_is_read_on_the_grid_to_the_millisecond():
    with serving(lambda *_: GOOD) as server:
        async with source_at(server.url) as source:
            reading = await source.read(request(end=1_039.0))
    assert reading == Gauge((Sample(1_000.5, 1.0), Sample(1_010.5, 2.0)))
    ((path, parameters, _),) = server.seen
    assert path == "/api/v1/query_range"
    assert parameters == {
        "query": 'max(memory{namespace="prod",pod=~"m-1-.+"})',
        "start": "1000.5",
        "end": "1030.5",
        "step": "10",
        "limit": "20000",
        "nocache": "1",
        "latency_offset": "1ms",
    }


REFUSALS = {
    "500 with words": (
        lambda s: s.raw(500, b'{"status":"error","errorType":"internal","error":"disk is full"}'),
        MissingReason.SOURCE_UNAVAILABLE,
        "disk is full",
    ),
    "a gateway's page": (
        lambda s: s.raw(502, b"<h1>Bad Gateway</h1>"),
        MissingReason.SOURCE_UNAVAILABLE,
        "Bad Gateway",
    ),
    "a login page": (
        lambda s: s.raw(302, b"", Location="http://127.0.0.1:1/login"),
        MissingReason.SOURCE_UNAVAILABLE,
        "redirects",
    ),
    "nonsense": (lambda s: s.raw(200, b'{"status": "succ'), MissingReason.SOURCE_UNAVAILABLE, "not Prometheus' JSON"),
    "JSON of another kind": (lambda s: s.raw(200, b'{"status":"success"}'), MissingReason.SOURCE_UNAVAILABLE, "shape"),
    "data of another kind": (
        lambda s: s.raw(200, b'{"status":"success","data":[{"result":1}]}'),
        MissingReason.SOURCE_UNAVAILABLE,
        "shape",
    ),
    "less than promised": (
        lambda s: s.raw(200, b'{"status":"success","data', Connection="close", promised=1000),
        MissingReason.SOURCE_UNAVAILABLE,
        "",
    ),
    "broken compression": (
        lambda s: s.raw(200, b"not gzip", **{"Content-Encoding": "gzip"}),
        MissingReason.SOURCE_UNAVAILABLE,
        "",
    ),
    "a query timeout": (
        lambda s: s.raw(503, b'{"status":"error","errorType":"timeout","error":"too heavy"}'),
        MissingReason.TIMEOUT,
        "too heavy",
    ),
    "a parse error": (
        lambda s: s.raw(400, b'{"status":"error","errorType":"bad_data","error":"unexpected )"}'),
        MissingReason.INVALID_QUERY,
        "unexpected )",
    ),
    "a warning": (lambda s: success([], warnings=["partial response"]), MissingReason.WARNING, "partial response"),
    "part of an answer": (lambda s: success([], isPartial=True), MissingReason.WARNING, "not every storage node"),
    "other times": (
        lambda s: success([row([[1_000.0, "1"], [1_010.0, "2"]])]),
        MissingReason.SOURCE_UNAVAILABLE,
        "--query-range.align-range-with-step=false",
    ),
    "nothing": (lambda s: success([]), MissingReason.EMPTY, "memory{"),
    "NaN": (lambda s: success([row([[1_000.5, "1"], [1_010.5, "NaN"]])]), MissingReason.NOT_A_NUMBER, "nan"),
    "infinity": (lambda s: success([row([[1_000.5, "+Inf"]])]), MissingReason.NOT_A_NUMBER, "inf"),
    "two numbers": (
        lambda s: success([row([[1_000.5, "1"]], gpu="0"), row([[1_000.5, "2"]], gpu="1")]),
        MissingReason.AMBIGUOUS,
        "max(…)",
    ),
}


@pytest.mark.parametrize(("answer", "why", "said"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_an_answer_that_is_no_reading_is_missing_with_the_reason(answer, why, said):
    with serving(lambda *_: answer(server)) as server:
        async with source_at(server.url) as source:
            reading = await source.read(request())
    assert isinstance(reading, Missing)
    assert reading.reason is why
    assert said in reading.detail


async def test_an_informational_note_is_no_warning():
    assert isinstance(await read_from(lambda *_: GOOD | {"warnings": ["PromQL info: hm"], "infos": ["hm"]}), Gauge)


async def test_a_value_whose_labels_change_from_pod_to_pod_is_still_one_number():
    answer = success([row([[1_000.5, "1"]], pod="m-1-a"), row([[1_010.5, "NaN"], [1_020.5, "2"]], pod="m-1-b")])
    assert await read_from(lambda *_: answer) == Gauge((Sample(1_000.5, 1.0), Sample(1_020.5, 2.0)))


async def test_a_refused_connection_is_missing_without_the_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:hunter2@127.0.0.1:{taken.getsockname()[1]}/prefix/?token=hunter2"
        async with source_at(url) as source:
            reading = await source.read(request())
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.SOURCE_UNAVAILABLE
    assert "Connection refused" in reading.detail
    assert "127.0.0.1" in reading.detail
    assert "hunter2" not in reading.detail


async def test_a_host_that_does_not_exist_is_named():
    async with source_at("http://prometheus.invalid:9090") as source:
        reading = await source.read(request())
    assert isinstance(reading, Missing)
    assert reading.reason in {MissingReason.SOURCE_UNAVAILABLE, MissingReason.TIMEOUT}  # as the resolver has it
    assert "prometheus.invalid" in reading.detail


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://prometheus", "http://", "file:///etc/passwd"])
def test_a_url_that_is_none_is_refused_at_the_start(url):
    with pytest.raises(ValueError, match="URL of Prometheus"):
        PrometheusSource(url)


async def test_credentials_and_headers_are_sent():
    with serving(lambda *_: GOOD) as server:
        url = server.url.replace("://", "://user:pass@") + "/prometheus/"
        async with source_at(url, headers={"X-Scope-OrgID": "team"}) as source:
            assert isinstance(await source.read(request()), Gauge)
    ((path, _, headers),) = server.seen
    assert path == "/prometheus/api/v1/query_range"
    assert headers["Authorization"] == "Basic dXNlcjpwYXNz"
    assert headers["X-Scope-OrgID"] == "team"


def hang(server):
    def wait(handler):
        server.stop.wait(60)
        handler.close_connection = True

    return wait


def drip(server):
    """Send one byte after the other, each well within any timeout of a socket."""

    def send(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not server.stop.wait(0.05):
            handler.wfile.write(b" ")

    return send


@pytest.mark.parametrize("behaviour", [hang, drip])
async def test_a_slow_server_is_given_up_in_time(behaviour):
    with serving(lambda *_: behaviour(server)) as server:
        async with source_at(server.url, timeout_seconds=0.4) as source:
            started = time.monotonic()
            reading = await source.read(request())
            took = time.monotonic() - started
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.TIMEOUT
    assert "0.4 s" in reading.detail
    assert took < 20


def test_a_dripping_server_does_not_keep_the_thread():
    with serving(lambda *_: drip(server)) as server:
        connection = Connection(Endpoint(server.url, timeout_seconds=0.4))
        with pytest.raises(UnreadableError) as caught:
            connection.over_range("up", 1000.0, 1010.0, 10.0)
        connection.close()
    assert caught.value.missing.reason is MissingReason.TIMEOUT


async def test_a_slow_server_does_not_stop_the_event_loop():
    with serving(lambda *_: hang(server)) as server:
        async with source_at(server.url, timeout_seconds=30) as source:
            reading = asyncio.create_task(source.read(request()))
            assert await asyncio.to_thread(server.asked.wait, 20)
            for _ in range(5):
                await asyncio.sleep(0.01)
            assert not reading.done()
            server.stop.set()
            assert isinstance(await reading, Missing)


async def test_readings_waiting_for_their_turn_are_not_timed_out_by_it():
    def slowly(*_):
        time.sleep(0.25)
        return GOOD

    with serving(slowly) as server:
        async with source_at(server.url, timeout_seconds=3, max_concurrent=2) as source:
            readings = await asyncio.gather(*(source.read(request(end=1_030.5 + 10 * n)) for n in range(16)))
    assert {type(reading) for reading in readings} == {Gauge}


async def test_no_more_calls_than_allowed_are_under_way():
    lock, three_at_once, under_way, most = threading.Lock(), threading.Event(), 0, 0

    def counting(*_):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if most == 3:
                three_at_once.set()
        three_at_once.wait(20)
        time.sleep(0.05)  # room for a fourth
        with lock:
            under_way -= 1
        return GOOD

    with serving(counting) as server:
        async with source_at(server.url, max_concurrent=3) as source:
            asked = (request(end=1_030.5 + 10 * n, namespace=f"team-{n % 2}") for n in range(12))
            await asyncio.gather(*map(source.read, asked))
    assert most == 3


async def test_a_namespace_whose_queries_are_slow_keeps_no_other_waiting():
    def slow_for_one(_, parameters):
        return hang(server) if 'namespace="slow"' in parameters["query"] else GOOD

    with serving(slow_for_one) as server:
        async with source_at(server.url, timeout_seconds=30, max_concurrent=3) as source:
            slow = [
                asyncio.create_task(source.read(request(end=1_030.5 + 10 * n, namespace="slow"))) for n in range(20)
            ]
            assert await asyncio.to_thread(server.asked.wait, 20)
            others = [await source.read(request(end=1_030.5 + 10 * n, namespace="other")) for n in range(5)]
            assert {type(reading) for reading in others} == {Gauge}
            assert not any(task.done() for task in slow)
            server.stop.set()
            await asyncio.gather(*slow)


async def test_what_several_ask_at_once_or_one_after_the_other_is_asked_once():
    with serving(lambda *_: (time.sleep(0.05), GOOD)[1]) as server:
        async with source_at(server.url) as source:
            together = await asyncio.gather(*(source.read(request()) for _ in range(5)))
            later = await source.read(request())
            another_window = await source.read(request(end=1_040.5))
    assert {type(reading) for reading in (*together, later, another_window)} == {Gauge}
    assert len(server.seen) == 2


async def test_one_who_is_cut_off_takes_the_answer_from_nobody():
    with serving(lambda *_: (time.sleep(0.1), GOOD)[1]) as server:
        async with source_at(server.url) as source:
            first, second = (asyncio.create_task(source.read(request())) for _ in range(2))
            assert await asyncio.to_thread(server.asked.wait, 10)
            first.cancel()
            assert isinstance(await second, Gauge)
    assert len(server.seen) == 1


async def test_a_server_that_recovers_is_read_again():
    answers = [hang, None]
    with serving(lambda *_: hang(server) if answers.pop(0) else GOOD) as server:
        async with source_at(server.url, timeout_seconds=2, max_concurrent=1) as source:
            assert isinstance(await source.read(request()), Missing)
            server.stop.set()
            assert isinstance(await source.read(request()), Gauge)


async def test_every_call_is_told_with_how_it_ended_and_how_long_it_took():
    told = []
    answers = [hang, drip, None, None]
    broken = success([row([[1_000.5, "x"]])])
    with serving(lambda *_: ask(server) if (ask := answers.pop(0)) else (GOOD if answers else broken)) as server:
        settings = {"timeout_seconds": 0.3, "max_concurrent": 1}
        async with source_at(server.url, **settings, on_call=lambda *call: told.append(call)) as source:
            for end in range(4):
                await source.read(request(end=1_030.5 + end))
    assert [outcome for outcome, _ in told] == ["Timeout", "Timeout", "Answered", "SourceUnavailable"]
    assert all(seconds >= 0.3 for _, seconds in told[:2])


async def test_a_source_that_is_closed_has_no_readings_and_says_so():
    with serving(lambda *_: hang(server)) as server:
        source = PrometheusSource(server.url, timeout_seconds=5, max_concurrent=1)
        waiting = [asyncio.create_task(source.read(request())) for _ in range(3)]
        assert await asyncio.to_thread(server.asked.wait, 10)
        await source.close()
        server.stop.set()
        readings = [await source.read(request()), *await asyncio.gather(*waiting)]
    assert {type(reading) for reading in readings} == {Missing}
    assert "shutting down" in readings[0].detail


async def test_an_answer_without_end_is_cut_off():
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"[" * 65536)

    reading = await read_from(lambda *_: endless, max_answer_bytes=1 << 20)
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.SOURCE_UNAVAILABLE
    assert "longer than 1 MiB" in reading.detail


async def test_a_failing_server_is_asked_once_and_not_again():
    with serving(lambda *_: server.raw(503, b"busy")) as server:
        async with source_at(server.url) as source:
            assert isinstance(await source.read(request()), Missing)
    assert len(server.seen) == 1


@pytest.mark.parametrize("measure", [QueryValue("up"), EventRatio("rate(a{%pods%}[1m])", "b{%pods%}")])
async def test_a_query_that_can_not_be_asked_is_not_sent(measure):
    with serving(lambda *_: GOOD) as server:
        async with source_at(server.url) as source:
            reading = await source.read(request(measure))
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.INVALID_QUERY
    assert server.seen == []


HOSTILE = (
    "/../../admin",
    "@elsewhere.example.com/",
    "?query=up&",
    "#",
    "http://elsewhere.example.com",
    "%2e%2e/",
    "\n",
)


@pytest.mark.parametrize("text", HOSTILE)
async def test_nothing_that_users_write_changes_whom_the_source_asks(text):
    measures = [
        ERRORS,
        SlowShare(0.5, compared=True),
        QueryValue(f'max(memory{{%pods%,x="{text}"}}) or label_replace(up{{%pods%}}, "y", "{text}", "", "")'),
        EventRatio(f"nulls_total{{%pods%,x=`{text}`}}", "predictions_total{%pods%}"),
    ]
    with serving(Pods([requests_of([1])], survey=ALIVE)) as server:
        async with source_at(f"{server.url}/prom") as source:
            for measure in measures:
                hostile = {"namespace": text, "pod_prefix": f"m-1{text}", "peer_prefixes": (f"m-2{text}",)}
                asked = ReadingRequest(measure, grid=GRID, end=1_030.5, pod_label="pod", **hostile)
                assert isinstance(await source.read(asked), Counters | Gauge | Missing)
    paths = {path for path, _, _ in server.seen}
    assert paths <= {f"/prom/api/v1/{each}" for each in ("query", "query_range", "label/le/values")}
    assert paths
    assert {headers["Host"] for _, _, headers in server.seen} == {server.url.removeprefix("http://")}
    names = {name for _, parameters, _ in server.seen for name in parameters}
    assert names == {"query", "time", "start", "end", "step", "limit", "match[]", "nocache", "latency_offset"}


async def test_a_window_that_has_not_begun_is_empty():
    reading = await read_from(lambda *_: GOOD, request(end=999.0))
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.EMPTY


async def test_a_long_window_is_asked_for_in_pieces_that_prometheus_answers():
    def every_point(_, parameters):
        start, end, step = (float(parameters[name]) for name in ("start", "end", "step"))
        count = round((end - start) / step) + 1
        if count > 11_000:
            return server.raw(400, b'{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution"}')
        return success([row([[start + place * step, "1"] for place in range(count)])])

    with serving(every_point) as server:
        async with source_at(server.url, timeout_seconds=60) as source:
            reading = await source.read(request(end=GRID.anchor + 10.0 * 24_999))
    assert isinstance(reading, Gauge)
    assert len(reading.samples) == 25_000
    assert len({sample.at for sample in reading.samples}) == 25_000
    assert reading.samples[-1].at == GRID.anchor + 10.0 * 24_999


class Pods:
    """Answers of a Prometheus that knows BentoML pods: what each kind of query gets, by a word in it."""

    def __init__(self, requests, buckets=(), survey=(), bounds=None):
        self.requests, self.buckets, self.survey, self.bounds = requests, buckets, survey, bounds or {}

    def __call__(self, path, parameters):
        if path.endswith("/label/le/values"):
            prefix = next(name for name in ("m-1", "m-2") if name in parameters["match[]"])
            return {"status": "success", "data": self.bounds.get(prefix, [])}
        if path.endswith("/query"):
            return success([{"metric": labels, "value": [1_030.5, str(at)]} for labels, at in self.survey])
        return success(list(self.buckets if "_bucket" in parameters["query"] else self.requests))


def requests_of(values, code="200", endpoint="/read", pod="m-1-a"):
    points = [[GRID.anchor + 10 * place, str(value)] for place, value in enumerate(values)]
    return row(points, pod=pod, endpoint=endpoint, http_response_code=code)


def bucket_of(values, le, pod="m-1-a"):
    series = requests_of(values, pod=pod)
    series["metric"]["le"] = le
    return series


def newest_of(reading, part, stratum="/read"):
    assert isinstance(reading, Counters)
    found = [s for s in reading.series if s.part is part and s.stratum == stratum]
    return sum(series.samples[-1].value for series in found) if found else None


ALIVE = (({"pod": "m-1-a", "endpoint": "/read"}, 1_028.0),)


async def test_errors_are_raw_counters_by_pod_path_and_part():
    prometheus = Pods(
        [requests_of([1, 5, 9]), requests_of([0, 1, 1], "500"), requests_of([2], "429"), requests_of([4], "404")],
        survey=ALIVE,
    )
    reading = await read_from(prometheus, request(ERRORS, end=1_020.5))
    assert newest_of(reading, Part.TOTAL) == 9 + 1 + 2 + 4
    assert newest_of(reading, Part.BAD) == 1 + 2
    assert newest_of(reading, Part.CLIENT_ERROR) == 4
    assert {series.pod for series in reading.series} == {"m-1-a"}


async def test_paths_that_do_not_exist_are_left_out_and_those_of_the_peers_are_kept():
    survey = (*ALIVE, ({"pod": "m-2-a", "endpoint": "/renamed"}, 1_028.0))
    prometheus = Pods(
        [requests_of([1]), requests_of([7], "404", "/nope"), requests_of([5], "404", "/renamed")], survey=survey
    )
    reading = await read_from(prometheus, request(ERRORS, end=1_000.5, peer_prefixes=("m-2",)))
    assert newest_of(reading, Part.TOTAL, "/nope") is None
    assert newest_of(reading, Part.CLIENT_ERROR, "/renamed") == 5


async def test_known_paths_go_into_the_query_unless_they_are_too_many():
    with serving(Pods([requests_of([1])], survey=ALIVE)) as server:
        async with source_at(server.url) as source:
            await source.read(request(ERRORS))
    assert 'endpoint=~"/read"' in server.seen[-1][1]["query"]

    many = tuple(({"pod": "m-1-a", "endpoint": f"/items/{number:04}"}, 1_028.0) for number in range(1000))
    with serving(Pods([requests_of([1])], survey=many)) as server:
        async with source_at(server.url) as source:
            await source.read(request(ERRORS))
    assert "/items" not in server.seen[-1][1]["query"]


async def test_what_prometheus_repeats_after_the_last_scrape_of_a_pod_is_left_out():
    survey = (({"pod": "m-1-a", "endpoint": "/read"}, 1_009.0), ({"pod": "m-1-b", "endpoint": "/read"}, 1_029.0))
    prometheus = Pods([requests_of([1, 2, 2, 2]), requests_of([1, 2, 3, 4], pod="m-1-b")], survey=survey)
    reading = await read_from(prometheus, request(ERRORS))
    assert {series.pod: series.samples[-1].at for series in reading.series} == {"m-1-a": 1_010.5, "m-1-b": 1_030.5}


async def test_pods_that_are_not_there_give_counters_without_series():
    assert await read_from(Pods([]), request(ERRORS)) == Counters((), GRID)


BOUNDS = ["0.25", "0.5", "1.0", "2.5", "+Inf"]


def latency(threshold, bounds, compared=False, buckets=None, requests=None):
    buckets = buckets or [bucket_of([number], le) for number, le in enumerate(BOUNDS, start=1)]
    prometheus = Pods(requests or [requests_of([5])], buckets, ALIVE, bounds)
    return read_from(prometheus, request(SlowShare(threshold, compared), end=1_000.5, peer_prefixes=("m-2",)))


@pytest.mark.parametrize(
    ("threshold", "lower", "upper"), [(0.3, 1, 2), (0.5, 2, 2), (0.7, 2, 3), (2.4999, 3, 4), (9, 4, 5)]
)
async def test_a_threshold_lies_between_the_buckets_on_both_sides_of_it(threshold, lower, upper):
    reading = await latency(threshold, {"m-1": BOUNDS})
    assert newest_of(reading, Part.TOTAL) == 5
    assert newest_of(reading, Part.GOOD_BELOW_LOWER) == lower
    assert newest_of(reading, Part.GOOD_BELOW_UPPER) == upper


@pytest.mark.parametrize(("compared", "lower", "upper"), [(True, 1, 4), (False, 2, 4)])
async def test_bounds_that_are_compared_are_ones_that_both_revisions_have(compared, lower, upper):
    reading = await latency(0.7, {"m-1": BOUNDS, "m-2": ["0.25", "2.50", "+Inf"]}, compared)
    assert newest_of(reading, Part.GOOD_BELOW_LOWER) == lower
    assert newest_of(reading, Part.GOOD_BELOW_UPPER) == upper


@pytest.mark.parametrize(
    ("threshold", "bounds", "why"),
    [
        (0.1, {"m-1": BOUNDS}, MissingReason.EMPTY),
        (0.3, {"m-1": BOUNDS, "m-2": ["0.33", "+Inf"]}, MissingReason.NOT_COMPARABLE),
    ],
)
async def test_a_threshold_that_no_bucket_can_show_is_missing_with_what_to_do(threshold, bounds, why):
    reading = await latency(threshold, bounds, compared=True)
    assert isinstance(reading, Missing)
    assert reading.reason is why
    assert "raise the threshold" in reading.detail


async def test_a_revision_without_traffic_has_no_histogram_and_a_total_of_zero():
    reading = await latency(0.5, {}, requests=[requests_of([0])])
    assert newest_of(reading, Part.TOTAL) == 0
    assert newest_of(reading, Part.GOOD_BELOW_UPPER) is None


async def test_traffic_without_a_histogram_is_missing_and_not_slow():
    reading = await latency(0.5, {}, requests=[requests_of([3])])
    assert isinstance(reading, Missing)
    assert reading.reason is MissingReason.EMPTY
    assert "relabelling" in reading.detail


async def test_a_ratio_has_the_users_counters_as_its_parts():
    def answer(path, parameters):
        if path.endswith("/query"):
            return success([])
        value = "2" if parameters["query"].startswith("nulls_total{") else "40"
        return success([row([[1_000.5, value]], pod="m-1-a")])

    reading = await read_from(answer, request(RATIO, end=1_000.5))
    assert newest_of(reading, Part.TOTAL, "") == 40
    assert newest_of(reading, Part.BAD, "") == 2


async def test_labels_of_the_metric_replace_those_of_the_source():
    answer = success([row([[1_000.5, "3"]], exported_pod="m-1-a")])
    with serving(lambda path, _: success([]) if path.endswith("/query") else answer) as server:
        async with source_at(server.url, namespace_label="ns") as source:
            reading = await source.read(request(RATIO, end=1_000.5, pod_label="exported_pod"))
    assert newest_of(reading, Part.TOTAL, "") == 3
    queries = {parameters["query"] for path, parameters, _ in server.seen if path.endswith("/query_range")}
    assert 'nulls_total{ns="prod",exported_pod=~"m-1-.+"}' in queries


async def test_one_failing_call_of_several_makes_the_whole_reading_missing():
    def answer(path, parameters):
        if "nulls_total" in parameters["query"]:
            return server.raw(500, b'{"status":"error","errorType":"internal","error":"shard is down"}')
        return success([])

    with serving(answer) as server:
        async with source_at(server.url) as source:
            reading = await source.read(request(RATIO))
    assert isinstance(reading, Missing)
    assert "shard is down" in reading.detail


async def test_two_revisions_and_two_metrics_share_what_they_have_in_common():
    """Each asks for the survey of both revisions and the bounds of either; both metrics count the same requests."""
    prometheus = Pods(
        [requests_of([1, 5]), requests_of([2, 4], pod="m-2-a")],
        [bucket_of([1, 2], le) for le in BOUNDS],
        (*ALIVE, ({"pod": "m-2-a", "endpoint": "/read"}, 1_028.0)),
        {"m-1": BOUNDS, "m-2": BOUNDS},
    )
    with serving(prometheus) as server:
        async with source_at(server.url) as source:
            asked = [
                ReadingRequest(
                    measure=measure, namespace="prod", pod_prefix=own, grid=GRID, end=1_010.5, peer_prefixes=(peer,)
                )
                for measure in (ERRORS, SlowShare(0.5, compared=True))
                for own, peer in (("m-1", "m-2"), ("m-2", "m-1"))
            ]
            readings = await asyncio.gather(*map(source.read, asked))
    assert {type(reading) for reading in readings} == {Counters}
    kinds = sorted(path.rpartition("/")[2] for path, _, _ in server.seen)
    assert kinds == ["query", *["query_range"] * 4, *["values"] * 2]
