"""The machine's shape, from the texts of /proc."""

from __future__ import annotations

import platform

from bench.machine import described, memory_gib, processor_model, processors


def test_the_model_is_the_first_processor_s():
    assert (
        processor_model("processor\t: 0\nmodel name\t: Some EPYC\n\nprocessor\t: 1\nmodel name\t: b\n") == "Some EPYC"
    )
    assert processor_model("processor\t: 0\n") == platform.machine()


def test_memory_is_in_gib():
    assert memory_gib("MemTotal:       25165824 kB\nMemFree: 1 kB\n") == 24


def test_this_machine_has_a_shape():
    assert described()["processors"].startswith(f"{processors()} × ")
