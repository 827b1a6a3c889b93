"""One whole attempt of five steps with the real engine.

The engine says what it thinks at every look. What the operator does with that (`serinus.core.rollout`) is so little
that it is told again here: a Fail rolls back at once; a Pass after the hold enters the next step; a candidate that is
silent loses its weight, and is rolled back at the missing deadline; two restarts of the container roll back.

The engine is called as the operator calls it, with counters as a metric source reports them (`ByCounters`), or where
every scrape succeeds, with the counts per interval that it would make of them (`ByIntervals`): the same decisions in a
third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

import numpy as np

from bench.verdicts.kinds import LEAST_SHARE, LOOK_SECONDS, Kind
from bench.verdicts.traffic import WEIGHTS, Floats, Served, Traffic, crashes_at, harm, is_down, source_is_away
from serinus.api.analysis import Analysis
from serinus.core.evidence.circumstances import Circumstances
from serinus.core.evidence.decision import ShareEvidence
from serinus.core.evidence.intervals import Interval, Tally, total_of
from serinus.core.evidence.judge import Judge
from serinus.core.evidence.policy import (
    MetricPolicy,
    ShareKind,
    SharePolicy,
    Slices,
    alpha_fail,
    alpha_pass,
    policy_of,
)
from serinus.core.evidence.sliced import SlicedEvidence, evidence_of
from serinus.core.evidence.slices import stratum_of
from serinus.core.readings import Counters, CounterSeries, Grid, Missing, MissingReason, Part, PodStart, Sample
from serinus.core.rollout.situation import MAX_RESTARTS
from serinus.core.verdicts import Fail, Pass, Verdict, combine, worst

ANALYSIS: Final = Analysis()
POLICIES: Final = policy_of(ANALYSIS)
STEPS: Final = len(WEIGHTS) - 1
ANCHOR: Final = 1_700_000_000.0
GRID: Final = Grid(ANCHOR, float(LOOK_SECONDS))
ENDPOINT: Final = "/predict"
"""The only one, where there are slices."""
_ALPHA_FAIL: Final = alpha_fail(ANALYSIS, watched=True)
_ALPHA_PASS: Final = alpha_pass(ANALYSIS)
_STALE_SECONDS: Final = 3.0 * LOOK_SECONDS
_FORGETS_EVERY: Final = 40
_AWAY_LOOKS: Final = 2
"""A restart of the operator comes every so many looks, and takes so many."""
_AWAY = Missing(MissingReason.SOURCE_UNAVAILABLE, "The source of the metrics is away.")


def policies_of(kind: Kind) -> tuple[SharePolicy, ...]:
    """The metrics that a kind is judged by: of one with slices, the errors by these."""
    shares = tuple(policy for policy in POLICIES if isinstance(policy, SharePolicy))
    if not kind.slices:
        return shares
    values = tuple(str(at) for at, part in enumerate(kind.slices) if part >= LEAST_SHARE)
    slices = Slices("slice", values, LEAST_SHARE)
    return tuple(replace(each, slices=slices) if each.kind is ShareKind.ERRORS else each for each in shares)


class End(StrEnum):
    """How an attempt ended."""

    ROLLED_BACK = "rolled back"
    PROMOTED = "promoted"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt."""

    end: End
    look: int
    """At which it ended; the last one where it did not."""
    bad: float
    """Bad requests that the candidate served until it was rolled back, or until the end of the traffic."""


class Scraped:
    """The counters of one revision with one pod, as they grow."""

    def __init__(self, pod: str, endpoints: int, *, sliced: bool = False) -> None:
        self._pod, self._sliced = pod, sliced
        self._values = [[0.0] * len(_SERIES) for _ in range(endpoints)]
        self._samples: list[list[list[Sample]]] = [[[] for _ in _SERIES] for _ in range(endpoints)]

    def count(self, served: Floats) -> None:
        """Requests of one interval, by endpoint."""
        for values, row in zip(self._values, served.tolist(), strict=True):
            total, failed, refused, slow = Served(*row)
            for at, more in enumerate((total, failed, refused, total - slow)):
                values[at] += more

    def restart(self) -> None:
        """All counters begin again."""
        self._values = [[0.0] * len(_SERIES) for _ in self._values]

    def scrape(self, look: int) -> None:
        """Read the counters at a point of the grid."""
        at = ANCHOR + look * LOOK_SECONDS
        for samples, values in zip(self._samples, self._values, strict=True):
            for column, value in zip(samples, values, strict=True):
                column.append(Sample(at, value))

    def reading(self, policy: MetricPolicy) -> Counters:
        """What a metric source reports of it."""
        columns = _PARTS[policy.kind] if isinstance(policy, SharePolicy) else {}
        series = [
            CounterSeries(
                self._pod,
                part,
                ENDPOINT if self._sliced else f"/{endpoint}",
                tuple(samples[column]),
                str(endpoint) if self._sliced else "",
            )
            for endpoint, samples in enumerate(self._samples)
            for part, column in columns.items()
            if samples[column]
        ]
        return Counters(tuple(series), GRID)


_SERIES: Final = ("total", "failed", "refused", "fast")
_PARTS: Final = {
    ShareKind.ERRORS: {Part.TOTAL: 0, Part.BAD: 1, Part.CLIENT_ERROR: 2},
    ShareKind.LATENCY: {Part.TOTAL: 0, Part.GOOD_BELOW_LOWER: 3, Part.GOOD_BELOW_UPPER: 3},
    ShareKind.RATIO: {Part.TOTAL: 0, Part.BAD: 1},
}


def circumstances(look: int, *, step_began: int = 0) -> Circumstances:
    """All that a verdict at this look depends on besides limits and readings."""
    return Circumstances(
        now=ANCHOR + look * LOOK_SECONDS,
        step_started_at=ANCHOR + step_began * LOOK_SECONDS,
        alpha_fail=_ALPHA_FAIL,
        alpha_pass=_ALPHA_PASS,
        stale_after_seconds=_STALE_SECONDS,
        candidate_pods=(PodStart("candidate-0", ANCHOR - 600),),
        stable_pods=(PodStart("stable-0", ANCHOR - 600),),
    )


class Reading(Protocol):
    """How the engine gets to know what was served."""

    def serve(self, look: int, own: Floats | None, other: Floats, *, crashed: bool) -> None:
        """Both revisions served this by endpoint up to this look; the candidate None where it can't be heard."""

    def forget(self) -> None:
        """The operator starts anew."""

    def verdict(self, step_began: int) -> Verdict:
        """Over all metrics, at the last look, in a step that began at that one."""


class ByCounters:
    """Through raw counters, pods and gaps: all that the operator has to get along with."""

    def __init__(self, kind: Kind) -> None:
        self._kind, self._look = kind, 0
        self._judges = [Judge(policy) for policy in policies_of(self._kind)]
        self._candidate = Scraped("candidate-0", kind.endpoints, sliced=bool(kind.slices))
        self._stable = Scraped("stable-0", kind.endpoints, sliced=bool(kind.slices))
        self._stable.scrape(0)
        if not kind.silent:
            self._candidate.scrape(0)

    def serve(self, look: int, own: Floats | None, other: Floats, *, crashed: bool) -> None:
        self._look = look
        if crashed:
            self._candidate.restart()
        self._stable.count(other)
        if own is not None:
            self._candidate.count(own)
        if source_is_away(self._kind, look):
            return
        self._stable.scrape(look)
        if own is not None:
            self._candidate.scrape(look)

    def forget(self) -> None:
        self._judges = [Judge(policy) for policy in policies_of(self._kind)]

    def verdict(self, step_began: int) -> Verdict:
        at = circumstances(self._look, step_began=step_began)
        away = source_is_away(self._kind, self._look)
        return combine(
            judge.judge(
                _AWAY if away else self._candidate.reading(judge.policy),
                _AWAY if away else self._stable.reading(judge.policy),
                at,
            )
            for judge in self._judges
        )


class ByIntervals:
    """Through counts per interval. For kinds in which every scrape succeeds and no pod restarts (see `is_whole`)."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._keeps = kind.restarts
        self._served: list[tuple[int, Floats, Floats, int]] = []
        self._new: list[tuple[int, Floats, Floats]] = []
        self._step_began = 0
        self._evidence = self._nothing()

    def _nothing(self) -> list[tuple[SharePolicy, ShareEvidence | SlicedEvidence]]:
        return [(policy, evidence_of(policy, _ALPHA_FAIL, _ALPHA_PASS)) for policy in policies_of(self._kind)]

    def serve(self, look: int, own: Floats | None, other: Floats, *, crashed: bool) -> None:
        if own is None or crashed:
            raise ValueError("a candidate that is not heard has no counts per interval")
        self._new.append((look, own, other))

    def forget(self) -> None:
        self._evidence, self._step_began = self._nothing(), 0
        for look, own, other, step_began in self._served:
            self._take_in(look, own, other, step_began)

    def verdict(self, step_began: int) -> Verdict:
        for point, own, other in self._new:
            self._take_in(point, own, other, step_began)
            if self._keeps:
                self._served.append((point, own, other, step_began))
        self._new = []
        return worst([evidence.decide().verdict for _, evidence in self._evidence])

    def _take_in(self, look: int, own: Floats, other: Floats, step_began: int) -> None:
        if step_began != self._step_began:
            self._step_began = step_began
            for _, evidence in self._evidence:
                evidence.begin_step()
        rows = own.tolist(), other.tolist()
        for policy, evidence in self._evidence:
            candidate, stable = (self._interval(look, each, policy) for each in rows)
            evidence.add(candidate, stable)

    def _interval(self, look: int, rows: list[list[float]], policy: SharePolicy) -> Interval | None:
        strata: dict[str, list[Tally]] = {}
        for at, (total, failed, refused, slow) in enumerate(rows):
            if total and policy.kind is ShareKind.LATENCY:
                strata.setdefault(self._stratum(at, policy), []).append(Tally(total, slow, slow, 0.0))
            elif total:
                strata.setdefault(self._stratum(at, policy), []).append(Tally(total, failed, failed, refused))
        sums = {name: total_of(each) if len(each) > 1 else each[0] for name, each in strata.items()}
        return Interval(look, sums) if strata else None

    def _stratum(self, at: int, policy: SharePolicy) -> str:
        """Where the operator puts what an endpoint, or a slice, has served."""
        if not self._kind.slices:
            return f"/{at}"
        if policy.slices is None:
            return ENDPOINT
        values = policy.slices.values
        return stratum_of(policy.slices, values.index(str(at)) if str(at) in values else len(values), ENDPOINT)


def is_whole(kind: Kind) -> bool:
    """Whether every scrape of a kind succeeds and no pod restarts."""
    return not (kind.silent or kind.crashes or kind.outage_seconds)


class Attempt:
    """An attempt under way."""

    def __init__(self, kind: Kind, traffic: Traffic, reading: Reading | None = None) -> None:
        self._kind, self._traffic = kind, traffic
        self._reading = reading or (ByIntervals(kind) if is_whole(kind) else ByCounters(kind))
        self._step = 0
        self._step_began = 0
        self._missing_since: int | None = None
        self._withdrawn = False
        self._held = 0
        self._crashes = 0
        self._bad = 0.0

    def play(self) -> Outcome:
        """To its end."""
        for look in range(1, self._traffic.looks + 1):
            self._serve(look)
            end = self._decide(look) if self._operator_is_there(look) else None
            if end is End.PROMOTED:
                after = harm(self._kind, look + 1, self._traffic.candidate[-1, look:])
                return Outcome(end, look, self._bad + float(after.sum()))
            if end is not None:
                return Outcome(end, look, self._bad)
        return Outcome(End.UNDECIDED, self._traffic.looks, self._bad)

    def _serve(self, look: int) -> None:
        own, other = (each[self._step, look - 1] for each in (self._traffic.candidate, self._traffic.stable))
        if self._withdrawn:
            own = own * 0.0
        crashed = crashes_at(self._kind, look)
        self._crashes += crashed
        self._bad += float(harm(self._kind, look, own[np.newaxis])[0])
        self._reading.serve(look, None if self._is_unheard(look) else own, other, crashed=crashed)

    def _is_unheard(self, look: int) -> bool:
        return self._kind.silent or is_down(self._kind, look)

    def _operator_is_there(self, look: int) -> bool:
        if not self._kind.restarts or look < _FORGETS_EVERY:
            return True
        if look % _FORGETS_EVERY == 0:
            self._reading.forget()
        return look % _FORGETS_EVERY >= _AWAY_LOOKS

    def _decide(self, look: int) -> End | None:
        verdict = self._reading.verdict(self._step_began)
        if isinstance(verdict, Fail) or self._crashes >= MAX_RESTARTS:
            return End.ROLLED_BACK
        if isinstance(verdict, Missing):
            return self._wait(look, verdict)
        self._missing_since, self._withdrawn = None, False
        self._held += LOOK_SECONDS
        if not isinstance(verdict, Pass) or self._held < self._kind.hold_seconds:
            return None
        self._step, self._step_began, self._held = self._step + 1, look, 0
        return End.PROMOTED if self._step == STEPS else None

    def _wait(self, look: int, missing: Missing) -> End | None:
        since = self._missing_since if self._missing_since is not None else look
        self._missing_since = since
        self._withdrawn = self._withdrawn or missing.reason is MissingReason.CANDIDATE_SILENT
        overdue = (look - since) * LOOK_SECONDS >= ANALYSIS.missing.after_seconds
        return End.ROLLED_BACK if overdue and self._withdrawn else None
