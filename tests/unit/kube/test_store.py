"""What is kept of objects comes out as it went in, and the store knows which of two versions is the later one."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest

from serinus.kube.depth import CUT, MOST_LEVELS
from serinus.kube.store import Store, object_key


def service(name: str = "iris", *, version: int = 7, uid: str = "u1", port: int = 80) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}], "clusterIP": None}}


def holding(*manifests: dict[str, Any]) -> Store:
    store = Store()
    for manifest in manifests:
        store.put(manifest)
    return store


def test_an_object_comes_out_as_it_went_in():
    store = holding(service(), service("rose", port=81))
    assert store.get(("team", "iris")) == service()
    assert list(store) == [("team", "iris"), ("team", "rose")]
    assert list(store.objects()) == [service(), service("rose", port=81)]
    assert len(store) == 2


def test_objects_take_hardly_more_memory_than_their_json():
    manifests = [service(f"iris-{number}") | {"data": "x" * 1000} for number in range(200)]
    store = Store()
    tracemalloc.start()
    try:
        for manifest in manifests:
            store.put(manifest)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1.5 * sum(len(orjson.dumps(manifest)) for manifest in manifests)


def test_what_is_done_to_a_copy_changes_nothing_in_the_store():
    store = holding(service())
    taken = store.get(("team", "iris"))
    assert taken is not None
    taken["spec"]["ports"].clear()
    assert store.get(("team", "iris")) == service()


@pytest.mark.parametrize("levels", [300, 9_000])
def test_of_an_object_that_is_nested_too_deep_is_kept_what_can_be(levels: int):
    deep: Any = "the end"
    for _ in range(levels // 2):
        deep = {"a": [deep]}
    store = holding(service() | {"data": deep}, service("rose"))
    found = store.get(("team", "iris"))
    assert found is not None
    assert {**found, "data": None} == {**service(), "data": None}
    kept: Any = found["data"]
    for _ in range((MOST_LEVELS - 1) // 2):
        (kept,) = kept["a"]
    assert kept == {"a": CUT}
    assert store.get(("team", "rose")) == service("rose")


def test_a_later_version_takes_the_place_of_an_earlier_one():
    store = holding(service(), service(version=8, port=90))
    assert list(store.objects()) == [service(version=8, port=90)]


def test_versions_are_compared_as_numbers():
    store = holding(service(version=10))
    assert store.has_newer(service(version=9))
    assert not store.has_newer(service(version=10))
    assert not store.has_newer(service(version=11))
    assert not store.has_newer(service("rose", version=9)), "of another object nothing is known"


def test_an_object_that_was_made_anew_is_another_one():
    store = holding(service(version=10, uid="u1"))
    assert store.has(service(version=10, uid="u1"))
    assert not store.has(service(version=10, uid="u2"))
    assert not store.has_uid_of(service(version=11, uid="u2"))


def test_what_is_forgotten_is_returned_for_the_last_time():
    store = holding(service())
    assert store.pop(("team", "iris")) == service()
    assert store.pop(("team", "iris")) is None
    assert len(store) == 0


def test_objects_of_the_cluster_have_no_namespace():
    assert object_key({"metadata": {"name": "public"}}) == ("", "public")
