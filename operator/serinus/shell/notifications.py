"""Tells receivers of decisions, in their own time: no pass waits for it, and one receiver waits for no other.

What is to be told stands in the status of each resource (`serinus.core.notifications`), so nothing is kept here that
matters: a pass offers what is due by the status that it found, and what has been sent comes into the status with the
next pass. What waits is therefore bounded by the history of each resource, and a process that begins to lead finds all
of it again. Runs only while this process leads; started and halted by `serinus.shell.app` with the reconcile loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, assert_never

import orjson

from serinus.api.deployment import ModelDeployment
from serinus.api.notifications import Receiver
from serinus.core.notifications import Notification, body_of, due
from serinus.shell.reconciler import Key
from serinus.shell.work_queue import WorkQueue
from serinus.webhooks.sending import Answer, Delivered, Failed, Refused

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 600.0
GIVE_UP_AFTER: Final = timedelta(hours=24)
"""An event that is older is news to nobody."""
_ASK_AGAIN_SECONDS: Final = 1.0

SENT, FAILED, DROPPED, CRASHED = "Sent", "Failed", "Dropped", "Crashed"
"""How an attempt ended: `serinus_notifications_total` counts them."""


class Post(Protocol):
    """What `serinus.webhooks.sending.Sender` offers."""

    async def send(self, receiver: str, message_id: str, body: bytes, *, signed: bool) -> Answer:
        """POST JSON to a receiver; never raises for what happens on the way."""


@dataclass(slots=True)
class _Lane:
    """What waits for one receiver."""

    receiver: Receiver
    queue: WorkQueue[Key] = field(default_factory=lambda: WorkQueue(lane=lambda key: key[0]))
    waiting: dict[Key, tuple[Notification, ...]] = field(default_factory=dict)
    """By resource, oldest first."""
    failures: int = 0
    """In a row."""

    def put(self, key: Key, notifications: tuple[Notification, ...]) -> None:
        if notifications:
            self.waiting[key] = notifications
            self.queue.add(key)
        else:
            self.waiting.pop(key, None)


class Notifier:
    """Takes what is due without ever waiting, and sends it between `start` and `halt`."""

    def __init__(
        self,
        receivers: Mapping[str, Receiver],
        post: Post,
        *,
        cluster_name: str,
        may_send: Callable[[], bool],
        on_told: Callable[[Key], None],
        count: Callable[[str, str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        dice: Callable[[], float] = random.random,
    ) -> None:
        """`on_told` hears of a resource whose status is to be brought forward, `count` of each attempt's result."""
        self._receivers = receivers
        self._post = post
        self._cluster_name = cluster_name
        self._may_send = may_send
        self._on_told = on_told
        self._count = count
        self._now = now
        self._dice = dice
        self._lanes = {name: _Lane(receiver) for name, receiver in receivers.items()}
        self._reached: dict[Key, tuple[str, dict[str, int]]] = {}
        """By resource, its uid and how far each receiver has been told, where its status does not say so yet."""
        self._all_recorded = asyncio.Event()
        self._all_recorded.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        """Of these, those that wait for an answer."""
        self._ending = False

    @property
    def waiting(self) -> int:
        """Notifications that wait to be sent."""
        return sum(len(each) for lane in self._lanes.values() for each in lane.waiting.values())

    def waiting_for(self, receiver: str) -> int:
        """Resources of which this receiver is to be told."""
        return len(self._lanes[receiver].queue)

    def offer(self, deployment: ModelDeployment) -> Mapping[str, int]:
        """Have sent what is due by this status; gives how far receivers have been told beyond what it says.

        Whoever has been told beyond it is sent nothing more until it says so.
        """
        metadata = deployment.metadata
        key = metadata.namespace, metadata.name
        reached = self._still_unrecorded(key, deployment)
        for name, lane in self._lanes.items():
            self._tell_of_the_fallen(name, lane, key, deployment)
            lane.put(key, () if name in reached else due(deployment, name, lane.receiver))
        return reached

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._forget_reached(key)
        for lane in self._lanes.values():
            lane.put(key, ())

    def start(self) -> None:
        """Begin to send, with nothing remembered of an earlier term."""
        self.halt()
        self._lanes = {name: _Lane(receiver) for name, receiver in self._receivers.items()}
        self._tasks = {
            asyncio.create_task(self._send_again_and_again(name), name=f"notifications of {name}")
            for name in self._lanes
        }

    def halt(self) -> None:
        """Send nothing more. What is on its way may arrive, and whoever leads next may send it again."""
        for task in self._tasks:
            task.cancel()
        for lane in self._lanes.values():
            lane.queue.close()
            lane.waiting.clear()
        self._tasks, self._busy = set(), set()
        for key in tuple(self._reached):
            self._forget_reached(key)

    async def stop(self, grace_seconds: float) -> None:
        """Begin no other POST; let those under way end and be recorded, within `grace_seconds`, and halt.

        The reconcile loop has to run meanwhile: it records. So an orderly end sends nothing twice.
        """
        self._ending, tasks = True, self._tasks
        for task in tasks - self._busy:
            task.cancel()
        try:
            async with asyncio.timeout(grace_seconds):
                if self._busy:
                    await asyncio.wait(self._busy)
                await self._all_recorded.wait()
        except TimeoutError:
            logger.info("ending before all that was sent is recorded: it may be sent once more")
        self.halt()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self, name: str) -> float:
        """Wait for something to tell this receiver, and try to; gives the seconds to leave it alone afterwards."""
        lane = self._lanes[name]
        key = await lane.queue.get()
        try:
            return await self._try(name, lane, key)
        finally:
            lane.queue.done(key)

    async def _send_again_and_again(self, name: str) -> None:
        while not self._ending:
            pause = await self.step(name)
            await asyncio.sleep(pause)

    async def _try(self, name: str, lane: _Lane, key: Key) -> float:
        first = next(iter(lane.waiting.get(key, ())), None)
        if first is None:
            return 0.0
        if not self._may_send():
            lane.queue.add(key)
            return _ASK_AGAIN_SECONDS
        try:
            return await self._tell(name, lane, key, first)
        except Exception:  # a defect: it must stay with this message
            logger.exception("notification failed unexpectedly", extra=_pairs(name, key, first))
            self._count(name, CRASHED)
            return self._retry(lane, key, 0.0)

    async def _tell(self, name: str, lane: _Lane, key: Key, first: Notification) -> float:
        if self._now() - first.at > GIVE_UP_AFTER:
            hours = GIVE_UP_AFTER / timedelta(hours=1)
            self._drop(name, key, first, f"it could not be delivered within {hours:g} hours of the decision")
            self._settle(name, lane, key, first)
            return 0.0
        match await self._send(name, lane.receiver, first):
            case Delivered():
                self._count(name, SENT)
                logger.info("notified", extra=_pairs(name, key, first))
            case Refused(why=why):
                self._drop(name, key, first, why)
            case Failed(why=why, retry_after_seconds=asked_for):
                self._count(name, FAILED)
                pause = self._retry(lane, key, asked_for or 0.0)
                more = {"because": why, "failures": lane.failures, "after_seconds": round(pause, 1)}
                logger.warning("receiver not reached", extra={**_pairs(name, key, first), **more})
                return pause
            case never:
                assert_never(never)
        lane.failures = 0
        self._settle(name, lane, key, first)
        return 0.0

    async def _send(self, name: str, receiver: Receiver, notification: Notification) -> Answer:
        body = orjson.dumps(body_of(notification, receiver, self._cluster_name))
        me = asyncio.current_task()
        busy = {me} if me in self._tasks else set()
        self._busy |= busy
        try:
            return await self._post.send(name, notification.id, body, signed=receiver.signed)
        finally:
            self._busy -= busy

    def _drop(self, name: str, key: Key, notification: Notification, why: str) -> None:
        self._count(name, DROPPED)
        logger.error("notification dropped", extra={**_pairs(name, key, notification), "because": why})

    def _tell_of_the_fallen(self, name: str, lane: _Lane, key: Key, deployment: ModelDeployment) -> None:
        """What waited for so long that the history does not have it any more."""
        waiting = lane.waiting.get(key, ())
        oldest = min((entry.number for entry in deployment.status.history), default=0) if waiting else 0
        for each in waiting:
            if each.uid == deployment.metadata.uid and each.number < oldest:
                self._drop(name, key, each, "more was decided before it could be delivered than the history keeps")

    def _retry(self, lane: _Lane, key: Key, asked_for_seconds: float) -> float:
        """Later, after what waits of other resources: it may be this message that the receiver can't take."""
        pause = min(FIRST_RETRY_SECONDS * 2.0 ** min(lane.failures, 20), LONGEST_RETRY_SECONDS)
        lane.failures += 1
        if key in lane.waiting:
            lane.queue.add(key)
        return max(pause, asked_for_seconds) * (1.0 + 0.3 * self._dice())

    def _settle(self, name: str, lane: _Lane, key: Key, told: Notification) -> None:
        """It was sent, or never will be. That is recorded before the next one is sent: so one at most is sent twice."""
        lane.put(key, ())
        uid, reached = self._reached.get(key, (told.uid, {}))
        earlier = reached if uid == told.uid else {}
        self._reached[key] = told.uid, {**earlier, name: max(told.number, earlier.get(name, 0))}
        self._all_recorded.clear()
        self._on_told(key)

    def _still_unrecorded(self, key: Key, deployment: ModelDeployment) -> Mapping[str, int]:
        """How far receivers have been told beyond this status; what a lost status did not know is forgotten with it."""
        uid, reached = self._reached.get(key, ("", {}))
        if not reached:
            return reached
        marks = {each.receiver: each.up_to for each in deployment.status.notified}
        same = uid == deployment.metadata.uid
        left = {name: number for name, number in reached.items() if same and number > marks.get(name, number)}
        self._forget_reached(key)
        if left:
            self._reached[key] = uid, left
            self._all_recorded.clear()
        return left

    def _forget_reached(self, key: Key) -> None:
        self._reached.pop(key, None)
        if not self._reached:
            self._all_recorded.set()


def _pairs(receiver: str, key: Key, notification: Notification) -> dict[str, str]:
    return {
        "receiver": receiver,
        "namespace": key[0],
        "deployment": key[1],
        "happening": notification.event.value,
        "id": notification.id,
    }
