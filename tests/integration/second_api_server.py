"""Another kube-apiserver on the same etcd, which a test may kill and start again while the first one goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
import subprocess
import time
from pathlib import Path

from e2e.cluster import components
from e2e.cluster.controlplane import ControlPlane
from serinus.kube.credentials import Credentials, from_kubeconfig


class SecondApiServer:
    """Not running at first. Killed with the test that uses it, even where that one is killed itself."""

    def __init__(self, plane: ControlPlane, log: Path, *flags: str) -> None:
        with socket.socket() as probe:
            probe.bind((plane.layout.address, 0))
            port: int = probe.getsockname()[1]
        self._layout = dataclasses.replace(plane.layout, api_port=port)
        self._log = log
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.credentials: Credentials = dataclasses.replace(
            from_kubeconfig(plane.kubeconfig), server=self._layout.server
        )

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._spawn()
        deadline = time.monotonic() + 180
        while not await self._answers():
            assert self._process.poll() is None, f"the API server ended:\n{self._log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"the API server does not answer:\n{self._log.read_text()[-2000:]}"
            await asyncio.sleep(0.1)

    def kill(self) -> None:
        """End it at once: whoever is connected sees the connection break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = components.api_server(
            self._layout,
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self._log.parent / 'certificates'}",
            *self._flags,
        )
        with self._log.open("a") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _answers(self) -> bool:
        assert isinstance(self.credentials.tls, ssl.SSLContext)
        try:
            reader, writer = await asyncio.open_connection(
                self._layout.address, self._layout.api_port, ssl=self.credentials.tls
            )
        except OSError:
            return False
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200")
