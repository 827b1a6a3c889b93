"""Parts of the sentences that Events, history and conditions share.

Called by the rollout's policies and moves, and by `serinus.core.conditions`.
"""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 ready pod`, `3 ready pods`: for nouns whose plural takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def ready_of(ready: int, wanted: int, revision: str | None = None) -> str:
    """`1 of 3 pods of 5c1e0a9b77 is ready`."""
    of = f" of {revision}" if revision else ""
    return f"{ready} of {counted(wanted, 'pod')}{of} {'is' if 1 in {ready, wanted} else 'are'} ready"
