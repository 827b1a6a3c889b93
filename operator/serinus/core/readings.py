"""The vocabulary in which metric sources report to the core: raw samples on a grid, or the reason why there are none.

Metric sources (`serinus.metrics`) build these values, `serinus.core.evidence` turns them into counts and verdicts.
Nothing is computed here: counters stay raw and per pod, so that differences, resets and pod starts are handled in one
place, and a reading that could not be had is a value (`Missing`), never an exception and never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Part(StrEnum):
    """What a counter series counts, within one metric.

    All series are cumulative counters of requests (or of predictions, for a user's own ratio).
    """

    TOTAL = "Total"
    """Everything that is judged: every request, whatever its answer. A latency's total is all requests too."""
    BAD = "Bad"
    """Those that count against the limit (5xx and 429; a ratio's `bad`). Not used by latencies."""
    CLIENT_ERROR = "ClientError"
    """4xx answers except those already in `BAD`: only ever compared with stable's share, as clients cause them too."""
    AT_GATEWAY = "AtGateway"
    """Requests that ended with 502, 503 or 504 as the gateway counted them, answered by the model or by nobody: they
    are requests and count against the limit, beside `TOTAL` and `BAD`. Their pods are the gateway's, not the model's,
    and say nothing about who reports."""
    GOOD_BELOW_LOWER = "GoodBelowLower"
    """Latency: 2xx answers not slower than the largest bucket bound ≤ threshold. Total minus this is what Pass uses."""
    GOOD_BELOW_UPPER = "GoodBelowUpper"
    """Latency: 2xx answers not slower than the smallest bucket bound ≥ threshold. Total minus this is what Fail uses.

    Where the threshold is a bucket bound both parts are the same series, and both are reported all the same.
    """


class MissingReason(StrEnum):
    """Why there is no reading. The held time of a step stands still while an enforced metric has one of these."""

    NOT_COVERED = "NotCovered"
    """A pod that has weight does not report."""
    CANDIDATE_SILENT = "CandidateSilent"
    """No pod of the candidate reports while stable does."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """The metric source can't be reached or answered with an error."""
    INVALID_QUERY = "InvalidQuery"
    """The user's selector or query can't be evaluated as it is written."""
    TIMEOUT = "Timeout"
    """The metric source did not answer in time."""
    NOT_A_NUMBER = "NotANumber"
    """NaN or an infinity where a number is meant."""
    EMPTY = "Empty"
    """The query succeeded and returned nothing."""
    AMBIGUOUS = "Ambiguous"
    """Several series where one is meant."""
    WARNING = "Warning"
    """The source answered with a warning: the result may be partial."""
    TOO_OLD = "TooOld"
    """The newest sample is older than a reading may be."""
    INCONSISTENT = "Inconsistent"
    """The parts contradict each other: more bad requests than requests."""
    NO_BASELINE = "NoBaseline"
    """An increase is to be judged and there is nothing to compare with."""
    NOT_COMPARABLE = "NotComparable"
    """Candidate and stable see different users (a match step), so that an increase would mean nothing."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A reading that could not be had."""

    reason: MissingReason
    detail: str
    """One sentence for people: what was asked, what came back, what to do."""


class Sample(NamedTuple):
    """One point of a series."""

    at: float
    """Unix seconds of the grid point (the evaluation time of a range query)."""
    value: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The evaluation times of a range query: `anchor`, `anchor + step`, … The same grid after a restart, always."""

    anchor: float
    """Unix seconds: the start of the evidence, or for a baseline the start of its window."""
    step_seconds: float
    """At least the evaluation interval and twice the scrape interval; above zero."""


@dataclass(frozen=True, slots=True)
class CounterSeries:
    """One raw cumulative counter of one pod, as scraped: never `rate()`d, `increase()`d or summed over pods.

    Several series may share pod, part and stratum (one for each status code, say). Each is differenced by itself and
    the differences are added.
    """

    pod: str
    part: Part
    stratum: str
    """What is compared like with like, usually the endpoint; "" where a metric has no strata."""
    samples: tuple[Sample, ...]
    """In ascending order of time. Grid points without a value (outage, pod not there yet) are simply absent."""
    slice: str = ""
    """Value of the label by which a metric is judged in slices (`perSlice`); "" where it has none, or is not sliced."""


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one revision for one metric."""

    series: tuple[CounterSeries, ...]
    grid: Grid


@dataclass(frozen=True, slots=True)
class Gauge:
    """The values of a query that returns one number, in the unit of its limit."""

    samples: tuple[Sample, ...]
    """In ascending order of time."""


Reading = Counters | Gauge | Missing


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """What a revision has served in a window by the values of a label: about, as a source adds it up by itself."""

    total: float
    """All requests, with those of values that are not told of."""
    by_value: Mapping[str, float]
    """The most frequent values; "" is the lack of the label."""


@dataclass(frozen=True, slots=True)
class PodStart:
    """A pod of the judged revision as Kubernetes knows it.

    Lists of these hold every pod whose start is known: those that must report, and those that have gone since.
    """

    pod: str
    started_at: float
    """Unix seconds at which its serving container last started. Inside the window, its counters count from zero."""
    weighted: bool = True
    """Whether it takes traffic now, and therefore has to report."""
