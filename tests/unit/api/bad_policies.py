"""Policies that have to be refused, by the API server (CEL and schema) and by the models alike."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BadPolicy:
    """The spec of a ClusterRolloutPolicy, the field that is to blame, and words of the message."""

    title: str
    spec: dict[str, Any]
    field: str
    says: str


def _selector(**requirement: Any) -> dict[str, Any]:
    return {"namespaceSelector": {"matchExpressions": [{"key": "env", **requirement}]}}


BAD_POLICIES = [
    BadPolicy(
        "a required metric that the policy does not define",
        {"bounds": {"analysis": {"requiredMetrics": ["nulls"]}}},
        "spec.bounds.analysis.requiredMetrics",
        "may only name metrics of the same policy",
    ),
    BadPolicy(
        "a receiver that is an address",
        {"notify": ["https://hooks.example.com/T000"]},
        "spec.notify[0]",
        "should match",
    ),
    BadPolicy(
        "a selector that compares with nothing",
        _selector(operator="In"),
        "spec.namespaceSelector.matchExpressions[0].values",
        "values go with the operators In and NotIn",
    ),
    BadPolicy(
        "a selector that asks for a label and its value at once",
        _selector(operator="Exists", values=["a"]),
        "spec.namespaceSelector.matchExpressions[0].values",
        "values go with the operators In and NotIn",
    ),
]
