"""Pods that serve BentoML models, as far as their metrics go, in namespaces that a real Prometheus scrapes."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serinus.core.readings import PodStart
from tests.integration.prometheus_process import Prometheus

LE = (0.1, 0.25, 0.5, 1.0, 2.5)


class Exporter:
    """What Prometheus scrapes, on a port of loopback: every answer is what `exposition` says then."""

    def __init__(self, exposition: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):  # HTTP/1.0: no connection outlives the exporter
            def do_GET(self) -> None:
                body = exposition().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class Pod:
    """A pod that serves a BentoML model, as far as its metrics go."""

    def __init__(self, namespace: str, name: str, routes: tuple[str, ...] = ("/read",)) -> None:
        self.namespace, self.name, self.routes = namespace, name, routes
        self.lock = threading.Lock()
        self.extra = ""
        self.start = PodStart(name, time.time())
        self._empty()
        self.exporter = Exporter(self.exposition)
        self.address = self.exporter.address

    def _empty(self) -> None:
        self.requests = Counter({(route, code): 0 for route in self.routes for code in ("200", "500")})
        self.durations: dict[tuple[str, str], list[float]] = {}

    def answer(self, times: int, code: str = "200", path: str = "/read", seconds: float = 0.01) -> None:
        with self.lock:
            self.requests[path, code] += times
            self.durations.setdefault((path, code), []).extend([seconds] * times)

    def restart(self) -> None:
        """The container comes back: every counter begins anew."""
        with self.lock:
            self._empty()

    def stop(self) -> None:
        self.exporter.stop()

    def exposition(self) -> str:
        same = 'runner_name="Digits",service_name="Digits",service_version="not available"'
        with self.lock:
            lines = ["# TYPE bentoml_service_request_total counter"]
            for (path, code), count in self.requests.items():
                labels = f'endpoint="{path}",http_response_code="{code}",{same}'
                lines.append(f"bentoml_service_request_total{{{labels}}} {count}.0")
            histogram = "bentoml_service_request_duration_seconds"
            lines.append(f"# TYPE {histogram} histogram")
            for (path, code), durations in self.durations.items():
                labels = f'endpoint="{path}",http_response_code="{code}",{same}'
                for le in LE:
                    count = sum(seconds <= le for seconds in durations)
                    lines.append(f'{histogram}_bucket{{{labels},le="{le}"}} {count}.0')
                lines.append(f'{histogram}_bucket{{{labels},le="+Inf"}} {len(durations)}.0')
                lines.append(f"{histogram}_count{{{labels}}} {len(durations)}.0")
                lines.append(f"{histogram}_sum{{{labels}}} {sum(durations)}")
            return "\n".join([*lines, self.extra, ""])


class Namespace:
    """The pods of one test, in a namespace of its own."""

    def __init__(self, prometheus: Prometheus, name: str) -> None:
        self.prometheus, self.name = prometheus, name
        self.pods: list[Pod] = []
        self.targets: dict[str, list[Path]] = {}

    def pod(self, name: str, routes: tuple[str, ...] = ("/read",)) -> Pod:
        pod = Pod(self.name, name, routes)
        self.pods.append(pod)
        self.scrape(pod, "annotations", node="worker-1")
        return pod

    def scrape(self, pod: Pod, job: str, **labels: str) -> None:
        labels |= {"namespace": self.name, "pod": pod.name}
        target = self.prometheus.watch(job, f"{uuid.uuid4().hex}", pod.address, labels)
        self.targets.setdefault(pod.name, []).append(target)

    def remove(self, pod: Pod) -> None:
        for target in self.targets.pop(pod.name, []):
            target.unlink()
        if pod in self.pods:
            self.pods.remove(pod)
            pod.stop()

    def clear(self) -> None:
        for pod in [*self.pods]:
            self.remove(pod)
