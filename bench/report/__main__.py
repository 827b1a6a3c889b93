"""`python -m bench.report [RESULT.json …]`: makes docs/scale.md and its plots.

Results that are named are taken in first: they are copied into docs/scale/results, which the report is made from. Exit
codes: 0, 2 where a file is no result or there is none.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Final

from bench.figures import Run
from bench.report.scale import PLOTS, report

DOCUMENTS: Final = Path(__file__).parents[2] / "docs"


def write(documents: Path) -> Path:
    """Make the report out of the results in `scale/results`. Raises ValueError where one can't be read."""
    folder = documents / PLOTS
    made = report(read(path) for path in sorted((folder / "results").glob("*.json")))
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, plot in made.plots.items():
        (folder / name).write_text(plot)
    page = documents / "scale.md"
    page.write_text(made.page)
    return page


def read(path: Path) -> Run:
    """The run in a file. Raises ValueError, with the name of the file, where it holds none."""
    try:
        return Run.read(path)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is no result of this version of the benchmark: {error}") from error


def main() -> int:
    """Take results in, and make the report; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make docs/scale.md from results of the benchmark.")
    parser.add_argument("results", nargs="*", type=Path, help="result files to take in first, from bench/results")
    taken = DOCUMENTS / PLOTS / "results"
    taken.mkdir(parents=True, exist_ok=True)
    try:
        for path in parser.parse_args().results:
            read(path)
            shutil.copy(path, taken / path.name)
        print(write(DOCUMENTS))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
