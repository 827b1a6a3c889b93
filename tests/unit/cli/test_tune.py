"""Limits proposed from a CSV of counts, from the command line."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from serinus.cli.app import app
from serinus.cli.tune import number
from tests.unit.cli.test_simulate import MANIFEST, files

__all__ = ["files"]


def test_what_is_printed_is_an_analysis_that_validates(files, tmp_path):
    words = ["tune", "-f", files[0], "--counts", files[1], "--false-rollback-percent", "0.5"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    printed = yaml.safe_load(result.stdout)
    (metric,) = printed["analysis"]["metrics"]
    assert printed["analysis"]["falseRollbackPercent"] == "0.5"
    assert (metric["limit"]["maxPercent"], metric["errors"]) == ("0.5", {"codes": ["5.."]})
    assert "as stable: " in result.stdout
    assert ", 0 rolled back" in result.stdout
    manifest = yaml.safe_load(MANIFEST)
    manifest["spec"] |= printed
    tuned = tmp_path / "tuned.yaml"
    tuned.write_text(yaml.safe_dump(manifest))
    assert CliRunner().invoke(app, ["validate", "-f", str(tuned)]).exit_code == 0


def test_as_data_it_holds_the_proposals(files):
    result = CliRunner().invoke(app, ["tune", "-f", files[0], "--counts", files[1], "-o", "json"])
    told = json.loads(result.stdout)
    assert told["proposals"][0]["metric"] == "errors"
    assert told["undecisive"] == []


@pytest.mark.parametrize(("share", "text"), [(0.0001, "0.01"), (0.005, "0.5"), (0.1, "10"), (0.5, "50")])
def test_shares_are_written_as_the_spec_writes_them(share, text):
    assert number(share) == text
