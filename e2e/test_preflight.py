"""A preflight: an evaluation of the candidate, as a Job, before any client's request gets to it.

The same Job fails by one threshold, and succeeds by another on the retry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.model import NAME, Manifest, Model, events_of, model_in, revision, rollout, weights_of
from e2e.stage import DIGITS_IMAGE, Stage
from e2e.story import ROWS, instant
from e2e.watching import condition

REQUESTS_PER_SECOND = 10
HOLDS = 600
"""Longer than the test: the candidate stays in its first step."""
EVALUATION = """
import json, sys, urllib.request
url, rows, least = sys.argv[1], json.load(open(sys.argv[2]))[:50], float(sys.argv[3])

def read(row):
    body, headers = json.dumps(row["body"]).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url + "/read", body, headers)
    return json.load(urllib.request.urlopen(request, timeout=10))

answers = [read(row) for row in rows]
right = sum(answer["digit"] == row["answer"]["digit"] for answer, row in zip(answers, rows))
of = "+".join(sorted({answer["model_version"] for answer in answers}))
told = f"accuracy {right / len(rows):.2f} of version {of}"
sys.exit(f"{told} is below {least:g}" if right / len(rows) < least else print(told))
"""


@pytest.fixture(scope="module")
def model(stage: Stage) -> Iterator[Model]:
    with model_in(stage, "e2e-preflight") as model:
        model.serve()
        model.send_requests(REQUESTS_PER_SECOND)
        yield model


def evaluated(least_accuracy: float) -> dict[str, Any]:
    """`spec.rollout.preflight`: the candidate has to read so many of fifty images right."""
    container = {
        "name": "evaluate",
        "image": f"{DIGITS_IMAGE}:1.0.0",
        "command": ["python", "-c", EVALUATION, f"http://{NAME}-candidate", ROWS, str(least_accuracy)],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    return {"jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {"containers": [container]}}}}}


def jobs(model: Model) -> list[str]:
    return sorted(job["metadata"]["name"] for job in model.objects("jobs"))


def with_weight(model: Model, candidate: str) -> list[float]:
    """When the route was seen to lead any requests to a revision, in Unix time."""
    return [seen.at for seen in model.route.seen if weights_of(seen.manifest).get(candidate, 0) > 0]


def says(manifest: Manifest, job: str) -> bool:
    _, reason, message = condition(manifest, "Reconciling")
    return reason == "Preflight" and job in message


def test_a_candidate_whose_job_fails_gets_no_request_and_the_message_names_the_job_and_its_last_words(
    model: Model,
) -> None:
    model.apply("2.0.0", hold_seconds=HOLDS, rollout={"preflight": evaluated(1.01)})
    rejected = model.wait_until_rejected()

    (candidate,) = (each["revision"] for each in rejected["status"]["rejected"])
    (job,) = jobs(model)
    status, reason, message = condition(rejected, "Stalled")
    assert (status, reason) == ("True", "PreflightFailed"), model.told()
    assert f"preflight Job {job} failed" in message
    assert "of version 2.0.0 is below 1.01" in message, "what the evaluation wrote last, of answers by the candidate"
    assert "of version 2.0.0 is below 1.01" in model.kubectl("logs", f"job/{job}"), "as the message says"

    assert condition(rejected, "Available")[0] == "True"
    assert with_weight(model, candidate) == [], model.story()
    assert model.weights() == {revision(rejected, "stable"): 100}
    now = model.wait_for_answers()
    assert model.report().versions == now.versions == {"1.0.0"}
    model.nobody_saw_a_failure(model.report())


def test_tried_again_by_a_job_that_succeeds_it_gets_its_share_afterwards(model: Model) -> None:
    (before,) = jobs(model)
    candidate = str(model.wait_until_rejected()["status"]["rejected"][0]["revision"])
    model.apply("2.0.0", hold_seconds=HOLDS, rollout={"preflight": evaluated(0.5)})
    model.kubectl("annotate", "modeldeployment", NAME, "--overwrite", f"serinus.dev/retry={candidate}")
    holding = model.wait_until_holding()

    assert revision(holding, "candidate") == candidate
    job, passed_at = rollout(holding)["preflight"]["job"], instant(rollout(holding)["preflight"]["passedAt"])
    assert job != before, "each attempt has a Job of its own"
    assert any(says(seen.manifest, job) for seen in model.resource.seen), "it says what it waits for, by name"
    events = [event for event, of in events_of(holding) if of == candidate]
    assert events[-2:] == ["PreflightPassed", "StepEntered"], model.told()

    assert with_weight(model, candidate), model.story()
    assert min(with_weight(model, candidate)) > passed_at, model.story()
    assert model.wait_for_answers().versions == {"1.0.0", "2.0.0"}
    report = model.stop_requests()
    assert report.between(0, passed_at - 1).versions == {"1.0.0"}, model.story()
    model.nobody_saw_a_failure(report)
