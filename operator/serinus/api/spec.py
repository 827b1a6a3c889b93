"""``spec``: everything a user says about one model in production, put together from its sections.

The sections that make a revision are ``model``, ``serving`` and ``placement``; none of the others ever does. This
module also holds the rules that cross sections.
"""

from serinus.api import defaults
from serinus.api.analysis import Analysis
from serinus.api.model import ModelIdentity
from serinus.api.monitoring import Monitoring
from serinus.api.placement import Placement
from serinus.api.rollout import Rollout, Step
from serinus.api.scaling import Scaling
from serinus.api.schema import ApiModel, rule
from serinus.api.serving import Serving
from serinus.api.traffic import Traffic
from serinus.api.values import Flag


class ModelDeploymentSpec(ApiModel):
    """One model in production: the container that serves it, where it runs, and how a new version takes over."""

    model: ModelIdentity | None = None
    """What the model is called. Part of the revision. When unset, the name of the resource and the tag of the image."""

    serving: Serving
    """The BentoML container that answers the requests. Part of the revision: changing anything in it starts a
    rollout."""

    placement: Placement | None = None
    """Which nodes the pods may run on. Part of the revision. When unset, any node, without accelerator."""

    scaling: Scaling = Scaling()
    """How many pods serve. When unset, one."""

    traffic: Traffic = Traffic()
    """Where requests come in. When unset, a plain Service on port 80."""

    rollout: Rollout = Rollout()
    """How a new revision takes over. When unset, at once when it is ready, with a watch afterwards."""

    analysis: Analysis = Analysis()
    """How a candidate is judged. When unset, by errors and latency."""

    monitoring: Monitoring | None = None
    """How the stable revision is watched after promotion: drift, alarms, upstreams, retraining. When unset, it is
    not. Not carried out by this version; rollout.watchSeconds watches for a while."""

    suspend: Flag = False
    """True: Serinus watches and reports, and changes nothing. Default false."""

    @rule(
        "has(self.traffic.gateway) || !has(self.rollout.canary) || "
        "!self.rollout.canary.steps.exists(s, has(s.shadowPercent))",
        "a step with shadowPercent needs traffic.gateway: a plain Service can't copy requests; set traffic.gateway or "
        "remove the step",
        field_path=".rollout.canary.steps",
    )
    def _shadow_step_has_gateway(self) -> bool:
        return self._has_gateway or not any(step.shadow_percent is not None for step in self._steps)

    @rule(
        "has(self.traffic.gateway) || !has(self.rollout.canary) || !self.rollout.canary.steps.exists(s, has(s.match))",
        "a step with match needs traffic.gateway: a plain Service can't tell requests apart; set traffic.gateway or "
        "remove the step",
        field_path=".rollout.canary.steps",
    )
    def _match_step_has_gateway(self) -> bool:
        return self._has_gateway or not any(step.match is not None for step in self._steps)

    @rule(
        "has(self.traffic.gateway) || !has(self.rollout.blueGreen) || self.rollout.blueGreen.shadowPercent == 0",
        "blueGreen.shadowPercent above 0 needs traffic.gateway: a plain Service can't copy requests; set "
        "traffic.gateway or leave shadowPercent out",
        field_path=".rollout.blueGreen.shadowPercent",
    )
    def _blue_green_shadow_has_gateway(self) -> bool:
        return self._has_gateway or self.rollout.blue_green is None or self.rollout.blue_green.shadow_percent == 0

    @rule(
        "(has(self.serving.startupSeconds) ? self.serving.startupSeconds : "
        f"{defaults.STARTUP_SECONDS}) < (has(self.rollout.progressDeadlineSeconds) ? "
        f"self.rollout.progressDeadlineSeconds : {Rollout().progress_deadline_seconds})",
        "rollout.progressDeadlineSeconds must be longer than serving.startupSeconds "
        f"({defaults.STARTUP_SECONDS} when unset); lengthen the one or shorten the other",
        field_path=".rollout.progressDeadlineSeconds",
        values=lambda spec: (
            f"now {spec.rollout.progress_deadline_seconds} and {defaults.startup_seconds(spec.serving.startup_seconds)}"
        ),
    )
    def _deadline_exceeds_startup(self) -> bool:
        startup = self.serving.startup_seconds
        return defaults.startup_seconds(startup) < self.rollout.progress_deadline_seconds

    @property
    def _has_gateway(self) -> bool:
        return self.traffic.gateway is not None

    @property
    def _steps(self) -> tuple[Step, ...]:
        return () if self.rollout.canary is None else self.rollout.canary.steps
