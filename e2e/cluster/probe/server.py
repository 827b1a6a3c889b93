"""Answers every request with the pod's name, and /metrics with a counter of them. Runs in the cluster's own test."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Counts requests of all connections."""

    answered = 0

    def do_GET(self) -> None:
        """Answer with the pod's name, or with the counter."""
        if self.path == "/metrics":
            body = f"# TYPE probe_requests_total counter\nprobe_requests_total {Handler.answered}\n"
        else:
            Handler.answered += 1
            body = os.environ["HOSTNAME"] + "\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body.encode())


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
