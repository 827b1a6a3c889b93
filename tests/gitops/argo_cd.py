"""Argo CD's part in the tests: its Lua machine, with the libraries that it opens by default and no others.

As in Argo CD 3 (`util/lua/lua.go`, `util/lua/oslib_safe.go`): the base, `package` and `table` libraries, and
`require("os")` with nothing but `time` and `date`; no `string`, so that texts have no methods either. The resource is
the global `obj`, and what a script returns becomes JSON by the rules of `layeh.com/gopher-json`: a table is a list or
an object by its first key, an empty one is a list, and no table may stand in two places. An action's result is compared
with what was there, and the difference is sent as a merge patch (`server/application/application.go`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from lupa import lua51

from deploy.argocd import render

DATA: Mapping[str, str] = yaml.safe_load(render.FILE.read_text())["data"]
"""What is shipped."""
HEALTH = DATA[f"resource.customizations.health.{render.GROUP}_{render.KIND}"]
ACTIONS = yaml.safe_load(DATA[f"resource.customizations.actions.{render.GROUP}_{render.KIND}"])
SCRIPTS: Mapping[str, str] = {each["name"]: each["action.lua"] for each in ACTIONS["definitions"]}
HEALTH_STATUSES = frozenset({"Healthy", "Progressing", "Suspended", "Degraded", "Missing", "Unknown"})
DATE_LETTERS = frozenset("aAbBcdFHImMpPSxXyYzZw")
"""What `os.date` knows there; other letters stay as they are, and Lua's own know more."""

_SET_UP = """
local date, time = os.date, os.time
package.preload.os = function() return {date = date, time = time} end
package.loaded.os = nil
getmetatable("").__index = nil
for _, name in ipairs {"coroutine", "debug", "io", "math", "os", "python", "string"} do
  package.loaded[name] = nil
  _G[name] = nil
end
"""


class ScriptError(Exception):
    """A script that raised an error; Argo CD shows its message."""


def health(resource: Mapping[str, Any]) -> tuple[str, str]:
    """What the health script says of a resource: the status and its message."""
    told = run(HEALTH, resource)
    assert told["status"] in HEALTH_STATUSES
    return told["status"], told["message"]


def discovered(resource: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every action that the menu of a resource has, by name."""
    found = run(ACTIONS["discovery.lua"], resource)
    assert isinstance(found, dict)
    return found


def enabled(resource: Mapping[str, Any]) -> set[str]:
    """The actions that can be chosen."""
    return {name for name, action in discovered(resource).items() if not action["disabled"]}


def patch_of(resource: Mapping[str, Any], action: str) -> dict[str, Any]:
    """The merge patch that an action sends. Raises `ScriptError` where the script refuses."""
    result = _as_before(run(SCRIPTS[action], resource), dict(resource))
    return _merge_patch(resource, result)


def run(script: str, resource: Mapping[str, Any]) -> Any:
    """What a script returns for a resource, as JSON. Raises `ScriptError`."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute(_SET_UP)
    lua.globals().obj = _to_lua(lua, resource)
    try:
        return _to_json(lua.execute(script), set())
    except lua51.LuaError as error:
        raise ScriptError(str(error)) from error


def _to_lua(lua: Any, value: Any) -> Any:
    match value:
        case Mapping():
            table = lua.table()
            for key, each in value.items():
                table[key] = _to_lua(lua, each)
            return table
        case list() | tuple():
            return lua.table(*(_to_lua(lua, each) for each in value))
        case _:
            return value


def _to_json(value: Any, seen: set[str]) -> Any:
    if lua51.lua_type(value) != "table":
        assert value is None or isinstance(value, str | bool | int | float), f"{value!r} has no JSON"
        return value
    identity = str(value)
    assert identity not in seen, "a table stands in two places"
    seen.add(identity)
    pairs = [(key, _to_json(each, seen)) for key, each in value.items()]
    if not pairs or not isinstance(pairs[0][0], str):
        assert [key for key, _ in pairs] == list(range(1, len(pairs) + 1)), "a list with gaps, or with names in it"
        return [each for _, each in pairs]
    assert all(isinstance(key, str) for key, _ in pairs), "an object with numbers among its names"
    return dict(pairs)


def _as_before(new: Any, old: Any) -> Any:
    """Empty tables are what they were: objects, where they were objects."""
    if isinstance(old, Mapping):
        if new == []:
            return {}
        return {key: _as_before(each, old.get(key)) for key, each in new.items()}
    if isinstance(old, list | tuple) and isinstance(new, list):
        return [_as_before(each, old[place] if place < len(old) else None) for place, each in enumerate(new)]
    return new


def _merge_patch(old: Any, new: Any) -> dict[str, Any]:
    """RFC 7386: what makes `new` of `old`."""
    patch: dict[str, Any] = {key: None for key in old if key not in new and old[key] is not None}
    for key, each in new.items():
        before = old.get(key)
        if isinstance(each, Mapping) and isinstance(before, Mapping):
            if inner := _merge_patch(before, each):
                patch[key] = inner
        elif each != before:
            patch[key] = each
    return patch
