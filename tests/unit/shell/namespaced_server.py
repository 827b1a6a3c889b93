"""An API server on loopback with some namespaces, into which one may look or not, as a test says.

Called by the tests of what serves a list of namespaces.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

OURS = {"name": "modeldeployments", "singularName": "modeldeployment", "namespaced": True, "kind": "ModelDeployment"}
NAMESPACES = {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace"}
VERBS = {"verbs": ["list", "watch", "patch", "get"]}


@dataclass
class NamespacedServer:
    """Answers lists and watches; a watch tells nothing, and ends when its namespace is closed."""

    closed: set[tuple[str, str]] = field(default_factory=set)
    """Namespace and plural of what may not be looked at."""
    there: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    """By namespace and plural."""
    asked: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often each verb was sent, by namespace (empty: the cluster) and plural."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self, namespace: str, *plurals: str) -> None:
        """From now on these may not be looked at, and their watches end."""
        self.closed |= {(namespace, plural) for plural in plurals}
        self.changed.set()
        self.changed = asyncio.Event()

    def open(self, namespace: str) -> None:
        """From now on all may be looked at."""
        self.closed = {each for each in self.closed if each[0] != namespace}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Discovery, lists and watches."""
        parts = request.path.strip("/").split("/")
        within = "namespaces" in parts[:-1]
        if not within and parts[-1] in {"apis", "serinus.dev", "v1alpha1", "version", "api", "v1"}:
            return self._discovery(parts)
        namespace = parts[parts.index("namespaces") + 1] if within else ""
        plural, verb = parts[-1], "watch" if "watch" in request.query else "list"
        self.asked[verb, namespace, plural] += 1
        if (namespace, plural) in self.closed:
            message = f"{plural} is forbidden in {namespace}"
            refusal = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": message}
            return web.json_response(refusal, status=403)
        if verb == "list":
            items = self.there.get((namespace, plural), [])
            return web.json_response({"kind": "List", "metadata": {"resourceVersion": "7"}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        while (namespace, plural) not in self.closed:
            await self.changed.wait()
        return response

    def _discovery(self, parts: list[str]) -> web.Response:
        version = {"groupVersion": "serinus.dev/v1alpha1", "version": "v1alpha1"}
        group = {"name": "serinus.dev", "versions": [version], "preferredVersion": version}
        match parts[-1]:
            case "apis":
                return web.json_response({"kind": "APIGroupList", "groups": [group]})
            case "serinus.dev":
                return web.json_response({"kind": "APIGroup", **group})
            case "v1alpha1":
                return web.json_response({"kind": "APIResourceList", "resources": [OURS | VERBS]})
            case _:  # the core: kopf looks whether there are namespaces at all
                return web.json_response({"versions": ["v1"], "resources": [NAMESPACES | VERBS]})
