"""A local HTTP server that answers as a test says, for sources that are to be misled."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server:
    """A local HTTP server whose answers are given by a function of path and query parameters."""

    def __init__(self, answer: Callable[[str, dict[str, str]], object]) -> None:
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.asked, self.stop = threading.Event(), threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                parameters = {name: values[0] for name, values in parse_qs(url.query).items()}
                server.seen.append((url.path, parameters, dict(self.headers)))
                server.asked.set()
                sent = answer(url.path, parameters)
                if callable(sent):
                    sent(self)
                else:
                    server.send(self, 200, sent if isinstance(sent, bytes) else json.dumps(sent).encode())

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that give up are what these tests are about

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, promised: int | None = None, **headers: str
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if promised is None else promised))
        handler.end_headers()
        handler.wfile.write(body)

    def raw(
        self, status: int, body: bytes, promised: int | None = None, **headers: str
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        return lambda handler: self.send(handler, status, body, promised, **headers)


@contextmanager
def serving(answer) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.http.shutdown()
        thread.join()
        server.http.server_close()
