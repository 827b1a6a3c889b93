"""The network between an operator and the API server, as a process that spoils it (`e2e.fault_proxy`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.integration.operator.operator_process import ROOT


class Network:
    """A context in which `server` leads to an API server through a network that is good at first."""

    def __init__(self, api_server: str, folder: Path) -> None:
        self._to = urlsplit(api_server).netloc
        self._way = folder / "network"
        self._process: subprocess.Popen[str] | None = None
        self.server = ""

    def __enter__(self) -> Self:
        self._way.write_text("pass\n")
        program = [sys.executable, str(ROOT / "e2e" / "fault_proxy.py")]
        where = ["--listen=127.0.0.1:0", f"--to={self._to}", f"--way={self._way}"]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *program, *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.server = f"https://127.0.0.1:{self._line()}"
        assert self._line() == "pass"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def becomes(self, way: str) -> None:
        """From now on it is as `e2e.fault_proxy` says of this way."""
        self._way.write_text(f"{way}\n")
        assert self._line() == way

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the network's process ended"
        return line
