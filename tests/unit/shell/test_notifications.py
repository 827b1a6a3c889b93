"""The notifier against real HTTP servers on loopback: nobody waits for a receiver, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from serinus.api.deployment import ModelDeployment
from serinus.api.notifications import AllowedHost, Receiver
from serinus.api.status import format_instant
from serinus.shell.notifications import GIVE_UP_AFTER, LONGEST_RETRY_SECONDS, Notifier
from serinus.shell.reconciler import Key
from serinus.webhooks.sending import Answer, Delivered, Failed, Sender, open_sender
from tests.unit.webhooks.receivers import LocalReceiver, mounted, receiving

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CHAT = {"chat": Receiver()}


def fraud(
    *numbers: int, told: int = 0, name: str = "fraud", uid: str = "7f0c", to: str = "chat,pager"
) -> ModelDeployment:
    """A resource with these entries in its history, of which both receivers have been told up to `told`."""
    history = [
        {
            "at": format_instant(NOW + timedelta(seconds=number)),
            "event": "Promoted",
            "revision": "5c1e0a9b77",
            "number": number,
            "because": f"decision {number} of {name}",
        }
        for number in sorted(numbers, reverse=True)
    ]
    return ModelDeployment.parse(
        {
            "metadata": {
                "name": name,
                "namespace": "models",
                "uid": uid,
                "resourceVersion": "5",
                "annotations": {"serinus.dev/notify": to},
            },
            "spec": {"serving": {"image": "fraud:2"}},
            "status": {
                "moves": 9,
                "history": history,
                "notified": [{"receiver": each, "upTo": told} for each in ("chat", "pager")],
            },
        }
    )


@dataclass
class Told:
    """A notifier, and what the rest of the operator hears of it."""

    notifier: Notifier = field(init=False)
    keys: list[Key] = field(default_factory=list)
    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    leads: bool = True
    now: datetime = NOW


def notifying(post: Any, receivers: dict[str, Receiver], dice: Callable[[], float] = lambda: 0.0) -> Told:
    told = Told()
    told.notifier = Notifier(
        receivers,
        post,
        cluster_name="prod-eu",
        may_send=lambda: told.leads,
        on_told=told.keys.append,
        count=lambda receiver, result: told.results.update([(receiver, result)]),
        now=lambda: told.now,
        dice=dice,
    )
    return told


@asynccontextmanager
async def posting(folder: Path, **to: LocalReceiver) -> AsyncIterator[Sender]:
    for name, receiver in to.items():
        mounted(folder, name, f"http://127.0.0.1:{receiver.port}/{name}")
    hosts = [AllowedHost.parse(f"http://127.0.0.1:{receiver.port}") for receiver in to.values()]
    async with open_sender(folder, hosts) as sender:
        yield sender


async def until(reached: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110 -- what is looked at belongs to a server, and rings no bell
            await asyncio.sleep(0.005)


def messages(receiver: LocalReceiver) -> list[str]:
    return [each.json["data"]["message"] for each in receiver.received]


class Answers:
    """A post whose answers are given one after the other; the last one again and again."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str]] = []

    async def send(self, receiver: str, message_id: str, body: bytes, *, signed: bool) -> Answer:
        self.sent.append((receiver, json.loads(body)["data"]["message"]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


# Telling --------------------------------------------------------------------------------------------------------------


async def test_what_is_due_is_sent_and_the_next_one_waits_until_it_is_recorded(tmp_path: Path) -> None:
    async with receiving() as receiver, posting(tmp_path, chat=receiver) as sender:
        told = notifying(sender, CHAT)
        told.notifier.start()
        assert told.notifier.offer(fraud(3, 4)) == {}
        await until(lambda: told.keys == [("models", "fraud")])
        assert told.notifier.offer(fraud(3, 4)) == {"chat": 3}
        assert told.notifier.waiting == 0

        assert told.notifier.offer(fraud(3, 4, told=3)) == {}
        await until(lambda: len(receiver.received) == 2)
        told.notifier.halt()
    assert messages(receiver) == ["decision 3 of fraud", "decision 4 of fraud"]
    assert receiver.received[0].json["data"]["cluster"] == "prod-eu"
    assert told.results == {("chat", "Sent"): 2}


async def test_a_status_that_is_seen_again_sends_nothing_again(tmp_path: Path) -> None:
    post = Answers(Delivered())
    told = notifying(post, CHAT)
    for _ in range(3):
        told.notifier.offer(fraud(3))
    await told.notifier.step("chat")
    for _ in range(3):
        told.notifier.offer(fraud(3))
    assert told.notifier.waiting_for("chat") == 0
    assert len(post.sent) == 1


async def test_a_receiver_that_hangs_keeps_no_other_waiting(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    hanging = LocalReceiver(port=server.sockets[0].getsockname()[1])
    async with server, receiving() as receiver, posting(tmp_path, chat=receiver, pager=hanging) as sender:
        told = notifying(sender, {"pager": Receiver(), "chat": Receiver()})
        told.notifier.start()
        told.notifier.offer(fraud(3))
        await until(lambda: len(receiver.received) == 1)
        assert told.notifier.waiting == 1
        told.notifier.halt()
        over.set()


# Trying again ---------------------------------------------------------------------------------------------------------


async def test_a_receiver_that_fails_is_left_alone_for_longer_and_longer_up_to_ten_minutes() -> None:
    told = notifying(Answers(Failed("it is down")), CHAT)
    told.notifier.offer(fraud(3))
    pauses = [await told.notifier.step("chat") for _ in range(12)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LONGEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS]
    assert told.results == {("chat", "Failed"): 12}
    assert told.keys == []


async def test_pauses_are_spread_so_that_receivers_are_not_called_by_all_at_once() -> None:
    told = notifying(Answers(Failed("it is down")), CHAT, random.Random(1).random)
    told.notifier.offer(fraud(3))
    pauses = [await told.notifier.step("chat") / 2.0**number for number in range(8)]
    assert all(1.0 <= each <= 1.3 for each in pauses)
    assert len(set(pauses)) == 8


async def test_a_receiver_that_asks_for_time_is_given_it(tmp_path: Path) -> None:
    answer = web.Response(status=429, headers={"Retry-After": "42"})
    async with receiving(lambda _: answer) as receiver, posting(tmp_path, chat=receiver) as sender:
        told = notifying(sender, CHAT)
        told.notifier.offer(fraud(3))
        assert await told.notifier.step("chat") == 42


async def test_after_a_success_the_pauses_begin_anew() -> None:
    told = notifying(Answers(Failed("down"), Failed("down"), Delivered(), Failed("down")), CHAT)
    told.notifier.offer(fraud(3))
    assert [await told.notifier.step("chat") for _ in range(3)] == [1, 2, 0]
    told.notifier.offer(fraud(3, 4, told=3))
    assert await told.notifier.step("chat") == 1


async def test_a_message_that_the_receiver_can_not_take_does_not_stop_those_of_others(tmp_path: Path) -> None:
    def answer(got: Any) -> web.Response:
        return web.Response(status=500 if "of poison" in got.json["data"]["message"] else 200)

    async with receiving(answer) as receiver, posting(tmp_path, chat=receiver) as sender:
        told = notifying(sender, CHAT)
        for deployment in (fraud(3, name="poison"), fraud(3, name="one", uid="1"), fraud(3, name="two", uid="2")):
            told.notifier.offer(deployment)
        for _ in range(4):
            await told.notifier.step("chat")
    assert messages(receiver) == [f"decision 3 of {name}" for name in ("poison", "one", "two", "poison")]
    assert told.results == {("chat", "Sent"): 2, ("chat", "Failed"): 2}


async def test_a_message_that_is_refused_is_dropped_recorded_and_counted(tmp_path: Path) -> None:
    async with receiving(lambda _: web.Response(status=400)) as receiver, posting(tmp_path, chat=receiver) as sender:
        told = notifying(sender, CHAT)
        told.notifier.offer(fraud(3))
        assert await told.notifier.step("chat") == 0
    assert told.results == {("chat", "Dropped"): 1}
    assert told.notifier.offer(fraud(3)) == {"chat": 3}


async def test_what_is_older_than_a_day_is_dropped_without_a_call() -> None:
    post = Answers(Delivered())
    told = notifying(post, CHAT)
    told.now = NOW + GIVE_UP_AFTER + timedelta(minutes=1)
    told.notifier.offer(fraud(3))
    await told.notifier.step("chat")
    assert post.sent == []
    assert told.results == {("chat", "Dropped"): 1}
    assert told.notifier.offer(fraud(3)) == {"chat": 3}


async def test_what_the_history_does_not_have_any_more_is_counted_as_dropped() -> None:
    told = notifying(Answers(Failed("down")), CHAT)
    told.notifier.offer(fraud(*range(1, 21)))
    assert told.notifier.waiting == 20
    told.notifier.offer(fraud(*range(4, 24)))
    assert told.notifier.waiting == 20
    assert told.results == {("chat", "Dropped"): 3}


async def test_a_defect_stays_with_its_message_and_is_counted() -> None:
    told = notifying(Answers(ZeroDivisionError(), Delivered()), CHAT)
    told.notifier.offer(fraud(3))
    assert await told.notifier.step("chat") == 1
    assert await told.notifier.step("chat") == 0
    assert told.results == {("chat", "Crashed"): 1, ("chat", "Sent"): 1}


async def test_a_time_that_makes_no_sense_is_a_defect_of_its_message_too() -> None:
    told = notifying(Answers(Delivered()), CHAT)
    told.notifier.offer(fraud(3))
    told.now = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001 -- as nobody should write it
    assert await told.notifier.step("chat") == 1
    assert told.results == {("chat", "Crashed"): 1}


# Leading --------------------------------------------------------------------------------------------------------------


async def test_a_process_that_does_not_lead_sends_nothing() -> None:
    post = Answers(Delivered())
    told = notifying(post, CHAT)
    told.notifier.offer(fraud(3))
    told.leads = False
    assert await told.notifier.step("chat") > 0
    assert post.sent == []
    told.leads = True
    await told.notifier.step("chat")
    assert len(post.sent) == 1


async def test_a_new_term_remembers_nothing_of_the_last_one() -> None:
    told = notifying(Answers(Delivered()), CHAT)
    told.notifier.offer(fraud(3))
    await told.notifier.step("chat")
    told.notifier.offer(fraud(3, name="other", uid="1"))
    told.notifier.halt()
    assert told.notifier.waiting == 0
    assert told.notifier.offer(fraud(3)) == {}


async def test_an_orderly_end_waits_for_the_answer_and_for_the_record(tmp_path: Path) -> None:
    async with receiving() as receiver, posting(tmp_path, chat=receiver) as sender:
        told = notifying(sender, CHAT)
        told.notifier.start()
        told.notifier.offer(fraud(3, 4))
        await until(lambda: len(receiver.received) == 1)
        ending = asyncio.create_task(told.notifier.stop(5.0))
        await until(lambda: told.keys != [])
        assert not ending.done()
        told.notifier.offer(fraud(3, 4, told=3))  # the pass after the one that recorded it
        async with asyncio.timeout(1.0):
            await ending
    assert messages(receiver) == ["decision 3 of fraud"]


async def test_an_orderly_end_does_not_wait_for_ever() -> None:
    told = notifying(Answers(Delivered()), CHAT)
    told.notifier.start()
    told.notifier.offer(fraud(3))
    await until(lambda: told.keys != [])
    async with asyncio.timeout(1.0):
        await told.notifier.stop(0.05)


async def test_an_end_with_nothing_to_tell_takes_no_time() -> None:
    told = notifying(Answers(Delivered()), {"chat": Receiver(), "pager": Receiver()})
    told.notifier.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(0.5):
        await told.notifier.stop(60.0)


# What is kept ---------------------------------------------------------------------------------------------------------


async def test_what_was_sent_for_a_resource_does_not_count_for_its_successor_of_the_same_name() -> None:
    post = Answers(Delivered())
    told = notifying(post, CHAT)
    told.notifier.offer(fraud(3))
    await told.notifier.step("chat")
    assert told.notifier.offer(fraud(1, uid="new")) == {}
    await told.notifier.step("chat")
    assert [message for _, message in post.sent] == ["decision 3 of fraud", "decision 1 of fraud"]


async def test_a_name_that_is_taken_away_ends_it() -> None:
    told = notifying(Answers(Failed("down")), CHAT)
    told.notifier.offer(fraud(3))
    await told.notifier.step("chat")
    told.notifier.offer(fraud(3, to="pager"))
    assert told.notifier.waiting == 0


async def test_of_resources_without_a_receiver_nothing_is_kept() -> None:
    told = notifying(Answers(Delivered()), CHAT)
    for number in range(1000):
        told.notifier.offer(fraud(3, name=f"m{number}", uid=str(number), to=""))
    assert told.notifier.waiting == told.notifier.waiting_for("chat") == 0


@pytest.mark.parametrize("events", [("RolledBack",), ("Promoted",)])
async def test_a_receiver_hears_of_the_events_that_it_wants(events: Sequence[str]) -> None:
    told = notifying(Answers(Delivered()), {"chat": Receiver.model_validate({"events": events})})
    told.notifier.offer(fraud(3))
    assert told.notifier.waiting == (events == ("Promoted",))
