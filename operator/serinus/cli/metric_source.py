"""The Prometheus that a user names: open while a command asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serinus.cli.outcome import CommandFailed, ExitCode
from serinus.metrics.prometheus import PrometheusSource


@asynccontextmanager
async def prometheus_at(url: str) -> AsyncIterator[PrometheusSource]:
    """The source at this URL. Raises `CommandFailed` for a URL that is none."""
    try:
        source = PrometheusSource(url)
    except ValueError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from error
    try:
        yield source
    finally:
        await source.close()
