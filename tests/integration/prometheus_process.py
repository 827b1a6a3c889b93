"""A real Prometheus on loopback for the integration tests of the metric source."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from e2e.cluster import tools

PATIENCE_SECONDS = 60.0


def scraping(every_seconds: float, *jobs: str) -> str:
    """A configuration: each of these jobs scrapes the targets in the files of a folder named like its last part."""
    every = f"{int(every_seconds * 1000)}ms"
    lines = [f"global: {{scrape_interval: {every}, scrape_timeout: {every}}}", "scrape_configs:"]
    for job in jobs:
        files = f"{job.rpartition('/')[2]}/*.json"
        lines += [f"- job_name: {job}", f"  file_sd_configs: [{{files: [{files}], refresh_interval: 5s}}]"]
    return "\n".join(lines)


class Prometheus:
    """A real Prometheus on loopback, with the pods it is told of."""

    def __init__(self, directory: Path, config: str, web_config: str | None = None) -> None:
        self.directory, self.web_config = directory, web_config
        directory.mkdir(parents=True, exist_ok=True)
        for folder in re.findall(r"files: \[(\w+)/", config):  # Prometheus only watches those that are there
            (directory / folder).mkdir()
        (directory / "prometheus.yml").write_text(config)
        if web_config is not None:
            (directory / "web.yml").write_text(web_config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"{'https' if web_config else 'http'}://{self.address}"
        self.start()

    def start(self) -> None:
        command = [
            *("setpriv", "--pdeathsig", "KILL", str(tools.prometheus() / "prometheus")),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--scrape.discovery-reload-interval=100ms",
            *((f"--web.config.file={self.directory / 'web.yml'}",) if self.web_config else ()),
        ]
        with (self.directory / "log").open("ab") as log:
            self.began = log.tell()
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                pytest.fail(f"Prometheus does not start:\n{(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        return b"Server is ready to receive web requests" in (self.directory / "log").read_bytes()[self.began :]

    @classmethod
    @contextmanager
    def running(cls, directory: Path, config: str) -> Iterator[Self]:
        """One for as long as tests need it; nothing of what it has stored is left afterwards."""
        prometheus = cls(directory, config)
        try:
            yield prometheus
        finally:
            prometheus.kill()
            shutil.rmtree(directory / "data", ignore_errors=True)

    def kill(self) -> None:
        """As an out-of-memory kill would: no goodbye, no staleness markers."""
        self.process.kill()
        self.process.wait()

    def watch(self, job: str, name: str, address: str, labels: dict[str, str]) -> Path:
        target = self.directory / job / f"{name}.json"
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps([{"targets": [address], "labels": labels}]))
        partial.rename(target)
        return target
