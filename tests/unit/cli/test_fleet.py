"""The order of the plugin's list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from serinus.cli.fleet import Row, Sort, ordered
from serinus.cli.state import State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(name: str, state: State, phase: str, weight_percent: int | None, age_days: int) -> Row:
    """A line of the list."""
    return Row("team", name, state, phase, "", weight_percent, "", "", "", "", NOW - timedelta(days=age_days))


ROWS = [
    row("a", State.SERVING, "Idle", None, 1),
    row("b", State.FAILED, "Idle", None, 30),
    row("c", State.PROGRESSING, "Holding", 5, 2),
    row("d", State.NEEDS_A_PERSON, "Paused", 50, 9),
    row("e", State.UNSEEN, "Idle", None, 9),
    row("f", State.SERVING, "Idle", None, 1),
]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (Sort.STATE, "bdecaf"),
        (Sort.NAME, "abcdef"),
        (Sort.AGE, "afcdeb"),
        (Sort.WEIGHT, "dcabef"),
        (Sort.PHASE, "cabefd"),
    ],
)
def test_a_list_is_in_the_order_that_was_asked_for_and_equals_by_name(by: Sort, names: str) -> None:
    assert "".join(each.name for each in ordered(reversed(ROWS), by)) == names
