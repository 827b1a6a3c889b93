"""Mistakes in a spec are refused in words that help; what is not built yet is refused by the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster.process import CommandError
from e2e.model import NAME, Model, model_in, small
from e2e.stage import Stage, wait_until
from e2e.watching import condition


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-spec") as model:
        yield model


def refusal(model: Model, **sections: Any) -> str:
    """What kubectl says to a manifest that has to be refused."""
    with pytest.raises(CommandError) as refused:
        model.apply("1.0.0", **sections)
    return re.sub(r"\s+", " ", str(refused.value))


def test_weights_that_fall_are_refused_by_the_api_server_which_names_the_field_and_the_rule(model: Model) -> None:
    steps = [{"name": "half", "weightPercent": 50}, {"name": "five", "weightPercent": 5}]
    said = refusal(model, rollout={"canary": {"steps": steps}})
    assert "spec.rollout.canary.steps" in said
    assert "weightPercent must rise from step to step" in said


def test_two_strategies_at_once_are_refused_by_the_api_server(model: Model) -> None:
    said = refusal(model, rollout={"blueGreen": {}})
    assert "spec.rollout" in said
    assert "at most one of canary, blueGreen and recreate may be set" in said


def test_a_deadline_that_is_no_number_is_refused_by_the_api_server(model: Model) -> None:
    said = refusal(model, rollout={"progressDeadlineSeconds": "10m"})
    assert "spec.rollout.progressDeadlineSeconds" in said
    assert "integer" in said


def test_a_misspelt_field_is_refused_by_kubectl(model: Model) -> None:
    said = refusal(model, scaling={"replicsa": 2})
    assert 'unknown field "spec.scaling.replicsa"' in said


def test_what_is_not_built_yet_stalls_the_resource_and_starts_nothing(model: Model) -> None:
    model.apply("1.0.0", rollout={"capacity": "InPlace"})

    stalled = model.resource.wait_for("it is Stalled", lambda m: condition(m, "Stalled")[0] == "True", 60)

    _, reason, message = condition(stalled, "Stalled")
    assert reason == "Unsupported", model.told()
    assert "spec.rollout.capacity" in message
    assert model.objects("replicasets,services,httproutes,pods") == []

    model.stage.apply(small("1.0.0", model.host), model.namespace)
    ready = model.wait_until_ready()
    assert condition(ready, "Stalled")[0] == "False"
    assert "e2e-spec" in model.kubectl("get", "mdep", NAME, "--output=jsonpath={.metadata.namespace}")


def test_every_field_is_explained_where_it_is_looked_for(stage: Stage) -> None:
    def explained() -> str | None:
        return stage.kubectl.try_run("explain", "modeldeployments.spec.rollout", "--recursive")

    manual = str(wait_until("kubectl explains mdep.spec.rollout", explained, 30))
    for field in ("canary", "steps", "weightPercent", "holdSeconds", "watchSeconds"):
        assert re.search(rf"^\s*{field}\b", manual, re.MULTILINE), manual
    assert "every metric passes" in stage.kubectl.run("explain", "mdep.spec.rollout.canary.steps.holdSeconds")
