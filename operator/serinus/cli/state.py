"""How it stands with one resource, in one word: what `list` sorts by and `status --wait` waits for."""

from __future__ import annotations

from enum import StrEnum

from serinus.api.reasons import ConditionType
from serinus.api.status import Condition, ModelDeploymentStatus
from serinus.cli.outcome import CommandFailed
from serinus.core.plan import Manifest


class State(StrEnum):
    """How it stands with one resource, in one word."""

    SERVING = "Serving"
    """The revision in the spec is stable and serves."""
    PROGRESSING = "Progressing"
    """It goes on by itself."""
    NEEDS_A_PERSON = "NeedsAPerson"
    """It waits for a person's decision."""
    FAILED = "Failed"
    """The revision in the spec was rejected, or something has to be mended."""
    UNSEEN = "Unseen"
    """No operator has looked at this generation of it yet."""


def status_of(resource: Manifest) -> ModelDeploymentStatus:
    """What the operator wrote. Raises `CommandFailed` for a status that another version wrote."""
    try:
        return ModelDeploymentStatus.model_validate(resource.get("status") or {})
    except ValueError as error:
        name = resource["metadata"]["name"]
        raise CommandFailed(
            f"the status of {name} can't be read; install the plugin in the version of the operator: {error}"
        ) from error


def state_of(resource: Manifest, status: ModelDeploymentStatus) -> State:
    """How it stands, by the conditions of the newest generation."""
    conditions = {each.type: each for each in status.conditions}
    stalled = conditions.get(ConditionType.STALLED)
    if stalled is None or stalled.observed_generation < resource["metadata"].get("generation", 0):
        return State.UNSEEN
    if stalled.status == "True":
        return State.FAILED
    if _is_true(conditions.get(ConditionType.PAUSED)):
        return State.NEEDS_A_PERSON
    return State.SERVING if _is_true(conditions.get(ConditionType.READY)) else State.PROGRESSING


def _is_true(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"
