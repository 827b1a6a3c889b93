"""Whatever a server sends becomes series, or the reason why not."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.readings import MissingReason
from serinus.metrics import answers
from serinus.metrics.answers import Series, UnreadableError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["metric", "value", "values", "result", "x"]), inner, max_size=4)
    ),
)


def body(**fields):
    return json.dumps(fields).encode()


def reason(call, *arguments):
    with pytest.raises(UnreadableError) as caught:
        call(*arguments)
    return caught.value.missing.reason, caught.value.missing.detail


def test_data_of_a_success_is_handed_on():
    assert answers.data_of(body(status="success", data={"result": []}), 200) == {"result": []}


REFUSALS = {
    "error in the query": (
        body(status="error", errorType="bad_data", error="parse error: unexpected }"),
        400,
        MissingReason.INVALID_QUERY,
        "parse error: unexpected }",
    ),
    "query that can't be carried out": (
        body(status="error", errorType="execution", error="many-to-many matching"),
        422,
        MissingReason.INVALID_QUERY,
        "many-to-many",
    ),
    "query that took too long": (
        body(status="error", errorType="timeout", error="query timed out"),
        503,
        MissingReason.TIMEOUT,
        "query timed out",
    ),
    "internal error": (
        body(status="error", errorType="internal", error="disk full"),
        500,
        MissingReason.SOURCE_UNAVAILABLE,
        "disk full",
    ),
    "error without words": (body(status="error"), 500, MissingReason.SOURCE_UNAVAILABLE, "no reason given"),
    "success with a bad code": (body(status="success"), 500, MissingReason.SOURCE_UNAVAILABLE, "HTTP 500"),
    "HTML of a proxy": (b"<html>\n<h1>Bad\tGateway", 502, MissingReason.SOURCE_UNAVAILABLE, "<html> <h1>Bad Gateway"),
    "nothing": (b"", 200, MissingReason.SOURCE_UNAVAILABLE, "not Prometheus' JSON"),
    "bytes": (b"\xff\x00\x1b[31m", 200, MissingReason.SOURCE_UNAVAILABLE, "not Prometheus' JSON"),
    "other JSON": (b"[1]", 200, MissingReason.SOURCE_UNAVAILABLE, "not Prometheus' JSON"),
    "warning": (
        body(status="success", data={"result": []}, warnings=["store 2 is gone", "PromQL info: fine"]),
        200,
        MissingReason.WARNING,
        "store 2 is gone",
    ),
    "warning that is no list": (body(status="success", warnings="partial"), 200, MissingReason.WARNING, "partial"),
}


@pytest.mark.parametrize(("sent", "code", "why", "said"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_becomes_a_reason_with_the_servers_words(sent, code, why, said):
    found, detail = reason(answers.data_of, sent, code)
    assert found is why
    assert said in detail


def test_informational_notes_are_not_warnings():
    sent = body(status="success", data=[], warnings=["PromQL info: metric might not be a counter"], infos=["x"])
    assert answers.data_of(sent, 200) == []


def test_words_of_a_server_are_short_and_on_one_printable_line():
    said = answers.words(b"a\r\n\tb\x1b[0m\xff" + b"c" * 5000)
    assert said.startswith("a b [0m\ufffdc")
    assert len(said) == answers.MAX_WORDS
    assert said.isprintable()


def test_a_matrix_becomes_series_in_order_of_time():
    result = [{"metric": {"pod": "a"}, "values": [[2, "3"], [1.5, "NaN"], [3, "+Inf"]]}]
    (series,) = answers.matrix(result)
    assert series.labels == {"pod": "a"}
    assert [at for at, _ in series.points] == [1.5, 2.0, 3.0]
    assert math.isnan(series.points[0][1])
    assert series.points[2][1] == math.inf


def test_a_vector_becomes_series_of_one_point():
    assert answers.vector([{"metric": {}, "value": [1, "2.5"]}]) == (Series({}, ((1.0, 2.5),)),)


def test_a_native_histogram_is_not_a_number():
    found, detail = reason(answers.matrix, [{"metric": {"pod": "a"}, "histograms": [[1, {"count": "3"}]]}])
    assert found is MissingReason.NOT_A_NUMBER
    assert "native histogram" in detail


MISSHAPEN = [
    None,
    {},
    "x",
    [None],
    [{}],
    [{"metric": {}}],
    [{"metric": [], "values": []}],
    [{"metric": {"a": 1}, "values": []}],
    [{"metric": {}, "values": [1]}],
    [{"metric": {}, "values": [[1]]}],
    [{"metric": {}, "values": [[1, 2]]}],
    [{"metric": {}, "values": [["1", "2"]]}],
    [{"metric": {}, "values": [[1, "two"]]}],
    [{"metric": {}, "values": [[1, "2", "3"]]}],
]


@pytest.mark.parametrize("result", MISSHAPEN, ids=json.dumps)
def test_a_result_of_another_shape_is_no_reading(result):
    found, detail = reason(answers.matrix, result)
    assert found is MissingReason.SOURCE_UNAVAILABLE
    assert "shape" in detail


@given(JSON)
def test_no_json_whatever_raises_anything_else(value):
    for read in (answers.matrix, answers.vector, answers.texts, answers.result_of):
        with contextlib.suppress(UnreadableError):
            read(value)


@given(JSON, st.sampled_from([200, 301, 400, 500]))
def test_no_body_whatever_raises_anything_else(value, code):
    for sent in (body(status="success", data=value, warnings=value), body(status="error", error=value), body(x=value)):
        with contextlib.suppress(UnreadableError):
            answers.data_of(sent, code)
