"""Whatever users write and Prometheus answers: a message or a reason, never an exception, and never a verdict from it.

The real reader, the real source, and a local server that answers what each case says.
"""

import functools
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.api.analysis import AbsentBad, Analysis, MetricMode
from serinus.api.deployment import InvalidSpec, ModelDeployment
from serinus.core.due import EvidenceRequest, Window
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.judge import judge
from serinus.core.evidence.policy import GaugePolicy, ShareKind, SharePolicy, alpha_fail, alpha_pass
from serinus.core.observation import PodState
from serinus.core.readings import Counters, CounterSeries, Gauge, Grid, Missing, MissingReason, Part, Sample
from serinus.core.verdicts import Fail, Pass, Undecided, UndecidedReason
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.series import MAX_COUNT, MIN_COUNT
from serinus.shell.readings import EvidenceReader
from tests.unit.metrics.servers import serving

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = 10.0
POINTS = 40
END = START + timedelta(seconds=STEP * (POINTS - 1) + 1)
RATIO = {"bad": "nulls_total{%pods%}", "total": "predictions_total{%pods%}"}
VALUE = {"query": "max(memory{%pods%})"}


def spec_with(metric, **analysis):
    metric = {"name": "it", "limit": {"maxPercent": "1"}, **metric}
    return {
        "metadata": {"name": "fraud", "namespace": "prod", "uid": "1", "generation": 1},
        "spec": {
            "serving": {"image": "registry.example.com/fraud:1"},
            "analysis": {"intervalSeconds": 10, "metrics": [metric], **analysis},
        },
    }


def pod_of(revision):
    name = f"fraud-{revision}-aaaaa"
    since = START - timedelta(hours=1)
    return PodState(name, revision, ready=True, ready_since=since, scheduled_at=since, started_at=since, restarts=0)


async def verdict_on(metric, answer, **analysis):
    """What the operator says of one metric of a candidate beside a stable revision."""
    deployment = ModelDeployment.parse(spec_with(metric, **analysis))
    window = Window(START, END)
    request = EvidenceRequest(
        moves=1,
        judged="2222222222",
        judged_pods=(pod_of("2222222222"),),
        window=window,
        pass_since=START,
        baseline="1111111111",
        baseline_window=window,
        concurrent=True,
        baseline_pods=(pod_of("1111111111"),),
    )
    with serving(answer) as server:
        source = PrometheusSource(server.url, timeout_seconds=30)
        try:
            (verdict,) = (await EvidenceReader(source, 5.0).read(deployment, request)).verdicts
        finally:
            await source.close()
    return verdict


def success(result, kind="matrix"):
    return {"status": "success", "data": {"resultType": kind, "result": result}}


def times():
    return [START.timestamp() + STEP * place for place in range(POINTS)]


def pod_in(query):
    return pod_of("2222222222" if "2222222222" in query else "1111111111").name


def constant(text):
    """Every series has this value all the time."""
    return counting(lambda _: text)


def counting(total, bad=None):
    """Counters of one pod a revision: texts by the number of the grid point."""

    def answer(path, parameters):
        labels = {"pod": pod_in(parameters["query"])}
        if path.endswith("/query"):
            return success([{"metric": labels, "value": [END.timestamp(), str(END.timestamp())]}], "vector")
        value = bad if bad and parameters["query"].startswith("nulls_total") else total
        return success([{"metric": labels, "values": [[at, value(place)] for place, at in enumerate(times())]}])

    return answer


def labelled(value, **labels):
    """The same value at all times, with these labels beside the pod."""

    def answer(path, parameters):
        row = {"metric": {"pod": pod_in(parameters["query"]), **labels}, "values": [[at, value] for at in times()]}
        return success([]) if path.endswith("/query") else success([row])

    return answer


def many(number):
    """So many series of one point, to whatever is asked; written once, as it is megabytes."""

    @functools.cache
    def written(key):
        points = f'[{START.timestamp()},"1"]' if key == "value" else f'[[{START.timestamp()},"1"]]'
        rows = ",".join(f'{{"metric":{{"pod":"pod-{place}"}},"{key}":{points}}}' for place in range(number))
        return f'{{"status":"success","data":{{"resultType":"matrix","result":[{rows}]}}}}'.encode()

    def answer(path, _):
        return written("value" if path.endswith("/query") else "values")

    return answer


def text_result(_, parameters):
    return success([START.timestamp(), "text"], "string")


def refusing(_, parameters):
    return {"status": "error", "errorType": "bad_data", "error": 'parse error: unexpected "}" in "nulls_total{{"'}


def two_series(path, parameters):
    rows = [{"metric": {"gpu": gpu}, "values": [[at, "1"] for at in times()]} for gpu in "01"]
    return success(rows)


MISSING = {
    "a selector that Prometheus can't parse": ({"ratio": RATIO}, refusing, MissingReason.INVALID_QUERY, "parse error"),
    "a query that Prometheus can't parse": ({"value": VALUE}, refusing, MissingReason.INVALID_QUERY, "parse error"),
    "a query that returns text": ({"value": VALUE}, text_result, MissingReason.SOURCE_UNAVAILABLE, "shape"),
    "a counter that is text": ({"ratio": RATIO}, constant("text"), MissingReason.SOURCE_UNAVAILABLE, "shape"),
    "a value of several series": ({"value": VALUE}, two_series, MissingReason.AMBIGUOUS, "max("),
    "an infinite value": ({"value": VALUE}, constant("+Inf"), MissingReason.NOT_A_NUMBER, "inf"),
    "a value without bound below": ({"value": VALUE}, constant("-Inf"), MissingReason.NOT_A_NUMBER, "inf"),
    "a value that is none": ({"value": VALUE}, constant("NaN"), MissingReason.NOT_A_NUMBER, "nan"),
    "a negative counter": ({"ratio": RATIO}, constant("-1"), MissingReason.INCONSISTENT, "gauge"),
    "an infinite counter": ({"ratio": RATIO}, constant("+Inf"), MissingReason.NOT_A_NUMBER, "inf"),
    "a counter that is none": ({"ratio": RATIO}, constant("NaN"), MissingReason.NOT_A_NUMBER, "nan"),
    "an enormous counter": ({"ratio": RATIO}, constant("1e300"), MissingReason.NOT_A_NUMBER, "1e+300"),
    "a counter of next to nothing": ({"ratio": RATIO}, constant("5e-324"), MissingReason.NOT_A_NUMBER, "e-324"),
    "labels without end": ({"ratio": RATIO}, labelled("-1", x="a\n" * 9999), MissingReason.INCONSISTENT, "gauge"),
    "a hundred thousand series": ({"ratio": RATIO}, many(100_000), MissingReason.INVALID_QUERY, "20,000 series"),
    "a hundred thousand values": ({"value": VALUE}, many(100_000), MissingReason.INVALID_QUERY, "20,000 series"),
    "BentoML's counter a hundred thousand times": (
        {"errors": {}},
        many(100_000),
        MissingReason.INVALID_QUERY,
        "20,000 series",
    ),
    "a counter that goes up and down": (
        {"ratio": RATIO},
        counting(lambda place: str(100 - 50 * (place % 2))),
        MissingReason.INCONSISTENT,
        "gauge",
    ),
    "a counter that only falls": (
        {"ratio": RATIO},
        counting(lambda place: str(1000 - place)),
        MissingReason.INCONSISTENT,
        "gauge",
    ),
    "more bad ones than requests": (
        {"ratio": RATIO},
        counting(str, lambda place: str(2 * place)),
        MissingReason.INCONSISTENT,
        "bad",
    ),
}


@pytest.mark.parametrize(("metric", "answer", "why", "said"), MISSING.values(), ids=MISSING.keys())
async def test_what_makes_no_sense_is_missing_with_the_reason(metric, answer, why, said):
    limit = {"limit": {"max": "5"}} if "value" in metric else {}
    found = await verdict_on(metric | limit, answer)
    assert isinstance(found.verdict, Missing), found.message
    assert found.verdict.reason is why
    assert said in found.verdict.detail
    assert len(found.message) < 1000


async def test_counts_of_zero_are_no_traffic_and_no_verdict():
    found = await verdict_on({"ratio": RATIO}, constant("0"))
    assert found.verdict == Undecided(UndecidedReason.NO_TRAFFIC)


async def test_the_largest_counts_there_are_still_make_a_verdict():
    found = await verdict_on({"ratio": RATIO}, counting(lambda place: str(place * 2.0**47), lambda _: "0"))
    assert isinstance(found.verdict, Pass), found.message
    worse = counting(lambda place: str(place * 2.0**47), lambda place: str(place * 2.0**46))
    found = await verdict_on({"ratio": RATIO, "limit": {"maxPercent": "1"}}, worse)
    assert not isinstance(found.verdict, Pass), found.message


async def test_a_few_restarts_are_no_reason_to_doubt_a_counter():
    found = await verdict_on({"ratio": RATIO}, counting(lambda place: str(1000 * (place % 10)), lambda _: "0"))
    assert isinstance(found.verdict, Pass), found.message


async def test_a_negative_value_is_compared_as_it_stands():
    found = await verdict_on({"value": VALUE, "limit": {"max": "-5"}}, constant("-3"))
    assert isinstance(found.verdict, Fail)


REFUSED = {
    "a limit of 0": ({"errors": {}, "limit": {"maxPercent": "0"}}, "must be above 0"),
    "a limit of 100": ({"errors": {}, "limit": {"maxPercent": "100"}}, "must stay below 100"),
    "an increase of 0": ({"errors": {}, "limit": {"maxIncreasePercent": "0.0"}}, "must be above 0"),
    "a limit in words": ({"errors": {}, "limit": {"maxPercent": "one"}}, "limit.maxPercent"),
    "a limit below 0": ({"errors": {}, "limit": {"maxPercent": "-1"}}, "limit.maxPercent"),
    "no limit": ({"errors": {}, "limit": {}}, "limit needs at least one of"),
    "a selector that does not parse": ({"ratio": RATIO | {"bad": "nulls_total{%pods%"}}, "must be a series selector"),
    "a selector that is text": ({"ratio": RATIO | {"bad": '"%pods%"'}}, "must be a series selector"),
}


@pytest.mark.parametrize(("metric", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_metric_that_makes_no_sense_is_refused_with_its_field(metric, said):
    with pytest.raises(InvalidSpec, match="analysis") as refused:
        ModelDeployment.parse(spec_with(metric))
    assert said in str(refused.value)


@pytest.mark.parametrize("field", ["falseRollbackPercent", "falsePromotionPercent"])
@pytest.mark.parametrize("value", ["0", "0.0", "50.000001", "100"])
def test_an_error_budget_outside_its_bounds_is_refused(field, value):
    with pytest.raises(InvalidSpec, match="above 0 and at most 50"):
        ModelDeployment.parse(spec_with({"errors": {}}, **{field: value}))


EXTREMES = ("0.000001", "49.999999", "50")
LIMITS = (
    {"maxPercent": "0.000001"},
    {"maxPercent": "49.999999"},
    {"maxIncreasePercent": "0.000001"},
    {"maxIncreasePercent": "100"},
)


@pytest.mark.parametrize("alpha", EXTREMES)
@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_limits_and_error_budgets_at_their_bounds_are_judged(limit, alpha):
    budgets = {"falseRollbackPercent": alpha, "falsePromotionPercent": alpha}
    good = counting(lambda place: str(100 * place), lambda _: "0")
    awful = counting(lambda place: str(100 * place), lambda place: str(99 * place))
    for answer in (good, awful):
        found = await verdict_on({"ratio": RATIO, "limit": limit}, answer, **budgets)
        assert isinstance(found.verdict, Pass | Undecided), found.message  # stable is no better: nothing can fail
        assert not (answer is awful and isinstance(found.verdict, Pass) and "maxPercent" in limit)


SHARES = st.sampled_from([1e-8, 1e-4, 0.01, 0.4999])
# What the source lets through.
COUNTS = st.one_of(
    st.integers(0, 1000).map(float),
    st.sampled_from([0.0, MIN_COUNT, 0.5, 1.0, 1.0 + 2.0**-52, MAX_COUNT - 1, MAX_COUNT]),
    st.floats(MIN_COUNT, MAX_COUNT),
)


@st.composite
def readings(draw):
    grid = Grid(0.0, 15.0)
    if draw(st.integers(0, 9)) == 0:
        values = draw(st.lists(st.floats(allow_nan=True), max_size=6))
        return Gauge(tuple(Sample(15.0 * place, value) for place, value in enumerate(values)))
    return Counters(
        tuple(
            CounterSeries(
                draw(st.sampled_from(["a", "b"])),
                part,
                draw(st.sampled_from(["", "/x"])),
                tuple(Sample(15.0 * place, value) for place, value in enumerate(draw(st.lists(COUNTS, max_size=12)))),
            )
            for part in draw(st.lists(st.sampled_from(list(Part)), max_size=5))
        ),
        grid,
    )


@st.composite
def policies(draw):
    if draw(st.integers(0, 9)) == 0:
        return GaugePolicy("it", MetricMode.ENFORCE, draw(st.floats(-1e15, 1e15)), draw(st.floats(0, 100)))
    optional = st.none() | SHARES
    share, increase = draw(optional), draw(optional | st.just(1.0))
    return SharePolicy(
        name="it",
        kind=draw(st.sampled_from(list(ShareKind))),
        mode=MetricMode.ENFORCE,
        max_share=share if share or increase else 0.01,
        max_increase=increase,
        max_refused_increase=draw(optional),
        tolerance=draw(SHARES),
        min_samples=draw(st.sampled_from([1, 200, 100_000_000])),
        absent_bad=draw(st.sampled_from(list(AbsentBad))),
    )


@given(policies(), readings(), st.none() | readings(), st.sampled_from(EXTREMES), st.booleans())
def test_no_reading_whatever_makes_a_judge_raise_or_say_what_is_no_number(policy, candidate, stable, alpha, watching):
    analysis = Analysis.model_validate({"falseRollbackPercent": alpha, "falsePromotionPercent": alpha})
    circumstances = Circumstances(
        now=180.0,
        step_started_at=0.0,
        alpha_fail=alpha_fail(analysis, watched=True, watching=watching),
        alpha_pass=alpha_pass(analysis),
        stale_after_seconds=45.0,
        candidate_pods=(),
        stable_pods=(),
    )
    found = judge(policy, candidate, stable, circumstances)
    for number in (found.estimate, found.lower, found.upper):
        assert number is None or math.isfinite(number)
    if isinstance(found.verdict, Pass) and isinstance(policy, SharePolicy):
        assert found.candidate is not None
        assert found.candidate.total >= policy.min_samples
