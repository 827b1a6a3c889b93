"""Requests are counted once each, and told apart by who made them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from bench.audit import BENCHMARK, BUILT_IN, OPERATOR, Use, counted, events_written, is_activity, new_lines, total

ACCOUNT = "system:serviceaccount:serinus-system:serinus"


def event(verb: str, resource: str, user: str = ACCOUNT, stage: str = "ResponseComplete", code: int = 200) -> bytes:
    name, _, subresource = resource.partition("/")
    reference = {"resource": name, **({"subresource": subresource} if subresource else {})}
    described = {"stage": stage, "verb": verb, "user": {"username": user}, "responseStatus": {"code": code}}
    return json.dumps(described | ({"objectRef": reference} if resource else {})).encode()


def test_a_watch_counts_when_it_begins_and_only_then():
    began, ended = (event("watch", "pods", stage=stage) for stage in ("ResponseStarted", "ResponseComplete"))
    assert counted([began], ACCOUNT).total() == 1
    assert counted([began, ended], ACCOUNT).total() == 1


def test_a_subresource_is_a_resource_of_its_own():
    uses = counted([event("update", "modeldeployments/status"), event("patch", "modeldeployments")], ACCOUNT)
    assert {use.resource for use in uses} == {"modeldeployments/status", "modeldeployments"}


def test_the_operator_the_controllers_and_the_benchmark_are_told_apart():
    users = (ACCOUNT, "system:serviceaccount:kube-system:replicaset-controller", "bench:kubelet", "admin")
    uses = counted([event("create", "pods", user) for user in users], ACCOUNT)
    assert Counter(use.who for use in uses) == {OPERATOR: 1, BUILT_IN: 1, BENCHMARK: 2}


def test_events_and_leases_are_no_writes_here():
    uses = counted(
        [event("create", "events"), event("update", "leases"), event("create", "services"), event("list", "services")],
        ACCOUNT,
    )
    assert total(uses, OPERATOR) == 4
    assert total(uses, OPERATOR, writes=True) == 1


def test_a_refused_write_is_a_write_and_refused():
    uses = counted([event("update", "modeldeployments/status", code=code) for code in (200, 409)], ACCOUNT)
    assert total(uses, OPERATOR, writes=True) == 2
    assert total(uses, OPERATOR, writes=True, refused=True) == 1
    assert total(uses, OPERATOR, writes=True, refused=False) == 1


def test_a_request_for_no_resource_is_counted_too():
    assert list(counted([event("get", "")], ACCOUNT)) == [Use(OPERATOR, ACCOUNT, "get", "", 200)]


def test_only_events_that_were_taken_have_arrived():
    uses = counted(
        [
            *(event(verb, "events", code=code) for verb, code in (("create", 201), ("patch", 200), ("create", 429))),
            event("list", "events"),
            event("create", "events", "system:kube-scheduler", code=201),
        ],
        ACCOUNT,
    )
    assert events_written(uses, OPERATOR) == 2


def test_an_operator_is_active_when_it_writes_but_not_when_it_renews_its_lease():
    assert is_activity(event("create", "events"), ACCOUNT)
    assert is_activity(event("patch", "replicasets/scale"), ACCOUNT)
    assert not is_activity(event("update", "leases"), ACCOUNT)
    assert not is_activity(event("watch", "pods", stage="ResponseStarted"), ACCOUNT)
    assert not is_activity(event("create", "pods", "bench:driver"), ACCOUNT)


def test_a_line_that_is_still_being_written_waits_for_the_next_look(tmp_path: Path):
    log = tmp_path / "audit.log"
    log.write_bytes(b"one\ntwo\nthr")
    assert list(new_lines(log, 4)) == [b"two\n"]
    log.write_bytes(b"one\ntwo\nthree\n")
    assert list(new_lines(log, 8)) == [b"three\n"]
