"""Quantiles, and what has grown between two looks at a process's metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Run, growth, quantile, samples, spread
from tests.unit.bench.runs import a_phase, a_run


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)])
def test_a_quantile_is_one_of_the_values(share, expected):
    assert quantile([*range(20, 0, -1)], share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_at_least_its_share_of_the_values_is_not_above_a_quantile(values, share):
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


def test_nothing_has_no_spread():
    assert spread([]) is None


def test_samples_keep_their_labels_apart():
    text = '# HELP a what it is\n# TYPE a counter\na{b="x y"} 2.0\na{b="z"} 3\nc 1e3\n'
    assert samples(text) == {'a{b="x y"}': 2, 'a{b="z"}': 3, "c": 1000}


def test_only_what_has_grown_is_told():
    before = {"passes": 2.0, "lost": 1.0}
    assert growth(before, {"passes": 5.0, "lost": 1.0, "writes": 4.0}) == {"passes": 3.0, "writes": 4.0}


def test_a_run_is_read_as_it_was_written(tmp_path: Path):
    made = a_run(phases=[a_phase("create"), a_phase("idle", spread=None, processes={}, requests=[])])
    path = tmp_path / "results" / "run.json"
    made.write(path)
    assert Run.read(path) == made
    assert Run.read(path).phase("idle") == made.phases[1]
    assert Run.read(path).phase("judged") is None


def test_what_is_no_run_is_refused(tmp_path: Path):
    path = tmp_path / "run.json"
    path.write_text('{"phases": [], "size": 10}')
    with pytest.raises(TypeError, match="subject"):
        Run.read(path)
