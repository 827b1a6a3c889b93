"""The metric source that the settings name, or one that has nothing.

Opened by `serinus.shell.app` for the process's life, and by `serinus.shell.check`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serinus.core.readings import Missing, MissingReason
from serinus.metrics.credentials import CredentialFiles
from serinus.metrics.prometheus import PrometheusSource
from serinus.metrics.questions import OnCall
from serinus.metrics.source import MetricSource, ReadingRequest
from serinus.settings import Settings

logger = logging.getLogger(__name__)


class NoSource:
    """In place of a metric source where none is configured. Nothing is ever asked of it, since nothing is judged."""

    async def read(self, _: ReadingRequest) -> Missing:
        """Nothing."""
        return Missing(MissingReason.SOURCE_UNAVAILABLE, "no metric source is configured (prometheus.url)")

    async def slices(self, request: ReadingRequest, *, most: int) -> Missing:  # noqa: ARG002 -- as in its protocol
        """Nothing."""
        return await self.read(request)

    def query(self, _: ReadingRequest) -> str:
        """Nothing."""
        return ""


@asynccontextmanager
async def open_metric_source(settings: Settings, on_call: OnCall) -> AsyncIterator[MetricSource]:
    """The metric source, until the context ends; `on_call` hears of each question to it."""
    if settings.prometheus_url is None:
        logger.info("no metric source is configured: canaries are refused unless their analysis is disabled")
        yield NoSource()
        return
    async with open_prometheus(settings, settings.prometheus_url, on_call) as source:
        url, headers = source.public_url, settings.prometheus_headers
        logger.info("metric source", extra={"url": url, "headers": ",".join(headers)})
        if _credential_files(settings).authorize and url.startswith("http://"):
            logger.warning("credentials for Prometheus go over the network unencrypted: use an https:// prometheus.url")
        yield source


@asynccontextmanager
async def open_prometheus(
    settings: Settings, url: str, on_call: OnCall = lambda _, __: None
) -> AsyncIterator[PrometheusSource]:
    """The Prometheus at `url` as the settings describe it, until the context ends."""
    source = PrometheusSource(
        url,
        timeout_seconds=settings.prometheus_timeout_seconds,
        headers=settings.prometheus_headers,
        credentials=_credential_files(settings),
        pod_label=settings.metrics_pod_label,
        namespace_label=settings.metrics_namespace_label,
        gateway=settings.prometheus_gateway,
        on_call=on_call,
    )
    try:
        yield source
    finally:
        await source.close()


def _credential_files(settings: Settings) -> CredentialFiles:
    return CredentialFiles(
        token=settings.prometheus_token_file,
        username=settings.prometheus_username_file,
        password=settings.prometheus_password_file,
        ca=settings.prometheus_ca_file,
        certificate=settings.prometheus_certificate_file,
        key=settings.prometheus_key_file,
    )
