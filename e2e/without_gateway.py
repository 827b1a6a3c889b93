"""A model behind a plain Service, under steady load. Used by the end-to-end tests of the strategies without a gateway.

Each request of the clients opens a connection of its own: a Service spreads connections, not requests.
"""

from __future__ import annotations

from typing import Any

from e2e.model import NAME, Model

URL = f"http://{NAME}"
HOLD_SECONDS = 10
ERRORS = {"metrics": [{"name": "errors", "errors": {}, "limit": {"maxPercent": "2"}, "minSamples": 50}]}
"""Version 3 fails one request in five; the others none."""
TIMES = {"watchSeconds": 45, "scaleDownDelaySeconds": 30, "progressDeadlineSeconds": 120}


def plain(**rollout: Any) -> dict[str, Any]:
    """Sections of a resource without a gateway, with this rollout."""
    return {
        "traffic": {"gateway": None},
        "rollout": {"canary": None, **TIMES, **rollout},
        "analysis": ERRORS,
    }


def selector(model: Model) -> dict[str, str]:
    """Whom the model's Service selects."""
    found: dict[str, str] = model.get("service", NAME)["spec"]["selector"]
    return found
