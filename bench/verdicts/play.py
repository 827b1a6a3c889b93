"""Plays many attempts, in as many processes as are given. Called by `bench.verdicts.__main__` and by the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from bench.verdicts.attempt import Attempt
from bench.verdicts.detection import LIMITS, TIMES, Detection, detection, requests_until_fail, runs_of
from bench.verdicts.kinds import Kind
from bench.verdicts.results import ENGINE, Tallies, Tally
from bench.verdicts.rules import WINDOWS, Rule, Windows, outcomes, rules
from bench.verdicts.traffic import drawn, horizon

_BATCH = 25
"""Attempts of a kind that are played in one go."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def played(kinds: Sequence[Kind], runs: int, seed: int, jobs: int, tell: Callable[[str], None]) -> Tallies:
    """All rules on the traffic of all kinds."""
    tasks = [
        (kind, seed, range(first, min(first + _BATCH, runs))) for kind in kinds for first in range(0, runs, _BATCH)
    ]
    result: Tallies = {kind.name: {} for kind in kinds}
    done = dict.fromkeys(result, 0)
    for (kind, _, batch), tallies in _each(_attempts, tasks, jobs):
        for rule, tally in tallies.items():
            result[kind.name].setdefault(rule, Tally()).merge(tally)
        done[kind.name] += len(batch)
        if done[kind.name] == runs:
            ours = result[kind.name][ENGINE]
            tell(f"{kind.name}: {ours.rolled_back} of {runs} rolled back, {ours.promoted} promoted")
    return result


def detected(runs: int, seed: int, jobs: int, tell: Callable[[str], None]) -> tuple[Detection, ...]:
    """How soon each limit is found broken, at each multiple of it."""
    tasks = [(at, times, seed, runs_of(times, runs)) for at in range(len(LIMITS)) for times in TIMES]
    found = []
    for (at, times, _, _), requests in _each(_detections, tasks, jobs):
        found.append(detection(LIMITS[at], times, requests))
        last = found[-1]
        tell(f"{last.limit} {times:g} ×: {last.requests:,.0f} requests, bound {last.bound:,.0f}")
    return tuple(found)


def _attempts(task: tuple[Kind, int, range]) -> dict[str, Tally]:
    kind, seed, batch = task
    tallies = {ENGINE: Tally(), **{rule.name: Tally() for rule in rules()}}
    settings = dict.fromkeys((rule.system, rule.window_looks, rule.slack) for rule in rules())
    for run in batch:
        traffic = drawn(kind, seed, run, horizon(kind))
        tallies[ENGINE].add(Attempt(kind, traffic).play())
        windows = {looks: Windows(kind, traffic, looks) for looks in WINDOWS}
        for system, window_looks, slack in settings:
            for tolerated, outcome in outcomes(windows[window_looks], system, slack).items():
                tallies[Rule(system, window_looks, slack, tolerated).name].add(outcome)
    return tallies


def _detections(task: tuple[int, float, int, int]) -> list[float]:
    at, times, seed, runs = task
    return [requests_until_fail(LIMITS[at], times, seed, run) for run in range(runs)]


def _each(work: Callable[[Task], Answer], tasks: Iterable[Task], jobs: int) -> Iterator[tuple[Task, Answer]]:
    """Each task with its answer, in order: the same whatever the number of processes."""
    listed = list(tasks)
    if jobs == 1:
        for task in listed:
            yield task, work(task)
        return
    with ProcessPoolExecutor(jobs or os.cpu_count()) as pool:
        yield from zip(listed, pool.map(work, listed), strict=True)
