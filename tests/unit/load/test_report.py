"""Reading what the load generator printed."""

import json
import math

import pytest

from e2e.load.report import LoadReport, UnreadableReportError


def second(at: int, *, skipped: int = 0, **versions: dict[str, int]) -> str:
    """One line as the generator prints it; ``v1={"200": 3}`` are three good answers of version v1."""
    answers = [
        {
            "version": None if version == "none" else version,
            "right": outcomes.get("200", 0),
            "outcomes": {
                outcome: {"requests": count, "firstAt": at + number / 10}
                for number, (outcome, count) in enumerate(outcomes.items(), start=1)
            },
            "p50": 1.0,
            "p95": 1.0,
            "p99": 1.0,
            "latencies": {"10": outcomes.get("200", 0), "50": sum(outcomes.values()) - outcomes.get("200", 0)},
        }
        for version, outcomes in versions.items()
    ]
    sent = sum(sum(outcomes.values()) for outcomes in versions.values())
    line = {"kind": "second", "at": at, "sent": sent, "skipped": skipped, "inFlight": 0, "lagMilliseconds": 0.5}
    return json.dumps(line | {"versions": answers}) + "\n"


LOG = (
    second(100, v1={"200": 50})
    + second(101, v1={"200": 45}, v3={"200": 4, "500": 1})
    + second(102, v1={"200": 46}, v3={"200": 2, "500": 2}, none={"503": 1})
    + second(103, v1={"200": 50}, none={"timeout": 1})
)


def test_requests_and_failures_are_told_apart_by_version() -> None:
    report = LoadReport.parse(LOG)
    assert (report.requests, report.sent) == (202, 202)
    assert report.versions == {"v1", "v3", None}
    assert (report.requests_of("v3"), report.failed_of("v3")) == (9, 3)
    assert report.failed_of("v1") == 0
    assert report.outcomes_of(None) == {"503": 1, "timeout": 1}
    assert (report.failed, report.failed_except("v3")) == (5, 2)
    assert report.share_of("v1") == pytest.approx(191 / 202)
    assert report.right_of("v3") == 6


def test_an_interval_holds_the_seconds_that_began_in_it() -> None:
    report = LoadReport.parse(LOG).between(100.5, 103)
    assert [s.at for s in report.seconds] == [101, 102]
    assert report.failed_except("v3") == 1


def test_the_first_bad_answer_of_a_version_has_its_time() -> None:
    report = LoadReport.parse(LOG)
    assert report.first_answer_at("v3") == pytest.approx(101.1)
    assert report.first_bad_answer_at("v3") == pytest.approx(101.2)
    assert report.first_bad_answer_at("v1") is None
    assert report.first_answer_at("v2") is None
    assert report.last_answer_second("v3") == 102
    assert report.last_answer_second("v2") is None


def test_latency_is_a_quantile_over_the_whole_interval() -> None:
    report = LoadReport.parse(LOG)
    assert report.latency_milliseconds(0.5) == pytest.approx(1.1**10, abs=0.01)
    assert report.latency_milliseconds(0.95, "v3") == pytest.approx(1.1**50, abs=0.01)
    assert math.isnan(report.latency_milliseconds(0.5, "v2"))


def test_a_log_that_is_still_being_written_can_be_read() -> None:
    report = LoadReport.parse(LOG + second(104, v1={"200": 5})[:40])
    assert [s.at for s in report.seconds] == [100, 101, 102, 103]
    assert report.total is None


def test_an_empty_log_reports_nothing() -> None:
    report = LoadReport.parse("")
    assert (report.requests, report.failed, report.share_of("v1")) == (0, 0, 0.0)


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[]", "{}", '{"kind": "second"}'])
def test_a_line_of_another_origin_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(UnreadableReportError, match="line 5"):
        LoadReport.parse(f"{LOG}{line}\n")
