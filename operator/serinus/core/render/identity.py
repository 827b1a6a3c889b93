"""The version of a model that people know.

Used for labels by `serinus.core.render.metadata`, from where status takes it too.
"""

from __future__ import annotations

import re
from typing import Final

_DIGEST_CHARACTERS: Final = 12
_LABEL_LENGTH: Final = 63
_NOT_ALPHANUMERIC_ENDS: Final = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$")
_NOT_IN_LABELS: Final = re.compile(r"[^A-Za-z0-9._-]")


def model_version(declared: str | None, image: str) -> str:
    """The version as the spec declares it, else the image's tag, else the first characters of its digest.

    Always a valid label value: a tag is cut at 63 characters and freed of leading and trailing punctuation.
    """
    if declared is not None:
        return declared
    reference, _, digest = image.partition("@")
    _, _, tag = reference.rpartition("/")[2].partition(":")
    version = tag or digest.rpartition(":")[2][:_DIGEST_CHARACTERS] or "latest"
    allowed = _NOT_IN_LABELS.sub("-", version)[:_LABEL_LENGTH]
    return _NOT_ALPHANUMERIC_ENDS.sub("", allowed) or "unknown"
