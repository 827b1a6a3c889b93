"""Whether the pods of one revision run one image: a tag that is pushed again gives later pods another one.

Nobody has judged the image of those later pods, and verdicts speak of a mixture. It can't be prevented here, since the
kubelet pulls by what the spec says, but it is seen. Called by `serinus.core.conditions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from serinus.core.observation import Children

_SHOWN_LENGTH = 19
"""Of a digest, `sha256:` and twelve digits."""


def mixed_images(children: Children, revision: str | None) -> Mapping[str, int]:
    """Pods by image digest where a revision's pods run more than one image; empty where they run the same.

    Container runtimes name an image by the digest that a registry knows it under, or by that of its configuration where
    it came from elsewhere. Names of one sort are compared with each other only.
    """
    if revision is None:
        return {}
    by_registry: Counter[str] = Counter()
    by_configuration: Counter[str] = Counter()
    for pod in children.pods_of(revision):
        _, at, digest = pod.image_id.rpartition("@")
        if digest and not pod.ended:
            (by_registry if at else by_configuration)[digest] += 1
    return next((dict(found.most_common()) for found in (by_registry, by_configuration) if len(found) > 1), {})


def short(digest: str) -> str:
    """As much of a digest as tells it from others."""
    return digest[:_SHOWN_LENGTH]
