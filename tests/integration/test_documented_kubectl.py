"""The table by which documented kubectl commands are checked says what the real kubectl says."""

from __future__ import annotations

import re
import subprocess

import pytest

from e2e.cluster import tools
from tests.contract.test_documented_commands import GLOBAL, KUBECTL

BELOW = {
    "create": ("secret generic", "secret tls", "rolebinding"),
    "config": ("set-context",),
    "rollout": ("status",),
}
"""Commands of kubectl that have commands of their own: those that the pages use."""


def options_of(*words: str) -> set[str]:
    shown = subprocess.run(
        [str(tools.kubernetes() / "kubectl"), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return set(re.findall(r"(?<![\w-])(-[a-zA-Z]|--[a-z-]+)(?=[,=\s:]|$)", shown.stdout))


@pytest.mark.parametrize("verb", sorted(KUBECTL))
def test_kubectl_has_the_options_that_the_pages_use(verb: str) -> None:
    there = options_of(verb, "--help")
    for below in BELOW.get(verb, ()):
        there |= options_of(verb, *below.split(), "--help")
    assert KUBECTL[verb] <= there


def test_kubectl_has_the_options_for_every_command() -> None:
    assert options_of("options") >= GLOBAL
