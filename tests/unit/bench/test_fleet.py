"""Which resources there are."""

from __future__ import annotations

from bench.fleet import keys


def test_every_key_is_one_of_its_own_in_a_few_namespaces():
    some = keys(500)
    assert len(set(some)) == 500
    assert len({namespace for namespace, _ in some}) == 10
    assert len({namespace for namespace, _ in keys(10)}) == 2
