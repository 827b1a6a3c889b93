"""Who writes what, side by side."""

from __future__ import annotations

from bench.audit import BENCHMARK, BUILT_IN, OPERATOR
from bench.figures import RequestCount
from bench.report.writers import writers, writes
from tests.unit.bench.runs import ACCOUNT, CREATE, a_phase, a_run, the_peer

SCHEDULER = "system:kube-scheduler"


def test_reads_events_leases_and_the_benchmarks_own_requests_are_no_writes_of_theirs():
    requests = [
        RequestCount(OPERATOR, ACCOUNT, "create", "services", 201, 3),
        RequestCount(OPERATOR, ACCOUNT, "patch", "services", 409, 1),
        RequestCount(OPERATOR, ACCOUNT, "create", "events", 201, 5),
        RequestCount(BUILT_IN, SCHEDULER, "create", "pods/binding", 201, 2),
        RequestCount(BUILT_IN, SCHEDULER, "update", "leases", 200, 7),
        RequestCount(BUILT_IN, SCHEDULER, "list", "nodes", 200, 7),
        RequestCount(BENCHMARK, "bench:driver", "create", "rollouts", 201, 10),
    ]
    assert writes(a_phase("create", requests=requests)) == {
        ("operator", "services"): 4,
        ("kube-scheduler", "pods/binding"): 2,
    }


def test_the_operator_comes_first_and_numbers_are_for_each_resource():
    rows = ["".join(line.split()) for line in writers("create", a_run(), the_peer(size=20))]
    assert rows[0] == "|writesforeach,create|of|Serinus|ArgoRollouts400/800|"
    assert rows[2:] == [
        "|operator|services|3|1.50|",
        "|operator|httproutes|0.60|0.30|",
        "|kube-scheduler|pods/binding|2|1|",
    ]


def test_a_phase_that_one_did_not_have_is_left_out():
    assert CREATE.name == "create"
    assert list(writers("rollout", a_run(phases=[a_phase("rollout")]), the_peer())) == []
