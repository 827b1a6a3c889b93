"""Tells a person what is being done and how long it took. Used by every module that does more than a moment's work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET_SECONDS = 0.3

_depth = threading.local()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, then say how long it took; steps inside a step and steps of a moment are not shown."""
    if getattr(_depth, "inside", False):
        yield
        return
    _depth.inside = True
    started = time.monotonic()
    announcement = threading.Timer(_QUIET_SECONDS, _say, [f"  {title} …"])
    announcement.start()
    try:
        yield
    except BaseException:
        _say(f"✗ {title}: failed after {time.monotonic() - started:.1f} s")
        raise
    else:
        if time.monotonic() - started > _QUIET_SECONDS:
            _say(f"✓ {title}: {time.monotonic() - started:.1f} s")
    finally:
        announcement.cancel()
        _depth.inside = False


def note(text: str) -> None:
    """Say something about the step that is under way."""
    _say(f"    {text}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
