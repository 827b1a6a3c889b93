"""examples/digits/send.py: what it sends is what the model takes and version 3 fails on; what comes back is counted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
CLIENT = DIGITS / "send.py"
IMAGES = json.loads((DIGITS / "images.json").read_text())


def has_a_column_without_ink(pixels: list[int]) -> bool:
    """Version 3's mistake, in `image/classifier.py`: it stretches each inner column to its own darkest pixel."""
    return any(max(pixels[column::8]) == 0 for column in range(1, 7))


class Gateway(ThreadingHTTPServer):
    """Answers as version 3 does, and keeps who was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: set[tuple[str, str | None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        pixels = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["pixels"]
        self.server.asked.add((self.path, self.headers["Host"]))
        self.send_response(500 if has_a_column_without_ink(pixels) else 200)
        self.send_header("x-model-version", "3.0.0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name there
        """Say nothing."""


@contextmanager
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def sent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(CLIENT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_its_images_are_such_as_the_model_takes() -> None:
    assert {len(pixels) for pixels in IMAGES} == {64}
    assert {type(pixel) for pixels in IMAGES for pixel in pixels} == {int}
    assert {pixel for pixels in IMAGES for pixel in pixels} <= set(range(17))


def test_version_3_fails_on_as_many_of_its_images_as_the_readme_says() -> None:
    failing = sum(map(has_a_column_without_ink, IMAGES))
    assert (len(IMAGES), failing) == (100, 19)
    assert f"{failing} of them are such" in (DIGITS / "README.md").read_text()


def test_it_asks_the_model_by_its_hostname_and_counts_what_each_version_answered() -> None:
    with gateway() as server:
        told = sent(server.url, "--rate=200", "--seconds=2", "--every=0.5")
    assert told.returncode == 0, told.stderr
    assert server.asked == {("/read", "digits.example.com")}
    counts = re.findall(r"(?:^\S+|^in all) +3\.0\.0: (\d+) × 200, (\d+) × 500$", told.stdout, re.MULTILINE)
    *lines, total = [(int(good), int(bad)) for good, bad in counts]
    assert len(lines) >= 3
    assert total == (sum(good for good, _ in lines), sum(bad for _, bad in lines))
    assert 40 < sum(total) <= 408, "two seconds at 200 a second, and what is under way; a busy machine sends fewer"


def test_a_gateway_that_does_not_answer_is_counted_and_ends_nothing() -> None:
    with gateway() as server:
        gone = server.url
    told = sent(gone, "--rate=50", "--seconds=1", "--every=0.5")
    assert told.returncode == 0, told.stderr
    assert re.search(r"^in all    no answer: \d+$", told.stdout, re.MULTILINE)


def test_what_is_no_address_of_a_gateway_is_refused() -> None:
    told = sent("127.0.0.1:18080")
    assert told.returncode == 2
    assert "'127.0.0.1:18080' is no URL such as http://127.0.0.1:18080" in told.stderr
