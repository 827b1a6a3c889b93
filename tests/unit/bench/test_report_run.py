"""The tables of a run say what was measured."""

from __future__ import annotations

from bench.audit import BUILT_IN, OPERATOR
from bench.report.run import markdown, overview
from tests.unit.bench.runs import a_phase, a_run

NOBODY = {OPERATOR: 0, BUILT_IN: 0}
IDLE = {"resources": 0, "wall_seconds": 60, "unfinished": 0, "spread": None, "writes": NOBODY, "refused": NOBODY}
RUN = a_run(phases=[a_phase("create", facts={"aborted": 0}), a_phase("idle", **IDLE, requests=[], tally={})])


def rows(table: list[str]) -> list[dict[str, str]]:
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    return [dict(zip(head, row, strict=True)) for row in body]


def test_every_phase_has_its_row():
    create, idle = rows(list(overview(RUN)))
    assert (create["wall s"], create["p50 s"], create["late"]) == ("4.0", "3.5", "1")
    assert (create["operator writes each"], create["built-in writes each"]) == ("11.20", "23.20")
    assert (create["passes each"], create["refused"], create["Events"], create["lost"]) == ("8.30", "6", "22", "2")
    assert (idle["wall s"], idle["p50 s"], idle["operator writes each"], idle["Events"]) == ("60.0", "", "", "")


def test_requests_of_the_operator_and_writes_of_the_controllers_stand_in_the_report():
    told = " ".join(markdown(RUN).split())
    assert "| serinus | create | services | 201 | 30 | 3.00 |" in told
    assert "| kube-scheduler | create | pods/binding | 201 | 20 | 2.00 |" in told
    assert "nodes" not in told
    assert "aborted: 0" in told
    assert "0.4 / 79" in told
