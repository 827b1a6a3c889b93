"""The network that tests spoil: each way does what its name says, and the way back is what networks do."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from e2e.fault_proxy import Proxy, Way

SOON_SECONDS = 10.0
NEVER_SECONDS = 0.3


@asynccontextmanager
async def proxied() -> AsyncIterator[Proxy]:
    """A proxy before a server that answers every line with itself, and speaks first."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome\n")
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(("127.0.0.1", 0), server.sockets[0].getsockname()[:2])
    await proxy.set(Way())
    try:
        yield proxy
    finally:
        await proxy.set(Way("cut"))
        server.close()


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, proxy: Proxy) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def hears(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), SOON_SECONDS)

    async def hears_nothing(self) -> bool:
        try:
            await asyncio.wait_for(self.reader.readline(), NEVER_SECONDS)
        except TimeoutError:
            return True
        return False

    def says(self, line: bytes) -> None:
        self.writer.write(line)


async def test_a_good_network_carries_both_directions_and_the_end():
    async with proxied() as proxy:
        client = await Client.connect(proxy)
        assert await client.hears() == b"welcome\n"
        client.says(b"one\n")
        assert await client.hears() == b"one\n"
        client.writer.write_eof()
        assert await client.hears() == b""


async def test_a_slow_network_delays_each_direction():
    async with proxied() as proxy:
        client = await Client.connect(proxy)
        await client.hears()
        await proxy.set(Way.parse("slow 0.2 1000000"))
        said_at = time.monotonic()
        client.says(b"one\n")
        assert await client.hears() == b"one\n"
        assert time.monotonic() - said_at >= 0.4


async def test_a_slow_network_carries_no_more_than_its_bytes_a_second():
    async with proxied() as proxy:
        client = await Client.connect(proxy)
        await client.hears()
        await proxy.set(Way.parse("slow 0 100000"))
        said_at = time.monotonic()
        client.says(b"x" * 39_999 + b"\n")
        assert len(await client.hears()) == 40_000
        assert time.monotonic() - said_at >= 0.2  # the last piece of each direction is not waited for


async def test_a_cut_network_resets_connections_and_refuses_new_ones_until_it_is_mended():
    async with proxied() as proxy:
        client = await Client.connect(proxy)
        await client.hears()
        await proxy.set(Way("cut"))
        with pytest.raises(ConnectionResetError):
            await client.hears()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(proxy)
        await proxy.set(Way())
        assert await (await Client.connect(proxy)).hears() == b"welcome\n"


async def test_what_was_stuck_arrives_late_on_old_and_new_connections():
    async with proxied() as proxy:
        old = await Client.connect(proxy)
        await old.hears()
        await proxy.set(Way("stuck"))
        new = await Client.connect(proxy)
        old.says(b"late\n")
        assert await new.hears_nothing()
        assert await old.hears_nothing()
        await proxy.set(Way())
        assert await old.hears() == b"late\n"
        assert await new.hears() == b"welcome\n"


async def test_a_mute_network_lets_servers_be_heard_and_holds_back_what_clients_say():
    async with proxied() as proxy:
        old = await Client.connect(proxy)
        await old.hears()
        await proxy.set(Way("mute"))
        assert await (await Client.connect(proxy)).hears() == b"welcome\n"
        old.says(b"late\n")
        assert await old.hears_nothing()
        await proxy.set(Way())
        assert await old.hears() == b"late\n"


async def test_connections_that_a_network_forgot_stay_silent_for_good_while_new_ones_are_well():
    async with proxied() as proxy:
        old = await Client.connect(proxy)
        await old.hears()
        await proxy.set(Way("half-open"))
        new = await Client.connect(proxy)
        assert await new.hears() == b"welcome\n"
        await proxy.set(Way())
        old.says(b"lost\n")
        new.says(b"one\n")
        assert await new.hears() == b"one\n"
        assert await old.hears_nothing()


@pytest.mark.parametrize("line", ["", "slow", "slow 1", "slow a b", "sluggish", "cut off"])
def test_a_line_that_names_no_way_is_refused(line: str):
    with pytest.raises(ValueError, match=r"no way for a network|could not convert"):
        Way.parse(line)
