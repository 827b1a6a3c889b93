"""Who serves what, and which of two operators stands back."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.shards import Neighbour, Shard, in_the_way, read_shard

APART = [
    ("shard=a", "shard=b"),
    ("shard=a", "shard!=a"),
    ("shard==a", "shard notin (a, b)"),
    ("shard in (a, b)", "shard in (c,d)"),
    ("shard", "!shard"),
    ("shard=a", "!shard"),
    ("team=x,shard=a", "shard=b, team=x"),
    ("shard in (a,b), shard!=a", "shard!=b"),
    ("shard=", "shard=a"),
    ("example.com/shard=a", "example.com/shard!=a"),
]
TOGETHER = [
    ("", "shard=a"),
    ("", ""),
    ("shard=a", "shard=a"),
    ("shard=a", "team=x"),
    ("shard!=a", "shard!=b"),
    ("!shard", "shard!=a"),
    ("!shard", "shard notin (a, b)"),
    ("shard in (a, b)", "shard in (b, c)"),
    ("shard", "shard!=a"),
    ("shard in(a,b)", "shard = b"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_selectors_that_no_labels_match_both_are_apart(one: str, other: str) -> None:
    assert not Shard(selector=one).overlaps(Shard(selector=other))
    assert not Shard(selector=other).overlaps(Shard(selector=one))


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_selectors_that_the_same_labels_match_overlap(one: str, other: str) -> None:
    assert Shard(selector=one).overlaps(Shard(selector=other))
    assert Shard(selector=other).overlaps(Shard(selector=one))


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [((), (), True), ((), ("a",), True), (("a", "b"), ("b", "c"), True), (("a",), ("b",), False)],
)
def test_operators_of_other_namespaces_are_apart(one: tuple[str, ...], other: tuple[str, ...], overlap: bool) -> None:
    assert Shard(frozenset(one)).overlaps(Shard(frozenset(other))) is overlap
    labels = Shard(frozenset(one), "shard=a"), Shard(frozenset(other), "shard=b")
    assert not labels[0].overlaps(labels[1])


VALUES = st.sampled_from(["a", "b", "c"])
REQUIREMENTS = st.one_of(
    st.tuples(st.sampled_from(["=", "!="]), st.frozensets(VALUES, min_size=1, max_size=1)),
    st.tuples(st.sampled_from(["in", "notin"]), st.frozensets(VALUES, min_size=1)),
    st.tuples(st.sampled_from(["", "!"]), st.just(frozenset[str]())),
)
SELECTORS = st.lists(st.tuples(st.sampled_from(["k", "l"]), REQUIREMENTS), max_size=4)
Selector = list[tuple[str, tuple[str, frozenset[str]]]]


def written(selector: Selector) -> str:
    def one(key: str, operator: str, values: frozenset[str]) -> str:
        match operator:
            case "=" | "!=":
                return f"{key}{operator}{next(iter(values))}"
            case "in" | "notin":
                return f"{key} {operator} ({', '.join(sorted(values))})"
            case _:
                return f"{operator}{key}"

    return ",".join(one(key, *requirement) for key, requirement in selector)


def matches(selector: Selector, labels: dict[str, str]) -> bool:
    def holds(value: str | None, operator: str, values: frozenset[str]) -> bool:
        match operator:
            case "=" | "in":
                return value in values
            case "!=" | "notin":
                return value not in values
            case "!":
                return value is None
            case _:
                return value is not None

    return all(holds(labels.get(key), *requirement) for key, requirement in selector)


LABELS = [
    {key: value for key, value in (("k", k), ("l", other)) if value is not None}
    for k in (None, "a", "b", "c", "d")
    for other in (None, "a", "b", "c", "d")
]
"""All that these selectors can tell apart."""


@given(one=SELECTORS, other=SELECTORS)
def test_selectors_overlap_exactly_where_some_labels_match_both(one: Selector, other: Selector) -> None:
    expected = any(matches(one, labels) and matches(other, labels) for labels in LABELS)
    assert Shard(selector=written(one)).overlaps(Shard(selector=written(other))) is expected


@pytest.mark.parametrize("shard", [Shard(), Shard(frozenset({"b", "a"}), "shard notin (a, b), !team")])
def test_what_is_written_is_read_again(shard: Shard) -> None:
    assert read_shard(shard.written()) == shard


@pytest.mark.parametrize(
    "text",
    ["", "all", "[]", "{}", '{"namespaces": 1, "selector": ""}', "null", pytest.param("[" * 100_000, id="brackets")],
)
def test_what_nobody_of_ours_has_written_is_no_shard(text: str) -> None:
    assert read_shard(text) is None


def test_a_selector_that_is_none_is_no_shard() -> None:
    assert read_shard('{"namespaces": [], "selector": "a=b=c"}') is None


LONGEST_ANNOTATION = 256 * 1024


@pytest.mark.parametrize(
    "selector",
    ["a" + " " * LONGEST_ANNOTATION + "(", "!" + " " * LONGEST_ANNOTATION + "!", "a in (" + "b," * LONGEST_ANNOTATION],
    ids=["blanks behind a key", "blanks behind a !", "a list without an end"],
)
def test_a_selector_written_to_keep_its_reader_busy_does_not(selector: str) -> None:
    began = time.process_time()
    assert read_shard(json.dumps({"namespaces": [], "selector": selector})) is None
    assert time.process_time() - began < 5, "it takes milliseconds, or minutes"


def test_a_shard_says_in_words_what_it_is() -> None:
    assert str(Shard()) == "ModelDeployments in all namespaces"
    assert str(Shard(frozenset({"b", "a"}), "x=y")) == "ModelDeployments in namespaces a, b that match x=y"


OLD, MIDDLE, YOUNG = ("2026-01-01T00:00:00Z", "u1"), ("2026-01-01T00:00:00Z", "u2"), ("2026-02-01T00:00:00Z", "u0")


def test_the_younger_of_two_that_serve_the_same_stands_back_and_the_older_does_not() -> None:
    old, young = Neighbour("ops/a", Shard(), OLD), Neighbour("ops/b", Shard(), YOUNG)
    assert in_the_way(Shard(), YOUNG, [old]) == old
    assert in_the_way(Shard(), OLD, [young]) is None
    assert in_the_way(Shard(), MIDDLE, [old, young]) == old, "of the same second"


def test_one_without_a_lease_is_the_youngest() -> None:
    young = Neighbour("ops/b", Shard(), YOUNG)
    assert in_the_way(Shard(), None, [young]) == young


def test_who_serves_others_is_in_nobodys_way() -> None:
    apart = Neighbour("ops/a", Shard(selector="shard=a"), OLD)
    assert in_the_way(Shard(selector="shard!=a"), YOUNG, [apart]) is None
