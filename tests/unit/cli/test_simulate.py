"""A policy replayed over a CSV of counts, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from serinus.api.deployment import ModelDeployment
from serinus.cli.app import app
from serinus.cli.outcome import CommandFailed
from serinus.cli.simulate import candidates, measured, summary
from serinus.core.history import History, Served
from serinus.core.readings import (
    Counters,
    CounterSeries,
    Grid,
    Missing,
    MissingReason,
    Part,
    Reading,
    Sample,
    SliceCounts,
)
from serinus.core.replay import End, Replay, judged_metrics
from serinus.metrics.source import ReadingRequest
from tests.unit.core.test_replay import spec

MANIFEST = """
apiVersion: serinus.dev/v1alpha1
kind: ModelDeployment
metadata: {name: iris}
spec:
  serving: {image: registry.example.com/iris:1.0.0}
  traffic: {gateway: {parentRefs: [{name: public}]}}
  rollout: {canary: {steps: [{name: five, weightPercent: 5, holdSeconds: 120}]}}
  analysis:
    metrics:
    - {name: errors, errors: {codes: ["5.."]}, limit: {maxPercent: "1"}}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    bad = np.random.default_rng(1).binomial(2000, 0.002, 300).tolist()
    rows = [f"{60 * at},errors,2000,{count}" for at, count in enumerate(bad, start=1)]
    (tmp_path / "iris.yaml").write_text(MANIFEST)
    (tmp_path / "counts.csv").write_text("\n".join(["time,metric,total,bad", *rows]))
    return str(tmp_path / "iris.yaml"), str(tmp_path / "counts.csv")


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["simulate", *words])


def test_a_good_policy_promotes_harmless_candidates_and_rolls_back_broken_ones(files):
    result = run("-f", files[0], "--counts", files[1], "--rollouts", "10", "-o", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["intervalSeconds"] == 60
    harmless, _, broken = told["candidates"]
    assert (harmless["promoted"], harmless["rolledBack"], harmless["wrong"]) == (harmless["ended"], 0, 0)
    assert (broken["promoted"], broken["rolledBack"], broken["decidedBy"]) == (0, broken["ended"], [["errors", 10]])


def test_the_table_and_the_plot_tell_each_candidate(files, tmp_path):
    plot = tmp_path / "plot.svg"
    result = run("-f", files[0], "--counts", files[1], "--rollouts", "4", "--plot", str(plot))
    assert result.exit_code == 0, result.output
    for said in ("4 rollouts of each candidate", "as stable", "errors: at limit + tolerance (2 %)", str(plot)):
        assert said in result.stdout
    assert "as stable: promoted" in plot.read_text()


def test_rollouts_that_the_history_is_too_short_for_come_with_what_it_has(files, tmp_path):
    short = tmp_path / "short.csv"
    short.write_text("time,metric,total,bad\n60,errors,20,0\n120,errors,20,0\n")
    told = run("-f", files[0], "--counts", str(short), "--rollouts", "2").stdout
    assert "6 of 6 rollouts were unfinished where the history ended: its 2 min have too few requests" in told
    assert "(40 of errors)" in told
    assert "unfinished" not in run("-f", files[0], "--counts", files[1], "--rollouts", "1").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either --counts or --prometheus"),
        (["--counts", "nowhere.csv"], "can't read the counts in nowhere.csv"),
        (["--counts", "COUNTS", "--plot", "nowhere/plot.svg"], "can't write the plot"),
        (["--counts", "COUNTS", "--plot", "plot.unknown"], "can't write the plot"),
        (["--counts", "OTHER"], "iris: the history has no counts of errors; it has counts of latency"),
    ],
)
def test_what_can_not_be_done_is_said(words, said, files, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(Path(files[1]).read_text().replace("errors", "latency"))
    known = {"COUNTS": files[1], "OTHER": str(other)}
    result = run("-f", files[0], "--rollouts", "1", *(known.get(word, word) for word in words))
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_candidate_for_each_metric_lies_at_its_limit_and_tolerance():
    history = History(0.0, 60.0, 1, {"errors": {0: Served(1000.0, 5.0)}})
    harmless, at_bound, worse = candidates(judged_metrics(spec(), history), history)
    assert not harmless.added
    for candidate, share in ((at_bound, 0.02), (worse, 0.05)):
        added = candidate.added["errors"]
        assert 0.005 + 0.995 * added == pytest.approx(share)


def test_what_is_wrong_depends_on_the_candidate():
    def ended(end: End) -> Replay:
        return Replay(0.0, end, 60.0, "five", "errors", 100.0, 1.0)

    ends = [ended(End.PROMOTED), ended(End.ROLLED_BACK), ended(End.ROLLED_BACK), ended(End.UNFINISHED)]
    assert summary("as stable", ends, harmless_candidate=True).wrong == 2
    worse = summary("worse", ends, harmless_candidate=False)
    assert (worse.wrong, worse.ended, worse.decided_by) == (1, 3, (("errors", 4),))
    assert 1 / 3 < worse.wrong_at_most < 1


class Recorded:
    """A source of metrics that answers everything with the same reading, and keeps what it was asked."""

    def __init__(self, reading: Reading, slices: SliceCounts | None = None) -> None:
        self.reading, self.survey, self.asked = reading, slices, []

    async def read(self, request: ReadingRequest) -> Reading:
        self.asked.append(request)
        return self.reading

    async def slices(self, request: ReadingRequest, *, most: int) -> SliceCounts | Missing:
        self.asked.append(request)
        return self.survey or SliceCounts(0.0, {"": float(most)})

    def query(self, request: ReadingRequest) -> str:
        return request.pod_prefix


def deployment() -> ModelDeployment:
    manifest = yaml.safe_load(MANIFEST)
    return ModelDeployment.parse({**manifest, "metadata": {"name": "iris", "namespace": "models", "uid": "1"}})


async def test_the_counters_of_the_stable_revision_become_the_history():
    samples = {Part.TOTAL: (0.0, 100.0, 200.0, 260.0), Part.BAD: (0.0, 1.0, 1.0, 4.0)}
    series = tuple(
        CounterSeries("iris-a-1", part, "/predict", tuple(Sample(60.0 * k, value) for k, value in enumerate(values)))
        for part, values in samples.items()
    )
    source = Recorded(Counters(series, Grid(0.0, 60.0)))
    found = await measured(source, deployment(), "5c1e0a9b77", hours=0.1, end=360.0)
    assert (found.begins_at, found.interval_seconds, found.length) == (0.0, 60.0, 6)
    assert found.metrics["errors"] == {0: Served(100.0, 1.0), 1: Served(100.0, 0.0), 2: Served(60.0, 3.0)}
    (asked,) = source.asked
    assert (asked.namespace, asked.pod_prefix, asked.grid) == ("models", "iris-5c1e0a9b77", Grid(0.0, 60.0))


async def test_what_prometheus_does_not_know_is_said():
    source = Recorded(Missing(MissingReason.EMPTY, "The query returns nothing."))
    with pytest.raises(CommandFailed, match="errors: Empty: The query returns nothing"):
        await measured(source, deployment(), "5c1e0a9b77", hours=1.0, end=3600.0)


def test_slices_of_a_csv_are_judged_by_themselves_and_one_that_is_worse_is_tried(tmp_path):
    random = np.random.default_rng(1)
    rows = [
        f"{60 * at},errors,{country},{total},{int(random.binomial(total, 0.002))}"
        for at in range(1, 301)
        for country, total in (("DE", 1900), ("FR", 600))
    ]
    (tmp_path / "counts.csv").write_text("\n".join(["time,metric,slice,total,bad", *rows]))
    (tmp_path / "iris.yaml").write_text(MANIFEST.replace('{maxPercent: "1"}}', '{maxPercent: "1"}, perSlice: country}'))
    words = ("-f", str(tmp_path / "iris.yaml"), "--counts", str(tmp_path / "counts.csv"), "--rollouts", "3")
    result = run(*words, "-o", "json")
    assert result.exit_code == 0, result.output
    *_, worse = json.loads(result.stdout)["candidates"]
    assert worse["candidate"] == "errors: 5 × limit where country is FR (5 %)"
    assert worse["rolledBack"] == worse["ended"] > 0


async def test_the_counters_of_a_sliced_metric_become_a_history_by_slice():
    def counted(country, *values):
        samples = tuple(Sample(60.0 * k, value) for k, value in enumerate(values))
        return CounterSeries("iris-a-1", Part.TOTAL, "/predict", samples, country)

    series = counted("DE", 0.0, 100.0, 200.0), counted("FR", 0.0, 10.0, 30.0), counted("XX", 0.0, 1.0, 1.0)
    source = Recorded(Counters(series, Grid(0.0, 60.0)), SliceCounts(231.0, {"FR": 30.0, "DE": 200.0, "": 1.0}))
    manifest = yaml.safe_load(MANIFEST.replace('{maxPercent: "1"}}', '{maxPercent: "1"}, perSlice: country}'))
    sliced = ModelDeployment.parse({**manifest, "metadata": {"name": "iris", "namespace": "models", "uid": "1"}})
    found = await measured(source, sliced, "5c1e0a9b77", hours=0.1, end=360.0)
    assert found.metrics["errors"] == {0: Served(111.0, 0.0), 1: Served(120.0, 0.0)}
    assert found.of_slices("errors") == {"DE": 200.0, "FR": 30.0, "": 1.0}
    assert {asked.slice_label for asked in source.asked} == {"country"}
