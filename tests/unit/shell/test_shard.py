"""Who is ours, and when it may be passed over, on a real event loop with caches that answer as each test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from serinus.kube.cluster import Forbidden, Unavailable
from serinus.shell.reconciler import Key
from serinus.shell.shard import Shard

IRIS: Key = ("team", "iris")
ROSE: Key = ("team", "rose")
OTHER: Key = ("other", "iris")


class Cache:
    """Remembers what was fetched and let go; a fetch takes as long as the test says."""

    def __init__(self, during: Callable[[], Awaitable[None]] | None = None) -> None:
        self._during = during
        self.fetched: list[tuple[str, list[str]]] = []
        self.released: list[Key] = []

    async def fetch(self, namespace: str, deployments: Sequence[str]) -> None:
        self.fetched.append((namespace, list(deployments)))
        if self._during is not None:
            await self._during()

    def release(self, namespace: str, deployment: str) -> None:
        self.released.append((namespace, deployment))


class Completed:
    """Who was told to be complete, in order."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def __call__(self, key: Key) -> None:
        self.keys.append(key)


async def until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(shard: Shard, *caches: Cache, first: asyncio.Event | None = None) -> AsyncIterator[None]:
    listed = first or asyncio.Event()
    if first is None:
        listed.set()

    async def first_lists() -> None:
        await listed.wait()

    task = asyncio.create_task(shard.run(caches, first_lists=first_lists()))
    try:
        await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_children_of_the_first_members_come_with_the_first_lists() -> None:
    completed, cache, listed = Completed(), Cache(), asyncio.Event()
    shard = Shard(completed)
    shard.join(IRIS)
    async with running(shard, cache, first=listed):
        shard.join(ROSE)  # came while the first lists are under way: they may have passed over its children
        await asyncio.sleep(0.01)
        assert not shard.complete(IRIS)
        assert shard.holds(*IRIS)
        listed.set()
        await until(lambda: completed.keys == [IRIS, ROSE])
        assert shard.complete(IRIS)
    assert cache.fetched == [("team", ["rose"])]


async def test_those_that_join_together_are_listed_together_namespace_by_namespace_from_every_cache() -> None:
    completed, caches = Completed(), (Cache(), Cache())
    shard = Shard(completed)
    async with running(shard, *caches):
        for key in (IRIS, OTHER, ROSE, IRIS):
            shard.join(key)
        await until(lambda: len(completed.keys) == 3)
        many = [("team", str(number)) for number in range(70)]
        for key in many:
            shard.join(key)
        await until(lambda: all(shard.complete(key) for key in many))
    for cache in caches:
        assert cache.fetched[:2] == [("team", ["iris", "rose"]), ("other", ["iris"])]
        assert [len(names) for _, names in cache.fetched[2:]] == [50, 20]


async def test_one_that_leaves_is_held_no_longer_and_its_children_go() -> None:
    completed, cache = Completed(), Cache()
    shard = Shard(completed)
    async with running(shard, cache):
        shard.join(IRIS)
        await until(lambda: shard.complete(IRIS))
        shard.leave(IRIS)
        shard.leave(IRIS)
        assert not shard.holds(*IRIS)
        assert not shard.complete(IRIS)
        assert cache.released == [IRIS]


async def test_one_that_leaves_and_comes_back_while_it_is_listed_is_listed_again() -> None:
    completed = Completed()
    shard = Shard(completed)
    rounds = 0

    async def leaves_and_comes_back() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            shard.leave(IRIS)
            shard.join(IRIS)
        else:
            assert completed.keys == []

    cache = Cache(leaves_and_comes_back)
    async with running(shard, cache):
        shard.join(IRIS)
        await until(lambda: shard.complete(IRIS))
    assert rounds == 2
    assert completed.keys == [IRIS]


async def test_list_that_fails_is_tried_again() -> None:
    completed = Completed()
    fails = iter([True, False])

    async def maybe() -> None:
        if next(fails):
            raise Unavailable("list pods in namespace team: no answer")

    shard = Shard(completed)
    async with running(shard, Cache(maybe)):
        shard.join(IRIS)
        await until(lambda: shard.complete(IRIS))
    assert completed.keys == [IRIS]


async def test_those_whose_list_fails_keep_nobody_else_waiting() -> None:
    shard = Shard(Completed())

    class OneClosed(Cache):
        async def fetch(self, namespace: str, deployments: Sequence[str]) -> None:
            await super().fetch(namespace, deployments)
            if namespace == "other":
                raise Forbidden("list pods in namespace other: the right is missing")

    cache = OneClosed()
    async with running(shard, cache):
        for key in (OTHER, IRIS, ROSE):
            shard.join(key)
        await until(lambda: shard.complete(IRIS) and shard.complete(ROSE))
        assert not shard.complete(OTHER)
        assert [namespace for namespace, _ in cache.fetched[:2]] == ["other", "team"]
