"""Signatures are those that any library of Standard Webhooks verifies."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from serinus.webhooks.signing import keys_of, signature

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')


def test_a_signature_is_that_of_the_standards_own_libraries() -> None:
    assert signature(keys_of(KEY), *MESSAGE) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_keys_give_two_signatures_so_that_a_key_can_be_replaced() -> None:
    other = base64.b64encode(b"x" * 32).decode()
    both = signature(keys_of(f"{KEY}\n{other}\n"), *MESSAGE).split(" ")
    expected = hmac.new(b"x" * 32, b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}', hashlib.sha256)
    assert both == [signature(keys_of(KEY), *MESSAGE), f"v1,{base64.b64encode(expected.digest()).decode()}"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key"),
        ("whsec_", "0 bytes"),
        ("whsec_c2hvcnQ=", "a key of 5 bytes, where 24 to 64"),
        (base64.b64encode(b"x" * 65).decode(), "a key of 65 bytes"),
        ("correct-horse-battery-staple", "not base64"),
        (f"{KEY} nonsense!", "not base64"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        keys_of(text)
    assert "horse" not in str(refused.value)
