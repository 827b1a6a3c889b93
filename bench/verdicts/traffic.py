"""Draws the traffic of one attempt: what each revision serves in each interval, at each weight.

The same kind, seed and number of the run give the same traffic to every rule, whatever weights it sets.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.verdicts.kinds import (
    LOOK_SECONDS,
    STABLE_FAILED,
    STABLE_REFUSED,
    STABLE_SLOW,
    Clustering,
    Kind,
)

WEIGHTS: Final = (5, 10, 25, 50, 75, 100)
"""Percent of the five steps, and after the promotion."""

_INCIDENT_LOOKS: Final = 8
_INCIDENT_CHANCE: Final = 1 / 120
_INCIDENT_SHARE: Final = 0.33
_DIURNAL_LOOKS: Final = 480
_HARD_SHARE: Final = 0.04
"""Failed requests of the endpoint that fails often on both revisions, where there is another mix."""
_MIX_LOOKS: Final = 20
"""Looks for which the mix is another one."""
_CRASH_EVERY: Final = 12
_CRASH_LOOKS: Final = 2
_OUTAGE_FROM: Final = 12
_LONGER_THAN_HOLDS: Final = 240
_SHORTEST: Final = 480

Floats = NDArray[np.float64]


class Served(NamedTuple):
    """What one revision served at one endpoint in one interval."""

    total: float
    failed: float
    refused: float
    slow: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts of all intervals: arrays by weight, interval, endpoint and the columns of `Served`."""

    candidate: Floats
    stable: Floats

    @property
    def looks(self) -> int:
        """Intervals that were drawn."""
        return int(self.candidate.shape[1])


def horizon(kind: Kind) -> int:
    """Looks that are drawn for an attempt: two hours, or what the holds take and an hour more."""
    return max(_SHORTEST, int((len(WEIGHTS) - 1) * kind.hold_seconds / LOOK_SECONDS) + _LONGER_THAN_HOLDS)


def crashes_at(kind: Kind, look: int) -> bool:
    """Whether the candidate's container crashes in this interval."""
    return kind.crashes and look >= _CRASH_EVERY and look % _CRASH_EVERY == 0


def is_down(kind: Kind, look: int) -> bool:
    """Whether the candidate's container is away in this interval: no request is answered."""
    return kind.crashes and look >= _CRASH_EVERY and look % _CRASH_EVERY < _CRASH_LOOKS


def source_is_away(kind: Kind, look: int) -> bool:
    """Whether the source of the metrics can't be asked at this look."""
    return 0 <= look - _OUTAGE_FROM < kind.outage_seconds / LOOK_SECONDS


def harm(kind: Kind, first: int, served: Floats) -> Floats:
    """The bad ones of what was served in intervals from the look `first` on, by interval."""
    over_endpoints = served.sum(axis=1)
    bad: Floats = over_endpoints[:, 0 if kind.silent else Served._fields.index(kind.harm)]
    if not kind.crashes:
        return bad
    down = np.array([is_down(kind, first + at) for at in range(len(bad))], dtype=bool)
    return np.where(down, over_endpoints[:, 0], bad)


def drawn(kind: Kind, seed: int, run: int, looks: int) -> Traffic:
    """The traffic of one attempt."""
    random = np.random.default_rng([seed, zlib.crc32(kind.name.encode()), run])
    at = np.arange(looks)
    swing = 1 + 0.5 * np.sin(2 * np.pi * at / _DIURNAL_LOOKS) if kind.diurnal else np.ones(looks)
    incident = _incidents(random, looks) if kind.incidents else np.zeros(looks, dtype=bool)
    candidate, stable = [], []
    for weight in WEIGHTS:
        share = weight / 100
        candidate.append(_revision(random, kind, kind.requests * share * swing, swing, incident, is_candidate=True))
        stable.append(_revision(random, kind, kind.requests * (1 - share) * swing, swing, incident, is_candidate=False))
    return Traffic(np.stack(candidate), np.stack(stable))


def _revision(
    random: np.random.Generator,
    kind: Kind,
    rate: Floats,
    swing: Floats,
    incident: NDArray[np.bool_],
    *,
    is_candidate: bool,
) -> Floats:
    looks = len(rate)
    result = np.zeros((looks, kind.endpoints, 4))
    begun = np.arange(looks) * LOOK_SECONDS >= kind.begins_seconds
    for endpoint in range(kind.endpoints):
        part = _part_of_endpoint(kind, endpoint, looks, is_candidate=is_candidate)
        totals = random.poisson(rate * part).astype(float)
        result[:, endpoint, 0] = totals
        own = is_candidate and (endpoint == kind.worse_at or not kind.worse_endpoint)
        shares = ((kind.failed, STABLE_FAILED), (kind.refused, STABLE_REFUSED), (kind.slow, STABLE_SLOW))
        for column, (worse, usual) in enumerate(shares, start=1):
            level = np.where(begun & own, worse, usual) * swing
            if column == 1:
                level = np.where(incident, _INCIDENT_SHARE, level)
                if kind.other_mix and endpoint == 0:
                    level = np.full(looks, _HARD_SHARE)
            bad = _bad(random, kind, totals, np.minimum(level, 1.0))
            room = totals - result[:, endpoint, 1] if column == 2 else totals
            result[:, endpoint, column] = np.minimum(bad, room)
    return result


def _part_of_endpoint(kind: Kind, endpoint: int, looks: int, *, is_candidate: bool) -> Floats:
    if not kind.other_mix:
        return np.full(looks, kind.slices[endpoint] if kind.slices else 1 / kind.endpoints)
    mostly = np.where(is_candidate & (np.arange(looks) < _MIX_LOOKS), 0.8, 0.1)
    return mostly if endpoint == 0 else 1 - mostly


def _bad(random: np.random.Generator, kind: Kind, totals: Floats, level: Floats) -> Floats:
    counts = totals.astype(np.int64)
    match kind.clustering:
        case Clustering.INDEPENDENT:
            return random.binomial(counts, level).astype(float)
        case Clustering.CORRELATED:
            size = 1 / kind.correlation - 1
            inside = np.clip(level, 1e-9, 1 - 1e-9)
            return random.binomial(counts, random.beta(inside * size, (1 - inside) * size)).astype(float)
        case Clustering.BURSTS:
            return np.minimum(random.poisson(totals * level / kind.burst) * kind.burst, totals).astype(float)


def _incidents(random: np.random.Generator, looks: int) -> NDArray[np.bool_]:
    begins = random.random(looks) < _INCIDENT_CHANCE
    return np.convolve(begins, np.ones(_INCIDENT_LOOKS))[:looks] > 0
