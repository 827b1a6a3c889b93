"""JSON that somebody has nested without end: it may keep the operator from nothing but that one object.

The API server takes objects that are nested ten thousand levels deep, where their schema leaves a part open: the pod
template of a ModelDeployment, the data of a ControllerRevision. The fast decoder gives up at a thousand levels, and
with it the whole list or watch that the object is in; the encoder at 254. So what the one can't read is read by the
standard library's, for which `serinus.__main__` and the plugin raise the limit of recursion, as kopf reads with it too;
and of what the other can't write the deepest levels are cut off. No field of Kubernetes or of ours is as deep as that:
what is left is refused like any other value that makes no sense. Used by `serinus.kube.client` and
`serinus.kube.store`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

DEEPEST_LEVELS: Final = 10_000
"""Of JSON that the API server reads."""
RECURSION_LIMIT: Final = 2 * DEEPEST_LEVELS
"""Of the processes of operator and plugin: such an object in an event or a list, and the calls that lead there."""
MOST_LEVELS: Final = 100
"""So much is left of an object that is too deep: several times what the fields of Kubernetes have."""
CUT: Final = "nested too deep to be read"
"""In place of what is cut off."""


def decoded(text: bytes) -> Any:
    """The JSON value, however deep it is. Raises `orjson.JSONDecodeError`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise error from None


def encoded(manifest: Mapping[str, Any]) -> bytes:
    """An object as JSON; of one that is too deep for that, what is left."""
    try:
        return orjson.dumps(manifest)
    except orjson.JSONEncodeError:
        return orjson.dumps(_shallow(manifest, MOST_LEVELS))


def _shallow(value: Any, levels: int) -> Any:
    if not isinstance(value, Mapping | list):
        return value
    if not levels:
        return CUT
    if isinstance(value, list):
        return [_shallow(each, levels - 1) for each in value]
    return {key: _shallow(each, levels - 1) for key, each in value.items()}
