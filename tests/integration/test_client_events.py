"""Events on a real API server, as `kubectl describe` and `kubectl get events` show them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from e2e.cluster.controlplane import ControlPlane
from serinus.api.kinds import MODEL_DEPLOYMENT
from serinus.api.reasons import Happening
from serinus.core.plan import Note
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.credentials import Credentials, from_kubeconfig
from serinus.shell.events import EventRecorder, Regarding
from tests.integration.conftest import Kubectl
from tests.integration.test_cluster_contract import deployment

pytestmark = pytest.mark.usefixtures("crd")


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[HttpCluster]:
    async with open_cluster(from_kubeconfig(plane.kubeconfig)) as cluster:
        yield cluster


@pytest.fixture
async def recorder(cluster: HttpCluster) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(cluster, "serinus-0", series_interval_seconds=0.2)
    task = asyncio.create_task(recorder.run())
    yield recorder
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def regarding(cluster: HttpCluster, namespace: str) -> Regarding:
    made = (await cluster.create(MODEL_DEPLOYMENT, namespace, deployment()))["metadata"]
    return Regarding(namespace, made["name"], made["uid"], made["resourceVersion"])


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def events(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    got = kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json")
    assert got.returncode == 0, got.stderr
    items: list[dict[str, Any]] = json.loads(got.stdout)["items"]
    return items


async def test_a_note_becomes_an_event_on_the_resource(
    cluster: HttpCluster, recorder: EventRecorder, kubectl: Kubectl, namespace: str
):
    about = await regarding(cluster, namespace)
    recorder.record(about, Note(Happening.ROLLED_BACK, "errors: 9 of 300 requests", "Warning"))
    await eventually(lambda: recorder.sent == 1)

    described = kubectl("describe", "mdep", "iris", "-n", namespace).stdout
    (event,) = events(kubectl, namespace)
    assert "RolledBack" in described
    assert "errors: 9 of 300 requests" in described
    assert (event["type"], event["reason"], event["reportingController"]) == (
        "Warning",
        "RolledBack",
        "serinus.dev/operator",
    )
    assert event["regarding"]["uid"] == about.uid


async def test_the_same_note_again_is_counted_on_one_event(
    cluster: HttpCluster, recorder: EventRecorder, kubectl: Kubectl, namespace: str
):
    about = await regarding(cluster, namespace)
    for _ in range(4):
        recorder.record(about, Note(Happening.STALLED, "the name is taken", "Warning"))
    recorder.record(about, Note(Happening.STALLED, "something else", "Warning"))
    await eventually(lambda: recorder.sent == 5)
    recorder.record(about, Note(Happening.STALLED, "the name is taken", "Warning"))
    await eventually(lambda: recorder.sent == 6)

    found = {event["note"]: event.get("series", {}).get("count", 1) for event in events(kubectl, namespace)}
    assert found == {"the name is taken": 5, "something else": 1}


async def test_a_note_of_any_length_is_sent(
    cluster: HttpCluster, recorder: EventRecorder, kubectl: Kubectl, namespace: str
):
    about = await regarding(cluster, namespace)
    recorder.record(about, Note(Happening.PROMOTED, "ü" * 4000))
    await eventually(lambda: recorder.sent == 1)

    (event,) = events(kubectl, namespace)
    assert event["note"].endswith("ü…")
    assert len(event["note"].encode()) <= 1024


async def test_an_event_that_nobody_takes_is_counted_and_the_next_one_goes_on(
    cluster: HttpCluster, recorder: EventRecorder, namespace: str
):
    about = await regarding(cluster, namespace)
    nowhere = Regarding("no-such-namespace", "iris", about.uid)
    recorder.record(nowhere, Note(Happening.PROMOTED, "to nobody"))
    recorder.record(about, Note(Happening.PROMOTED, "to somebody"))
    await eventually(lambda: recorder.sent == 1)

    assert recorder.lost == 1


async def test_recording_never_waits_and_a_full_queue_is_counted():
    async with open_cluster(Credentials("http://127.0.0.1:1")) as unreachable:
        recorder = EventRecorder(unreachable, "serinus-0", capacity=3)
        for n in range(10):
            recorder.record(Regarding("team", "iris", f"uid-{n}"), Note(Happening.PROMOTED, str(n)))

    assert recorder.lost == 7
