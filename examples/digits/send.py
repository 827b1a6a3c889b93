"""Clients of the digits model: sends handwritten digits through the gateway, and counts the answers by model version.

    python3 examples/digits/send.py http://127.0.0.1:18080

Needs nothing but Python. The images are the first hundred that no version was trained on; nineteen of them are such
that version 3 fails on them. Ctrl+C ends it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

IMAGES = Path(__file__).with_name("images.json")
CLIENTS = 8
"""Requests that are under way at the same time, at most."""
NO_ANSWER = ("no answer", "")

Answers = Counter[tuple[str, str]]
"""How often each version (or whoever answered in its place) gave each status."""


class Clients:
    """Send requests at a rate, each with an image at random, until the process ends."""

    def __init__(self, url: str, host: str, rate_per_second: float) -> None:
        place = urlsplit(url)
        if place.scheme != "http" or not place.netloc:
            raise ValueError(f"{url!r} is no URL such as http://127.0.0.1:18080")
        self._place = place.netloc
        self._headers = {"Host": host, "Content-Type": "application/json"}
        self._rate_per_second = rate_per_second
        self._bodies = [json.dumps({"pixels": pixels}) for pixels in json.loads(IMAGES.read_text())]
        self._began = time.monotonic()
        self._numbers = itertools.count()
        self._answers: Answers = Counter()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to send, in threads that end with the process."""
        for _ in range(CLIENTS):
            threading.Thread(target=self._send_in_turn, daemon=True).start()

    def answers(self) -> Answers:
        """What has come since this was asked last."""
        with self._lock:
            answers, self._answers = self._answers, Counter()
        return answers

    def _send_in_turn(self) -> None:
        connection = HTTPConnection(self._place, timeout=10)
        while True:
            with self._lock:
                number = next(self._numbers)
            time.sleep(max(0.0, self._began + number / self._rate_per_second - time.monotonic()))
            answer = self._send(connection)
            with self._lock:
                self._answers[answer] += 1

    def _send(self, connection: HTTPConnection) -> tuple[str, str]:
        # At random: in turn, a gateway that gives the candidate each twentieth request would give it the same five of
        # the hundred images again and again.
        try:
            connection.request("POST", "/read", random.choice(self._bodies), self._headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            connection.close()
            return NO_ANSWER
        return response.getheader("x-model-version", "gateway"), str(response.status)


def line(answers: Answers) -> str:
    """The counts in words: `2.0.0: 237 × 200   3.0.0: 10 × 200, 3 × 500`."""
    told = []
    for version, counts in itertools.groupby(sorted(answers.items()), key=lambda item: item[0][0]):
        each = ", ".join(f"{count} × {status}" if status else str(count) for (_, status), count in counts)
        told.append(f"{version}: {each}")
    return "   ".join(told) or "nothing was answered yet"


def main() -> None:
    """Send, and tell every few seconds what came; in the end, all of it."""
    options = argparse.ArgumentParser(description="Send handwritten digits to the digits model, and count the answers.")
    options.add_argument("url", help="the gateway, such as http://127.0.0.1:18080")
    options.add_argument("--host", default="digits.example.com", help="the model's hostname (%(default)s)")
    options.add_argument("--rate", type=float, default=100.0, help="requests in a second (%(default)s)")
    options.add_argument("--every", type=float, default=5.0, help="seconds between two lines (%(default)s)")
    options.add_argument("--seconds", type=float, default=float("inf"), help="how long; until Ctrl+C unless set")
    chosen = options.parse_args()
    if min(chosen.rate, chosen.every, chosen.seconds) <= 0:
        options.error("--rate, --every and --seconds have to be above 0")
    try:
        clients = Clients(chosen.url, chosen.host, chosen.rate)
    except ValueError as error:
        options.error(str(error))
    total: Answers = Counter()
    ends = time.monotonic() + chosen.seconds
    clients.start()
    try:
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(chosen.every, left))
            answers = clients.answers()
            total += answers
            print(f"{time.strftime('%H:%M:%S')}  {line(answers)}", flush=True)
    except KeyboardInterrupt:
        total += clients.answers()
    print(f"in all    {line(total)}")


if __name__ == "__main__":
    main()
