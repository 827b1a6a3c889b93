"""The work queue, on a real event loop."""

import asyncio
from collections.abc import Callable

import pytest

from serinus.shell.work_queue import URGENT_IN_A_ROW, WorkQueue

SOON = 0.02


async def until(met: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.001)


async def taken(queue: WorkQueue[str]) -> str:
    async with asyncio.timeout(30):
        return await queue.get()


async def test_keys_come_in_the_order_of_their_arrival() -> None:
    queue = WorkQueue[str]()
    for key in ("c", "a", "b"):
        queue.add(key)
    assert [await taken(queue) for _ in range(3)] == ["c", "a", "b"]


async def test_key_that_is_added_often_is_worked_on_once() -> None:
    queue = WorkQueue[str]()
    for _ in range(5):
        queue.add("a")
    assert len(queue) == 1
    await taken(queue)
    queue.done("a")
    assert len(queue) == 0


async def test_the_oldest_key_is_the_one_that_has_been_due_longest() -> None:
    queue = WorkQueue[str]()
    assert queue.oldest_seconds == 0
    queue.add("a")
    await asyncio.sleep(5 * SOON)
    queue.add("b")
    queue.add("b", urgent=True)
    assert queue.oldest_seconds >= 5 * SOON
    await taken(queue)
    assert len(queue) == 1
    await taken(queue)
    queue.add("a")
    assert queue.oldest_seconds == 0, "it waits for its own end, not for a worker"
    queue.done("a")
    assert 0 < queue.oldest_seconds < SOON
    queue.add_after("c", 30)
    await taken(queue)
    assert queue.oldest_seconds == 0, "what is not due does not wait"


async def test_key_in_work_is_given_to_nobody_else_and_comes_again_when_it_was_marked_meanwhile() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await taken(queue)
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_delayed_key_comes_when_its_time_has_come_and_not_before() -> None:
    queue = WorkQueue[str]()
    loop = asyncio.get_running_loop()
    added_at = loop.time()
    queue.add_after("a", SOON)
    assert (len(queue), len(queue._later)) == (0, 1)
    assert await taken(queue) == "a"
    assert loop.time() >= added_at + SOON
    assert len(queue._later) == 0


async def test_delayed_keys_come_in_the_order_of_their_times() -> None:
    queue = WorkQueue[str]()
    queue.add_after("late", 3 * SOON)
    queue.add_after("early", SOON)
    queue.add_after("between", 2 * SOON)
    assert [await taken(queue) for _ in range(3)] == ["early", "between", "late"]


@pytest.mark.parametrize("delays", [(3600.0, SOON), (SOON, 3600.0)])
async def test_earliest_of_several_times_wins(delays: tuple[float, float]) -> None:
    queue = WorkQueue[str]()
    for seconds in delays:
        queue.add_after("a", seconds)
    assert await taken(queue) == "a"
    assert len(queue._later) == 0


async def test_key_that_is_due_now_does_not_come_a_second_time_for_later() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", SOON)
    queue.add("a")
    assert await taken(queue) == "a"
    queue.done("a")
    queue.add_after("end", 3 * SOON)
    assert await taken(queue) == "end"


async def test_who_takes_a_key_says_anew_when_to_come_back() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add_after("a", SOON)  # is due already
    await taken(queue)
    queue.add_after("a", 2 * SOON)
    queue.done("a")
    assert len(queue._later) == 1
    assert await taken(queue) == "a"


async def test_key_delayed_while_in_work_waits_for_the_end_of_the_work() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await taken(queue)
    queue.add_after("a", SOON)
    await until(lambda: len(queue._later) == 0)
    assert len(queue) == 0
    queue.done("a")
    assert await taken(queue) == "a"


async def test_no_delay_means_now() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 0.0)
    assert len(queue) == 1


async def test_many_workers_never_share_a_key_and_miss_no_mark() -> None:
    queue = WorkQueue[int]()
    in_work: set[int] = set()
    seen = dict.fromkeys(range(20), 0)
    worked_on = dict.fromkeys(range(20), -1)

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in in_work
            in_work.add(key)
            worked_on[key] = seen[key]
            await asyncio.sleep(0)
            in_work.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for turn in range(200):
        seen[turn % 20] = turn
        queue.add(turn % 20)
        if turn % 7 == 0:
            await asyncio.sleep(0)
    await until(lambda: worked_on == seen or any(worker.done() for worker in workers))
    assert not any(worker.done() for worker in workers)
    for worker in workers:
        worker.cancel()


async def test_idle_queue_keeps_no_timer() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", SOON)
    await taken(queue)
    queue.done("a")
    assert queue._timer is None


async def test_closed_queue_rings_no_more() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", SOON)
    queue.close()
    assert (len(queue._later), queue._timer) == (0, None)


async def test_urgent_keys_come_before_others_that_came_earlier() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b"):
        queue.add(key)
    queue.add("dying", urgent=True)
    assert [await taken(queue) for _ in range(3)] == ["dying", "a", "b"]


async def test_key_that_waits_already_can_become_urgent() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b", "c"):
        queue.add(key)
    queue.add("c", urgent=True)
    queue.add("c")
    assert len(queue) == 3
    assert [await taken(queue) for _ in range(3)] == ["c", "a", "b"]
    assert len(queue) == 0


async def test_key_in_work_that_becomes_urgent_comes_first_afterwards() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await taken(queue)
    queue.add("b")
    queue.add("a")
    queue.add("a", urgent=True)
    queue.done("a")
    assert [await taken(queue) for _ in range(2)] == ["a", "b"]


async def test_urgent_key_that_is_delayed_comes_first_when_it_is_due() -> None:
    queue = WorkQueue[str]()
    queue.add_after("dying", SOON, urgent=True)
    await asyncio.sleep(SOON)
    for key in ("a", "b"):
        queue.add(key)
    await until(lambda: len(queue) == 3)
    assert await taken(queue) == "dying"


async def test_key_is_as_urgent_as_it_was_ever_said_to_be_since_it_was_last_taken() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 3600, urgent=True)
    queue.add("b")
    queue.add("a")
    assert await taken(queue) == "a"
    queue.done("a")
    queue.add("a")
    assert await taken(queue) == "b"


async def test_others_have_a_turn_now_and_then_however_much_is_urgent() -> None:
    queue = WorkQueue[str]()
    queue.add("ordinary")
    for number in range(100):
        queue.add(f"dying {number}", urgent=True)
    assert "ordinary" in [await taken(queue) for _ in range(URGENT_IN_A_ROW + 1)]


@pytest.mark.parametrize("urgent", [False, True])
async def test_lanes_take_turns(urgent: bool) -> None:
    queue = WorkQueue[tuple[str, int]](lane=lambda key: key[0])
    for number in range(100):
        queue.add(("storm", number), urgent=urgent)
    for number in range(3):
        queue.add(("calm", number), urgent=urgent)
    first = [await taken_pair(queue) for _ in range(7)]
    assert [each for each in first if each[0] == "calm"] == [("calm", 0), ("calm", 1), ("calm", 2)]
    assert [each for each in first if each[0] == "storm"] == [("storm", 0), ("storm", 1), ("storm", 2), ("storm", 3)]


async def test_lane_that_was_emptied_out_of_turn_is_passed_over() -> None:
    queue = WorkQueue[tuple[str, int]](lane=lambda key: key[0])
    queue.add(("a", 1))
    queue.add(("b", 1))
    queue.add(("a", 1), urgent=True)
    assert [await taken_pair(queue) for _ in range(2)] == [("a", 1), ("b", 1)]
    queue.done(("a", 1))
    queue.add(("a", 1))
    assert await taken_pair(queue) == ("a", 1)


async def taken_pair(queue: WorkQueue[tuple[str, int]]) -> tuple[str, int]:
    async with asyncio.timeout(5):
        return await queue.get()


async def test_worker_that_is_cut_off_while_it_waits_takes_no_key_with_it() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(queue) == 1
    assert await taken(queue) == "a"
