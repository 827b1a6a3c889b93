"""The committed report says what the results say, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.figures import ProcessFigures
from bench.report.__main__ import DOCUMENTS, read, write
from bench.report.scale import exponent, limit, newest, report, shares
from tests.unit.bench.runs import CREATE, a_phase, a_run, the_peer

LATER = {"invoked_at": "2026-01-02T00:00:00Z", "started_at": "2026-01-02T00:00:01Z"}


def cells(page: str, name: str) -> list[list[str]]:
    """The rows of all tables whose first cell is this."""
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|"))
    return [row[1:] for row in rows if row[0] == name]


def test_of_two_runs_of_the_same_kind_the_newer_one_counts():
    old, new, large = a_run(), a_run(**LATER), a_run(size=20)
    assert newest([new, large, old]) == [new, large]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(100, 5.0), (1000, 50.0)], 1.0),
        ([(1000, 100.0), (100, 1.0), (500, 9.0)], 2.0),
        ([(100, 5.0)], None),
        ([], None),
    ],
)
def test_growth_is_a_power_of_the_number_of_resources(points, expected):
    assert exponent(points) == (None if expected is None else pytest.approx(expected))


def test_shares_are_of_all_processors_until_the_last_was_done():
    found = shares(a_run(), CREATE)
    assert found["API server"] == pytest.approx(2.0 / (4 * 2))
    assert found["benchmark"] == pytest.approx(0.1 / 8)
    assert found["etcd"] == 0


def test_what_a_phase_waited_for_is_told():
    run = a_run()
    busy = a_phase("create", processes={"kube-apiserver": ProcessFigures(9.0, 7.6, 1.0)})
    thread = a_phase("create", processes={"operator": ProcessFigures(9.0, 3.8, 1.0)})
    assert limit(run, busy) == "the 2 processors; most of them: API server, 95%"
    assert limit(run, thread) == "the operator's one thread, 95% busy"
    assert limit(run, CREATE).startswith("neither")


def test_the_report_has_the_figures_of_every_run():
    small, large = a_run(), a_run(size=100, phases=[replace(CREATE, wall_seconds=40.0, resources=100)])
    made = report([small, large, the_peer()])
    assert cells(made.page, "create, all Ready, s") == [["4", "40", "N^1.00"], ["4", ""]]
    assert cells(made.page, "create: operator's writes for each") == [["11.2", "11.2", "1", "≤ 14.2", "yes"]]
    assert "Not measured: new version: until all are Ready, s" in made.page
    assert "Argo Rollouts: v1.10.2" in made.page
    assert cells(made.page, "processors") == [["2 × some"]]


def test_the_plots_that_it_shows_are_there_and_are_the_same_every_time():
    small, large = a_run(), a_run(size=100)
    made = report([small, large])
    assert set(made.plots) == {"create.svg", "memory.svg", "processors.svg"}
    for name, plot in made.plots.items():
        assert f"](scale/{name})" in made.page
        assert ET.fromstring(plot).tag.endswith("svg")
    assert report([large, small]) == made


def test_there_is_no_report_about_nothing():
    with pytest.raises(ValueError, match="no results"):
        report([])


def test_it_is_written_from_the_results_beside_it(tmp_path: Path):
    for run in (a_run(), a_run(size=20)):
        run.write(tmp_path / "scale" / "results" / f"{run.size}.json")
    (tmp_path / "scale" / "old.svg").write_text("")
    page = write(tmp_path)
    assert page.read_text() == report([a_run(), a_run(size=20)]).page
    assert {path.name for path in (tmp_path / "scale").glob("*.svg")} == {"create.svg", "memory.svg", "processors.svg"}


def test_a_file_that_holds_no_result_is_named(tmp_path: Path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    with pytest.raises(ValueError, match=r"wrong\.json is no result"):
        read(wrong)


def test_the_committed_report_is_the_one_that_its_results_make(tmp_path: Path):
    results = sorted((DOCUMENTS / "scale" / "results").glob("*.json"))
    if not results:
        pytest.skip("no results are committed")
    made = report(read(path) for path in results)
    assert (DOCUMENTS / "scale.md").read_text() == made.page
    assert {path.name for path in (DOCUMENTS / "scale").glob("*.svg")} == set(made.plots)
