"""What stands in the way is told as it is: what goes on all the same, and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serinus.api.reasons import Reason
from serinus.api.status import PolicyField, PolicyStatus
from serinus.core.obstacles import obstacle_to
from serinus.core.platform import govern, keeping
from serinus.core.rollout.situation import Situation
from tests.unit.core.situations import CANDIDATE, STABLE, children, deployment, holding, situation


@pytest.mark.parametrize(
    ("automation", "goes_on"),
    [("Supervised", "a failing metric rolls it back"), ("Manual", "a failing metric is told")],
)
def test_what_becomes_of_a_rollout_without_its_policy_is_told_by_the_automation_that_it_keeps(
    automation: str, goes_on: str
):
    gave = PolicyStatus(
        kind="RolloutPolicy",
        name="team",
        fields=(PolicyField(field="spec.rollout.automation", value=f'"{automation}"'),),
    )
    of, told = deployment(), holding().model_copy(update={"policies": (gave,)})
    governed = keeping(govern(of.spec, []), told)
    seen = situation(told, children({STABLE: 4, CANDIDATE: 1}, {STABLE: 95, CANDIDATE: 5}), of)
    in_force = replace(seen.observation.deployment, spec=governed.spec)

    stall = obstacle_to(Situation(replace(seen.observation, deployment=in_force, governed=governed)))

    assert stall is not None
    assert stall.reason is Reason.POLICY_GONE
    assert goes_on in stall.message
    assert "spec.rollout.automation of RolloutPolicy team" in stall.message
