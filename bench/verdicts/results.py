"""What was found: counts over many attempts, by kind and rule, and which settings of the others stand beside ours.

Made by `bench.verdicts.play`, read by `bench.verdicts.report`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.verdicts.attempt import ANALYSIS, End, Outcome
from bench.verdicts.bounds import upper_share
from bench.verdicts.cost import Cost
from bench.verdicts.detection import Detection
from bench.verdicts.kinds import KINDS, Expected, Kind
from bench.verdicts.rules import USUAL, Rule, System, rules

ENGINE: Final = "Serinus"
TUNED: Final = "tuned"
FALSE_ROLLBACKS: Final = float(ANALYSIS.false_rollback_percent.share)
FALSE_PROMOTIONS: Final = float(ANALYSIS.false_promotion_percent.share)


@dataclass(slots=True)
class Tally:
    """Outcomes of many attempts of one kind by one rule."""

    runs: int = 0
    rolled_back: int = 0
    promoted: int = 0
    bad: float = 0.0
    """Bad requests, over all attempts."""
    bad_squares: float = 0.0
    looks_to_promotion: int = 0

    def add(self, outcome: Outcome) -> None:
        """One more attempt."""
        self.runs += 1
        self.rolled_back += outcome.end is End.ROLLED_BACK
        self.promoted += outcome.end is End.PROMOTED
        self.bad += outcome.bad
        self.bad_squares += outcome.bad**2
        self.looks_to_promotion += outcome.look if outcome.end is End.PROMOTED else 0

    def merge(self, other: Tally) -> None:
        """The attempts of another one too."""
        for each in dataclasses.fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def mean_bad(self) -> float:
        """Bad requests per attempt."""
        return self.bad / self.runs if self.runs else 0.0

    @property
    def bad_error(self) -> float:
        """Standard error of that."""
        if self.runs < 2:
            return 0.0
        variance = max(self.bad_squares / self.runs - self.mean_bad**2, 0.0)
        return math.sqrt(variance / (self.runs - 1))

    @property
    def rollback_bound(self) -> float:
        """Upper 95 % bound of the share that was rolled back."""
        return upper_share(self.rolled_back, self.runs)

    @property
    def promotion_bound(self) -> float:
        """Upper 95 % bound of the share that was promoted."""
        return upper_share(self.promoted, self.runs)


Tallies = dict[str, dict[str, Tally]]
"""By kind and by the name of the rule."""


@dataclass(frozen=True, slots=True)
class Results:
    """All figures of one run of the benchmark."""

    runs: int
    seed: int
    tallies: Tallies
    """Of Serinus, of the usual settings of the others and of the tuned ones."""
    tuned: Mapping[str, str]
    """The settings that were chosen, by system; none where none keeps the rate."""
    detections: tuple[Detection, ...]
    cost: Cost
    machine: Mapping[str, str]
    failures: tuple[str, ...] = ()
    """Goals that were missed, in words."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """From JSON. Raises KeyError or TypeError where it is of another version."""
        found: dict[str, Any] = json.loads(path.read_text())
        return cls(
            **{
                **found,
                "tallies": {
                    kind: {rule: Tally(**tally) for rule, tally in by_rule.items()}
                    for kind, by_rule in found["tallies"].items()
                },
                "detections": tuple(Detection(**each) for each in found["detections"]),
                "cost": Cost(**found["cost"]),
                "failures": tuple(found["failures"]),
            }
        )


def chosen(tallies: Tallies) -> dict[System, Rule]:
    """For each system the settings that keep the false rollbacks of every harmless kind within the same percentage.

    Outages, restarts of the operator and little traffic are left out: these rules take a missing answer for a failed
    one, and no setting of thresholds changes that. Of the settings that are left, those with the fewest bad requests
    are taken (by the geometric mean over the bad kinds).
    """
    harmless = [
        kind for kind in _played(tallies, Expected.HARMLESS) if not (kind.outage_seconds or kind.requests < 100)
    ]
    bad = [kind for kind in _played(tallies, Expected.BAD) if not (kind.silent or kind.crashes or kind.outage_seconds)]
    result: dict[System, Rule] = {}
    best: dict[System, float] = {}
    for rule in rules():
        kept = all(
            tallies[kind.name][rule.name].rolled_back <= FALSE_ROLLBACKS * tallies[kind.name][rule.name].runs
            for kind in harmless
        )
        if not kept:
            continue
        cost = sum(math.log(max(tallies[kind.name][rule.name].mean_bad, 1e-9)) for kind in bad)
        if cost < best.get(rule.system, math.inf):
            result[rule.system], best[rule.system] = rule, cost
    return result


def condensed(tallies: Tallies, tuned: Mapping[System, Rule]) -> Tallies:
    """Only the rules that are told of: ours, the others as usual, and tuned."""
    named = {ENGINE: ENGINE} | {str(rule.system): rule.name for rule in USUAL}
    named |= {f"{system}, {TUNED}": rule.name for system, rule in tuned.items()}
    return {
        kind: {name: by_rule[rule] for name, rule in named.items() if rule in by_rule}
        for kind, by_rule in tallies.items()
    }


def _played(tallies: Tallies, expected: Expected) -> list[Kind]:
    return [kind for kind in KINDS if kind.expected is expected and kind.name in tallies]


def missed(results: Results) -> Iterator[str]:
    """The goals that the figures don't reach."""
    tallies = results.tallies
    for kind in KINDS:
        if kind.name not in tallies:
            continue
        ours = tallies[kind.name][ENGINE]
        if kind.expected in {Expected.HARMLESS, Expected.SILENT} and ours.rollback_bound > FALSE_ROLLBACKS:
            yield f"{kind.name}: false rollbacks {ours.rolled_back} of {ours.runs}, at most {ours.rollback_bound:.2%}"
        if kind.expected in {Expected.BAD, Expected.SILENT} and ours.promoted > FALSE_PROMOTIONS * ours.runs:
            yield f"{kind.name}: wrong promotions {ours.promoted} of {ours.runs}"
        if kind.expected in {Expected.BAD, Expected.WORSE} and not kind.outage_seconds:
            yield from _more_bad(kind, ours, tallies[kind.name])
    for each in results.detections:
        if each.requests > each.allowed:
            yield f"{each.limit} limit at {each.times:g} ×: {each.requests:,.0f} requests, {each.allowed:,.0f} allowed"
    if results.cost.incremental_median > 1:
        yield f"an evaluation takes {results.cost.incremental_median:.2f} ms"


def _more_bad(kind: Kind, ours: Tally, by_rule: Mapping[str, Tally]) -> Iterable[str]:
    """Not asked of outages: there the tuned rules don't keep their rate, as a missing answer rolls everybody back."""
    for name, tally in by_rule.items():
        if name.endswith(TUNED) and ours.mean_bad > tally.mean_bad + 2 * math.hypot(ours.bad_error, tally.bad_error):
            yield f"{kind.name}: {ours.mean_bad:,.0f} bad requests, {name} {tally.mean_bad:,.0f}"
