"""From Prometheus' series to the counters of the core: pods, duplicates, freshness, parts.

Pure; called by `serinus.metrics.prometheus`.

A pod may be scraped by several jobs (an annotation job beside a PodMonitor, two Services behind a ServiceMonitor, a
pair of Prometheus servers behind Thanos), and labels that come with the scrape may change while the counter goes on.
Counting such series one by one would double requests, or count old ones anew. So series that differ only in labels of
the scrape are one counter, and at each grid point the highest of their values is it: counters only grow, so the highest
is what the newest scrape saw. A restart is seen once every copy shows it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from serinus.core.readings import CounterSeries, Grid, MissingReason, Part, Sample
from serinus.metrics.answers import Series, UnreadableError, words
from serinus.metrics.promql import CODE_LABEL, PATH_LABELS

Identity = tuple[tuple[str, str], ...]

BENTOML_LABELS: Final = frozenset({CODE_LABEL, "service_name", "runner_name", "service_version"})
SCRAPE_LABELS: Final = frozenset(
    {"job", "instance", "node", "container", "namespace", "prometheus", "prometheus_replica", "exported_job"}
)
"""Labels that say how a pod was scraped, not what was counted."""
NO_SLICES: Final = frozenset({"__name__", "le", CODE_LABEL, *SCRAPE_LABELS})
"""Labels that tell answers apart, or how a pod was scraped: requests can't be divided by them."""
_SOURCE_LABELS: Final = ("job", "prometheus", "prometheus_replica")
NOT_FOUND: Final = "404"
MIN_COUNT, MAX_COUNT = 1e-6, 2.0**53
"""Below, a number that is not zero counts nothing; beyond, a floating-point number no longer counts one by one."""
_MOST_FALLS, _MOST_FALLING_SHARE = 5, 0.2
"""A counter that falls more often than this, and in more of its steps, is no counter: pods do not restart so often."""


@dataclass(frozen=True, slots=True)
class Scrapes:
    """How the pods of a reading were scraped."""

    grid: Grid
    pod_label: str
    newest: Mapping[str, float]
    """Time of each pod's newest scrape in Unix seconds, where known. Prometheus repeats a value for minutes after the
    last scrape; grid points more than a step behind it say nothing and are left out, so the core sees the silence."""
    slice_label: str | None = None
    """Label by whose values the requests are divided, if any."""

    def slice_of(self, labels: Mapping[str, str]) -> str:
        """The value of that label; "" where there is none."""
        return slice_of(labels, self.slice_label) if self.slice_label is not None else ""


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter of one pod, copies merged."""

    pod: str
    path: str
    """BentoML's endpoint; "" for a user's counter."""
    code: str
    """HTTP status; "" for a user's counter."""
    bound: float | None
    """Upper bound of a histogram's bucket in seconds."""
    samples: tuple[Sample, ...]
    slice: str = ""
    """Value of the label by which the requests are divided; "" without one."""


def slice_of(labels: Mapping[str, str], label: str) -> str:
    """The value of a label by which requests are divided, whatever a scrape made of BentoML's path; "" without it."""
    return path_of(labels) if label in PATH_LABELS else labels.get(label, "")


def path_of(labels: Mapping[str, str]) -> str:
    """The path of a BentoML series, whatever a scrape made of its label."""
    plain, exported = PATH_LABELS
    return labels.get(exported) or labels.get(plain, "")


def bentoml_identity(labels: Mapping[str, str]) -> Identity:
    """What tells BentoML's counters within a pod apart: the labels that BentoML gives."""
    kept = {name: value for name, value in labels.items() if name in BENTOML_LABELS}
    kept["path"] = path_of(labels)
    if "le" in labels:
        kept["le"] = repr(bound_of(labels["le"]))
    return tuple(sorted(kept.items()))


def user_identity(labels: Mapping[str, str]) -> Identity:
    """What tells a user's counters within a pod apart: all labels but those of the scrape."""
    return tuple(sorted((name, value) for name, value in labels.items() if name not in SCRAPE_LABELS))


def bound_of(le: str) -> float:
    """The bound of a bucket in seconds. Raises UnreadableError for what is no number."""
    try:
        return float(le)
    except ValueError:
        raise UnreadableError(
            MissingReason.SOURCE_UNAVAILABLE, f"a histogram has the bucket le={le!r}, which is not a number"
        ) from None


def bentoml_counters(series: Iterable[Series], scrapes: Scrapes) -> list[Counter]:
    """BentoML's counters, one for each pod, path, status code, bucket and slice, in a fixed order.

    Slices by a label that BentoML does not give come with the scrape: then of several scrape jobs only one counts for
    each pod, as they may differ in it. Raises UnreadableError for values that no counter has.
    """
    label = scrapes.slice_label
    identity: Callable[[Mapping[str, str]], Identity] = bentoml_identity
    if label is not None and label not in {*BENTOML_LABELS, *PATH_LABELS}:
        series = one_source_per_pod(series, scrapes.pod_label)
        identity = _with_label(label)
    return [
        Counter(
            pod=pod,
            path=path_of(labels),
            code=labels.get(CODE_LABEL, ""),
            bound=bound_of(labels["le"]) if "le" in labels else None,
            samples=samples,
            slice=scrapes.slice_of(labels),
        )
        for pod, labels, samples in _merged(series, scrapes, identity)
    ]


def _with_label(label: str) -> Callable[[Mapping[str, str]], Identity]:
    """As `bentoml_identity`, and by one more label."""
    return lambda labels: (*bentoml_identity(labels), (label, labels.get(label, "")))


def user_counters(series: Iterable[Series], scrapes: Scrapes) -> list[Counter]:
    """A user's counters, one for each pod and set of labels, in a fixed order.

    Nobody knows which of their labels a scrape added, so of several scrape jobs only one counts for each pod. Raises
    UnreadableError for values that no counter has.
    """
    once = one_source_per_pod(series, scrapes.pod_label)
    counters: list[Counter] = []
    for pod, labels, samples in _merged(once, scrapes, user_identity):
        _require_growth(labels, samples)
        counters.append(Counter(pod=pod, path="", code="", bound=None, samples=samples, slice=scrapes.slice_of(labels)))
    return counters


def gateway_counters(series: Iterable[Series], scrapes: Scrapes, code_label: str) -> list[Counter]:
    """A gateway's counters, one for each of its pods and set of labels, in a fixed order, with their status codes.

    Raises UnreadableError for values that no counter has.
    """
    once = one_source_per_pod(series, scrapes.pod_label)
    return [
        Counter(pod=pod, path="", code=labels.get(code_label, ""), bound=None, samples=samples)
        for pod, labels, samples in _merged(once, scrapes, user_identity)
    ]


def _merged(
    series: Iterable[Series], scrapes: Scrapes, identity: Callable[[Mapping[str, str]], Identity]
) -> Iterator[tuple[str, Mapping[str, str], tuple[Sample, ...]]]:
    """Pod, labels (of one of the copies) and samples of each counter."""
    grid = scrapes.grid
    values: dict[tuple[str, Identity], dict[int, float]] = {}
    labels: dict[tuple[str, Identity], Mapping[str, str]] = {}
    for each in series:
        pod = each.labels.get(scrapes.pod_label)
        if not pod:
            raise UnreadableError(
                MissingReason.AMBIGUOUS,
                f"a series has no label {scrapes.pod_label!r}, so its pod is unknown: {_shown(each.labels)}; set the "
                "metric's labels.pod",
            )
        _require_counter(each)
        key = (pod, identity(each.labels))
        labels.setdefault(key, each.labels)
        until = scrapes.newest.get(pod, math.inf) + grid.step_seconds
        points = {round((at - grid.anchor) / grid.step_seconds): value for at, value in each.points if at <= until}
        before = values.get(key)
        values[key] = (
            points
            if before is None
            else before | {point: max(value, before.get(point, 0.0)) for point, value in points.items()}
        )
    for key in sorted(key for key in values if values[key]):
        points = values[key]
        samples = tuple(Sample(grid.anchor + point * grid.step_seconds, points[point]) for point in sorted(points))
        yield key[0], labels[key], samples


def one_source_per_pod(series: Iterable[Series], pod_label: str) -> list[Series]:
    """The series of one scrape job only for each pod: the one with the newest data, the most of it, the first name."""
    by_source: dict[str, dict[Identity, list[Series]]] = defaultdict(lambda: defaultdict(list))
    for each in series:
        by_source[each.labels.get(pod_label, "")][_source(each.labels)].append(each)
    chosen: list[Series] = []
    for sources in by_source.values():
        best = min(sources, key=lambda source: (-_last(sources[source]), -_size(sources[source]), source))
        chosen += sources[best]
    return chosen


def known_paths(counters: Iterable[Counter], surveyed: Collection[str]) -> set[str]:
    """The paths that exist: surveyed, or answered at least once with anything but 404."""
    return set(surveyed) | {each.path for each in counters if each.code != NOT_FOUND}


def matching(codes: Collection[str], known: Iterable[str]) -> frozenset[str]:
    """Those of the known status codes that the codes of a metric mean."""
    pattern = _pattern(codes)
    return frozenset(code for code in known if pattern.fullmatch(code))


def request_parts(counters: Iterable[Counter], codes: Collection[str], *, client_errors: bool) -> list[CounterSeries]:
    """Total, bad and, if asked for, client-error counters of requests, by their status codes."""
    bad = _pattern(codes)
    parts: list[CounterSeries] = []
    for each in counters:
        parts.append(_part(each, Part.TOTAL))
        if bad.fullmatch(each.code):
            parts.append(_part(each, Part.BAD))
        elif client_errors and each.code.startswith("4"):
            parts.append(_part(each, Part.CLIENT_ERROR))
    return parts


def good_parts(counters: Iterable[Counter], lower: float, upper: float) -> list[CounterSeries]:
    """The buckets at both bounds around a threshold, as counters of answers that were fast enough."""
    parts: list[CounterSeries] = []
    for each in counters:
        if each.bound == lower:
            parts.append(_part(each, Part.GOOD_BELOW_LOWER))
        if each.bound == upper:
            parts.append(_part(each, Part.GOOD_BELOW_UPPER))
    return parts


def parts(counters: Iterable[Counter], part: Part) -> list[CounterSeries]:
    """All counters as one part."""
    return [_part(each, part) for each in counters]


def _part(counter: Counter, part: Part) -> CounterSeries:
    return CounterSeries(pod=counter.pod, part=part, stratum=counter.path, samples=counter.samples, slice=counter.slice)


def _pattern(codes: Collection[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_code_pattern(code)})" for code in codes))


def _code_pattern(code: str) -> str:
    return "".join("[0-9]" if character == "." else re.escape(character) for character in code)


def _require_counter(series: Series) -> None:
    """Raise UnreadableError for values that no counter has."""
    value = next((value for _, value in series.points if value != 0 and not MIN_COUNT <= value <= MAX_COUNT), None)
    if value is None:
        return
    if 0 < value < math.inf:
        detail = f"the counter {_shown(series.labels)} has the value {value:g}, which is too large or small for a count"
        raise UnreadableError(MissingReason.NOT_A_NUMBER, detail)
    if math.isfinite(value):
        detail = f"{_shown(series.labels)} has the value {value:g}: it is a gauge, not a counter"
        raise UnreadableError(MissingReason.INCONSISTENT, detail)
    raise UnreadableError(MissingReason.NOT_A_NUMBER, f"the counter {_shown(series.labels)} has the value {value}")


def _shown(labels: Mapping[str, str]) -> str:
    """Labels for a message: whoever exposes metrics writes them, at any length."""
    return words(str(dict(labels)))


def _require_growth(labels: Mapping[str, str], samples: Sequence[Sample]) -> None:
    """Raise UnreadableError for what goes up and down, so that every other of its values would look like a restart."""
    falls = sum(after.value < before.value for before, after in pairwise(samples))
    if falls > max(_MOST_FALLS, _MOST_FALLING_SHARE * len(samples)):
        raise UnreadableError(
            MissingReason.INCONSISTENT,
            f"{_shown(labels)} fell {falls} times in {len(samples)} readings: it is a gauge, not a counter",
        )


def _source(labels: Mapping[str, str]) -> Identity:
    # The Prometheus Operator sets `endpoint` beside `service`: then the service is the scrape's, not the user's.
    names = (*_SOURCE_LABELS, "service") if labels.keys() >= {"endpoint", "service"} else _SOURCE_LABELS
    return tuple((name, labels.get(name, "")) for name in names)


def _last(series: Iterable[Series]) -> float:
    return max((each.points[-1][0] for each in series if each.points), default=-math.inf)


def _size(series: Iterable[Series]) -> int:
    return sum(len(each.points) for each in series)
