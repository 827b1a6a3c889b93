"""Decimals as the API writes them."""

import pytest
from pydantic import TypeAdapter

from serinus.api.values import Percent


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.01, 4, "1"),
        (0.123456, 4, "12.3456"),
        (0.1, 2, "10"),
        (1.0, 4, "100"),
        (0.0, 2, "0"),
        (0.00004, 2, "0"),
        (0.3, 0, "30"),
        (1.0, 0, "100"),
    ],
)
def test_a_share_is_written_in_percent_without_zeros_that_say_nothing(share: float, digits: int, text: str) -> None:
    written = Percent.of_share(share, digits)

    assert written == text
    assert TypeAdapter(Percent).validate_python(text) == written, "what is written can be read"
    assert float(written.share) == pytest.approx(share, abs=10.0 ** -(digits + 2))
