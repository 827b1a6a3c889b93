"""What a policy would have decided on traffic of the past: rollouts replayed over the history of the stable revision.

Pure; called by `kubectl serinus simulate`. A made-up candidate gets its share of the requests that were served, drawn
one by one, with their failures; a worse one fails some more of them. So what hits both revisions (an incident, the
night) is as it was. Failures that came together on one pod are shared out as well, which real ones would not be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol, assert_never

from serinus.api.analysis import MetricMode, UndecidedAction
from serinus.api.spec import ModelDeploymentSpec
from serinus.core.due import exposure_seconds
from serinus.core.evidence.intervals import Interval, Tally, total_of
from serinus.core.evidence.policy import SharePolicy, alpha_fail, alpha_pass, policy_of
from serinus.core.evidence.sliced import evidence_of
from serinus.core.evidence.slices import chosen, stratum_of
from serinus.core.history import History, Served
from serinus.core.readings import Missing, SliceCounts
from serinus.core.traffic import PlannedStep, planned_steps
from serinus.core.verdicts import Fail, Pass, Verdict, worst

_DRAWN_ONE_BY_ONE: Final = 500.0
"""Mean of a draw up to which it is exact; above, a normal draw can't be told apart from it."""


class End(StrEnum):
    """How a replayed rollout ends."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    PAUSED = "Paused"
    """Undecided for longer than `analysis.undecided` allows."""
    UNFINISHED = "Unfinished"
    """The history ends first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A made-up candidate: as stable, or with more bad requests by some metrics."""

    name: str
    added: Mapping[str, float]
    """By metric: chance that a request which stable served well is a bad one, 0 to 1."""
    only: str | None = None
    """The slice to which that happens; None: to all requests."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One rollout."""

    begins_at: float
    """Unix seconds."""
    end: End
    seconds: float
    """Until it ended."""
    step: str
    """In which it ended."""
    metric: str
    """The one that failed, or was the last to pass; "" where no metric decided."""
    requests: float
    """Served by the candidate, by the metric with the most."""
    bad: float
    """Bad ones among them, over all metrics."""


class NothingToReplay(Exception):  # noqa: N818 -- it names a state of the data, as InvalidSpec does
    """Why a policy can't be replayed over a history."""


def judged_steps(spec: ModelDeploymentSpec) -> tuple[PlannedStep, ...]:
    """The steps in which a candidate gets a share of the requests. Raises NothingToReplay where there are none."""
    steps = tuple(step for step in planned_steps(spec) if step.weight_percent and not step.approval)
    if not steps:
        raise NothingToReplay("no step gives the candidate a share of the requests: only canaries can be replayed")
    return steps


def judged_metrics(spec: ModelDeploymentSpec, history: History) -> tuple[SharePolicy, ...]:
    """The enforced metrics that count something, with their slices where the history has them.

    The slices are those that the operator would choose of the whole history; of a real rollout, from the hour before.
    Raises NothingToReplay where the history has not all metrics.
    """
    policies = tuple(
        policy
        for policy in policy_of(spec.analysis)
        if isinstance(policy, SharePolicy) and policy.mode is MetricMode.ENFORCE
    )
    unknown = [policy.name for policy in policies if policy.name not in history.metrics]
    if unknown or not policies:
        known = ", ".join(sorted(history.metrics)) or "nothing"
        what = f"the history has no counts of {', '.join(unknown)}" if unknown else "no enforced metric counts anything"
        raise NothingToReplay(f"{what}; it has counts of {known}")
    labels = {metric.name: metric.per_slice for metric in spec.analysis.metrics or ()}
    return tuple(_with_slices(policy, labels.get(policy.name), spec, history) for policy in policies)


def _with_slices(policy: SharePolicy, label: str | None, spec: ModelDeploymentSpec, history: History) -> SharePolicy:
    by_value = history.of_slices(policy.name)
    if label is None or not by_value:
        return policy
    slices = chosen(
        policy,
        label,
        SliceCounts(math.fsum(by_value.values()), by_value),
        window_seconds=history.length * history.interval_seconds,
        exposure_seconds=exposure_seconds(spec, planned_steps(spec)),
        alpha_pass=alpha_pass(spec.analysis),
    )
    return replace(policy, slices=slices)


class Chance(Protocol):
    """Random numbers, as `random.Random` draws them."""

    def random(self) -> float:
        """Draw evenly from [0, 1)."""

    def gauss(self, mu: float, sigma: float) -> float:
        """Draw from the normal distribution with this mean and standard deviation."""


def replays(
    spec: ModelDeploymentSpec,
    history: History,
    candidate: Candidate,
    *,
    rollouts: int,
    seed: int,
    chances: Callable[[str], Chance],
) -> Iterator[Replay]:
    """So many rollouts of one candidate, begun evenly over the history; the same seed gives the same ones.

    `chances` makes the random numbers that belong to a text.

    Raises:
        NothingToReplay: without a step with a weight, or without counts of an enforced metric.

    """
    policies, steps = judged_metrics(spec, history), judged_steps(spec)
    for number in range(rollouts):
        chance = chances(f"{seed} {number} {candidate.name}")
        rollout = _Rollout(spec, history, candidate, policies=policies, steps=steps, chance=chance)
        yield rollout.play(number * history.length // rollouts)


class _Rollout:
    """One rollout under way."""

    def __init__(
        self,
        spec: ModelDeploymentSpec,
        history: History,
        candidate: Candidate,
        *,
        policies: tuple[SharePolicy, ...],
        steps: tuple[PlannedStep, ...],
        chance: Chance,
    ) -> None:
        self._analysis, self._history, self._candidate = spec.analysis, history, candidate
        self._policies, self._steps, self._chance = policies, steps, chance
        alphas = alpha_fail(spec.analysis, watched=spec.rollout.watch_seconds > 0), alpha_pass(spec.analysis)
        self._evidence = {policy.name: evidence_of(policy, *alphas) for policy in policies}
        self._requests = dict.fromkeys(self._evidence, 0.0)
        self._bad = 0.0
        self._last_to_pass = ""

    def play(self, first: int) -> Replay:
        """From the interval with this number on."""
        step, held, interval = 0, 0.0, self._history.interval_seconds
        for at in range(first, self._history.length):
            known = {name: self._history.metrics[name].get(at) for name in self._evidence}
            seconds = (at + 1 - first) * interval
            verdicts = self._verdicts(at, known, self._steps[step].weight_percent / 100)
            verdict = worst(list(verdicts.values()))
            if isinstance(verdict, Fail):
                failed = next(name for name, each in verdicts.items() if isinstance(each, Fail))
                return self._ended(first, End.ROLLED_BACK, seconds, step, failed)
            if isinstance(verdict, Missing) or None in known.values():
                continue
            held += interval
            end = self._step_ends(self._steps[step], held, passed=isinstance(verdict, Pass))
            if end is End.PROMOTED and step + 1 < len(self._steps):
                step, held = step + 1, 0.0
                for evidence in self._evidence.values():
                    evidence.begin_step()
            elif end is not None:
                last = self._last_to_pass if isinstance(verdict, Pass) else ""
                return self._ended(first, end, seconds, step, last)
        return self._ended(first, End.UNFINISHED, (self._history.length - first) * interval, step, "")

    def _verdicts(self, at: int, known: Mapping[str, Served | None], share: float) -> dict[str, Verdict]:
        found: dict[str, Verdict] = {}
        for policy in self._policies:
            name = policy.name
            if known[name] is not None:
                own: dict[str, list[Served]] = {}
                other: dict[str, list[Served]] = {}
                for value, stratum, served in self._parts(policy, at):
                    for by_stratum, part in zip(
                        (own, other), self._shared_out(name, served, share, value), strict=True
                    ):
                        by_stratum.setdefault(stratum, []).append(part)
                        self._requests[name] += part.total if by_stratum is own else 0.0
                        self._bad += part.bad if by_stratum is own else 0.0
                self._evidence[name].add(_interval(at, own), _interval(at, other))
            found[name] = self._evidence[name].decide().verdict
        waiting = [name for name, verdict in found.items() if not isinstance(verdict, Pass)]
        self._last_to_pass = waiting[0] if waiting else self._last_to_pass
        return found

    def _parts(self, policy: SharePolicy, at: int) -> Iterator[tuple[str, str, Served]]:
        """What was served in an interval, by slice: its value, and where it is put."""
        slices = policy.slices
        if slices is None:
            yield "", "", self._history.metrics[policy.name][at]
            return
        for value, counted in self._history.slices[policy.name].items():
            if at in counted:
                place = slices.values.index(value) if value in slices.values else len(slices.values)
                yield value, stratum_of(slices, place, "") if slices.values else "", counted[at]

    def _shared_out(self, metric: str, served: Served, share: float, value: str = "") -> tuple[Served, Served]:
        """What the candidate would have served, and stable the rest."""
        good = served.total - served.bad - served.refused
        own_good, own_bad, own_refused = (self._drawn(each, share) for each in (good, served.bad, served.refused))
        added = self._candidate.added.get(metric, 0.0) if self._candidate.only in {None, value} else 0.0
        broken = self._drawn(own_good, added)
        own = Served(own_good + own_bad + own_refused, own_bad + broken, own_refused)
        other = Served(served.total - own.total, served.bad - own_bad, served.refused - own_refused)
        return own, other

    def _drawn(self, count: float, chance: float) -> float:
        """So many of the count, each with this chance: a binomial draw (by waiting times, Devroye 1986, X.4)."""
        if chance > 0.5:
            return count - self._drawn(count, 1.0 - chance)
        whole = math.floor(count)
        rest = (count - whole) * chance
        if chance <= 0 or whole == 0:
            return rest
        if whole * chance > _DRAWN_ONE_BY_ONE:
            drawn = self._chance.gauss(whole * chance, math.sqrt(whole * chance * (1 - chance)))
            return float(min(max(round(drawn), 0), whole)) + rest
        found, place = 0, 0
        while True:
            place += 1 + math.floor(math.log(1.0 - self._chance.random()) / math.log1p(-chance))
            if place > whole:
                return found + rest
            found += 1

    def _step_ends(self, step: PlannedStep, held: float, *, passed: bool) -> End | None:
        """Promoted where the step gives way to the next one or to the promotion; None where it goes on."""
        undecided = self._analysis.undecided
        if passed and held >= step.hold_seconds:
            return End.PROMOTED
        if passed or held < step.hold_seconds + undecided.after_seconds:
            return None
        match undecided.action:
            case UndecidedAction.PROMOTE:
                return End.PROMOTED if self._has_samples else End.PAUSED
            case UndecidedAction.ROLLBACK:
                return End.ROLLED_BACK
            case UndecidedAction.PAUSE:
                return End.PAUSED
            case _:
                assert_never(undecided.action)

    @property
    def _has_samples(self) -> bool:
        return all(self._evidence[each.name].possibly.in_step.total >= each.min_samples for each in self._policies)

    def _ended(self, first: int, end: End, seconds: float, step: int, metric: str) -> Replay:
        begins_at = self._history.begins_at + first * self._history.interval_seconds
        requests = max(self._requests.values())
        return Replay(begins_at, end, seconds, self._steps[step].name, metric, requests, self._bad)


def _interval(at: int, served: Mapping[str, list[Served]]) -> Interval | None:
    strata = {
        stratum: total_of(Tally(each.total, each.bad, each.bad, each.refused) for each in parts)
        for stratum, parts in served.items()
        if any(each.total > 0 for each in parts)
    }
    return Interval(at, strata) if strata else None
