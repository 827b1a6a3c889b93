"""What status says of policies, and what a rollout under way keeps of those that are gone."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.api.reasons import Phase
from serinus.api.status import PolicyField, PolicyStatus, PreflightStatus
from serinus.core.platform import govern, keeping
from serinus.core.platform.standing import standing
from tests.unit.core.platform.policies import cluster_policy, namespace_policy, spec
from tests.unit.core.situations import CANDIDATE, NOW, status

GAVE = {
    "spec.rollout.canary": '{"steps": [{"name": "five", "weightPercent": 5, "holdSeconds": 600}]}',
    "spec.rollout.automation": '"Supervised"',
    "spec.rollout.preflight": '{"jobTemplate": {"spec": {}}}',
    "spec.rollout.watchSeconds": "900",
}
EVERYTHING = ["canary", "automation", "preflight"]
BEGUN = PreflightStatus(job="iris-preflight-3", started_at=NOW)
PASSED = PreflightStatus(job="iris-preflight-3", started_at=NOW, passed_at=NOW)


@pytest.mark.parametrize(
    ("phase", "rollout", "written", "kept"),
    [
        pytest.param(Phase.STARTING, {}, {}, EVERYTHING, id="before the first share"),
        pytest.param(Phase.STARTING, {"preflight": BEGUN}, {}, EVERYTHING, id="while its Job runs"),
        pytest.param(Phase.STARTING, {"preflight": PASSED}, {}, ["canary", "automation"], id="its Job has succeeded"),
        pytest.param(Phase.HOLDING, {"preflight": PASSED}, {}, ["canary", "automation"], id="in a step"),
        pytest.param(Phase.HOLDING, {}, {}, ["canary", "automation"], id="in a step that it entered without a Job"),
        pytest.param(Phase.STARTING, {"skips_steps": True}, {}, ["automation"], id="a return, which has no steps"),
        pytest.param(Phase.STARTING, {}, {"blueGreen": {}}, ["automation", "preflight"], id="a strategy of its own"),
        pytest.param(Phase.STARTING, {}, {"recreate": {}}, ["automation"], id="a strategy that has no preflight"),
        pytest.param(Phase.WATCHING, {}, {}, [], id="after the promotion"),
        pytest.param(Phase.ROLLING_BACK, {}, {}, [], id="on its way back"),
    ],
)
def test_a_rollout_keeps_what_is_still_to_pass_of_a_policy_that_is_gone(
    phase: Phase, rollout: dict[str, Any], written: dict[str, Any], kept: list[str]
):
    fields = tuple(PolicyField(field=field, value=value) for field, value in GAVE.items())
    before = status(phase, candidate=CANDIDATE, **rollout).model_copy(
        update={"policies": (PolicyStatus(kind="ClusterRolloutPolicy", name="house", fields=fields),)}
    )

    governed = keeping(govern(spec(rollout=written), []), before)

    assert [each.field.removeprefix("spec.rollout.") for each in governed.gone] == kept
    assert (governed.spec.rollout.canary is not None) is ("canary" in kept)
    assert (governed.spec.rollout.automation == "Supervised") is ("automation" in kept)
    assert (governed.spec.rollout.preflight is not None) is ("preflight" in kept)
    (entry,) = standing(governed, before.policies) or (PolicyStatus(kind="", name=""),)
    assert [each.field.removeprefix("spec.rollout.") for each in entry.fields] == kept


def test_of_more_policies_than_status_has_room_for_those_that_do_nothing_are_left_out():
    """The API server takes 64, and would refuse every write of the status, that of a rollback too."""
    idle = [namespace_policy(f"idle-{number:02}") for number in range(70)]
    house = cluster_policy("house", defaults={"rollout": {"watchSeconds": 900}})

    told = standing(govern(spec(), [*idle, house]), ())

    assert len(told) == 64
    assert [each.name for each in told if each.fields] == ["house"]
