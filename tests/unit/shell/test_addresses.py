"""The index of addresses: who has one, who waits for it, and who is woken."""

from __future__ import annotations

from typing import Any

import pytest

from serinus.core.gateways import GatewayKey, GatewayState
from serinus.shell.addresses import Addresses
from serinus.shell.reconciler import Key

OLD, YOUNG, THIRD = ("models", "old"), ("models", "young"), ("models", "third")


class Cluster:
    """Resources with addresses, and the index over them."""

    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.gateways: dict[GatewayKey, GatewayState] = {}
        self.index = Addresses(lambda: self.gateways, self.woken.append)

    def has(self, key: Key) -> str | None:
        """Name of who has what this one asks for."""
        taken = self.index.taken(key)
        return taken.by[1] if taken else None

    def ask(self, key: Key, hostname: str = "a.example", *, since: int = 1) -> None:
        gateway = {"parentRefs": [{"name": "public"}], "hostnames": [hostname]}
        self.index.put(key, _manifest(key, since) | {"spec": {"traffic": {"gateway": gateway}}})

    def route(self, key: Key, hostname: str = "a.example", *, since: int = 1) -> None:
        spec = {"parentRefs": [{"name": "public"}], "hostnames": [hostname], "rules": [{"backendRefs": []}]}
        self.index.put_route(key, _manifest(key, since) | {"spec": spec})

    def woken_by_now(self) -> set[Key]:
        woken = set(self.woken)
        self.woken.clear()
        return woken


def _manifest(key: Key, since: int) -> dict[str, Any]:
    created = f"2026-01-01T00:00:{since:02d}Z"
    return {"metadata": {"namespace": key[0], "name": key[1], "creationTimestamp": created}}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_of_two_that_ask_the_older_has_it_and_the_younger_is_told(cluster: Cluster) -> None:
    cluster.ask(YOUNG, since=2)
    cluster.ask(OLD, since=1)
    assert cluster.has(YOUNG) == "old"
    assert cluster.has(OLD) is None


def test_of_two_of_one_age_the_first_by_name_has_it(cluster: Cluster) -> None:
    cluster.ask(YOUNG)
    cluster.ask(OLD)
    assert cluster.has(YOUNG) == "old"


def test_who_serves_keeps_it_from_an_older_one_that_asks_later(cluster: Cluster) -> None:
    cluster.ask(OLD, "b.example", since=1)
    cluster.ask(YOUNG, since=2)
    cluster.route(YOUNG, since=3)
    cluster.ask(OLD, since=1)
    assert cluster.has(OLD) == "young"
    assert cluster.has(YOUNG) is None


def test_of_two_that_serve_the_older_route_counts_as_it_does_for_the_gateway(cluster: Cluster) -> None:
    cluster.ask(OLD, since=1)
    cluster.ask(YOUNG, since=2)
    cluster.route(OLD, since=9)
    cluster.route(YOUNG, since=3)
    assert cluster.has(OLD) == "young"


def test_the_younger_is_woken_when_the_older_goes_and_again_when_its_route_is_gone(cluster: Cluster) -> None:
    cluster.ask(OLD, since=1)
    cluster.route(OLD)
    cluster.ask(YOUNG, since=2)
    assert cluster.has(YOUNG) == "old"
    cluster.woken_by_now()
    cluster.index.put(OLD, None)
    assert cluster.has(YOUNG) == "old", "its route still leads requests to it"
    cluster.woken_by_now()
    cluster.index.put_route(OLD, None)
    assert cluster.woken_by_now() == {YOUNG}
    assert cluster.has(YOUNG) is None


def test_a_route_that_nobody_asks_for_any_more_is_told_as_what_is_in_the_way(cluster: Cluster) -> None:
    cluster.ask(OLD, since=1)
    cluster.route(OLD)
    cluster.ask(YOUNG, since=2)
    assert "ModelDeployment models/old, which came first" in str(cluster.index.taken(YOUNG))
    cluster.index.put(OLD, None)
    assert "go to HTTPRoute models/old" in str(cluster.index.taken(YOUNG))
    assert "came first" not in str(cluster.index.taken(YOUNG))


def test_the_younger_is_woken_when_the_older_takes_another_address_and_its_route_follows(cluster: Cluster) -> None:
    cluster.ask(OLD, since=1)
    cluster.route(OLD)
    cluster.ask(YOUNG, since=2)
    assert cluster.has(YOUNG) == "old"
    cluster.ask(OLD, "b.example", since=1)
    assert cluster.has(YOUNG) == "old"
    cluster.woken_by_now()
    cluster.route(OLD, "b.example")
    assert cluster.woken_by_now() == {YOUNG}
    assert cluster.has(YOUNG) is None


def test_when_one_of_several_goes_the_next_one_has_it(cluster: Cluster) -> None:
    for since, key in enumerate((OLD, YOUNG, THIRD), start=1):
        cluster.ask(key, since=since)
    assert cluster.has(THIRD) == "old"
    cluster.index.put(OLD, None)
    assert cluster.woken_by_now() == {YOUNG, THIRD}
    assert cluster.has(YOUNG) is None
    assert cluster.has(THIRD) == "young"


def test_who_shares_nothing_with_others_wakes_nobody(cluster: Cluster) -> None:
    for number in range(100):
        cluster.ask(("models", f"model-{number}"), f"{number}.example")
    assert cluster.has(("models", "model-7")) is None
    cluster.ask(("models", "model-7"), "other.example")
    cluster.route(("models", "model-8"), "8.example")
    cluster.index.put(("models", "model-9"), None)
    assert cluster.woken_by_now() == set()


def test_listeners_that_come_to_be_known_change_who_is_in_conflict(cluster: Cluster) -> None:
    gateway = {"parentRefs": [{"name": "public"}]}
    cluster.index.put(OLD, _manifest(OLD, 1) | {"spec": {"traffic": {"gateway": gateway}}})
    cluster.ask(YOUNG, since=2)
    assert cluster.has(YOUNG) is None
    cluster.gateways["models", "public"] = GatewayState("x", "y", listeners={"http": "a.example"})
    cluster.index.forget_gateways()
    assert cluster.has(YOUNG) == "old"
