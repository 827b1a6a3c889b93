"""What the EndpointSlice controller does once pods are ready, for control planes without nodes: it leaves them out."""

from __future__ import annotations

from typing import Any

MOST_PODS = 20
"""More than any ReplicaSet here has: the operator never takes more endpoints for pods than there are pods."""


def is_of_a_revision(service: dict[str, Any]) -> bool:
    """Whether it is the Service of one revision's pods."""
    return bool((service["metadata"].get("labels") or {}).get("serinus.dev/role") == "revision")


def endpoint_slice_of(service: dict[str, Any]) -> dict[str, Any]:
    """A slice with `MOST_PODS` ready endpoints, owned by a Service."""
    metadata = service["metadata"]
    namespace = metadata["namespace"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    numbers = range(1, MOST_PODS + 1)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": metadata["name"],
            "namespace": namespace,
            "labels": metadata["labels"],
            "ownerReferences": [owner | {"controller": True}],
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.0.0.{number}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": f"pod-{number}", "namespace": namespace, "uid": f"pod-{number}"},
            }
            for number in numbers
        ],
    }
