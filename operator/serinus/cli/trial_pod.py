"""What runs in the pod of a gateway trial: two backends of a gateway, and the client that asks them through it.

Started as `python -c` with this file's text, in an image that need not have Serinus: the standard library of Python 3.8
is enough, and nothing of the project is imported. The argument is JSON: `url`, `host` (the Host header, or null),
`ports` by name of each backend, `requests` per try, `patience` (seconds that a gateway may take for a route), `report`
(the file that the result goes to), and `tries`: objects with `name`, `path` and `headers`. The result is JSON too: for
each try how many requests each backend answered, how many got no right answer, and how many each backend was asked,
copies included.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COPIES_SECONDS = 1
"""When the copies of answered requests have arrived."""
HEADER = "x-gateway-check"

_asked: list[tuple[str, str]] = []


def serve(name: str, port: int) -> None:
    """Answer every request with the backend's name."""

    class Backend(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _asked.append((name, self.path))  # of one step, whatever other threads do
            self.send_response(200)
            self.send_header(HEADER, name)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing: the result says it all."""

    threading.Thread(target=ThreadingHTTPServer(("", port), Backend).serve_forever, daemon=True).start()


def ask(url: str, headers: dict[str, str]) -> str:
    """Which backend answered; otherwise what came instead."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is about routes, not about who answers
    try:
        asked = urllib.request.Request(url, headers=headers)  # noqa: S310 -- the URL is the user's own gateway
        with urllib.request.urlopen(asked, timeout=5, context=context) as answer:  # noqa: S310
            return str(answer.headers.get(HEADER) or "another")
    except OSError as error:
        return f"failed: {error}"


def tried(told: dict[str, Any], each: dict[str, Any]) -> dict[str, Any]:
    """Send the requests of one try, once the gateway has its route."""
    url = told["url"].rstrip("/") + each["path"]
    headers = dict(each["headers"], **({"Host": told["host"]} if told["host"] else {}))
    patience = time.monotonic() + told["patience"]
    while ask(url, headers) not in told["ports"] and time.monotonic() < patience:
        time.sleep(0.2)
    time.sleep(COPIES_SECONDS)
    before = len(_asked)
    answers = Counter(ask(url, headers) for _ in range(told["requests"]))
    time.sleep(COPIES_SECONDS)
    asked = Counter(name for name, path in _asked[before:] if path == each["path"])
    failures = [answer for answer in answers if answer not in told["ports"]]
    return {
        "answered": {name: answers[name] for name in told["ports"]},
        "asked": {name: asked[name] for name in told["ports"]},
        "failed": sum(answers[each] for each in failures),
        "failure": max(failures, key=lambda answer: answers[answer])[:200] if failures else "",
    }


def main() -> None:
    """Serve, try, report."""
    told = json.loads(sys.argv[1])
    for name, port in told["ports"].items():
        serve(name, port)
    results = {each["name"]: tried(told, each) for each in told["tries"]}
    Path(told["report"]).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
