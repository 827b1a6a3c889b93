"""Readings from Prometheus, or from anything that speaks its API.

`PrometheusSource` is made once by `serinus.shell.app` from the operator's settings. It knows what to ask for each
measurement; `serinus.metrics.questions` asks. What goes wrong becomes `Missing`, in the server's own words.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from serinus.api.gateways import Gateway
from serinus.core.readings import (
    Counters,
    CounterSeries,
    Gauge,
    Missing,
    MissingReason,
    Part,
    Reading,
    Sample,
    SliceCounts,
)
from serinus.metrics import gateways, promql, series
from serinus.metrics.answers import Series, UnreadableError
from serinus.metrics.connection import DEFAULT_TIMEOUT_SECONDS, MAX_ANSWER_BYTES, Connection, Endpoint
from serinus.metrics.credentials import CredentialFiles
from serinus.metrics.gateways import Backend
from serinus.metrics.promql import Pods, Selector, SelectorError
from serinus.metrics.questions import OnCall, Questions
from serinus.metrics.series import Counter, Scrapes
from serinus.metrics.source import ErrorShare, EventRatio, QueryValue, ReadingRequest, SlowShare

MAX_POINTS: Final = 10_000
"""Grid points of one range query; Prometheus refuses more than 11,000. Longer windows are asked for in pieces."""
MAX_PATTERN_CHARACTERS: Final = 2_000
"""Longest list of paths in a query; beyond it all paths are asked for. URLs of 8 KiB pass everywhere."""
_GRID_TOLERANCE_SECONDS: Final = 0.01
"""Times are sent in milliseconds."""
_SHORTEST_SURVEY_SECONDS: Final = 60
"""Of slices: in a shorter window there may be no two scrapes."""
_OLDEST_SCRAPE_STEPS: Final = 3
"""So many steps ago the gateway has to have been scraped."""


@dataclass(frozen=True, slots=True)
class _Survey:
    """What there is to count at the end of the window."""

    newest: Mapping[str, float]
    """Time of the newest scrape by pod of the revision."""
    paths: frozenset[str] = frozenset()
    """Paths that exist in the revision or its peers."""


class PrometheusSource:
    """A metric source that reads raw counters and gauges from Prometheus."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_concurrent: int = 4,
        headers: Mapping[str, str] | None = None,
        credentials: CredentialFiles | None = None,
        pod_label: str = "pod",
        namespace_label: str = "namespace",
        gateway: Gateway | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        on_call: OnCall = lambda _, __: None,
    ) -> None:
        """Nothing is sent yet. `timeout_seconds` is for each call; a reading makes one to five of them.

        `headers` go with every call; `credentials` too, as the files have them at that time. `gateway` is the one whose
        counts of backends are scraped, if any. `on_call` hears how each call ended, in the event loop.
        Raises ValueError for a URL that is none.
        """
        self._endpoint = Endpoint(
            url=url,
            headers=dict(headers or {}),
            timeout_seconds=timeout_seconds,
            max_answer_bytes=max_answer_bytes,
        )
        self._questions = Questions(self._endpoint, credentials or CredentialFiles(), max_concurrent, on_call)
        self._pod_label = pod_label
        self._namespace_label = namespace_label
        self._gateway = gateway

    @property
    def public_url(self) -> str:
        """Where it reads, without credentials: for the log."""
        return self._endpoint.public_url

    async def read(self, request: ReadingRequest) -> Reading:
        """The reading, or why there is none. Never raises but for cancellation; several may be asked at once."""
        try:
            return await self._read(request)
        except UnreadableError as error:
            return error.missing
        except SelectorError as error:
            return Missing(MissingReason.INVALID_QUERY, str(error))

    async def slices(self, request: ReadingRequest, *, most: int) -> SliceCounts | Missing:
        """What was served in the window by the values of `slice_label`: the `most` frequent ones, and all together.

        Prometheus adds them up, so that however many values there are, only so many are read.
        """
        try:
            return await self._slices(request, most)
        except UnreadableError as error:
            return error.missing
        except SelectorError as error:
            return Missing(MissingReason.INVALID_QUERY, str(error))

    async def number(self, query: str, at: float) -> float | Missing:
        """What an instant query of our own gives at a time in Unix seconds; 0 where it gives no series."""
        try:
            found = await self._questions.ask("", (query, at), lambda connection: connection.at_instant(query, at))
        except UnreadableError as error:
            return error.missing
        return found[0].points[0][1] if found else 0.0

    def query(self, request: ReadingRequest) -> str:
        """The PromQL of what decides: the counter that is judged, or the user's own query."""
        pods = self._pods(request)
        try:
            match request.measure:
                case ErrorShare(codes=codes):
                    backend = self._backend(request, codes)
                    at_gateway = f" or {gateways.backend_requests(*backend)}" if backend else ""
                    return f"{promql.requests(pods)}{at_gateway}"
                case SlowShare():
                    return str(promql.buckets(pods))
                case EventRatio(bad=bad):
                    return str(promql.user_selector(bad, pods))
                case QueryValue(query=query):
                    return promql.user_query(query, pods)
                case _:
                    assert_never(request.measure)
        except SelectorError:
            return ""

    async def close(self) -> None:
        """Stop. Readings under way are Missing, and so is every later one."""
        self._questions.close()

    async def _read(self, request: ReadingRequest) -> Reading:
        if request.end < request.grid.anchor:
            raise UnreadableError(MissingReason.EMPTY, "the window of the reading has not begun yet")
        match request.measure:
            case ErrorShare() as measure:
                found = await self._errors(request, measure)
            case SlowShare() as measure:
                found = await self._latency(request, measure)
            case EventRatio() as measure:
                found = await self._ratio(request, measure)
            case QueryValue() as measure:
                return await self._gauge(request, measure)
            case _:
                assert_never(request.measure)
        return Counters(tuple(found), request.grid)

    async def _slices(self, request: ReadingRequest, most: int) -> SliceCounts:
        label, pods = self._slice_label(request), self._pods(request)
        if label is None:
            raise SelectorError("requests are to be divided and there is no label to do it by")
        measure = request.measure
        counted = (
            promql.user_selector(measure.total, pods) if isinstance(measure, EventRatio) else promql.requests(pods)
        )
        seconds = max(_SHORTEST_SURVEY_SECONDS, math.floor(request.end - request.grid.anchor))
        labels = promql.PATH_LABELS if label in promql.PATH_LABELS else (label,)
        rows, whole = await asyncio.gather(
            self._instant(request, promql.increase_by(counted, labels, seconds, most)),
            self._instant(request, promql.increase(counted, seconds)),
        )
        by_value: dict[str, float] = {}
        for row in rows:
            value = series.slice_of(row.labels, label)
            by_value[value] = by_value.get(value, 0.0) + _number(row)
        return SliceCounts(math.fsum(map(_number, whole)), by_value)

    async def _errors(self, request: ReadingRequest, measure: ErrorShare) -> list[CounterSeries]:
        backend = self._backend(request, measure.codes)
        if backend is None:
            counters = await self._requests(request, await self._survey(request))
            return series.request_parts(counters, measure.codes, client_errors=measure.client_errors)
        codes = series.matching(measure.codes, gateways.UNANSWERED_CODES)
        counters, unanswered = await asyncio.gather(
            self._requests(request, await self._survey(request)), self._at_gateway(request, *backend, codes)
        )
        if unanswered is None and any(each.samples[-1].value > 0 for each in counters):
            gateway, _ = backend
            raise UnreadableError(
                MissingReason.NOT_COVERED,
                f"requests to {request.pod_prefix} were counted, but there is no "
                f"{gateways.PUBLISHED[gateway].requests} of that backend; does {gateway} (prometheus.gateway) publish "
                "counts for each backend?",
            )
        answered = (each for each in counters if each.code not in codes)
        own = series.request_parts(answered, measure.codes, client_errors=measure.client_errors)
        # The gateway does not know the model's paths: so that its counts can be compared, all are one.
        return [replace(each, stratum="") for each in own] + (unanswered or [])

    def _backend(self, request: ReadingRequest, codes: Collection[str]) -> tuple[Gateway, Backend] | None:
        """Where a gateway counts errors of the revision; None where none is scraped, leads to it, or has such codes."""
        bad = series.matching(codes, gateways.UNANSWERED_CODES)
        if self._gateway is None or request.route is None or not bad:
            return None
        return self._gateway, Backend(request.namespace, request.route, request.pod_prefix)

    async def _at_gateway(
        self, request: ReadingRequest, gateway: Gateway, backend: Backend, codes: frozenset[str]
    ) -> list[CounterSeries] | None:
        """What the gateway counted with these codes; None where it knows nothing of the backend."""
        scraped, found = await asyncio.gather(
            self._range(request, gateways.scrape_times(gateway)),
            self._range(request, gateways.backend_requests(gateway, backend)),
        )
        present = gateways.presence(scraped, request.grid, self._pod_label)
        published = gateways.PUBLISHED[gateway]
        if not present.newest:
            raise UnreadableError(
                MissingReason.EMPTY,
                f"there is no series {published.alive} of {gateway}; is it scraped, as prometheus.gateway says?",
            )
        scrapes = Scrapes(request.grid, present.label, present.newest)
        counters = await self._questions.compute(series.gateway_counters, found, scrapes, published.code_label)
        # Only those of its pods that serve this backend: there may be other gateways of its kind.
        newest = [present.newest.get(each.pod, request.grid.anchor) for each in counters]
        if not newest:
            return None
        age = _last_point(request) - max(newest)
        if age > _OLDEST_SCRAPE_STEPS * request.grid.step_seconds:
            raise UnreadableError(
                MissingReason.TOO_OLD,
                f"{gateway}, which serves {backend.service}, was last scraped {age:.0f} s before the end of the "
                "window; is it up, and still a target?",
            )
        return gateways.gateway_parts(counters, present, codes, request.grid)

    async def _latency(self, request: ReadingRequest, measure: SlowShare) -> list[CounterSeries]:
        survey, (lower, upper) = await asyncio.gather(self._survey(request), self._bounds(request, measure))
        total, found = await asyncio.gather(
            self._requests(request, survey),
            self._range(request, str(promql.buckets_at(self._pods(request), {*lower, *upper})) if upper else None),
        )
        good = await self._questions.compute(series.bentoml_counters, found, self._scrapes(request, survey))
        if not upper and any(each.code.startswith("2") and each.samples[-1].value > 0 for each in total):
            raise UnreadableError(
                MissingReason.EMPTY,
                f"successful requests were counted, but there is no series {promql.DURATION_BUCKETS} of pods "
                f"{request.pod_prefix}-…; does a relabelling rule of Prometheus drop histograms?",
            )
        bounds = [series.bound_of(next(iter(each))) if each else math.nan for each in (lower, upper)]
        return series.parts(total, Part.TOTAL) + series.good_parts(good, *bounds)

    async def _ratio(self, request: ReadingRequest, measure: EventRatio) -> list[CounterSeries]:
        pods = self._pods(request)
        total_selector = promql.user_selector(measure.total, pods)
        bad_selector = promql.user_selector(measure.bad, pods)
        survey, total, bad = await asyncio.gather(
            self._freshness(request, total_selector),
            self._range(request, str(total_selector)),
            self._range(request, str(bad_selector)),
        )
        scrapes = self._scrapes(request, survey)
        return [
            *series.parts(await self._questions.compute(series.user_counters, total, scrapes), Part.TOTAL),
            *series.parts(await self._questions.compute(series.user_counters, bad, scrapes), Part.BAD),
        ]

    async def _gauge(self, request: ReadingRequest, measure: QueryValue) -> Gauge:
        query = promql.user_query(measure.query, self._pods(request))
        found = await self._range(request, query)
        points = sorted(point for each in found for point in each.points)
        if not points:
            raise _nothing(query)
        if len({at for at, _ in points}) < len(points):
            raise UnreadableError(
                MissingReason.AMBIGUOUS,
                f"{_short(query)} gives several series ({len(found)}) where one number is meant; use max(…) or sum(…)",
            )
        newest = points[-1][1]
        if not math.isfinite(newest):
            raise UnreadableError(MissingReason.NOT_A_NUMBER, f"{_short(query)} gives {newest}")
        return Gauge(tuple(Sample(at, value) for at, value in points if math.isfinite(value)))

    async def _survey(self, request: ReadingRequest) -> _Survey:
        """Freshness of the revision's pods, and the paths that it or its peers have, at the end of the window."""
        own = self._pods(request)
        prefixes = tuple(sorted({request.pod_prefix, *request.peer_prefixes}))  # in one order: peers ask the same
        everyone = Pods(own.namespace, prefixes, own.pod_label, own.namespace_label)
        rows = await self._instant(request, promql.path_survey(everyone))
        newest = self._newest(request, rows)
        return _Survey(newest, frozenset(path for row in rows if (path := series.path_of(row.labels))))

    async def _freshness(self, request: ReadingRequest, selector: Selector) -> _Survey:
        rows = await self._instant(request, promql.freshness(selector, self._pods(request).pod_label))
        return _Survey(self._newest(request, rows))

    def _newest(self, request: ReadingRequest, rows: Iterable[Series]) -> dict[str, float]:
        newest: dict[str, float] = {}
        for row in rows:
            pod = row.labels.get(request.pod_label or self._pod_label, "")
            if pod.startswith(f"{request.pod_prefix}-"):
                newest[pod] = max(row.points[0][1], newest.get(pod, -math.inf))
        return newest

    async def _requests(self, request: ReadingRequest, survey: _Survey) -> list[Counter]:
        """BentoML's request counters, without paths that do not exist."""
        within = sum(map(len, survey.paths)) <= MAX_PATTERN_CHARACTERS
        query = promql.known_requests(self._pods(request), survey.paths if within else ())
        found = await self._range(request, query)
        counters = await self._questions.compute(series.bentoml_counters, found, self._scrapes(request, survey))
        known = series.known_paths(counters, survey.paths)
        return [each for each in counters if each.path in known]

    async def _bounds(self, request: ReadingRequest, measure: SlowShare) -> tuple[set[str], set[str]]:
        """The `le` of the bucket bounds around the threshold, each as it is written; empty without a histogram.

        The upper bound is always one that the peers have too, so that "stable is slow as well" is meant alike; the
        lower one where it is compared. +Inf is a bound that everybody has.
        """
        prefixes = (request.pod_prefix, *request.peer_prefixes)
        own, *peers = await asyncio.gather(*(self._written_bounds(request, prefix) for prefix in prefixes))
        if not own:
            return set(), set()
        common = set(own).intersection(*(set(peer) for peer in peers if peer))
        candidates = common if measure.compared else set(own)
        upper = min((bound for bound in common if bound >= measure.threshold_seconds), default=math.inf)
        lower = max((bound for bound in candidates if bound <= measure.threshold_seconds), default=None)
        if lower is None:
            threshold = f"{measure.threshold_seconds * 1000:g} ms"
            unlike = min(own) <= measure.threshold_seconds
            raise UnreadableError(
                MissingReason.NOT_COMPARABLE if unlike else MissingReason.EMPTY,
                f"no bucket of {promql.DURATION_BUCKETS} ends at or below {threshold}"
                f"{' in both revisions' if unlike else ''}, so nothing can be shown to be fast enough; raise the "
                "threshold, or configure such a bucket in BentoML (metrics.duration)",
            )
        return own[lower], own.get(upper, {"+Inf"})

    async def _written_bounds(self, request: ReadingRequest, prefix: str) -> dict[float, set[str]]:
        own = self._pods(request)
        selector = str(promql.buckets(Pods(own.namespace, (prefix,), own.pod_label, own.namespace_label)))
        start, end = request.grid.anchor, max(request.end, request.grid.anchor + 1)
        written: dict[float, set[str]] = {}
        question = (request.end, selector, start, end)
        for le in await self._questions.ask(
            request.namespace, question, lambda its: its.label_values("le", selector, start, end)
        ):
            written.setdefault(series.bound_of(le), set()).add(le)
        return written

    async def _instant(self, request: ReadingRequest, query: str) -> tuple[Series, ...]:
        at = _last_point(request)
        question = (request.end, query, at)
        return await self._questions.ask(
            request.namespace, question, lambda connection: connection.at_instant(query, at)
        )

    async def _range(self, request: ReadingRequest, query: str | None) -> list[Series]:
        """All series on all grid points; in pieces where the grid is longer than Prometheus answers at once."""
        if query is None:
            return []
        step = request.grid.step_seconds
        found: list[Series] = []
        for first in range(0, _points(request), MAX_POINTS):
            start = request.grid.anchor + first * step
            end = min(start + (MAX_POINTS - 1) * step, _last_point(request))
            question = (request.end, query, start, end, step)
            found += await self._questions.ask(request.namespace, question, _range_call(query, start, end, step))
        _require_grid(found, request)
        return found

    def _scrapes(self, request: ReadingRequest, survey: _Survey) -> Scrapes:
        return Scrapes(
            grid=request.grid,
            pod_label=request.pod_label or self._pod_label,
            newest=survey.newest,
            slice_label=self._slice_label(request),
        )

    def _slice_label(self, request: ReadingRequest) -> str | None:
        """The label of the slices. Raises SelectorError for one by which requests can't be divided."""
        label = request.slice_label
        if label is not None and label in {*series.NO_SLICES, request.pod_label or self._pod_label}:
            raise SelectorError(
                f"perSlice: {label} says how a request was answered or where it was counted, not which it was; take "
                "a label such as a country, a customer or an endpoint"
            )
        return label

    def _pods(self, request: ReadingRequest) -> Pods:
        return Pods(
            namespace=request.namespace,
            prefixes=(request.pod_prefix,),
            pod_label=request.pod_label or self._pod_label,
            namespace_label=request.namespace_label or self._namespace_label,
        )


def _range_call(query: str, start: float, end: float, step: float) -> Callable[[Connection], Sequence[Series]]:
    return lambda connection: connection.over_range(query, start, end, step)


def _number(row: Series) -> float:
    """The value of a row that counts. Raises UnreadableError for what is no count."""
    value = row.points[0][1]
    if not 0 <= value < math.inf:
        raise UnreadableError(
            MissingReason.NOT_A_NUMBER, f"requests by slice: {dict(row.labels)} has the value {value}"
        )
    return value


def _points(request: ReadingRequest) -> int:
    """Grid points in the window; the tolerance is for sums of floats."""
    return math.floor((request.end - request.grid.anchor) / request.grid.step_seconds + 1e-6) + 1


def _last_point(request: ReadingRequest) -> float:
    return request.grid.anchor + (_points(request) - 1) * request.grid.step_seconds


def _require_grid(found: Iterable[Series], request: ReadingRequest) -> None:
    """Raise UnreadableError where the server answers for other times than it was asked for."""
    grid = request.grid
    for each in found:
        for at, _ in each.points[:1]:
            off = math.remainder(at - grid.anchor, grid.step_seconds)
            if abs(off) > _GRID_TOLERANCE_SECONDS:
                raise UnreadableError(
                    MissingReason.SOURCE_UNAVAILABLE,
                    f"the answer is for other times than those asked for ({off:+.3f} s): a cache moves them to "
                    "multiples of the step; ask Thanos Query or Prometheus itself, or switch alignment off "
                    "(--query-range.align-range-with-step=false, align_queries_with_step: false)",
                )


def _nothing(query: str) -> UnreadableError:
    return UnreadableError(
        MissingReason.EMPTY,
        f"there is no series {_short(query)} in the window; are the pods scraped, with these labels?",
    )


def _short(query: str) -> str:
    line = " ".join(query.split())
    return line if len(line) <= 300 else f"{line[:299]}…"
