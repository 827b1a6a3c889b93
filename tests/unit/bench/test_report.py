"""The tables say what was measured."""

from __future__ import annotations

from bench.audit import BUILT_IN, OPERATOR
from bench.figures import Phase, ProcessFigures, RequestCount, Run, Spread
from bench.report import markdown, overview

ACCOUNT = "system:serviceaccount:serinus-system:serinus"
CREATE = Phase(
    name="create",
    meaning="All are made at once.",
    resources=10,
    wall_seconds=3.71,
    settled_seconds=6.9,
    unfinished=1,
    spread=Spread(9, 3.5, 3.6, 3.7),
    processes={"operator": ProcessFigures(0.4, 79.2), "kube-apiserver": ProcessFigures(1.9, 388.0)},
    writes={OPERATOR: 112, BUILT_IN: 232},
    refused={OPERATOR: 6, BUILT_IN: 0},
    requests=[
        RequestCount(OPERATOR, ACCOUNT, "create", "services", 201, 30),
        RequestCount(BUILT_IN, "system:kube-scheduler", "create", "pods/binding", 201, 20),
        RequestCount(BUILT_IN, "system:kube-scheduler", "list", "nodes", 200, 1),
    ],
    operator={"serinus_pass_seconds_count": 83, "serinus_events_sent": 20},
    facts={"aborted": 0},
)
NOBODY = {OPERATOR: 0, BUILT_IN: 0}
IDLE = Phase("idle", "Nothing happens.", 0, 60, 60, 0, None, {}, NOBODY, NOBODY, [], {})
RUN = Run(10, 2, "2026-01-01T00:00:00Z", {"processors": "2"}, [CREATE, IDLE])


def rows(table: list[str]) -> list[dict[str, str]]:
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    return [dict(zip(head, row, strict=True)) for row in body]


def test_every_phase_has_its_row():
    create, idle = rows(list(overview(RUN)))
    assert (create["wall s"], create["p50 s"], create["late"]) == ("3.7", "3.5", "1")
    assert (create["operator writes each"], create["built-in writes each"]) == ("11.20", "23.20")
    assert (create["passes each"], create["refused"], create["Events"]) == ("8.30", "6", "20")
    assert (idle["wall s"], idle["p50 s"], idle["operator writes each"]) == ("60.0", "", "")


def test_requests_of_the_operator_and_writes_of_the_controllers_stand_in_the_report():
    told = " ".join(markdown(RUN).split())
    assert "| serinus | create | services | 201 | 30 | 3.00 |" in told
    assert "| kube-scheduler | create | pods/binding | 201 | 20 | 2.00 |" in told
    assert "nodes" not in told
    assert "aborted: 0" in told
    assert "0.4 / 79" in told
