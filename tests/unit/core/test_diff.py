"""What counts as "already so": defaults of the API server do, fields that change what the object does don't."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from serinus.core.diff import covers

PARENT = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "gateways"}
BACKEND = {"group": "", "kind": "Service", "name": "iris-5c1e0a9b77", "port": 80, "weight": 100}
MATCH = {"path": {"type": "PathPrefix", "value": "/"}}
WANTED: dict[str, Any] = {
    "spec": {"parentRefs": [PARENT], "hostnames": [], "rules": [{"matches": [MATCH], "backendRefs": [BACKEND]}]}
}


def test_a_route_with_a_defaulted_field_more_is_as_wanted():
    observed = copy.deepcopy(WANTED)
    del observed["spec"]["hostnames"]
    observed["spec"]["rules"][0]["name"] = "first"
    assert covers(observed, WANTED)


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        (("parentRefs", 0), {"sectionName": "not-there"}),
        (("parentRefs", 0), {"port": 8443}),
        (("rules", 0, "matches", 0), {"headers": [{"name": "x-cohort", "value": "beta"}]}),
        (("rules", 0, "backendRefs", 0), {"namespace": "elsewhere"}),
    ],
)
def test_a_field_more_that_sends_requests_elsewhere_is_not_as_wanted(path: tuple[Any, ...], extra: dict[str, Any]):
    observed = copy.deepcopy(WANTED)
    place = observed["spec"]
    for key in path:
        place = place[key]
    place.update(extra)
    assert not covers(observed, WANTED)


def test_a_selector_with_a_key_more_is_not_as_wanted():
    assert not covers({"selector": {"a": "1", "b": "2"}}, {"selector": {"a": "1"}})
