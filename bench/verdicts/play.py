"""Plays many attempts, in as many processes as are given. Called by `bench.verdicts.__main__` and by the tests."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from bench.verdicts.attempt import Attempt, ByCounters, is_whole
from bench.verdicts.detection import LIMITS, TIMES, Detection, detection, requests_until_fail, runs_of
from bench.verdicts.kinds import Kind
from bench.verdicts.ledger import Ledger
from bench.verdicts.results import ENGINE, Tallies, Tally
from bench.verdicts.rules import WINDOWS, Rule, Windows, outcomes, rules
from bench.verdicts.traffic import drawn, horizon

_BATCH: Final = 25
"""Attempts of a kind that are played in one go."""
_CHECKED_EVERY: Final = 500
"""So often an attempt that is played by intervals is played by counters too: both have to end the same."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Sitting:
    """How much is played now."""

    runs: int
    """Attempts of each kind that there are to be in the end, with those of earlier sittings."""
    seed: int = 1
    jobs: int = 1
    """Processes; 0 for one per processor."""
    is_over: Callable[[], bool] = lambda: False
    """Asked before each batch: nothing new is begun when it says so."""
    tell: Callable[[str], None] = lambda _: None


class UnequalError(Exception):
    """The engine decided otherwise by counts per interval than by counters."""


def played(kinds: Sequence[Kind], sitting: Sitting, ledger: Ledger) -> Tallies:
    """All rules on the traffic of all kinds, with what was played in earlier sittings.

    Kinds take turns, so that a sitting that ends early has seen all of them.
    """
    result: Tallies = {kind.name: ledger.tallies(kind.name) for kind in kinds}
    begun = {name: next(iter(by_rule.values())).runs if by_rule else 0 for name, by_rule in result.items()}
    tasks = [
        (kind, sitting.seed, range(max(first, begun[kind.name]), min(first + _BATCH, sitting.runs)))
        for first in range(0, sitting.runs, _BATCH)
        for kind in kinds
        if begun[kind.name] < min(first + _BATCH, sitting.runs)
    ]
    for (kind, _, batch), tallies in _each(_attempts, tasks, sitting):
        by_rule = result[kind.name]
        for rule, tally in tallies.items():
            by_rule.setdefault(rule, Tally()).merge(tally)
        ledger.keep_tallies(kind.name, by_rule)
        ours = by_rule[ENGINE]
        if ours.runs == sitting.runs or not batch.start % (10 * _BATCH):
            sitting.tell(f"{kind.name}: {ours.rolled_back} of {ours.runs} rolled back, {ours.promoted} promoted")
    return {name: by_rule for name, by_rule in result.items() if by_rule}


def detected(sitting: Sitting, ledger: Ledger) -> tuple[Detection, ...]:
    """How soon each limit is found broken, at each multiple of it, with what was played in earlier sittings."""
    cases = [(at, times) for at in range(len(LIMITS)) for times in TIMES]
    requests = {case: ledger.requests(LIMITS[case[0]].name, case[1]) for case in cases}
    tasks = [
        (at, times, sitting.seed, range(max(first, len(requests[at, times])), min(first + _BATCH, most)))
        for at, times in cases
        for most in [runs_of(times, sitting.runs)]
        for first in range(0, most, _BATCH)
        if len(requests[at, times]) < min(first + _BATCH, most)
    ]
    for case, answers in groupby(_each(_detections, tasks, sitting), key=lambda answer: answer[0][:2]):
        for _, found in answers:
            requests[case] += found
            ledger.keep_requests(LIMITS[case[0]].name, case[1], requests[case])
        last = detection(LIMITS[case[0]], case[1], requests[case])
        sitting.tell(f"{last.limit} {last.times:g} ×: {last.requests:,.0f} requests, bound {last.bound:,.0f}")
    return tuple(detection(LIMITS[at], times, found) for (at, times), found in requests.items() if found)


def _attempts(task: tuple[Kind, int, range]) -> dict[str, Tally]:
    kind, seed, batch = task
    tallies = {ENGINE: Tally(), **{rule.name: Tally() for rule in rules()}}
    settings = dict.fromkeys((rule.system, rule.window_looks, rule.slack) for rule in rules())
    for run in batch:
        traffic = drawn(kind, seed, run, horizon(kind))
        ours = Attempt(kind, traffic).play()
        if is_whole(kind) and not run % _CHECKED_EVERY and ours != Attempt(kind, traffic, ByCounters(kind)).play():
            raise UnequalError(
                f"attempt {run} of the kind {kind.name!r} with the seed {seed} ends otherwise by counters"
            )
        tallies[ENGINE].add(ours)
        windows = {looks: Windows(kind, traffic, looks) for looks in WINDOWS}
        for system, window_looks, slack in settings:
            for tolerated, outcome in outcomes(windows[window_looks], system, slack).items():
                tallies[Rule(system, window_looks, slack, tolerated).name].add(outcome)
    return tallies


def _detections(task: tuple[int, float, int, range]) -> list[float]:
    at, times, seed, batch = task
    return [requests_until_fail(LIMITS[at], times, seed, run) for run in batch]


def _each(work: Callable[[Task], Answer], tasks: Iterable[Task], sitting: Sitting) -> Iterator[tuple[Task, Answer]]:
    """Each task with its answer, in order (the same whatever the number of processes), until the sitting is over."""
    if sitting.jobs == 1:
        for task in tasks:
            if sitting.is_over():
                return
            yield task, work(task)
        return
    jobs = sitting.jobs or os.cpu_count() or 1
    under_way: deque[tuple[Task, Future[Answer]]] = deque()
    with ProcessPoolExecutor(jobs) as pool:
        for task in tasks:
            if sitting.is_over():
                break
            under_way.append((task, pool.submit(work, task)))
            if len(under_way) > 2 * jobs:
                first, answer = under_way.popleft()
                yield first, answer.result()
        for task, answer in under_way:
            yield task, answer.result()
