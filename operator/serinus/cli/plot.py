"""Plots of replayed rollouts. Called by `kubectl serinus simulate --plot`; needs the extra `plot` of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from serinus.cli.outcome import CommandFailed
from serinus.core.replay import End, Replay

_ENDS = ((End.PROMOTED, "-"), (End.ROLLED_BACK, "--"))


def save_ends(by_candidate: Mapping[str, Sequence[Replay]], path: Path) -> None:
    """Which share of each candidate's rollouts was promoted or rolled back by which time; the form is the suffix's.

    Raises:
        CommandFailed: without matplotlib, or where the file can't be written.

    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 -- without its extra there is nothing to load
    except ModuleNotFoundError as error:
        raise CommandFailed("--plot needs matplotlib: install the plugin with its extra: serinus[cli,plot]") from error
    canvas = Figure(figsize=(8, 4.5), layout="constrained")
    axes = canvas.add_subplot()
    for name, replays in by_candidate.items():
        color = None
        for end, line in _ENDS:
            minutes = sorted(each.seconds / 60 for each in replays if each.end is end)
            if not minutes:
                continue
            shares = [100 * count / len(replays) for count in range(1, len(minutes) + 1)]
            label = f"{name}: {'promoted' if end is End.PROMOTED else 'rolled back'}"
            (drawn,) = axes.step(minutes, shares, linestyle=line, color=color, label=label, where="post")
            color = drawn.get_color()
    axes.set(xlabel="minutes since the first step began", ylabel="percent of rollouts", ylim=(0, 102))
    if axes.lines:
        axes.legend()
    try:
        canvas.savefig(path)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"can't write the plot {path}: {error}") from error
