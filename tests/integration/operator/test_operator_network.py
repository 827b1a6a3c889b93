"""The operator on a bad network: slow, cut, stuck, half-open, throttled; and writes that arrive late.

Each fault ends, and then everything is as if it had never been: nobody starts the process again.
"""

from __future__ import annotations

import re
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.integration.operator.network import Network
from tests.integration.operator.operator_process import (
    BUSY_SECONDS,
    FAILOVER_SECONDS,
    Cluster,
    OperatorProcess,
    eventually,
    lease_name,
)
from tests.integration.operator.test_operator_resources import children, deployed, model_deployment, revision_of

StartOperator = Callable[..., OperatorProcess]

DOUBT_SECONDS = 1.2 + 2.0 + 15.0
"""From when a leader's connections were forgotten to new watches: a renewal of the Lease is due and is not answered,
and the old watches have as long as a call may take to give a sign of life."""
KOPF_SILENCE_SECONDS = 70.0
"""After so much silence kopf opens its watch anew."""
THROTTLED_SECONDS = 4
ASKED_A_SECOND = 10
"""A Lease, a handful of watches, and what is under way: each asks again after the second that it is told to wait."""


def uid(cluster: Cluster, kind: str, name: str, namespace: str) -> str:
    """The object's identity; "" where there is none."""
    return str((cluster.get(kind, name, namespace) or {}).get("metadata", {}).get("uid", ""))


def holder(cluster: Cluster, namespace: str) -> str:
    """Who leads, by the Lease."""
    lease = cluster.get("lease", lease_name(namespace), namespace) or {}
    return str(lease.get("spec", {}).get("holderIdentity", ""))


def not_created(cluster: Cluster, resource: str) -> float:
    """How many requests to create an object of this kind the API server has answered with anything but an object."""
    return sum(
        value
        for labels, value in series(cluster, "apiserver_request_total")
        if {f'resource="{resource}"', 'verb="POST"'} <= labels and 'code="201"' not in labels
    )


def series(cluster: Cluster, name: str) -> list[tuple[set[str], float]]:
    """The series of one of the API server's own metrics: labels and value."""
    found = re.findall(rf"^{name}{{(.*)}} (\S+)$", cluster.kubectl("get", "--raw=/metrics"), re.MULTILINE)
    return [(set(labels.split(",")), float(value)) for labels, value in found]


def assert_it_is_well(operator: OperatorProcess, pid: int) -> None:
    """It was not started again, has met no defect, and is what a kubelet leaves alone."""
    assert operator.pid == pid
    assert operator.get("/healthz") == (200, "ok\n")
    assert operator.metric("serinus_crashes_total") == 0
    assert operator.forbidden() == []
    assert not [line for line in operator.lines() if line["level"] in {"error", "critical"}]


def test_on_a_slow_network_everything_comes_later_and_the_lease_is_kept(
    cluster: Cluster, team: str, operators: StartOperator, network: Network
) -> None:
    network.becomes("slow 0.2 200000")
    operator = operators(server=network.server).start().until_leading()
    pid = operator.pid

    first = deployed(cluster, team, "iris")
    second = deployed(cluster, team, "iris", serving={"image": "registry.example.com/iris:2.0.0"})

    assert second != first
    history = (cluster.get("modeldeployment", "iris", team) or {})["status"]["history"]
    assert [entry["event"] for entry in reversed(history)][:3] == [
        "CandidateStarted",
        "FirstDeployment",
        "CandidateStarted",
    ]
    assert operator.leads()
    assert not [line for line in operator.lines() if "does not lead any more" in line["message"]]
    assert_it_is_well(operator, pid)


@pytest.mark.parametrize("way", ["cut", "stuck"])
def test_what_changed_while_the_network_was_gone_is_done_when_it_is_back(
    cluster: Cluster, team: str, operators: StartOperator, network: Network, way: str
) -> None:
    operator = operators(server=network.server).start().until_leading()
    pid = operator.pid
    deployed(cluster, team, "iris")
    deployed(cluster, team, "doomed")

    network.becomes(way)
    eventually(lambda: not operator.leads(), doing="it notices that it can't renew the lease")
    cluster.kubectl("delete", "service", "iris", "-n", team)
    cluster.kubectl("delete", "modeldeployment", "doomed", "-n", team)
    cluster.apply(model_deployment("born"), namespace=team)
    network.becomes("pass")

    eventually(lambda: cluster.get("service", "iris", team), doing="the deleted Service is back")
    eventually(lambda: children(cluster, team, "born"), doing="the new resource has children")
    eventually(lambda: operator.metric("serinus_deployments") == 2, doing="the deleted one is forgotten")
    assert_it_is_well(operator, pid)


def test_a_leader_whose_connections_were_forgotten_leads_on_over_new_ones(
    cluster: Cluster, team: str, operators: StartOperator, network: Network
) -> None:
    operator = operators(server=network.server).start().until_leading()
    pid = operator.pid
    deployed(cluster, team, "iris")

    network.becomes("half-open")
    before = (cluster.get("lease", lease_name(team), team) or {})["metadata"]["resourceVersion"]

    def renewed() -> bool:
        return (cluster.get("lease", lease_name(team), team) or {})["metadata"]["resourceVersion"] != before

    eventually(renewed, FAILOVER_SECONDS + BUSY_SECONDS, doing="the Lease is renewed")
    eventually(operator.leads, doing="it leads")
    assert_it_is_well(operator, pid)


def test_what_forgotten_watches_do_not_tell_is_done_in_seconds(
    cluster: Cluster, team: str, operators: StartOperator, network: Network
) -> None:
    operator = operators(server=network.server).start().until_leading()
    pid = operator.pid
    deployed(cluster, team, "iris")

    network.becomes("half-open")
    cluster.kubectl("delete", "service", "iris", "-n", team)

    within = DOUBT_SECONDS + BUSY_SECONDS
    eventually(lambda: cluster.get("service", "iris", team), within, doing="the deleted Service is back")
    assert_it_is_well(operator, pid)


def test_a_standby_whose_watches_were_forgotten_finds_out_when_it_leads(
    cluster: Cluster, team: str, operators: StartOperator, network: Network
) -> None:
    leader = operators(IDENTITY="first").start().until_leading()
    standby = operators(server=network.server, IDENTITY="second").start()
    eventually(lambda: standby.get("/readyz")[0] == 200, doing="the standby has warm caches")
    deployed(cluster, team, "iris")
    leader.until_quiet()

    network.becomes("half-open")
    leader.end(signal.SIGKILL)
    cluster.kubectl("delete", "service", "iris", "-n", team)

    eventually(standby.leads, FAILOVER_SECONDS + BUSY_SECONDS, doing="the standby leads")
    within = DOUBT_SECONDS + BUSY_SECONDS
    eventually(lambda: cluster.get("service", "iris", team), within, doing="the deleted Service is back")
    assert_it_is_well(standby, standby.pid)


@pytest.mark.full
def test_what_people_do_while_the_watch_of_their_resources_is_forgotten_is_seen_before_the_probe_fails(
    cluster: Cluster, team: str, operators: StartOperator, network: Network
) -> None:
    operator = operators(server=network.server).start().until_leading()
    pid = operator.pid
    deployed(cluster, team, "doomed")

    network.becomes("half-open")
    cluster.kubectl("delete", "modeldeployment", "doomed", "-n", team)
    cluster.apply(model_deployment("born"), namespace=team)

    within = KOPF_SILENCE_SECONDS + BUSY_SECONDS
    eventually(lambda: children(cluster, team, "born"), within, doing="the new resource has children")
    eventually(lambda: operator.metric("serinus_deployments") == 1, within, doing="the deleted one is forgotten")
    assert_it_is_well(operator, pid)


def test_a_write_that_arrives_when_another_leads_is_refused(
    cluster: Cluster, team: str, operators: StartOperator, network: Network
) -> None:
    leader = operators(server=network.server, IDENTITY="first").start().until_leading()
    standby = operators(IDENTITY="second").start()
    eventually(lambda: standby.get("/readyz")[0] == 200, doing="the standby has warm caches")
    revision = deployed(cluster, team, "iris")
    leader.until_quiet()

    network.becomes("mute")
    cluster.kubectl("delete", "service", "iris", "-n", team)
    eventually(lambda: not leader.leads(), doing="the leader can't renew the Lease")
    assert leader.metric("serinus_writes_total", verb="create", kind="Service", result="CutOff") == 1, "under way"
    eventually(lambda: holder(cluster, team) == "second", FAILOVER_SECONDS + BUSY_SECONDS, doing="the standby leads")
    service = eventually(lambda: uid(cluster, "service", "iris", team), doing="the standby puts the Service back")
    standby.until_quiet()
    before = cluster.get("modeldeployment", "iris", team), cluster.get("service", "iris", team)
    refused = not_created(cluster, "services")

    network.becomes("pass")
    eventually(lambda: not_created(cluster, "services") > refused, doing="the late write arrives")
    leader.until_quiet()
    standby.until_quiet()

    assert holder(cluster, team) == "second"
    assert standby.leads()
    assert not leader.leads()
    assert uid(cluster, "service", "iris", team) == service
    assert (cluster.get("modeldeployment", "iris", team), cluster.get("service", "iris", team)) == before
    assert revision_of(cluster, team, "iris") == revision


def test_a_leader_that_was_frozen_finds_another_leading_and_writes_nothing(
    cluster: Cluster, team: str, operators: StartOperator
) -> None:
    leader = operators(IDENTITY="first").start().until_leading()
    standby = operators(IDENTITY="second").start()
    eventually(lambda: standby.get("/readyz")[0] == 200, doing="the standby has warm caches")
    deployed(cluster, team, "iris")
    leader.until_quiet()
    writes = leader.metric("serinus_writes_total")

    leader.send(signal.SIGSTOP)
    cluster.kubectl("delete", "service", "iris", "-n", team)
    frozen_at = time.monotonic()
    eventually(standby.leads, FAILOVER_SECONDS + BUSY_SECONDS, doing="the standby leads")
    service = eventually(lambda: uid(cluster, "service", "iris", team), doing="the standby puts the Service back")
    assert time.monotonic() - frozen_at < FAILOVER_SECONDS + 2 * BUSY_SECONDS
    leader.send(signal.SIGCONT)

    eventually(lambda: [line for line in leader.lines() if "does not lead any more" in line["message"]])
    leader.until_quiet()
    standby.until_quiet()
    assert holder(cluster, team) == "second"
    assert leader.metric("serinus_writes_total") == writes
    assert uid(cluster, "service", "iris", team) == service
    assert leader.get("/healthz") == (200, "ok\n")


# A busy API server ------------------------------------------------------------------------------------------------


API_VERSION = "flowcontrol.apiserver.k8s.io/v1"
PATIENCE_SECONDS = 0.5
"""Whether a request waits is known when no answer has come after this time."""


@pytest.fixture
def narrow(cluster: Cluster, team: str) -> Iterator[str]:
    """A flow for all that comes from the test's namespace, wide enough for one request at a time, and its name."""
    name = f"narrow-{team}"
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}
    level = {
        "apiVersion": API_VERSION,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {**limited, "borrowingLimitPercent": 0}},
    }
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    group = {"kind": "Group", "group": {"name": f"system:serviceaccounts:{team}"}}
    schema = {
        "apiVersion": API_VERSION,
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 2,
            "rules": [{"subjects": [group], "resourceRules": [everything]}],
        },
    }
    cluster.apply(level, schema)
    yield name
    cluster.kubectl("delete", "flowschema,prioritylevelconfiguration", name)


@contextmanager
def occupied(cluster: Cluster, namespace: str) -> Iterator[None]:
    """A client of the namespace that never gets to the end of its request has the only place of its flow."""
    layout = cluster.plane.layout
    token = cluster.kubectl("create", "token", "default", "-n", namespace).strip()
    path = f"/api/v1/namespaces/{namespace}/pods"
    head = f"POST {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n{{"
    tls = ssl.create_default_context(cafile=str(layout.authority.certificate))

    def begin() -> ssl.SSLSocket | None:
        plain = socket.create_connection((layout.address, layout.api_port))
        request = tls.wrap_socket(plain, server_hostname=layout.address)
        request.sendall(head.encode())
        request.settimeout(PATIENCE_SECONDS)
        try:
            request.recv(1)
        except TimeoutError:
            return request
        request.close()
        return None

    request = eventually(begin, doing="the place is taken")
    assert request is not None
    with request:
        yield


def turned_away(cluster: Cluster, flow: str) -> float:
    """How many requests of a flow the API server has answered with 429."""
    name = "apiserver_flowcontrol_rejected_requests_total"
    return sum(value for labels, value in series(cluster, name) if f'flow_schema="{flow}"' in labels)


def test_an_operator_that_is_throttled_asks_seldom_and_goes_on_when_it_may(
    cluster: Cluster, team: str, operators: StartOperator, narrow: str
) -> None:
    cluster.kubectl(
        "create", "rolebinding", narrow, "--clusterrole=edit", f"--serviceaccount={team}:default", "-n", team
    )
    operator = operators().start().until_leading()
    pid = operator.pid
    deployed(cluster, team, "iris")

    with occupied(cluster, team):
        cluster.kubectl("delete", "service", "iris", "-n", team)
        cluster.apply(model_deployment("born"), namespace=team)
        eventually(lambda: not operator.leads(), doing="not even the Lease can be renewed")
        before = turned_away(cluster, narrow)
        time.sleep(THROTTLED_SECONDS)
        asked = turned_away(cluster, narrow) - before
        assert asked > 0
        assert asked <= ASKED_A_SECOND * THROTTLED_SECONDS, "it waits for as long as it is asked to"
        assert cluster.get("service", "iris", team) is None

    eventually(lambda: cluster.get("service", "iris", team), doing="the deleted Service is back")
    eventually(lambda: children(cluster, team, "born"), doing="the new resource has children")
    assert_it_is_well(operator, pid)
