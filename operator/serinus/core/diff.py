"""Whether an observed object already is what is wanted, so that nothing is written that changes nothing.

The API server adds defaults and other writers add fields, so an observed object is allowed to say more than the wanted
one, except where saying more would change what it does. Called by `serinus.core.realise` for every child.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EXACT_MAPS = frozenset({"selector", "parentRefs", "matches", "backendRefs"})
"""Maps, or lists of maps, in which an extra key changes the meaning: a Service's selector would miss pods, a route
would be bound to another listener or send other requests. The renderer spells out what the API server fills in."""
KEYED_LISTS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
    "ownerReferences": ("uid",),
}
"""Lists whose items have an identity, as in the API's own list-maps: items of other writers don't matter."""


def covers(observed: Any, wanted: Any, place: str = "") -> bool:
    """Whether `observed` says all that `wanted` says. `place` is the key under which both stand."""
    if observed == wanted:  # most of it is, and this is quick
        return True
    if _says_nothing(wanted):
        owned_whole = place in EXACT_MAPS or (isinstance(wanted, list | tuple) and place not in KEYED_LISTS)
        return _says_nothing(observed) or not owned_whole
    if isinstance(wanted, dict):
        return isinstance(observed, dict) and _map_covers(observed, wanted, place)
    if isinstance(wanted, list | tuple):
        return isinstance(observed, list | tuple) and _list_covers(observed, wanted, place)
    # The API server leaves out false, 0 and "" where they mean the same as nothing, and keeps them elsewhere.
    return observed is None and not wanted


def _says_nothing(value: Any) -> bool:
    return value is None or (not value and isinstance(value, dict | list | tuple))


def _map_covers(observed: Mapping[str, Any], wanted: Mapping[str, Any], place: str) -> bool:
    if place in EXACT_MAPS and set(observed) != set(wanted):
        return False
    return all(covers(observed.get(key), value, key) for key, value in wanted.items())


def _list_covers(observed: Sequence[Any], wanted: Sequence[Any], place: str) -> bool:
    keys = KEYED_LISTS.get(place)
    if keys is None or not all(isinstance(item, dict) for item in (*observed, *wanted)):
        return len(observed) == len(wanted) and all(covers(o, w, place) for o, w in zip(observed, wanted, strict=True))
    by_key = {_key(item, keys): item for item in observed}
    return all(_key(item, keys) in by_key and covers(by_key[_key(item, keys)], item) for item in wanted)


def _key(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if key in item), None)
