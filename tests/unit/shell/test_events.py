"""The recorder of Events before a store in memory: bounded, in order, behind the writes, nothing lost in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serinus.api.kinds import Kind
from serinus.api.reasons import Happening
from serinus.core.plan import Manifest, Note
from serinus.kube.cluster import AlreadyExists, Unavailable
from serinus.shell.events import EVENT_CALLS, EventRecorder, Regarding

IRIS = Regarding("team", "iris", "uid-iris")


class Store:
    """Keeps Events, as slowly as a test says, and fails as often."""

    def __init__(self, *, seconds: float = 0.0, failures: int = 0, lost_answers: int = 0) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.under_way = self.most_under_way = 0
        self._seconds = seconds
        self._failures = failures
        self._lost_answers = lost_answers

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        name = manifest["metadata"]["name"]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.under_way -= 1
        if self._failures:
            self._failures -= 1
            raise Unavailable(f"create {kind.kind} {namespace}/{name}: no answer")
        if name in self.events:
            raise AlreadyExists(name)
        self.events[name] = dict(manifest)
        if self._lost_answers:
            self._lost_answers -= 1
            raise Unavailable("the connection broke after the request was sent")
        return dict(manifest)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> dict[str, Any]:
        del kind, namespace
        self.events[name] |= patch
        return self.events[name]

    def told(self) -> list[tuple[str, str, int]]:
        """Resource, note and count of each Event, in the order of their making."""
        return [
            (each["regarding"]["name"], each["note"], each.get("series", {}).get("count", 1))
            for each in self.events.values()
        ]


@asynccontextmanager
async def sending(recorder: EventRecorder) -> AsyncIterator[None]:
    task = asyncio.create_task(recorder.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 -- polls what nobody announces
            await asyncio.sleep(0.005)


def note(message: str, happening: Happening = Happening.STEP_PASSED, *, warning: bool = False) -> Note:
    return Note(happening, message, "Warning" if warning else "Normal")


async def test_a_storm_of_notes_is_sent_whole_a_few_at_once_and_each_resources_in_order():
    store = Store(seconds=0.001)
    recorder = EventRecorder(store, "test")
    resources = [Regarding("team", f"iris-{number}", f"uid-{number}") for number in range(100)]
    async with sending(recorder):
        for step in ("one", "two", "three", "four"):
            for each in resources:
                recorder.record(each, note(step))
        await until(lambda: recorder.sent == 400)

    assert (recorder.lost, recorder.waiting) == (0, 0)
    assert 1 < store.most_under_way <= EVENT_CALLS
    for each in resources:
        assert [said for name, said, _ in store.told() if name == each.name] == ["one", "two", "three", "four"]


async def test_while_passes_wait_one_event_at_a_time_is_sent():
    busy = True
    store = Store(seconds=0.01)
    recorder = EventRecorder(store, "test", give_way=lambda: busy)
    for number in range(30):
        recorder.record(Regarding("team", "iris", str(number)), note("passed"))
    async with sending(recorder):
        await until(lambda: recorder.sent >= 5)
        assert store.most_under_way == 1
        busy = False
        await until(lambda: recorder.sent == 30)
    assert store.most_under_way > 1


async def test_the_same_note_again_is_counted_while_it_waits_and_after_it_was_sent():
    store = Store()
    recorder = EventRecorder(store, "test", series_interval_seconds=0.02)
    for _ in range(5):
        recorder.record(IRIS, note("passed"))
    recorder.record(IRIS, note("passed another"))
    async with sending(recorder):
        await until(lambda: recorder.sent == 6)
        assert store.told() == [("iris", "passed", 5), ("iris", "passed another", 1)]
        for _ in range(3):
            recorder.record(IRIS, note("passed"))
        await until(lambda: recorder.sent == 9)
    assert store.told() == [("iris", "passed", 8), ("iris", "passed another", 1)]


async def test_where_many_wait_notes_of_one_kind_about_one_resource_share_an_event():
    store = Store()
    recorder = EventRecorder(store, "test", capacity=4)
    for number in range(6):
        recorder.record(IRIS, note(f"weight {number}", Happening.COUNTING_STARTED))
    recorder.record(IRIS, note("promoted", Happening.PROMOTED))
    async with sending(recorder):
        await until(lambda: recorder.sent == 7)
    assert recorder.lost == 0
    assert store.told() == [("iris", "weight 0", 1), ("iris", "weight 5", 5), ("iris", "promoted", 1)]


async def test_what_finds_no_room_is_counted_and_told_in_one_line_and_warnings_have_room_longer(
    caplog: pytest.LogCaptureFixture,
):
    recorder = EventRecorder(Store(), "test", capacity=20)
    for number in range(1000):
        recorder.record(Regarding("team", "iris", str(number)), note("passed"))
    assert (recorder.waiting, recorder.lost) == (18, 982)
    for number in range(1000, 1003):
        recorder.record(Regarding("team", "iris", str(number)), note("failed", warning=True))
    assert (recorder.waiting, recorder.lost) == (20, 983)
    assert len([record for record in caplog.records if "lost" in record.getMessage()]) == 1


async def test_notes_outlast_an_api_server_that_is_away():
    store = Store(failures=EVENT_CALLS)
    recorder = EventRecorder(store, "test")
    async with sending(recorder):
        for number in range(EVENT_CALLS):
            recorder.record(Regarding("team", "iris", str(number)), note("passed"))
        await until(lambda: recorder.sent == EVENT_CALLS)
    assert recorder.lost == 0


async def test_an_event_whose_answer_was_lost_is_not_made_twice():
    store = Store(lost_answers=1)
    recorder = EventRecorder(store, "test")
    async with sending(recorder):
        recorder.record(IRIS, note("passed"))
        await until(lambda: recorder.sent == 1)
    assert store.told() == [("iris", "passed", 1)]


async def test_what_was_not_sent_when_the_process_ends_is_counted_and_told(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    store = Store(seconds=60)
    recorder = EventRecorder(store, "test")
    async with sending(recorder):
        for number in range(7):
            recorder.record(Regarding("team", "iris", str(number)), note("passed"))
        await until(lambda: store.under_way == EVENT_CALLS)
    assert recorder.lost == 7
    assert "7 Event(s) lost, 7 since the start: the process ends" in caplog.text
