"""How long a policy takes, foretold by the verdict engine itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serinus.api.deployment import ModelDeployment
from serinus.cli.app import app
from serinus.cli.forecast import Forecast, Traffic, forecast
from serinus.cli.outcome import CommandFailed
from tests.golden.stories import NEW, deploy, started
from tests.unit.api.bad_specs import IMAGE
from tests.world.world import World, spec_of

ROOT = Path(__file__).parents[3]


def told(traffic: Traffic, /, *, scrape_seconds: float = 30.0, **sections: Any) -> Forecast:
    step = {"name": "five", "weightPercent": 5, "holdSeconds": 60}
    spec = {"serving": {"image": IMAGE}, "rollout": {"canary": {"steps": [step]}}} | sections
    deployment = ModelDeployment.parse({"metadata": {"name": "iris"}, "spec": spec})
    metrics = deployment.spec.analysis.metrics
    names = [metric.name for metric in metrics] if metrics else ["errors", "latency"]
    return forecast(deployment, dict.fromkeys(names, traffic), scrape_seconds)


def errors(limit: str, **fields: Any) -> dict[str, Any]:
    codes = {"codes": ["5.."]}
    return {"metrics": [{"name": "errors", "errors": codes, "limit": {"maxPercent": limit}, **fields}]}


@pytest.mark.parametrize(("limit", "requests"), [("0.1", 2_700), ("0.5", 550), ("1", 300), ("2", 200), ("5", 200)])
def test_a_faultless_candidate_needs_the_requests_that_the_documentation_says(limit: str, requests: int):
    (step,) = told(Traffic(20.0), scrape_seconds=1, analysis=errors(limit) | {"intervalSeconds": 5}).steps
    assert step.metrics[0].requests == pytest.approx(requests, rel=0.15)
    assert (
        f"{requests:,} requests" in (ROOT / "docs" / "metrics.md").read_text()
        or f" {requests:,}" in (ROOT / "docs" / "metrics.md").read_text()
    )


def test_seven_intervals_are_the_least_that_a_pass_takes():
    (step,) = told(Traffic(10_000.0), analysis=errors("1")).steps
    assert step.seconds == 7 * 60


def test_the_estimate_names_the_scrapes_that_it_assumes_and_what_binds():
    words = ["estimate", "-f", str(ROOT / "examples" / "digits" / "v2.yaml"), "--requests-per-second"]
    plenty, few = (CliRunner().invoke(app, [*words, rate]).output for rate in ("5000", "1"))
    assert "counted every 60 s, as if Prometheus scraped every 30 s (--scrape-interval)" in plenty
    assert "7 min, until errors passes: 7 counts, the fewest that it takes" in plenty
    assert "requests of the candidate)" in few
    often = CliRunner().invoke(app, [*words, "5000", "--scrape-interval", "2"]).output
    assert "counted every 5 s, as if Prometheus scraped every 2 s" in often


def test_half_the_traffic_takes_twice_as_long_and_so_does_half_the_weight():
    full, half = (told(Traffic(rate), analysis=errors("1")).seconds for rate in (2.0, 1.0))
    assert full is not None
    assert half == pytest.approx(2 * full, rel=0.1)
    lighter = {"canary": {"steps": [{"name": "two", "weightPercent": 10}]}}
    assert told(Traffic(1.0), analysis=errors("1"), rollout=lighter).seconds == pytest.approx(full, rel=0.1)


def test_a_hold_is_waited_for_and_approvals_are_not_foretold():
    steps = [
        {"name": "five", "weightPercent": 5, "holdSeconds": 7200},
        {"name": "sign-off", "approval": {}},
    ]
    foretold = told(Traffic(100.0), analysis=errors("1"), rollout={"canary": {"steps": steps}})
    assert foretold.seconds == 7200
    assert foretold.steps[0].slowest is None


def test_a_stable_revision_that_breaks_the_limit_lets_nothing_pass():
    foretold = told(Traffic(100.0, bad_share=0.02), analysis=errors("1"))
    assert foretold.seconds is None
    assert foretold.advice == (
        "errors: stable itself breaks the limit, so that nothing passes: raise the limit, or mend stable",
    )


def test_what_takes_long_comes_with_what_shortens_it():
    (weight, undecided) = told(Traffic(0.5), analysis=errors("1")).advice
    assert weight.startswith("step five waits for errors: a weight of 10 % would make that")
    assert undecided == "step five would still be undecided after 61 min: analysis.undecided.action is Pause"


def test_copies_and_testers_are_steps_like_others():
    gateway = {"parentRefs": [{"name": "public"}], "hostnames": ["a.example.com"]}
    steps = [
        {"name": "shadow", "shadowPercent": 100},
        {"name": "testers", "match": {"headers": [{"name": "x-cohort", "value": "beta"}]}, "holdSeconds": 300},
        {"name": "all", "weightPercent": 100},
    ]
    foretold = told(
        Traffic(1.0), analysis=errors("1"), traffic={"gateway": gateway}, rollout={"canary": {"steps": steps}}
    )
    shadow, testers, everything = foretold.steps
    assert shadow.seconds == pytest.approx(everything.seconds, rel=0.1), "as many requests"
    assert (testers.seconds, testers.metrics) == (300, ())


def test_no_traffic_passes_nothing():
    assert told(Traffic(0.0), analysis=errors("1")).seconds is None


def test_the_last_share_of_all_requests_is_compared_with_stables_from_before():
    rollout = {"canary": {"steps": [{"name": "all", "weightPercent": 100}]}}
    assert told(Traffic(50.0, 0.001), rollout=rollout).seconds is not None


def test_a_rollout_in_the_simulated_world_takes_as_long_as_foretold():
    world = World()
    list(started(world))
    deploy(world, NEW)
    world.run_until(lambda: world.status.rollout.counting_since is not None)
    began = world.now
    world.run_until_phase("Promoting")
    took = (world.now - began).total_seconds()
    metric = world.status.analysis[0]
    served = sum(counts.total for counts in (metric.candidate, metric.stable) if counts)
    rate = served / (metric.at - world.status.rollout.evidence_started_at).total_seconds()  # type: ignore[operator]

    deployment = ModelDeployment.parse({"metadata": {"name": "fraud"}, "spec": spec_of(NEW)})
    foretold = forecast(deployment, {"errors": Traffic(rate)}, scrape_seconds=2.5).seconds

    assert foretold == pytest.approx(took, rel=0.2)


def test_the_command_needs_no_cluster_where_the_traffic_is_given():
    words = ["estimate", "-f", str(ROOT / "examples" / "approval.yaml"), "--requests-per-second", "1"]
    text = CliRunner().invoke(app, words).output
    assert "and 1 approval by people, at 1/s, 0 % bad (as given)" in text
    data = json.loads(CliRunner().invoke(app, [*words, "-o", "json"]).output)[0]
    assert data["seconds"] == pytest.approx(sum(step["seconds"] for step in data["steps"]))
    assert [step["step"]["approval"] for step in data["steps"]] == [False, True, False]


def test_a_file_that_is_wrong_is_told_instead(tmp_path: Path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("kind: ModelDeployment\nmetadata: {name: iris}\nspec: {serving: {}}\n")
    result = CliRunner().invoke(app, ["estimate", "-f", str(wrong), "--requests-per-second", "1"])
    assert isinstance(result.exception, CommandFailed)
    assert "wrong.yaml:3: spec.serving.image: Field required" in str(result.exception)


def test_a_metric_in_slices_takes_as_long_as_its_thinnest_one():
    whole = told(Traffic(2.0), analysis=errors("1")).seconds
    sliced = told(Traffic(2.0, 0.0, "country=LI", 0.1), analysis=errors("1", perSlice="country"))
    assert whole is not None
    assert sliced.seconds == pytest.approx(10 * whole, rel=0.1)
    assert sliced.steps[0].slowest is not None
    assert sliced.steps[0].slowest.title == "errors[country=LI]"
    assert any("waits for errors[country=LI]" in line for line in sliced.advice)


def test_of_slices_that_nobody_knows_the_estimate_says_so(tmp_path: Path):
    spec = {"serving": {"image": IMAGE}, "analysis": errors("1", perSlice="country")}
    manifest = {"apiVersion": "serinus.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "iris"}}
    (tmp_path / "iris.json").write_text(json.dumps(manifest | {"spec": spec}))
    result = CliRunner().invoke(app, ["estimate", "-f", str(tmp_path / "iris.json"), "--requests-per-second", "20"])
    assert result.exit_code == 0, result.output
    assert "errors: slices by country are not counted in" in result.stdout
