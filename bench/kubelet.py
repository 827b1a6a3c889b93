"""Nodes whose pods are Ready at once and gone at once. Run by `bench.stage` as a process of its own.

    python -m bench.kubelet KUBECONFIG NODES

Nothing is run: a pod that the scheduler has bound gets the status of one that serves, and one that is being deleted is
deleted for good. The node-lifecycle controller is off, so that nobody asks for heartbeats.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.api import MERGE, STRATEGIC_MERGE, Api, CallError, Manifest, open_api

PODS_PER_NODE = 110
"""What a kubelet takes unless it is told otherwise."""


async def play(kubeconfig: Path, nodes: int) -> None:
    """Play the kubelets of all nodes until cancelled."""
    async with open_api(kubeconfig) as api:
        for number in range(nodes):
            await _register(api, f"node-{number}")
        print("ready", flush=True)
        addresses = _addresses()
        served: set[str] = set()
        ended: set[str] = set()
        async with asyncio.TaskGroup() as group:
            async for change in api.follow("/api/v1/pods", {"fieldSelector": "spec.nodeName!="}):
                pod = change.manifest
                uid = pod["metadata"]["uid"]
                if change.type == "DELETED":
                    served.discard(uid)
                    ended.discard(uid)
                elif "deletionTimestamp" in pod["metadata"]:
                    if uid in ended:
                        continue
                    ended.add(uid)
                    group.create_task(_end(api, pod))
                elif uid not in served:
                    served.add(uid)
                    group.create_task(_serve(api, pod, next(addresses)))


async def _register(api: Api, name: str) -> None:
    room = {"cpu": "1000", "memory": "4Ti", "pods": str(PODS_PER_NODE)}
    now = _now()
    said = {"lastHeartbeatTime": now, "lastTransitionTime": now, "message": "played by the benchmark"}
    conditions = [said | {"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    try:
        await api.call("POST", "/api/v1/nodes", node)
    except CallError as error:
        if error.status != 409:
            raise
    # Every new node is tainted as not ready; the controller that takes the taint away is the one that is off.
    await api.call("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, content_type=MERGE)
    status = {"status": {"capacity": room, "allocatable": room, "conditions": conditions}}
    await api.call("PATCH", f"/api/v1/nodes/{name}/status", status, content_type=STRATEGIC_MERGE)


async def _serve(api: Api, pod: Manifest, address: str) -> None:
    now = _now()
    said = {"status": "True", "lastTransitionTime": now}
    running = {
        "ready": True,
        "started": True,
        "restartCount": 0,
        "imageID": "",
        "state": {"running": {"startedAt": now}},
    }
    containers = pod["spec"]["containers"]
    status = {
        "phase": "Running",
        "hostIP": "127.0.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [said | {"type": kind} for kind in ("Initialized", "ContainersReady", "Ready")],
        "containerStatuses": [running | {"name": each["name"], "image": each["image"]} for each in containers],
    }
    await api.call_if_there("PATCH", f"{_path(pod)}/status", {"status": status}, content_type=STRATEGIC_MERGE)


async def _end(api: Api, pod: Manifest) -> None:
    now = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
    await api.call_if_there("DELETE", _path(pod), {"apiVersion": "v1", "kind": "DeleteOptions", **now})


def _path(pod: Manifest) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _addresses() -> Iterator[str]:
    """Addresses that nobody has, in 100.64.0.0/10."""
    for number in itertools.count(1):
        yield f"100.{64 + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _main() -> None:
    parser = argparse.ArgumentParser(description="Play kubelets whose pods are Ready at once.")
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("nodes", type=int)
    arguments = parser.parse_args()
    asyncio.run(play(arguments.kubeconfig, arguments.nodes))


if __name__ == "__main__":
    _main()
