"""Questions to Prometheus: in turns, in threads, each once, with the credentials of the moment.

Every call has a hard deadline and runs in a small thread pool of its own, so a slow Prometheus delays readings and
nothing else; and no namespace has all the turns, so its slow queries delay no other's. Called by
`serinus.metrics.prometheus`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from serinus.core.readings import MissingReason
from serinus.metrics import credentials
from serinus.metrics.answers import UnreadableError
from serinus.metrics.connection import Connection, Endpoint
from serinus.metrics.credentials import CredentialFiles

_KEPT_SECONDS: Final = 2.0
"""An answer is given again for so long, to questions with the same end: the metrics and revisions of one evaluation ask
much the same. The next evaluation has another end, and asks anew."""
_GRACE_SECONDS: Final = 1.0
"""Between a call's own deadline and the one that no longer waits for its thread."""

ANSWERED: Final = "Answered"
CUT_OFF: Final = "CutOff"

Answer = TypeVar("Answer")
OnCall = Callable[[str, float], None]
"""Hears how a call to Prometheus ended (`Answered`, `CutOff`, or a `MissingReason`) and after how many seconds."""


class Questions:
    """Asks one Prometheus what it is told to."""

    def __init__(self, endpoint: Endpoint, files: CredentialFiles, max_concurrent: int, on_call: OnCall) -> None:
        """Nothing is sent, and no file read, yet. `on_call` is called in the event loop."""
        self._endpoint = endpoint
        self._files = files
        self._on_call = on_call
        self._turns = asyncio.Semaphore(max_concurrent)
        self._turns_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._most_of_one = max(1, max_concurrent - 1)
        self._threads = ThreadPoolExecutor(2 * max_concurrent, thread_name_prefix="prometheus")
        self._closed = False
        self._own = threading.local()
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}
        """Questions that are under way or were answered a moment ago."""
        self._connections: list[Connection] = []

    async def ask(self, namespace: str, question: Hashable, how: Callable[[Connection], Answer]) -> Answer:
        """The answer to a question, together with whoever else asks it now or did a moment ago. Failures are not kept.

        It goes on if one of them is cut off; its own deadline ends it. Raises UnreadableError where there is none.

        Args:
            namespace: whose turn it takes.
            question: tells it from others.
            how: the blocking call, made in a thread.

        """
        asked = None if self._closed else self._asked.get(question)
        if asked is None:
            call = self._call(namespace, how)
            asked = self._asked[question] = asyncio.create_task(call, name="question to Prometheus")
            asked.add_done_callback(lambda task: self._answered(question, task))
        answer: Answer = await asyncio.shield(asked)
        return answer

    def compute(self, work: Callable[..., Answer], *arguments: object) -> asyncio.Future[Answer]:
        """Work on an answer in a thread: half a day of many pods is half a million samples."""
        if self._closed:
            raise UnreadableError(MissingReason.SOURCE_UNAVAILABLE, "the operator is shutting down")
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """Stop. Whatever is asked from now on has no answer."""
        self._closed = True
        self._threads.shutdown(wait=False)
        for connection in self._connections:
            connection.close()

    def _answered(self, question: Hashable, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._asked.pop(question, None)
        else:
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._asked.pop, question, None)

    async def _call(self, namespace: str, how: Callable[[Connection], Answer]) -> Answer:
        """One blocking call in a thread, in its turn, within the hard deadline."""
        limit = self._endpoint.timeout_seconds + _GRACE_SECONDS
        own = self._turns_of.setdefault(namespace, asyncio.Semaphore(self._most_of_one))
        async with own, self._turns:
            began_at, outcome = time.monotonic(), CUT_OFF
            try:
                answer: Answer = await asyncio.wait_for(self.compute(lambda: how(self._connection())), limit)
                outcome = ANSWERED
            except TimeoutError:
                outcome = MissingReason.TIMEOUT
                detail = f"{self._endpoint.public_url} did not answer within {self._endpoint.timeout_seconds:g} s"
                raise UnreadableError(MissingReason.TIMEOUT, detail) from None
            except UnreadableError as error:
                outcome = error.missing.reason
                raise
            finally:
                self._on_call(outcome, time.monotonic() - began_at)
            return answer

    def _connection(self) -> Connection:
        """The connection of the thread that asks, opened anew where the credentials have changed since."""
        now = credentials.read(self._files)
        before: Connection | None = getattr(self._own, "connection", None)
        if before is not None and before.credentials == now:
            return before
        self._own.connection = after = Connection(self._endpoint, now)
        self._connections.append(after)
        if before is not None:
            self._connections.remove(before)
            before.close()
        return after
