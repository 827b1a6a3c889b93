"""Plots as SVG, the same bytes for the same numbers. Used by `bench.report.scale`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Points = Sequence[tuple[float, float]]

_SETTINGS: Final[dict[Any, Any]] = {"svg.hashsalt": "serinus", "svg.fonttype": "none", "font.size": 9.0}
_INCHES: Final = (6.4, 3.6)


def growth_plot(title: str, unit: str, series: Mapping[str, Points]) -> str:
    """How something grows with the number of resources, both axes logarithmic: a straight line is a power of N."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.add_subplot()
        for name, points in series.items():
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axes.set(title=title, xlabel="resources", ylabel=unit, xscale="log", yscale="log")
        axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        return svg(figure)


def shares_plot(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """What parts of a whole went to whom: a bar for each row, in percent."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_INCHES[0], 0.9 + 0.42 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        left = [0.0] * len(rows)
        for part in dict.fromkeys(part for parts in rows.values() for part in parts):
            widths = [100 * parts.get(part, 0.0) for parts in rows.values()]
            axes.barh(list(rows), widths, left=left, label=part)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set(title=title, xlabel="percent of the machine's processors", xlim=(0, 100))
        axes.invert_yaxis()
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return svg(figure)


def svg(figure: Figure) -> str:
    """A figure as text, the same for the same figure."""
    sink = StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None})
    lines = (line.rstrip() for line in sink.getvalue().splitlines())
    return "\n".join(lines) + "\n"
