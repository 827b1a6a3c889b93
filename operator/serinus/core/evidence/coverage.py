"""Whether the counters of a revision speak for all of its pods, and are fresh.

Called by `serinus.core.evidence.shares`. A pod that crashed vanishes from its own counters and the survivors look
healthy; so every pod that takes traffic has to be in the newest readings, else there is no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

from serinus.core.readings import Counters, Missing, MissingReason, Part, PodStart


def uncovered(
    candidate: Counters,
    candidate_pods: Iterable[PodStart],
    stable: Counters | None,
    stable_pods: Iterable[PodStart],
    *,
    now: float,
    stale_after_seconds: float,
) -> Missing | None:
    """Why the counters can't be judged, or None if every pod that has weight reports.

    A pod younger than `stale_after_seconds` is excused: it may not have been scraped yet. A candidate none of whose
    pods is heard while stable is, is CandidateSilent: it has weight and something keeps it from being measured. While
    all of its pods are excused it has merely no traffic yet.

    Args:
        candidate: counters of the candidate.
        candidate_pods: its pods; only those with weight have to report.
        stable: counters of the stable revision, None where it is not compared with.
        stable_pods: stable's pods; none of them need have weight.
        now: Unix seconds.
        stale_after_seconds: how old the newest sample of a pod may be.

    """
    oldest = now - stale_after_seconds
    heard, expected = _heard(candidate, oldest), _expected(candidate_pods)
    stable_heard = _heard(stable, oldest) if stable else frozenset()
    if not heard and stable_heard:
        if not _silent(expected, heard, oldest):
            return None
        return Missing(
            MissingReason.CANDIDATE_SILENT,
            f"No pod of the candidate has reported for {stale_after_seconds:g} s, while stable's do. "
            "Check that the candidate's pods answer on /metrics and are scraped.",
        )
    if not heard:
        return _silence(candidate, stable, now, stale_after_seconds)
    for revision, silent in (
        ("candidate", _silent(expected, heard, oldest)),
        ("stable revision", _silent(_expected(stable_pods), stable_heard, oldest) if stable else ()),
    ):
        if silent:
            return Missing(
                MissingReason.NOT_COVERED,
                f"{len(silent)} of the pods of the {revision} that take traffic "
                f"{'has' if len(silent) == 1 else 'have'} not reported for "
                f"{stale_after_seconds:g} s: {', '.join(silent[:3])}{' …' if len(silent) > 3 else ''}.",
            )
    return None


def _expected(pods: Iterable[PodStart]) -> tuple[PodStart, ...]:
    return tuple(pod for pod in pods if pod.weighted)


def _heard(counters: Counters, oldest: float) -> frozenset[str]:
    return frozenset(
        series.pod
        for series in counters.series
        if series.part is Part.TOTAL and series.samples and series.samples[-1].at >= oldest
    )


def _silent(expected: Iterable[PodStart], heard: frozenset[str], oldest: float) -> tuple[str, ...]:
    return tuple(sorted(pod.pod for pod in expected if pod.pod not in heard and pod.started_at < oldest))


def _silence(candidate: Counters, stable: Counters | None, now: float, stale_after_seconds: float) -> Missing:
    """Nobody is heard: the source knows nothing new, or nothing at all."""
    series = (*candidate.series, *(stable.series if stable else ()))
    newest = max((each.samples[-1].at for each in series if each.samples), default=None)
    if newest is None:
        return Missing(
            MissingReason.EMPTY,
            "No pod has reported since the evidence began. Check that the pods are scraped, and that Prometheus knows "
            "them by these labels (prometheus.labels of the operator, or labels of the metric).",
        )
    return Missing(
        MissingReason.TOO_OLD,
        f"The newest sample is {now - newest:.0f} s old, and may be {stale_after_seconds:g} s at most. "
        "Check that Prometheus runs and scrapes the pods.",
    )
