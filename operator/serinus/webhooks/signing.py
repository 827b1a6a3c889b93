"""Signatures of notifications after Standard Webhooks 1.0, so that receivers verify them with a library of theirs.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: HMAC-SHA256 over
`{id}.{timestamp}.{body}`, in base64 behind `v1,`. Several keys give several signatures, with blanks between them, so
that a key can be replaced while receivers still know the old one. Used by `serinus.webhooks.sending`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

PREFIX: Final = "whsec_"
LEAST_KEY_BYTES: Final = 24
MOST_KEY_BYTES: Final = 64
"""Bounds of the standard."""


def keys_of(text: str) -> tuple[bytes, ...]:
    """The keys in a text: base64 with the prefix `whsec_` or without, with blanks or line ends between them.

    Raises ValueError where one is none; the message does not show it.
    """
    keys = tuple(_key(word.removeprefix(PREFIX)) for word in text.split())
    if not keys:
        raise ValueError("it holds no key")
    return keys


def signature(keys: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` for a message sent at `timestamp`, in Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"it holds something that is not base64 behind {PREFIX}") from None
    if not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise ValueError(
            f"it holds a key of {len(key)} bytes, where {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} are asked for"
        )
    return key
