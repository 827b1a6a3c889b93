"""Manifests without what could be a secret. Pure; called by `kubectl serinus support-bundle`.

Secrets are never read. What users write into specs all the same (values of environment variables, arguments, passwords
in URLs) is taken out wherever it stands, also in pod templates and in what kubectl keeps of the last apply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "(redacted)"
_DROPPED: Final = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})
_PASSWORD_IN_URL: Final = re.compile(r"(?P<before>[a-zA-Z][\w+.-]*://)[^/@\s]+@")
_WORDS: Final = frozenset({"args", "command"})


def redacted(value: Any, key: str = "") -> Any:
    """The JSON value without values of environment variables, without arguments, and without passwords in URLs."""
    if isinstance(value, Mapping):
        return {name: redacted(inner, name) for name, inner in value.items() if name not in _DROPPED}
    if isinstance(value, list | tuple):
        if key == "env":
            return [_variable(each) for each in value]
        if key in _WORDS:
            return [_word(each) for each in value]
        return [redacted(each) for each in value]
    return _PASSWORD_IN_URL.sub(rf"\g<before>{REDACTED}@", value) if isinstance(value, str) else value


def _variable(variable: Any) -> Any:
    if not isinstance(variable, Mapping):
        return REDACTED
    return {name: REDACTED if name == "value" else redacted(inner, name) for name, inner in variable.items()}


def _word(word: Any) -> str:
    """The name of an option without its value; anything else is a value."""
    name = str(word).split("=", 1)[0]
    if not name.startswith("-"):
        return REDACTED
    return f"{name}={REDACTED}" if "=" in str(word) else name
