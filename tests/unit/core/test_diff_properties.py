"""No write without a change, and no change without a write: properties of the comparison over rendered children."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.diff import EXACT_MAPS, KEYED_LISTS, covers
from tests.golden.render_all import RESOURCES, children_of, deployment_of
from tests.world.api_server import _applied

CHILDREN = [
    pytest.param(child, id=f"{path.stem}/{name}")
    for path in RESOURCES
    for name, child in children_of(deployment_of(path)).items()
]
ANY_CHILD = st.sampled_from([child.values[0] for child in CHILDREN])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner),
    max_leaves=8,
)


def places(value: Any, place: str = "") -> Iterator[tuple[Any, str]]:
    """Every map and list in a manifest, with the key under which it stands."""
    if isinstance(value, dict):
        yield value, place
        for key, inner in value.items():
            yield from places(inner, key)
    elif isinstance(value, list):
        yield value, place
        for inner in value:
            yield from places(inner, place)


@given(JSON)
def test_everything_covers_itself(value: Any):
    assert covers(copy.deepcopy(value), value)


@given(ANY_CHILD, st.data())
def test_fields_that_the_api_server_adds_make_no_difference(child: Any, data: st.DataObject):
    observed = copy.deepcopy(child)
    open_maps = [m for m, place in places(observed) if isinstance(m, dict) and place not in EXACT_MAPS]
    for _ in range(data.draw(st.integers(1, 4))):
        data.draw(st.sampled_from(open_maps))["addedByTheServer"] = data.draw(JSON)
    assert covers(observed, child)


@given(ANY_CHILD, st.data())
def test_items_that_others_add_to_lists_with_keys_make_no_difference(child: Any, data: st.DataObject):
    observed = copy.deepcopy(child)
    keyed = [(m, place) for m, place in places(observed) if isinstance(m, list) and place in KEYED_LISTS and m]
    if keyed:
        items, place = data.draw(st.sampled_from(keyed))
        items.insert(0, {KEYED_LISTS[place][0]: "somebody-elses"})
    assert covers(observed, child)


@pytest.mark.parametrize("child", CHILDREN)
def test_any_field_that_is_lost_or_changed_makes_a_difference(child: Any):
    for path in leaves(child):
        for change in (changed, removed):
            observed = copy.deepcopy(child)
            change(observed, path)
            assert not covers(observed, child), f"{change.__name__}: {path}"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values that say something: false, 0 and "" may be left out by the API server."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is not None:
        for key, each in inner:
            yield from leaves(each, (*path, key))
    elif value:
        yield path


def changed(manifest: Any, path: tuple[Any, ...]) -> None:
    place, last = follow(manifest, path)
    place[last] = f"{place[last]}-edited"


def removed(manifest: Any, path: tuple[Any, ...]) -> None:
    place, last = follow(manifest, path)
    del place[last]


def follow(manifest: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    for key in path[:-1]:
        manifest = manifest[key]
    return manifest, path[-1]


@given(ANY_CHILD, st.data())
def test_what_was_applied_over_anything_needs_no_other_apply(child: Any, data: st.DataObject):
    found = copy.deepcopy(child)
    spots = [m for m, _ in places(found) if isinstance(m, dict) and m]
    for _ in range(data.draw(st.integers(1, 5))):
        spot = data.draw(st.sampled_from(spots))
        if spot is not found and spot is not found["metadata"]:
            spot[data.draw(st.sampled_from(sorted(spot) or ["x"]))] = data.draw(JSON)
    found["metadata"] = copy.deepcopy(child["metadata"]) | {"uid": "1", "resourceVersion": "1"}
    assert covers(_applied(found, child, frozenset()), child)
