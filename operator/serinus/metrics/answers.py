"""What Prometheus answers, checked: from bytes to series, or the reason why they are unusable.

Called by `serinus.metrics.connection` for every answer. Nothing that a server sends is trusted to have the right shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from serinus.core.readings import Missing, MissingReason

MAX_WORDS: Final = 300
"""Characters of a server's own words that are passed on."""
MAX_SERIES: Final = 20_000
"""Series of one answer. More than this is a selector that means something else, and would fill the memory."""
_SERIES_BEGIN: Final = b'"metric":{'
_TRUNCATED: Final = "truncated due to limit"
"""In Prometheus' warning that there were more series than it was asked for."""
_INFO_PREFIX: Final = "PromQL info:"
_TIMEOUT_TYPES: Final = frozenset({"timeout", "canceled"})
_REFUSED_CODES: Final = frozenset({401, 403})
_QUERY_TYPES: Final = frozenset({"bad_data", "execution"})


class UnreadableError(Exception):
    """There is no reading; `missing` says why. Raised by this package's inside, caught once, by `PrometheusSource`."""

    def __init__(self, reason: MissingReason, detail: str) -> None:
        super().__init__(detail)
        self.missing = Missing(reason, detail)


@dataclass(frozen=True, slots=True)
class Series:
    """One series as Prometheus gives it."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Unix seconds and value, in ascending order of time. The value may be NaN or infinite."""


def data_of(body: bytes, status_code: int) -> object:
    """What an answer holds: the API's `data`. Raises UnreadableError for errors, warnings and everything else."""
    if body.count(_SERIES_BEGIN) > MAX_SERIES:
        raise _too_many()
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if status_code in _REFUSED_CODES:
        raise UnreadableError(
            MissingReason.SOURCE_UNAVAILABLE,
            f"Prometheus does not let the operator read (HTTP {status_code}): {words(body)!r}; check prometheus.auth "
            "and prometheus.headers, and what the Secret holds",
        )
    if not isinstance(answer, dict) or answer.get("status") not in {"success", "error"}:
        raise UnreadableError(
            MissingReason.SOURCE_UNAVAILABLE,
            f"the answer (HTTP {status_code}) is not Prometheus' JSON but {words(body)!r}; does the URL lead to the "
            "Prometheus API?",
        )
    if answer["status"] == "error" or status_code != 200:
        raise _refusal(answer, status_code)
    if warnings := _warnings(answer):
        if any(_TRUNCATED in each for each in warnings):
            raise _too_many()
        raise UnreadableError(
            MissingReason.WARNING,
            f"Prometheus warns that the answer may be partial or not what is meant: {words('; '.join(warnings))!r}",
        )
    if answer.get("isPartial") is True:  # VictoriaMetrics' way to say it
        raise UnreadableError(MissingReason.WARNING, "the answer is partial: not every storage node answered")
    return answer.get("data")


def result_of(data: object) -> list[Any]:
    """The result of a query, from its data. Raises UnreadableError if there is none."""
    return _list(data.get("result") if isinstance(data, dict) else data)


def matrix(result: object) -> tuple[Series, ...]:
    """The series of a range query. Raises UnreadableError for anything else."""
    return tuple(_series(each, "values") for each in _few(result))


def vector(result: object) -> tuple[Series, ...]:
    """The series of an instant query, of one point each. Raises UnreadableError for anything else."""
    return tuple(_series(each, "value") for each in _few(result))


def texts(result: object) -> tuple[str, ...]:
    """The values of a label. Raises UnreadableError for anything else."""
    return tuple(_text(each) for each in _few(result))


def words(text: bytes | str) -> str:
    """The beginning of what a server said, on one line and without control characters."""
    start = text[: 4 * MAX_WORDS]
    plain = start.decode(errors="replace") if isinstance(start, bytes) else start
    line = "".join(character if character.isprintable() else " " for character in plain)
    line = " ".join(line.split())
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"


def _refusal(answer: Mapping[str, Any], status_code: int) -> UnreadableError:
    said = f"{answer.get('errorType', 'error')}: {answer.get('error', 'no reason given')}"
    if answer.get("errorType") in _TIMEOUT_TYPES:
        return UnreadableError(
            MissingReason.TIMEOUT, f"Prometheus gave the query up (HTTP {status_code}): {words(said)!r}"
        )
    if answer.get("errorType") in _QUERY_TYPES:
        return UnreadableError(
            MissingReason.INVALID_QUERY, f"Prometheus refuses the query (HTTP {status_code}): {words(said)!r}"
        )
    return UnreadableError(
        MissingReason.SOURCE_UNAVAILABLE, f"Prometheus answered with an error (HTTP {status_code}): {words(said)!r}"
    )


def _warnings(answer: Mapping[str, Any]) -> list[str]:
    """Warnings, without the informational notes that some versions of Prometheus list among them."""
    given = answer.get("warnings") or []
    if not isinstance(given, list):
        given = [given]
    return [str(each) for each in given if not str(each).startswith(_INFO_PREFIX)]


def _series(item: object, key: str) -> Series:
    # A query that gives a scalar has a result without labels; a native histogram has no values.
    if not isinstance(item, dict) or not isinstance(item.get("metric"), dict):
        raise _nonsense(item)
    if key not in item and ("histogram" in item or "histograms" in item):
        raise UnreadableError(
            MissingReason.NOT_A_NUMBER, f"the series {words(str(item['metric']))} is a native histogram, not a number"
        )
    points = [item.get(key)] if key == "value" else _list(item.get(key))
    labels = {_text(name): _text(value) for name, value in item["metric"].items()}
    return Series(labels, tuple(sorted(map(_point, points))))


def _point(item: object) -> tuple[float, float]:
    match item:
        case [int() | float() as at, str() as value] if math.isfinite(at):
            try:
                return float(at), float(value)
            except ValueError:
                raise _nonsense(item) from None
        case _:
            raise _nonsense(item)


def _few(item: object) -> list[Any]:
    items = _list(item)
    if len(items) > MAX_SERIES:
        raise _too_many()
    return items


def _list(item: object) -> list[Any]:
    if not isinstance(item, list):
        raise _nonsense(item)
    return item


def _text(item: object) -> str:
    if not isinstance(item, str):
        raise _nonsense(item)
    return item


def _too_many() -> UnreadableError:
    return UnreadableError(
        MissingReason.INVALID_QUERY,
        f"the query selects more than {MAX_SERIES:,} series, which are not read; narrow its selector or aggregate it",
    )


def _nonsense(item: object) -> UnreadableError:
    return UnreadableError(
        MissingReason.SOURCE_UNAVAILABLE,
        f"the answer has not the shape of Prometheus' API at {words(repr(item)[:1000])!r}",
    )
