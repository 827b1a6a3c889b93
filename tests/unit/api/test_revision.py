"""What makes a revision, and what never does."""

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.api.deployment import ModelDeployment
from serinus.api.revision import (
    MAX_CHILD_NAME_LENGTH,
    MAX_NAME_LENGTH,
    candidate_service_name,
    child_name,
    revision_fields,
    revision_hash,
)
from tests.unit.api.bad_specs import IMAGE

LEAVES = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)
SECTIONS = st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=4)
SPECS = st.fixed_dictionaries({"serving": SECTIONS}, optional={"model": SECTIONS, "placement": SECTIONS})
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True)
REVISIONS = st.from_regex(r"[0-9a-f]{10}", fullmatch=True)


def shuffled(value: Any, seed: int) -> Any:
    if isinstance(value, dict):
        entries = [(key, shuffled(item, seed)) for key, item in value.items()]
        random.Random(seed).shuffle(entries)
        return dict(entries)
    return [shuffled(item, seed) for item in value] if isinstance(value, list) else value


@given(SPECS, st.integers())
def test_the_order_of_keys_does_not_matter(spec: dict[str, Any], seed: int):
    assert revision_hash(shuffled(spec, seed)) == revision_hash(spec)


@given(SPECS)
def test_a_revision_survives_storage_as_json(spec: dict[str, Any]):
    assert revision_hash(json.loads(json.dumps(spec))) == revision_hash(spec)


@given(SPECS)
def test_a_revision_is_ten_characters_that_fit_a_dns_label(spec: dict[str, Any]):
    assert re.fullmatch(r"[0-9a-f]{10}", revision_hash(spec))


@given(SPECS, SECTIONS, SECTIONS, SECTIONS, SECTIONS)
def test_other_sections_never_make_a_revision(spec, scaling, traffic, rollout, analysis):
    others = {"scaling": scaling, "traffic": traffic, "rollout": rollout, "analysis": analysis, "suspend": True}

    assert revision_hash(spec | others) == revision_hash(spec)


@given(SPECS, st.text(min_size=1, max_size=6), st.sampled_from(["model", "serving", "placement"]))
def test_an_explicit_null_is_the_same_as_unset(spec: dict[str, Any], field: str, section: str):
    unset = {**spec, section: {key: value for key, value in spec.get(section, {}).items() if key != field}}
    null = {**unset, section: {**unset[section], field: None}}

    assert revision_hash(null) == revision_hash(unset)


@given(SPECS, st.sampled_from(["model", "serving", "placement"]), LEAVES)
def test_a_field_this_version_does_not_know_counts(spec: dict[str, Any], section: str, value: Any):
    changed = {**spec, section: {**spec.get(section, {}), "fieldOfANewerVersion": value}}

    assert revision_hash(changed) != revision_hash(spec)


@given(SPECS)
def test_the_fields_of_a_revision_hash_to_the_same_revision(spec: dict[str, Any]):
    assert revision_hash(revision_fields(spec)) == revision_hash(spec)


@pytest.mark.parametrize(
    "same",
    [
        {"serving": {"image": IMAGE, "env": []}},
        {"serving": {"image": IMAGE, "podTemplate": {}, "bentoml": {}, "resources": {}}},
        {"serving": {"image": IMAGE}, "model": {}, "placement": {}},
        {"serving": {"image": IMAGE}, "placement": {"nodeSelector": {}, "tolerations": []}},
    ],
)
def test_an_empty_value_that_asks_for_nothing_is_the_same_as_unset(same: dict[str, Any]):
    assert revision_hash(same) == revision_hash({"serving": {"image": IMAGE}})


@pytest.mark.parametrize(
    "other",
    [
        {"serving": {"image": IMAGE}, "placement": {"accelerator": {}}},
        {"serving": {"image": IMAGE, "port": 3000}},
        {"serving": {"image": IMAGE, "volumes": [{"name": "tmp", "emptyDir": {}}]}},
        {"serving": {"image": IMAGE, "volumes": [{"name": "tmp"}]}},
        {"serving": {"image": IMAGE}, "model": {"version": "2"}},
        {"serving": {"image": IMAGE, "args": ["a", "b"]}},
        {"serving": {"image": IMAGE, "args": ["b", "a"]}},
    ],
)
def test_what_the_user_set_makes_a_revision_even_where_it_equals_a_default(other: dict[str, Any]):
    assert revision_hash(other) != revision_hash({"serving": {"image": IMAGE}})


def test_revisions_of_released_versions_never_change():
    """A change here would roll out every model anew with the next operator version."""
    released = {
        "model": {"name": "fraud", "version": "2.3.0"},
        "serving": {
            "image": IMAGE,
            "env": [{"name": "GRÜSSE", "value": "ö"}],
            "volumes": [{"name": "a", "emptyDir": {}}],
        },
        "placement": {"accelerator": {}, "nodeSelector": {"b": "2", "a": "1"}},
        "scaling": {"replicas": 3},
    }

    assert revision_hash({"serving": {"image": IMAGE}}) == "4ca0cbacd5"
    assert revision_hash(released) == "dd4e07a036"


def test_a_parsed_resource_knows_its_revision_and_the_fields_that_make_it():
    spec = {"serving": {"image": IMAGE, "newer": {"field": 1}, "args": []}, "scaling": {"replicas": 2}}

    deployment = ModelDeployment.parse({"metadata": {"name": "iris"}, "spec": spec})

    assert deployment.revision == revision_hash(spec)
    assert deployment.revision_fields == {"serving": {"image": IMAGE, "newer": {"field": 1}}}


@given(NAMES, REVISIONS)
def test_names_of_children_leave_room_for_the_names_of_pods(name: str, revision: str):
    child = child_name(name, revision)

    assert len(child) <= MAX_CHILD_NAME_LENGTH
    assert child.endswith(f"-{revision}")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", child)


@given(NAMES)
def test_the_candidates_service_has_a_valid_name(name: str):
    assert len(candidate_service_name(name)) <= 63


def test_short_names_stay_readable():
    assert child_name("fraud", "5c1e0a9b77") == "fraud-5c1e0a9b77"
    assert child_name("a" * 46, "5c1e0a9b77") == "a" * 46 + "-5c1e0a9b77"


def test_long_names_with_one_beginning_stay_apart():
    first, second = "a" * (MAX_NAME_LENGTH - 1) + "b", "a" * (MAX_NAME_LENGTH - 1) + "c"

    assert child_name(first, "5c1e0a9b77") != child_name(second, "5c1e0a9b77")
