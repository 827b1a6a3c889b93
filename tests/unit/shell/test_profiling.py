"""Profiles over HTTP, of this very process."""

import asyncio
import marshal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from serinus.shell import profiling


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with profiling.serve("127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def answer(url: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.read()


def dig(until: asyncio.Event) -> None:
    """Something to be found."""
    if not until.is_set():
        asyncio.get_running_loop().call_later(0.01, dig, until)


async def test_cpu_profile_tells_the_calls_of_the_event_loop(url: str) -> None:
    done = asyncio.Event()
    dig(done)
    status, body = await answer(f"{url}/debug/profile?seconds=1")
    done.set()
    assert status == 200
    found = {where: numbers[0] for where, numbers in marshal.loads(body).items()}
    (calls,) = (count for (file, _, name), count in found.items() if file == __file__ and name == "dig")
    assert 10 <= calls <= 100


async def test_heap_tells_what_is_held_by_the_line_that_allocated_it(url: str) -> None:
    hoard: list[bytearray] = []
    asyncio.get_running_loop().call_later(0.2, lambda: hoard.append(bytearray(5_000_000)))
    status, body = await answer(f"{url}/debug/heap?seconds=1")
    assert status == 200
    head, first, *_ = body.decode().splitlines()
    assert head.endswith("MiB of what was allocated in 1 s are held at its end, by line:")
    assert "test_profiling.py" in first
    assert "size=4883 KiB" in first


async def test_one_measures_at_a_time(url: str) -> None:
    answers = await asyncio.gather(*(answer(f"{url}/debug/{what}?seconds=1") for what in ("profile", "heap")))
    (refused,) = (body for status, body in answers if status == 409)
    assert refused == b"somebody else is measuring; ask again when they are done\n"
    assert {status for status, _ in answers} == {200, 409}
    assert (await answer(f"{url}/debug/profile?seconds=1"))[0] == 200


@pytest.mark.parametrize("seconds", ["0", "301", "-1", "1.5", "", "many"])
async def test_nonsense_is_refused(url: str, seconds: str) -> None:
    assert await answer(f"{url}/debug/profile?seconds={seconds}") == (
        400,
        b"seconds: write a whole number from 1 to 300\n",
    )


async def test_measurement_that_is_under_way_does_not_keep_the_process_from_ending() -> None:
    async with profiling.serve("127.0.0.1", 0) as port:
        asking = asyncio.create_task(answer(f"http://127.0.0.1:{port}/debug/profile?seconds=300"))
        await asyncio.sleep(0.1)
        began_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began_at < 10
    with pytest.raises(aiohttp.ClientError):
        await asking
