"""The reconcile loop on a real event loop, with a reconciler that does what each test says."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from serinus.core.due import EvidenceRequest, Window
from serinus.shell.loop import GATHER_SECONDS, SPACING_SECONDS, ReconcileLoop
from serinus.shell.reconciler import Key, Next, PassOutcome
from serinus.shell.telemetry import Telemetry

A: Key = ("team", "a")
B: Key = ("team", "b")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = EvidenceRequest(
    moves=3,
    generation=1,
    judged="1234567890",
    judged_pods=(),
    window=Window(NOW, NOW),
    pass_since=NOW,
    baseline=None,
    baseline_window=None,
    concurrent=True,
)
IDLE = Next(None)


class Scripted:
    """Does what the test says, and remembers what was asked of it."""

    def __init__(
        self,
        one_pass: Callable[[Key], Awaitable[Next]],
        reading: Callable[[Key], Awaitable[bool | None]] | None = None,
    ) -> None:
        self._one_pass = one_pass
        self._reading = reading
        self.passes: Counter[Key] = Counter()
        self.under_way: Counter[Key] = Counter()
        self.most_under_way = 0
        self.readings: list[tuple[Key, EvidenceRequest]] = []

    async def pass_over(self, key: Key) -> Next:
        self.passes[key] += 1
        self.under_way[key] += 1
        assert self.under_way[key] == 1, "two passes over one resource at once"
        self.most_under_way = max(self.most_under_way, self.under_way.total())
        try:
            return await self._one_pass(key)
        finally:
            self.under_way[key] -= 1

    async def read(self, key: Key, request: EvidenceRequest) -> bool:
        self.readings.append((key, request))
        return bool(await self._reading(key)) if self._reading is not None else False


async def nothing(_: Key) -> Next:
    return IDLE


async def until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.001)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("test")


@pytest.fixture
async def loop(telemetry: Telemetry) -> AsyncIterator[ReconcileLoop]:
    loop = ReconcileLoop(4, telemetry)
    yield loop
    await loop.stop(0)


async def test_every_resource_is_passed_over_at_the_start(loop: ReconcileLoop) -> None:
    scripted = Scripted(nothing)
    loop.start(scripted, (A, B))
    await until(lambda: scripted.passes == Counter({A: 1, B: 1}))


async def test_burst_of_changes_makes_one_pass(loop: ReconcileLoop) -> None:
    scripted = Scripted(nothing)
    loop.start(scripted, ())
    for _ in range(10):
        loop.mark(A)
    loop.mark(B)
    await until(lambda: scripted.passes[B] == 1)
    assert scripted.passes[A] == 1


async def test_resource_that_changes_all_the_time_leaves_room_between_its_passes(loop: ReconcileLoop) -> None:
    began: list[float] = []

    async def restless(key: Key) -> Next:
        began.append(asyncio.get_running_loop().time())
        loop.mark(key)
        return IDLE

    loop.start(Scripted(restless), (A,))
    await until(lambda: len(began) == 3)
    assert began[1] - began[0] >= SPACING_SECONDS
    assert began[2] - began[1] >= SPACING_SECONDS


async def test_only_passes_that_delay_the_next_one_are_remembered(loop: ReconcileLoop) -> None:
    scripted = Scripted(nothing)
    keys = [("team", str(number)) for number in range(20)]
    loop.start(scripted, keys)
    await until(lambda: scripted.passes.total() == 20)
    term = loop._term
    assert term is not None
    await asyncio.sleep(SPACING_SECONDS)
    loop.mark(A)
    await until(lambda: scripted.passes[A] == 1)
    assert term._ended_at.keys() == {A}


async def test_change_during_a_pass_brings_another(loop: ReconcileLoop) -> None:
    go_on = asyncio.Event()

    async def waiting(_: Key) -> Next:
        await go_on.wait()
        return IDLE

    scripted = Scripted(waiting)
    loop.start(scripted, (A,))
    await until(lambda: scripted.under_way[A] == 1)
    loop.mark(A)
    go_on.set()
    await until(lambda: scripted.passes[A] == 2)


async def test_pass_says_when_it_wants_to_look_again(loop: ReconcileLoop) -> None:
    times: list[float] = []

    async def twice(_: Key) -> Next:
        times.append(asyncio.get_running_loop().time())
        return Next(0.03) if len(times) == 1 else IDLE

    loop.start(Scripted(twice), (A,))
    await until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.03


async def test_at_most_as_many_passes_at_once_as_there_are_workers(loop: ReconcileLoop) -> None:
    async def slow(_: Key) -> Next:
        await asyncio.sleep(0.005)
        return IDLE

    scripted = Scripted(slow)
    keys = [("team", str(number)) for number in range(20)]
    loop.start(scripted, keys)
    await until(lambda: scripted.passes.total() == 20 and not scripted.under_way.total())
    assert scripted.most_under_way == 4


async def test_passes_that_never_wait_let_everything_else_go_on(loop: ReconcileLoop) -> None:
    """The Lease is renewed and the probes are answered while a new leader passes over all there is."""
    scripted = Scripted(nothing)
    loop.start(scripted, [("team", str(number)) for number in range(1000)])
    for turn in range(20):
        await asyncio.sleep(0)
        assert scripted.passes.total() <= 4 * (turn + 1)
    await until(lambda: scripted.passes.total() == 1000)


async def test_crashing_resource_is_retried_logged_and_disturbs_no_other(
    loop: ReconcileLoop, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(key: Key) -> Next:
        if key == A:
            raise ZeroDivisionError("no such number")
        return Next(0.01)

    scripted = Scripted(crash)
    loop.start(scripted, (A, B))
    await until(lambda: scripted.passes[B] > 2)  # the other one goes on
    await until(lambda: scripted.passes[A] == 2)
    assert loop.problem() is None
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged[0].exc_info is not None
    assert logged[0].exc_info[0] is ZeroDivisionError
    assert vars(logged[0])["deployment"] == "a"
    assert b'serinus_crashes_total{of="pass"} 2.0' in telemetry.exposition()


async def test_reading_runs_beside_the_passes_and_brings_the_next_one(loop: ReconcileLoop) -> None:
    answer = asyncio.Event()

    async def ask_once(key: Key) -> Next:
        return Next(None, REQUEST) if scripted.passes[key] == 1 else IDLE

    async def read(_: Key) -> None:
        await answer.wait()

    scripted = Scripted(ask_once, read)
    loop.start(scripted, (A,))
    await until(lambda: scripted.readings == [(A, REQUEST)])
    loop.mark(A)
    await until(lambda: scripted.passes[A] == 2)  # a slow metric source delays nothing
    answer.set()
    await until(lambda: scripted.passes[A] == 3)


async def test_reading_that_crashes_is_followed_by_a_pass_all_the_same(
    loop: ReconcileLoop, telemetry: Telemetry
) -> None:
    async def ask_once(key: Key) -> Next:
        return Next(None, REQUEST) if scripted.passes[key] == 1 else IDLE

    async def crash(_: Key) -> None:
        raise ZeroDivisionError

    scripted = Scripted(ask_once, crash)
    loop.start(scripted, (A,))
    await until(lambda: scripted.passes[A] == 2)
    assert b'serinus_crashes_total{of="reading"} 1.0' in telemetry.exposition()


async def test_halted_loop_cuts_off_what_is_under_way_and_takes_no_marks(loop: ReconcileLoop) -> None:
    cut_off: list[str] = []

    async def for_ever(key: Key) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.append(key[1])

    async def stuck(key: Key) -> Next:
        if key == B:
            return Next(None, REQUEST)
        await for_ever(key)
        return IDLE

    scripted = Scripted(stuck, for_ever)
    loop.start(scripted, (A, B))
    await until(lambda: bool(scripted.under_way[A] and scripted.readings))
    loop.halt()
    await until(lambda: sorted(cut_off) == ["a", "b"])
    loop.mark(A)
    assert (loop.waiting, loop.longest_pass_seconds) == (0, 0.0)
    assert scripted.passes == Counter({A: 1, B: 1})


async def test_new_term_begins_with_a_new_reconciler_and_its_own_keys(loop: ReconcileLoop) -> None:
    async def stuck(_: Key) -> Next:
        await asyncio.Event().wait()
        return IDLE

    first, second = Scripted(stuck), Scripted(nothing)
    loop.start(first, (A,))
    await until(lambda: first.under_way[A] == 1)
    loop.halt()
    loop.start(second, (A, B))
    await until(lambda: second.passes == Counter({A: 1, B: 1}))
    assert first.passes == Counter({A: 1})


async def test_orderly_stop_lets_a_pass_end_and_begins_no_other(loop: ReconcileLoop) -> None:
    finished: list[Key] = []

    async def slow(key: Key) -> Next:
        await asyncio.sleep(0.02)
        finished.append(key)
        return IDLE

    keys = [("team", str(number)) for number in range(9)]
    scripted = Scripted(slow)
    loop.start(scripted, keys)
    await until(lambda: scripted.under_way.total() == 4)
    await loop.stop(grace_seconds=5)
    assert finished == keys[:4]


async def test_orderly_stop_does_not_wait_for_ever(loop: ReconcileLoop) -> None:
    async def stuck(_: Key) -> Next:
        await asyncio.Event().wait()
        return IDLE

    scripted = Scripted(stuck)
    loop.start(scripted, (A,))
    await until(lambda: scripted.under_way[A] == 1)
    async with asyncio.timeout(30):
        await loop.stop(grace_seconds=0.01)
    assert scripted.under_way[A] == 0


async def test_age_of_the_oldest_pass_is_known(loop: ReconcileLoop) -> None:
    async def stuck(_: Key) -> Next:
        await asyncio.Event().wait()
        return IDLE

    loop.start(Scripted(stuck), (A,))
    await until(lambda: loop.longest_pass_seconds > 0.01)


async def order_of_passes(
    telemetry: Telemetry, begin: Callable[[ReconcileLoop, Scripted], None], passes: int, **script: Any
) -> list[Key]:
    """The order in which one worker passes over what waits for it once it is free."""
    order: list[Key] = []
    free = asyncio.Event()

    async def one_pass(key: Key) -> Next:
        if key == ("busy", ""):
            await free.wait()
            return IDLE
        order.append(key)
        return script["follows"](key, order) if "follows" in script else IDLE

    loop = ReconcileLoop(1, telemetry)
    scripted = Scripted(one_pass, script.get("reading"))
    try:
        loop.start(scripted, [("busy", "")])
        await until(lambda: scripted.under_way.total() == 1)
        begin(loop, scripted)
        await asyncio.sleep(GATHER_SECONDS + 0.01)  # marks become due
        free.set()
        await until(lambda: len(order) >= passes)
    finally:
        await loop.stop(0)
    return order


async def test_resource_in_trouble_is_passed_over_before_all_others(telemetry: Telemetry) -> None:
    def begin(loop: ReconcileLoop, _: Scripted) -> None:
        for number in range(50):
            loop.mark(("team", str(number)))
        loop.mark(A, urgent=True)

    assert (await order_of_passes(telemetry, begin, 51))[0] == A


async def test_storm_in_one_namespace_keeps_no_other_waiting(telemetry: Telemetry) -> None:
    def begin(loop: ReconcileLoop, _: Scripted) -> None:
        for number in range(200):
            loop.mark(("storm", str(number)))
        loop.mark(("calm", "a"))

    assert ("calm", "a") in (await order_of_passes(telemetry, begin, 201))[:3]


async def test_rollback_goes_on_before_other_work(telemetry: Telemetry) -> None:
    def begin(loop: ReconcileLoop, _: Scripted) -> None:
        for key in (A, *((("team", str(number))) for number in range(20))):
            loop.mark(key)

    def follows(key: Key, order: list[Key]) -> Next:
        return Next(0.0, urgent=True) if key == A and order.count(A) == 1 else IDLE

    order = await order_of_passes(telemetry, begin, 22, follows=follows)
    assert order[:2] == [A, A]


async def test_evidence_of_a_failure_is_acted_upon_before_other_work(telemetry: Telemetry) -> None:
    async def fails(_: Key) -> bool:
        return True

    def follows(key: Key, order: list[Key]) -> Next:
        return Next(None, REQUEST) if key == A and order.count(A) == 1 else IDLE

    def begin(loop: ReconcileLoop, _: Scripted) -> None:
        for key in (A, *((("team", str(number))) for number in range(40))):
            loop.mark(key)

    order = await order_of_passes(telemetry, begin, 42, follows=follows, reading=fails)
    assert A in order[1:5]


async def test_rollouts_under_way_come_first_in_a_new_term(telemetry: Telemetry) -> None:
    order: list[Key] = []

    async def one_pass(key: Key) -> Next:
        order.append(key)
        return IDLE

    loop = ReconcileLoop(1, telemetry)
    keys = [("team", str(number)) for number in range(30)]
    loop.start(Scripted(one_pass), keys, urgent={("team", "29")})
    await until(lambda: len(order) == 30)
    await loop.stop(0)
    assert order[0] == ("team", "29")


async def test_passes_are_counted_by_how_they_ended(loop: ReconcileLoop, telemetry: Telemetry) -> None:
    ends = iter([Next(None, outcome=PassOutcome.MOVED), RuntimeError("a defect"), IDLE])

    async def various(key: Key) -> Next:
        if key == B:
            await asyncio.sleep(30)
        end = next(ends)
        if isinstance(end, RuntimeError):
            raise end
        return end

    def passes(outcome: str) -> float | None:
        return telemetry._registry.get_sample_value("serinus_pass_seconds_count", {"outcome": outcome})

    scripted = Scripted(various)
    loop.start(scripted, (A,))
    await until(lambda: passes("Moved") == 1)
    loop.mark(A)
    await until(lambda: passes("Crashed") == 1)
    await until(lambda: passes("Unchanged") == 1)
    loop.mark(B)
    await until(lambda: scripted.passes[B] == 1)
    assert loop.oldest_waiting_seconds == 0
    await loop.stop(0)
    assert passes("CutOff") == 1
