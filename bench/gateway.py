"""A gateway that accepts every route at once and carries nothing. Run by `bench.stage` as a process of its own.

python -m bench.gateway KUBECONFIG
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path

from bench.api import MERGE, Api, Manifest, open_api

ROUTES = "/apis/gateway.networking.k8s.io/v1/httproutes"


async def play(kubeconfig: Path) -> None:
    """Accept routes until cancelled."""
    async with open_api(kubeconfig) as api:
        print("ready", flush=True)
        accepted: dict[str, int] = {}
        async with asyncio.TaskGroup() as group:
            async for change in api.follow(ROUTES):
                metadata = change.manifest["metadata"]
                if change.type == "DELETED":
                    accepted.pop(metadata["uid"], None)
                elif accepted.get(metadata["uid"]) != metadata["generation"]:
                    accepted[metadata["uid"]] = metadata["generation"]
                    group.create_task(_accept(api, change.manifest))


async def _accept(api: Api, route: Manifest) -> None:
    metadata = route["metadata"]
    said = {
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "observedGeneration": metadata["generation"],
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    conditions = [said | {"type": kind} for kind in ("Accepted", "ResolvedRefs")]
    answer = {"controllerName": "bench.serinus.dev/gateway", "conditions": conditions}
    parents = [answer | {"parentRef": parent} for parent in route["spec"]["parentRefs"]]
    namespace, name = metadata["namespace"], metadata["name"]
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{name}/status"
    await api.call_if_there("PATCH", path, {"status": {"parents": parents}}, content_type=MERGE)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Play a gateway that accepts every route at once.")
    parser.add_argument("kubeconfig", type=Path)
    asyncio.run(play(parser.parse_args().kubeconfig))


if __name__ == "__main__":
    _main()
