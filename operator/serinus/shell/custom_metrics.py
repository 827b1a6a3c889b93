"""Whether the cluster serves custom metrics, which autoscalers on requests in progress read.

An API, not a kind: no watch tells when an adapter for it is installed, so it is asked for, and only while some
ModelDeployment needs it. Kept by `serinus.shell.caches`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from serinus.api.kinds import CUSTOM_METRICS_GROUP
from serinus.kube.client import HttpCluster
from serinus.kube.cluster import ApiError

logger = logging.getLogger(__name__)

RECHECK_SECONDS: Final = 60.0


class CustomMetrics:
    """`run` looks; the rest may be called at any time from the same event loop."""

    def __init__(
        self,
        cluster: HttpCluster,
        *,
        is_needed: Callable[[], bool],
        on_change: Callable[[], None],
        recheck_seconds: float = RECHECK_SECONDS,
    ) -> None:
        """`is_needed` says whether any ModelDeployment asks for it still; `on_change` hears when it comes or goes."""
        self.installed: bool | None = None
        """None until it is known: neither is an autoscaler made for nothing, nor are people told to install what is
        there."""
        self._cluster = cluster
        self._is_needed = is_needed
        self._on_change = on_change
        self._recheck_seconds = recheck_seconds
        self._asked = asyncio.Event()

    def notice(self, deployment: Mapping[str, Any]) -> None:
        """A ModelDeployment as the API server has it, which may need it."""
        if needs_custom_metrics(deployment):
            self._asked.set()

    async def run(self) -> None:
        """Look as soon as it is needed, and again and again while it is, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._look()
            await asyncio.sleep(self._recheck_seconds)
            if self._is_needed():
                self._asked.set()

    async def _look(self) -> None:
        try:
            found = await self._cluster.serves_group(CUSTOM_METRICS_GROUP)
        except ApiError as error:
            logger.info("whether there are custom metrics is not known; asking again", extra={"because": str(error)})
            return
        if found != self.installed:
            self.installed = found
            logger.info("custom metrics are there" if found else "nothing serves custom metrics")
            self._on_change()


def needs_custom_metrics(deployment: Mapping[str, Any]) -> bool:
    """Whether its autoscaler reads them; whatever is written there, the spec may be one that can't be read."""
    part: Any = deployment
    for field in ("spec", "scaling", "autoscaling", "targetInProgressPerPod"):
        part = part.get(field) if isinstance(part, Mapping) else None
    return part is not None
