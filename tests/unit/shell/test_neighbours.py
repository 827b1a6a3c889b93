"""An older operator that serves the same is stood back for, as long as it leads, on Leases that are kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from serinus.api.kinds import Kind
from serinus.core.shards import Shard
from serinus.kube.client import Page
from serinus.kube.cluster import Forbidden, NotFound, Unavailable
from serinus.shell.neighbours import ANNOTATION_SERVES, LABEL_OPERATOR, Neighbours, claim

OWN = ("ops", "ours")
SOON = 0.01


class Leases:
    """Leases by namespace and name; a list of them may fail."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], dict[str, Any]] = {}
        self.failure: Exception | None = None
        self.looked_in: set[str | None] = set()

    def put(self, namespace: str, name: str, *, born: int, holder: str = "a-pod", shard: Shard | None = None) -> None:
        before = self.there.get((namespace, name))
        version = 1 if before is None else int(before["metadata"]["resourceVersion"]) + 1
        self.there[namespace, name] = {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": f"{namespace}-{name}",
                "resourceVersion": str(version),
                "creationTimestamp": f"2026-01-01T00:00:{born:02}Z",
                **claim(shard or Shard()),
            },
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
        }

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        try:
            return self.there[namespace, name]
        except KeyError:
            raise NotFound(f"read Lease {namespace}/{name}") from None

    async def list_pages(self, kind: Kind, namespace: str | None, *, label_selector: str | None) -> AsyncIterator[Page]:
        self.looked_in.add(namespace)
        if self.failure is not None:
            raise self.failure
        assert label_selector is not None
        found = [each for each in self.there.values() if label_selector in each["metadata"].get("labels", {})]
        yield Page(tuple(each for each in found if namespace in {None, each["metadata"]["namespace"]}), "7")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def neighbours(leases: Leases, clock: Clock, shard: Shard | None = None, **options: Any) -> Neighbours:
    return Neighbours(leases, shard or Shard(), OWN, recheck_seconds=SOON, look_seconds=SOON, clock=clock, **options)


async def met(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.001)


async def test_a_second_operator_waits_and_says_for_whom_and_what_to_do(leases: Leases, clock: Clock) -> None:
    leases.put("platform", "serinus", born=1, shard=Shard(frozenset({"team-a"})))
    ours = neighbours(leases, clock)
    waiting = asyncio.create_task(ours.until_none())
    await met(lambda: ours.obstacle)
    assert ours.obstacle == (
        "the operator of Lease platform/serinus is older and serves ModelDeployments in namespace team-a; this one "
        "would serve ModelDeployments in all namespaces: uninstall one of the two, or give them watchNamespaces or "
        "selectors that have nothing in common"
    )
    assert not waiting.done()

    leases.put("platform", "serinus", born=1, holder="", shard=Shard(frozenset({"team-a"})))
    async with asyncio.timeout(30):
        await waiting
    assert ours.obstacle is None, "it was uninstalled, and gave its Lease back"


async def test_one_that_has_fallen_silent_for_the_duration_of_its_lease_is_not_waited_for(
    leases: Leases, clock: Clock
) -> None:
    leases.put("platform", "serinus", born=1)
    ours = neighbours(leases, clock)
    waiting = asyncio.create_task(ours.until_none())
    await met(lambda: ours.obstacle)
    clock.now += 14
    leases.put("platform", "serinus", born=1)
    await asyncio.sleep(5 * SOON)
    clock.now += 14
    await asyncio.sleep(5 * SOON)
    assert not waiting.done(), "it was renewed meanwhile"
    clock.now += 2
    async with asyncio.timeout(30):
        await waiting


@pytest.mark.parametrize(
    ("shard", "other"),
    [
        (Shard(selector="shard=b"), Shard(selector="shard=a")),
        (Shard(frozenset({"team-b"})), Shard(frozenset({"team-a"}))),
    ],
)
async def test_operators_that_share_nothing_do_not_wait(
    leases: Leases, clock: Clock, shard: Shard, other: Shard
) -> None:
    leases.put("platform", "serinus", born=1, shard=other)
    async with asyncio.timeout(30):
        await neighbours(leases, clock, shard).until_none()


async def test_the_older_one_goes_on_and_the_younger_one_stands_back(leases: Leases, clock: Clock) -> None:
    leases.put(*OWN, born=5)
    leases.put("platform", "younger", born=6)
    ours = neighbours(leases, clock)
    looking = asyncio.create_task(ours.until_one())
    await asyncio.sleep(5 * SOON)
    assert not looking.done()

    leases.put("platform", "older", born=4)
    async with asyncio.timeout(30):
        assert "Lease platform/older is older" in await looking


async def test_leases_of_others_than_operators_and_its_own_are_in_nobodys_way(leases: Leases, clock: Clock) -> None:
    leases.put("kube-node-lease", "node-1", born=1)
    del leases.there["kube-node-lease", "node-1"]["metadata"]["labels"]
    leases.put("platform", "odd", born=1)
    leases.there["platform", "odd"]["metadata"]["annotations"] = {ANNOTATION_SERVES: "nonsense"}
    leases.put(*OWN, born=2)
    async with asyncio.timeout(30):
        await neighbours(leases, clock).until_none()
    assert leases.there[OWN]["metadata"]["labels"] == {LABEL_OPERATOR: "true"}


async def test_with_rights_in_its_own_namespace_only_it_looks_there(leases: Leases, clock: Clock) -> None:
    leases.put("platform", "serinus", born=1)
    async with asyncio.timeout(30):
        await neighbours(leases, clock, look_in="ops").until_none()
    assert leases.looked_in == {"ops"}


async def test_without_the_right_to_look_it_goes_on(leases: Leases, clock: Clock) -> None:
    leases.put("platform", "serinus", born=1)
    leases.failure = Forbidden("list leases in all namespaces: the right is missing")
    async with asyncio.timeout(30):
        await neighbours(leases, clock).until_none()


async def test_while_the_api_server_is_away_nobody_begins_and_nobody_ends(leases: Leases, clock: Clock) -> None:
    leases.failure = Unavailable("list leases in all namespaces: no answer")
    ours = neighbours(leases, clock)
    waiting, looking = asyncio.create_task(ours.until_none()), asyncio.create_task(ours.until_one())
    await asyncio.sleep(5 * SOON)
    assert not waiting.done()
    assert not looking.done()
    leases.failure = None
    async with asyncio.timeout(30):
        await waiting
    looking.cancel()
