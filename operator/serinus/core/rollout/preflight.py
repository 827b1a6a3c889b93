"""The preflight: a Job that has to succeed before the candidate gets any request.

The policy and its moves; asked in the phase Starting. What the Job looks like stands in
`serinus.core.render.preflight`, when it is made and goes in `serinus.core.realise`, and what its candidate must not get
meanwhile in `serinus.core.traffic`.
"""

from __future__ import annotations

from serinus.api.reasons import Happening, Reason
from serinus.api.revision import candidate_service_name, preflight_job_name
from serinus.api.status import PreflightStatus
from serinus.core.plan import Move
from serinus.core.rollout import moves
from serinus.core.rollout.recording import Telling, move
from serinus.core.rollout.situation import Situation


def try_first(s: Situation) -> Move | None:
    """Begin the preflight when the candidate is ready, and follow what its Job says."""
    if not s.awaits_preflight:
        return None
    preflight, job = s.rollout.preflight, s.preflight_job
    if preflight is None:
        return _begin(s) if s.ready_for_preflight else None
    if job is not None and job.succeeded:
        return _passed(s, preflight)
    if job is not None and job.failed:
        return moves.reject(s, Reason.PREFLIGHT_FAILED, failure(s))
    return None


def failure(s: Situation) -> str:
    """What failed, in its own words, and where to read more."""
    job, namespace = s.preflight_job, s.observation.deployment.metadata.namespace
    name = s.rollout.preflight.job if s.rollout.preflight else "?"
    words = (job.words if job is not None else "") or "it does not say why"
    return f"preflight Job {name} failed: {words}; its output: kubectl logs --namespace {namespace} job/{name}"


def progress(s: Situation) -> str:
    """What the preflight is waiting for, for people."""
    metadata, preflight, job = s.observation.deployment.metadata, s.rollout.preflight, s.preflight_job
    if preflight is None:
        seconds = s.route_margin.total_seconds()
        return f"{s.candidate} is ready; its preflight begins within {seconds:g} s, when requests find its pods"
    address = candidate_service_name(metadata.name)
    told = f"{s.candidate} is ready and gets no request yet: preflight Job {preflight.job} tries it at {address}"
    return f"{told} ({job.words})" if job is not None and job.words else told


def _begin(s: Situation) -> Move:
    job = preflight_job_name(s.observation.deployment.metadata.name, s.candidate or "", s.status.moves + 1)
    message = f"Revision {s.candidate} is ready; it gets no request before Job {job} has succeeded"
    started = PreflightStatus(job=job, started_at=s.now)
    rollout = s.rollout.model_copy(update={"preflight": started})
    return move(s, Telling(Happening.PREFLIGHT_STARTED, message), rollout=rollout)


def _passed(s: Situation, preflight: PreflightStatus) -> Move:
    passed = preflight.model_copy(update={"passed_at": s.now})
    message = f"Preflight Job {preflight.job} of revision {s.candidate} succeeded"
    rollout = s.rollout.model_copy(update={"preflight": passed})
    return move(s, Telling(Happening.PREFLIGHT_PASSED, message, s.candidate), rollout=rollout)
