"""Stands in for Prometheus and answers badly, in the way that a file names. Run in a pod by the end-to-end tests.

Needs nothing but the standard library. The ways: `late` (an empty answer, when nobody waits for it any more), `page` (a
web page with status 200), `nan` (counters that are no numbers), `error` (status 500).
"""

from __future__ import annotations

import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PORT = 9090
WAY = Path("/tmp/way")
LATE_SECONDS = 8.0
"""Longer than the operator waits for an answer."""
LABELS = {"pod": "digits-0000000000-liar", "endpoint": "/read", "http_response_code": "200"}


def answer(path: str) -> tuple[int, str]:
    """Status and body of the answer to a request."""
    if path.startswith("/-/ready"):
        return 200, "ready"
    match WAY.read_text().strip():
        case "late":
            time.sleep(LATE_SECONDS)
            return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}})
        case "page":
            return 200, "<html><body>Please log in</body></html>"
        case "nan":
            return 200, json.dumps({"status": "success", "data": no_numbers(path)})
        case _:
            return 500, "Internal Server Error"


def no_numbers(path: str) -> dict[str, object]:
    """The data of a query's answer whose every value is NaN."""
    asked = parse_qs(urlsplit(path).query)
    if path.startswith("/api/v1/query_range"):
        point = [float(asked["start"][0]), "NaN"]
        return {"resultType": "matrix", "result": [{"metric": LABELS, "values": [point]}]}
    return {"resultType": "vector", "result": [{"metric": LABELS, "value": [time.time(), "NaN"]}]}


class BadPrometheus(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer it."""
        status, body = answer(self.path)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("", PORT), BadPrometheus).serve_forever()
