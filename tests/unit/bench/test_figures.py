"""Quantiles, and what has grown between two looks at a process's metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Run, growth, quantile, samples, spread


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
    before = {"serinus_pass_seconds_count": 2.0, "serinus_events_lost": 1.0}
    after = {"serinus_pass_seconds_count": 5.0, "serinus_events_lost": 1.0, 'serinus_writes_total{verb="create"}': 4.0}
    assert growth(before, after) == {"serinus_pass_seconds_count": 3.0, 'serinus_writes_total{verb="create"}': 4.0}


def test_what_is_no_counter_of_the_operator_does_not_grow():
    gauges = {'serinus_watch_silence_seconds{kind="pods"}': 3.0, "serinus_queue_length": 1.0, "process_open_fds": 9.0}
    assert growth({}, gauges) == {}


def test_a_run_becomes_json(tmp_path: Path):
    Run(10, 2, "2026-01-01T00:00:00Z", {"processors": "2"}, []).write(tmp_path / "results" / "run.json")
    assert json.loads((tmp_path / "results" / "run.json").read_text())["size"] == 10
