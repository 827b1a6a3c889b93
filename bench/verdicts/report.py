"""Writes verdicts.md and its plots from results. Called by `bench.verdicts.__main__`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.plots import svg
from bench.report.table import figure, table
from bench.verdicts.kinds import KINDS, LOOK_SECONDS, Expected, Kind
from bench.verdicts.results import FALSE_PROMOTIONS, FALSE_ROLLBACKS, TUNED, Results, Tally

PLOTS: Final = "verdicts"
_SETTINGS: Final[dict[Any, Any]] = {"svg.hashsalt": "serinus", "svg.fonttype": "none", "font.size": 9.0}
_TEXT: Final = (Path(__file__).parent / "method.md").read_text()


def write(results: Results, folder: Path) -> Path:
    """Make `verdicts.md`, and its plots in `verdicts/`."""
    plots = folder / PLOTS
    plots.mkdir(parents=True, exist_ok=True)
    for name, plot in _plots(results):
        (plots / name).write_text(plot)
    page = folder / "verdicts.md"
    page.write_text("\n".join(_page(results)) + "\n")
    return page


def _page(results: Results) -> Iterator[str]:
    yield from _TEXT.format(runs=f"{results.runs:,}", seed=results.seed).splitlines()
    yield from ("", "## Settings of the other rules", "")
    yield from (f"- {system}, {TUNED}: {rule}" for system, rule in results.tuned.items())
    if not results.tuned:
        yield "No setting that was tried keeps the false rollbacks of all harmless kinds within the percentage."
    yield from ("", "## Harmless candidates: false rollbacks", "")
    yield f"Share that was rolled back, and its upper 95 % bound (allowed: {FALSE_ROLLBACKS:.0%})."
    yield from ("", f"![False rollbacks by kind]({PLOTS}/false-rollbacks.svg)", "")
    yield from _by_kind(results, (Expected.HARMLESS, Expected.SILENT), _rolled_back)
    yield from (
        "",
        "## Harmless candidates: time to a right promotion",
        "",
        "Minutes on average, and the share promoted in time: within two hours, or within the holds and an hour more.",
        "",
    )
    yield from _by_kind(results, (Expected.HARMLESS,), _promotion_time)
    yield from ("", "## Worse candidates: promotions", "")
    yield f"Share that was promoted. It is wrong where the kind is bad (allowed: {FALSE_PROMOTIONS:.0%})."
    yield ""
    yield from _by_kind(results, (Expected.WORSE, Expected.BAD, Expected.SILENT), _promoted)
    yield from ("", "## Worse candidates: bad requests served", "")
    yield "On average, until the rollback or until the end of the traffic, with the standard error."
    yield from ("", f"![Bad requests by kind]({PLOTS}/bad-requests.svg)", "")
    yield from _by_kind(results, (Expected.WORSE, Expected.BAD), _bad)
    yield from ("", "## Detection beside the bound", "", f"![Detection]({PLOTS}/detection.svg)", "")
    yield from _detections(results)
    yield from ("", "## Processor time", "")
    cost = results.cost
    yield f"One evaluation of five metrics on {', '.join(results.machine.values())}:"
    yield ""
    yield f"- {cost.incremental_median:.2f} ms by an operator that has seen the look before (median over an hour),"
    yield f"- {cost.incremental_last:.2f} ms after that hour,"
    yield f"- {cost.cold:.1f} ms by one that was restarted then."
    yield from ("", "## Goals that were missed", "")
    yield from (f"- {failure}" for failure in results.failures)
    if not results.failures:
        yield "None."


def _by_kind(results: Results, expected: Iterable[Expected], cell: Any) -> Iterator[str]:
    kinds = [kind for kind in _played(results) if kind.expected in expected]
    names = list(dict.fromkeys(rule for kind in kinds for rule in results.tallies[kind.name]))
    rows = [
        [
            kind.name,
            *(cell(results.tallies[kind.name][name]) if name in results.tallies[kind.name] else "" for name in names),
        ]
        for kind in kinds
    ]
    return table(["kind", *names], rows)


def _played(results: Results) -> list[Kind]:
    return [kind for kind in KINDS if kind.name in results.tallies]


def _rolled_back(tally: Tally) -> str:
    return f"{tally.rolled_back / tally.runs:.2%} (≤ {tally.rollback_bound:.2%})"


def _promoted(tally: Tally) -> str:
    return f"{tally.promoted / tally.runs:.2%} (≤ {tally.promotion_bound:.2%})"


def _promotion_time(tally: Tally) -> str:
    if not tally.promoted:
        return "not in time"
    minutes = tally.looks_to_promotion / tally.promoted * LOOK_SECONDS / 60
    return f"{minutes:.0f} ({tally.promoted / tally.runs:.0%})"


def _bad(tally: Tally) -> str:
    return f"{figure(round(tally.mean_bad))} ± {figure(round(tally.bad_error, 1))}"


def _detections(results: Results) -> Iterator[str]:
    rows = [
        [
            each.limit,
            f"{each.times:g} ×",
            f"{each.found} of {each.runs}",
            figure(round(each.median)),
            figure(round(each.requests)),
            figure(round(each.bound)),
            f"{each.requests / each.bound:.2f}",
            figure(round(each.allowed)),
        ]
        for each in results.detections
    ]
    return table(["limit", "share", "found", "median", "mean", "bound", "mean/bound", "allowed"], rows)


def _plots(results: Results) -> Iterator[tuple[str, str]]:
    harmless = [kind for kind in _played(results) if kind.expected is Expected.HARMLESS]
    worse = [kind for kind in _played(results) if kind.expected in {Expected.WORSE, Expected.BAD}]

    def rollbacks(axes: Axes) -> None:
        _bars(axes, results, harmless, lambda tally: 100 * tally.rolled_back / tally.runs)
        axes.axvline(100 * FALSE_ROLLBACKS, color="black", linewidth=0.8)
        axes.set(title="False rollbacks", xlabel="percent of attempts (line: allowed)", xscale="symlog")

    def bad(axes: Axes) -> None:
        _bars(axes, results, worse, lambda tally: tally.mean_bad)
        axes.set(title="Bad requests served by worse candidates", xlabel="requests", xscale="symlog")

    def detection(axes: Axes) -> None:
        for limit in dict.fromkeys(each.limit for each in results.detections):
            found = [each for each in results.detections if each.limit == limit]
            times = [each.times for each in found]
            (line,) = axes.plot(times, [each.requests for each in found], marker="o", label=f"{limit}: mean")
            axes.plot(
                times, [each.bound for each in found], linestyle="--", color=line.get_color(), label=f"{limit}: bound"
            )
            axes.plot(
                times,
                [each.allowed for each in found],
                linestyle=":",
                color=line.get_color(),
                label=f"{limit}: allowed",
            )
        axes.set(
            title="Requests until a broken limit is found", xlabel="× the harmless share", xscale="log", yscale="log"
        )
        axes.legend()

    for name, draw, height in (
        ("false-rollbacks.svg", rollbacks, 0.9 + 0.5 * len(harmless)),
        ("bad-requests.svg", bad, 0.9 + 0.5 * len(worse)),
        ("detection.svg", detection, 4.0),
    ):
        with mpl.rc_context(_SETTINGS):
            canvas = Figure(figsize=(7.5, height), layout="constrained")
            draw(canvas.add_subplot())
            yield name, svg(canvas)


def _bars(axes: Axes, results: Results, kinds: list[Kind], value: Any) -> None:
    names = list(dict.fromkeys(rule for kind in kinds for rule in results.tallies[kind.name]))
    thickness = 0.8 / max(len(names), 1)
    for at, name in enumerate(names):
        rows = [(row, value(results.tallies[kind.name][name])) for row, kind in enumerate(kinds)]
        places = [row + (at - (len(names) - 1) / 2) * thickness for row, _ in rows]
        axes.barh(places, [each for _, each in rows], thickness, label=name)
    axes.set_yticks(range(len(kinds)), [kind.name for kind in kinds])
    axes.invert_yaxis()
    if names:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
