"""A TCP proxy that spoils the network between two programs, in the way that a file names; TLS passes through it whole.

Stands between the operator and the API server: in a pod for the end-to-end tests, on loopback for the integration
tests. Needs nothing but the standard library. The common proxies of this kind treat all connections alike and lose what
they stop, so that every connection breaks with the end of the fault; networks also forget single connections without a
word, and deliver late. The ways:

    pass                          nothing is spoilt
    slow SECONDS BYTES_PER_SECOND in either direction everything comes so much later, and each connection no faster
    cut                           connections are reset, and new ones are refused
    stuck                         nothing comes through, for connections that are opened meanwhile either; then all does
    mute                          the same for what clients send, while servers are heard
    half-open                     connections of this moment stay and never carry a byte again; new ones are well
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 0.02
_CHUNK_BYTES: Final = 16_384
_QUEUED_CHUNKS: Final = 64
_LINGER_SECONDS: Final = 1.0
"""How long one side has to work on what was sent to it before it hears that the other is gone."""
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Way:
    """How the network is."""

    name: str = "pass"
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0 for any number."""

    @staticmethod
    def parse(text: str) -> Way:
        """The way that a line names. Raises ValueError for any other line."""
        match text.split():
            case [("pass" | "cut" | "stuck" | "mute" | "half-open") as name]:
                return Way(name)
            case ["slow", seconds, bytes_per_second]:
                return Way("slow", float(seconds), float(bytes_per_second))
            case _:
                raise ValueError(f"{text!r} is no way for a network to be")

    def lets_pass(self, *, from_client: bool) -> bool:
        """Whether bytes of that direction flow now."""
        return self.name != "stuck" and not (self.name == "mute" and from_client)


class Proxy:
    """Listens on one address and leads every connection to another."""

    def __init__(self, listen: tuple[str, int], to: tuple[str, int]) -> None:
        self._listen = listen
        self._to = to
        self._way = Way()
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def set(self, way: Way) -> None:
        """The network is like this from now on."""
        if way.name == "cut":
            await self._stop_listening()
            for connection in tuple(self._connections):
                connection.reset()
        if way.name == "half-open":
            for connection in self._connections:
                connection.forgotten = True
        async with self._changed:
            self._way = way
            self._changed.notify_all()
        if way.name != "cut" and self._server is None:
            self._server = await asyncio.start_server(self._accept, *self._listen)
            self._listen = self._server.sockets[0].getsockname()[:2]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listen[1]

    async def follow(self, file: Path) -> None:
        """Take the way from the first line of a file whenever it changes, and say so."""
        known = ""
        while True:
            text = (await asyncio.to_thread(file.read_text)).partition("\n")
            if text[1] and text[0] != known:  # else it is being written
                known = text[0]
                await self.set(Way.parse(known))
                print(known, flush=True)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, upstream[1])
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(connection, reader, upstream[1], from_client=True))
                group.create_task(self._carry(connection, upstream[0], writer, from_client=False))
        except* OSError:
            pass  # one side is gone; the other one is told below
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _carry(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        """Carry one direction until its source ends."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_CHUNKS)

        async def take() -> None:
            with contextlib.suppress(OSError):
                while chunk := await source.read(_CHUNK_BYTES):
                    await under_way.put((time.monotonic(), chunk))
            await under_way.put((time.monotonic(), b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                taken_at, chunk = await under_way.get()
                await asyncio.sleep(taken_at + self._way.delay_seconds - time.monotonic())
                await self._until_it_flows(connection, from_client=from_client)
                if not chunk:
                    break
                sink.write(chunk)
                await sink.drain()
                if rate := self._way.bytes_per_second:
                    await asyncio.sleep(len(chunk) / rate)
            await asyncio.sleep(_LINGER_SECONDS)
            raise ConnectionResetError("one side is gone")  # so that the other direction ends as well
        finally:
            taking.cancel()

    async def _until_it_flows(self, connection: _Connection, *, from_client: bool) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: not connection.forgotten and self._way.lets_pass(from_client=from_client)
            )


class _Connection:
    """Both ends of what a client takes for one connection."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.forgotten = False
        self._ends = ends

    def reset(self) -> None:
        """Break it, so that both sides see it."""
        for end in self._ends:
            sock: socket.socket = end.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()

    def close(self) -> None:
        """End it in order."""
        for end in self._ends:
            end.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A TCP proxy that spoils the network.")
    parser.add_argument("--listen", type=_address, required=True, help="HOST:PORT; port 0 for any")
    parser.add_argument("--to", type=_address, required=True, help="HOST:PORT")
    parser.add_argument("--way", type=Path, required=True, help="the file that names the way; made if it is not there")
    arguments = parser.parse_args()
    if not arguments.way.exists():
        arguments.way.write_text("pass\n")
    proxy = Proxy(arguments.listen, arguments.to)
    await proxy.set(Way())
    print(proxy.port, flush=True)
    await proxy.follow(arguments.way)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
