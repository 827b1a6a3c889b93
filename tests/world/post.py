"""The way from the operator to receivers of notifications, with what can go wrong on it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from serinus.webhooks.sending import Answer, Delivered, Failed
from tests.world.api_server import OperatorKilled


class Arrived(NamedTuple):
    """A notification that a receiver has."""

    receiver: str
    id: str
    event: str
    revision: str


@dataclass
class Post:
    """Carries notifications. A receiver that is away answers nothing."""

    arrived: list[Arrived] = field(default_factory=list)
    attempts: int = 0
    kill_after: frozenset[int] = frozenset()
    """Numbers of attempts that arrive, and whose sender dies before it hears of it."""
    lose_answer_of: frozenset[int] = frozenset()
    """Numbers of attempts that arrive, and whose answer does not."""
    away: set[str] = field(default_factory=set)
    """Receivers that can't be reached."""
    results: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def send(self, receiver: str, message_id: str, body: bytes, *, signed: bool) -> Answer:
        self.attempts += 1
        if receiver in self.away:
            return Failed("nobody answers")
        data = json.loads(body)["data"]
        assert data["id"] == message_id
        self.arrived.append(Arrived(receiver, message_id, data["event"], data["revision"]))
        if self.attempts in self.kill_after:
            raise OperatorKilled
        return Failed("the connection broke") if self.attempts in self.lose_answer_of else Delivered()

    def count(self, receiver: str, result: str) -> None:
        self.results[receiver, result] += 1

    def told(self, receiver: str) -> list[tuple[str, str]]:
        """What the receiver knows: each id once, in the order of their first arrival."""
        firsts: dict[str, tuple[str, str]] = {}
        for each in self.arrived:
            if each.receiver == receiver:
                firsts.setdefault(each.id, (each.event, each.revision))
        return list(firsts.values())

    def doubles(self) -> int:
        """Arrivals of what had arrived before."""
        return len(self.arrived) - len({(each.receiver, each.id) for each in self.arrived})
