"""Quantities in the API server's own way of writing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.core.render.canonical import canonical_quantity

QUANTITIES = {
    1: "1", "1000m": "1", "1500m": "1500m", 0.5: "500m", ".5": "500m", "1.": "1", "0": "0", "0Gi": "0", "-0": "0",
    "1000": "1k", "1500": "1500", "1024Mi": "1Gi", "1.5Gi": "1536Mi", "1023Ki": "1023Ki", "0.5Ki": "512",
    "0.1Gi": "107374183", "2e3": "2e3", "1E3": "1e3", "12e7": "120e6", "1E": "1E", "0.1n": "1n", "-1000m": "-1",
    "3000k": "3M", "1Ti": "1Ti", "1048576Mi": "1Ti", "lots": "lots", "1 Gi": "1 Gi",
}  # fmt: skip


@pytest.mark.parametrize(("written", "canonical"), QUANTITIES.items(), ids=str)
def test_quantities_are_canonical(written: str | float, canonical: str):
    assert canonical_quantity(written) == canonical


UNITS = {
    "m": Fraction(1, 1000),
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
UNITS |= {"T": 10**12, "P": 10**15}


def amount(quantity: str) -> Fraction:
    number = quantity.rstrip("mkKMGTPi")
    return Fraction(number) * UNITS[quantity.removeprefix(number)]


@given(st.integers(0, 10**6), st.sampled_from(["m", "", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_the_amount_stays_the_same_and_a_second_time_changes_nothing(number: int, suffix: str):
    once = canonical_quantity(f"{number}{suffix}")

    assert amount(once) == number * UNITS[suffix]
    assert canonical_quantity(once) == once
