"""Runs to make tables and reports of."""

from __future__ import annotations

from dataclasses import replace

from bench.audit import BENCHMARK, BUILT_IN, OPERATOR
from bench.figures import EVENTS_EMITTED, EVENTS_LOST, PASSES, Phase, ProcessFigures, RequestCount, Run, Spread

ACCOUNT = "system:serviceaccount:serinus-system:serinus"
CREATE = Phase(
    name="create",
    meaning="All are made at once.",
    resources=10,
    wall_seconds=4.0,
    settled_seconds=8.0,
    unfinished=1,
    spread=Spread(9, 3.5, 3.6, 3.7),
    processes={
        "operator": ProcessFigures(0.4, 0.3, 79.2),
        "kube-apiserver": ProcessFigures(2.4, 2.0, 388.0),
        "played kubelet": ProcessFigures(0.2, 0.1, 60.0),
        "everything else": ProcessFigures(1.0, 0.4, 0.0),
    },
    writes={OPERATOR: 112, BUILT_IN: 232, BENCHMARK: 30},
    refused={OPERATOR: 6, BUILT_IN: 0, BENCHMARK: 0},
    requests=[
        RequestCount(OPERATOR, ACCOUNT, "create", "services", 201, 30),
        RequestCount(OPERATOR, ACCOUNT, "create", "httproutes", 409, 6),
        RequestCount(BUILT_IN, "system:kube-scheduler", "create", "pods/binding", 201, 20),
        RequestCount(BUILT_IN, "system:kube-scheduler", "list", "nodes", 200, 1),
    ],
    operator={"serinus_pass_seconds_count": 83, "serinus_events_sent": 20},
    tally={PASSES: 83, EVENTS_EMITTED: 22, EVENTS_LOST: 2},
    facts={},
)


def a_phase(name: str, **changed) -> Phase:
    return replace(CREATE, name=name, **changed)


def a_run(**changed) -> Run:
    run = Run(
        subject="serinus",
        label="Serinus",
        routed=False,
        resource_name="ModelDeployments",
        size=10,
        namespaces=2,
        invoked_at="2026-01-01T00:00:00Z",
        started_at="2026-01-01T00:00:01Z",
        command="python -m bench --size 10",
        conditions={"Serinus": "0.1.0", "processors": "2 × some"},
        processors=2,
        phases=[CREATE],
    )
    return replace(run, **changed)


def the_peer(**changed) -> Run:
    known = {"subject": "argo", "label": "Argo Rollouts 400/800", "resource_name": "Rollouts"}
    conditions = {"Argo Rollouts": "v1.10.2", "processors": "2 × some"}
    return a_run(**known | {"started_at": "2026-01-01T00:10:00Z", "conditions": conditions} | changed)
