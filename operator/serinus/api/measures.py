"""What can be measured about a revision: the four kinds of measurement, shared by ``analysis`` and ``monitoring``.

The metrics layer turns each kind into Prometheus queries; ``%pods%`` in the user's text is where it puts the label
matchers of one revision's pods.
"""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from serinus.api.schema import ApiModel, rule
from serinus.api.values import Integer, Seconds, cel_string, matches

PODS_PLACEHOLDER: Final = "%pods%"

_QUOTED_MATCHER: Final = r"""[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=)\s*("([^"\\]|\\.)*"|'([^'\\]|\\.)*')"""
SERIES_SELECTOR_PATTERN: Final = (
    rf"^[a-zA-Z_:][a-zA-Z0-9_:]*\{{\s*({_QUOTED_MATCHER}\s*,\s*)*%pods%\s*(,\s*{_QUOTED_MATCHER}\s*)*,?\s*\}}$"
)

StatusCodes = Annotated[str, StringConstraints(pattern=r"^[1-5][0-9.][0-9.]$")]
PromQL = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class Errors(ApiModel):
    """Share of requests answered with a bad HTTP status, from BentoML's own request counter."""

    codes: (
        Annotated[
            tuple[StatusCodes, ...],
            Field(min_length=1, max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Status codes that are bad; `.` stands for any digit. When unset, `5..` and `429`, and besides them an increase of
    4xx over the stable revision, so that a candidate that refuses valid input does not pass."""


class Latency(ApiModel):
    """Share of requests that take longer than a threshold, from BentoML's own histogram.

    An answer that is not 2xx counts as slow.
    """

    threshold_milliseconds: Annotated[Integer, Field(ge=1, le=3_600_000)]
    """Milliseconds above which a request is slow. "p95 at most 500 ms" is: threshold 500, limit.maxPercent "5"."""


class Ratio(ApiModel):
    """Share of bad among all, from two counters of your own.

    Both are series selectors, without functions: Serinus reads the raw counters and sees resets and missing pods by
    itself.
    """

    bad: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Series selector of the counter of what is bad, with `%pods%` among its matchers, such as
    `nulls_total{%pods%}`."""

    total: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Series selector of the counter of everything, with `%pods%` among its matchers, such as
    `predictions_total{%pods%}`."""

    @rule(
        f"self.bad.matches({cel_string(SERIES_SELECTOR_PATTERN)})",
        "bad must be a series selector with %pods% among its matchers and no function, such as nulls_total{%pods%}",
        field_path=".bad",
    )
    def _bad_is_selector(self) -> bool:
        return matches(SERIES_SELECTOR_PATTERN, self.bad)

    @rule(
        f"self.total.matches({cel_string(SERIES_SELECTOR_PATTERN)})",
        "total must be a series selector with %pods% among its matchers and no function, such as "
        "predictions_total{%pods%}",
        field_path=".total",
    )
    def _total_is_selector(self) -> bool:
        return matches(SERIES_SELECTOR_PATTERN, self.total)


class Gauge(ApiModel):
    """The value of a query. Unlike the countable kinds it carries no guarantee on the chance of an error."""

    query: PromQL
    """PromQL that gives one value, with `%pods%` among the matchers of its selectors, such as
    `max(DCGM_FI_DEV_FB_USED{%pods%})`."""

    @rule(
        "self.query.contains('%pods%')",
        "query must contain %pods% among its label matchers; without it, it would measure all revisions at once",
        field_path=".query",
    )
    def _query_names_pods(self) -> bool:
        return PODS_PLACEHOLDER in self.query


class Value(Gauge):
    """A gauge, and how long it has to be over its limit."""

    for_seconds: Seconds = 0
    """Seconds without pause that the value has to be over the limit to fail. Default 0: at once."""
