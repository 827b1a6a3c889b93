"""What clients saw, read from the lines that the load generator printed.

Called by the demo and the end-to-end tests, also while the generator is still running: a report is then simply shorter.
An answer belongs to the second in which it came, and to the model version that its header named; ``None`` stands for
answers that no model gave (the gateway's own errors, time-outs, lost connections).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from e2e.load.generator import quantile_milliseconds

Version = str | None


class UnreadableReportError(ValueError):
    """A line is not one that the load generator prints."""


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How often one outcome (a status code, or what went wrong instead) was seen, and when first (Unix seconds)."""

    outcome: str
    requests: int
    first_at: float

    @property
    def is_failure(self) -> bool:
        """Whether a client would call this a failed request: everything but 2xx."""
        return not (len(self.outcome) == 3 and self.outcome.startswith("2"))


@dataclass(frozen=True, slots=True)
class VersionAnswers:
    """The answers of one version within one second.

    ``right`` counts those with the expected content, ``latencies`` all of them per bucket (see the generator).
    """

    version: Version
    right: int
    outcomes: tuple[OutcomeCount, ...]
    latencies: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Second:
    """One second of load; ``at`` is the Unix time at which it began.

    ``skipped`` requests were not sent because too many were under way: the generator, not the model, was at its limit.
    """

    at: int
    sent: int
    skipped: int
    in_flight: int
    lag_milliseconds: float
    versions: tuple[VersionAnswers, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """The generator's own count at its end; ``in_flight`` requests never came to an end."""

    started_at: float
    ended_at: float
    sent: int
    skipped: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """All seconds of a run, or of an interval of it; ``total`` is there once the whole run has ended."""

    seconds: tuple[Second, ...] = ()
    total: Total | None = field(default=None)

    @staticmethod
    def parse(text: str) -> LoadReport:
        """Read a log; an incomplete last line, still being written, is left out.

        Raises UnreadableReportError for any other line that the generator did not print.
        """
        seconds: list[Second] = []
        total: Total | None = None
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            if not line.endswith("\n"):
                break
            try:
                entry = json.loads(line)
                if entry["kind"] == "total":
                    total = _parse_total(entry)
                else:
                    seconds.append(_parse_second(entry))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UnreadableReportError(
                    f"line {number} of the load generator's log is not its own ({error!r}): {line.strip()[:200]}"
                ) from error
        return LoadReport(tuple(seconds), total)

    def between(self, begin: float, end: float) -> LoadReport:
        """The seconds that began in [begin, end), Unix times; it has no total."""
        return LoadReport(tuple(second for second in self.seconds if begin <= second.at < end))

    @property
    def versions(self) -> frozenset[Version]:
        """The versions that answered."""
        return frozenset(answers.version for answers in self._answers())

    @property
    def sent(self) -> int:
        """Requests that were sent."""
        return sum(second.sent for second in self.seconds)

    @property
    def skipped(self) -> int:
        """Requests that the generator could not send in time."""
        return sum(second.skipped for second in self.seconds)

    @property
    def requests(self) -> int:
        """Requests that came to an end, well or badly."""
        return sum(count.requests for answers in self._answers() for count in answers.outcomes)

    @property
    def failed(self) -> int:
        """Requests that failed, of all versions and of none."""
        return sum(self.failed_of(version) for version in self.versions)

    def requests_of(self, version: Version) -> int:
        """Requests that one version answered, well or badly."""
        return sum(self.outcomes_of(version).values())

    def failed_of(self, version: Version) -> int:
        """Requests that one version failed."""
        return sum(count.requests for count in self._counts_of(version) if count.is_failure)

    def failed_except(self, *versions: Version) -> int:
        """Requests that failed, those of some versions left out."""
        return sum(self.failed_of(version) for version in self.versions.difference(versions))

    def share_of(self, version: Version) -> float:
        """Which share of the answered requests one version had, 0…1; 0 when there were none."""
        return self.requests_of(version) / self.requests if self.requests else 0.0

    def right_of(self, version: Version) -> int:
        """Answers of one version with the expected content."""
        return sum(answers.right for answers in self._answers() if answers.version == version)

    def outcomes_of(self, version: Version) -> dict[str, int]:
        """Requests of one version by outcome."""
        outcomes: dict[str, int] = {}
        for count in self._counts_of(version):
            outcomes[count.outcome] = outcomes.get(count.outcome, 0) + count.requests
        return outcomes

    def first_answer_at(self, version: Version) -> float | None:
        """When the first answer of a version came, Unix seconds; None without any."""
        return min((count.first_at for count in self._counts_of(version)), default=None)

    def first_bad_answer_at(self, version: Version) -> float | None:
        """When the first failed request of a version came to its end, Unix seconds; None without any."""
        return min((count.first_at for count in self._counts_of(version) if count.is_failure), default=None)

    def last_answer_second(self, version: Version) -> int | None:
        """The last second, by its beginning, in which a version answered; None without any."""
        answered = (second.at for second in self.seconds if any(a.version == version for a in second.versions))
        return max(answered, default=None)

    def latency_milliseconds(self, share: float, *versions: Version) -> float:
        """A quantile of the latency that clients saw, at most 10 % too high; of all versions if none is named.

        Failed requests count as well. NaN without answers.
        """
        latencies: dict[int, int] = {}
        for answers in self._answers():
            if versions and answers.version not in versions:
                continue
            for bucket, count in answers.latencies.items():
                latencies[bucket] = latencies.get(bucket, 0) + count
        return quantile_milliseconds(latencies, share)

    def _answers(self) -> Iterator[VersionAnswers]:
        return (answers for second in self.seconds for answers in second.versions)

    def _counts_of(self, version: Version) -> Iterator[OutcomeCount]:
        return (count for answers in self._answers() if answers.version == version for count in answers.outcomes)


def _parse_second(entry: dict[str, Any]) -> Second:
    return Second(
        at=int(entry["at"]),
        sent=int(entry["sent"]),
        skipped=int(entry["skipped"]),
        in_flight=int(entry["inFlight"]),
        lag_milliseconds=float(entry["lagMilliseconds"]),
        versions=tuple(_parse_version(version) for version in entry["versions"]),
    )


def _parse_version(entry: dict[str, Any]) -> VersionAnswers:
    return VersionAnswers(
        version=entry["version"],
        right=int(entry["right"]),
        outcomes=tuple(
            OutcomeCount(outcome, int(count["requests"]), float(count["firstAt"]))
            for outcome, count in entry["outcomes"].items()
        ),
        latencies={int(bucket): int(count) for bucket, count in entry["latencies"].items()},
    )


def _parse_total(entry: dict[str, Any]) -> Total:
    return Total(
        started_at=float(entry["startedAt"]),
        ended_at=float(entry["endedAt"]),
        sent=int(entry["sent"]),
        skipped=int(entry["skipped"]),
        in_flight=int(entry["inFlight"]),
    )
