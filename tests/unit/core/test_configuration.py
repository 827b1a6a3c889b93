"""Which ConfigMaps and Secrets a spec names, and what their content makes of its revision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serinus.api.reasons import Reason
from serinus.core.configuration import (
    Absent,
    Configuration,
    Content,
    Known,
    Source,
    Unread,
    asks_for_content,
    configuration,
    frozen_by,
    references,
    resolved,
)
from serinus.core.observation import ChildObject, Children
from serinus.core.render import controller_revision
from tests.unit.core.situations import deployment

SETTINGS, TOKEN = Source("ConfigMap", "settings"), Source("Secret", "token")


def manifest(**serving: Any) -> dict[str, Any]:
    return {"spec": {"serving": {"image": "a/b:1", "configChecksum": "Auto", **serving}}}


def named(**serving: Any) -> set[tuple[str, str, tuple[str, ...] | None, bool]]:
    return {(*each.source, each.keys, each.optional) for each in references(manifest(**serving))}


def of(known: dict[Source, Known], **serving: Any) -> Configuration:
    return configuration(references(manifest(**serving)), lambda source: known.get(source, Absent()))


def test_every_place_that_reaches_a_container_is_found() -> None:
    places: dict[str, Any] = {
        "env": [
            {"name": "A", "value": "x"},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k", "optional": True}}},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "three"}}, {"secretRef": {"name": "four"}}],
        "volumes": [
            {
                "name": "a",
                "configMap": {"name": "five", "items": [{"key": "b", "path": "b"}, {"key": "a", "path": "a"}]},
            },
            {"name": "b", "secret": {"secretName": "six"}},
            {"name": "c", "projected": {"sources": [{"configMap": {"name": "seven"}}, {"secret": {"name": "eight"}}]}},
            {"name": "d", "emptyDir": {}},
        ],
        "imagePullSecrets": [{"name": "registry"}],
        "podTemplate": {
            "spec": {
                "containers": [{"name": "beside", "envFrom": [{"configMapRef": {"name": "nine"}}]}],
                "initContainers": [{"name": "first", "envFrom": [{"secretRef": {"name": "ten"}}]}],
                "volumes": [{"name": "e", "configMap": {"name": "eleven"}}],
            }
        },
    }
    assert named(**places) == {
        ("ConfigMap", "one", ("k",), False),
        ("Secret", "two", ("k",), True),
        ("ConfigMap", "three", None, False),
        ("Secret", "four", None, False),
        ("ConfigMap", "five", ("a", "b"), False),
        ("Secret", "six", None, False),
        ("ConfigMap", "seven", None, False),
        ("Secret", "eight", None, False),
        ("ConfigMap", "nine", None, False),
        ("Secret", "ten", None, False),
        ("ConfigMap", "eleven", None, False),
    }


@pytest.mark.parametrize(
    "serving",
    [
        {"env": "x"},
        {"env": ["x", {"valueFrom": "y"}, {"valueFrom": {"secretKeyRef": []}}]},
        {"envFrom": [None, {"configMapRef": {"name": 7}}]},
        {"volumes": {"a": "b"}, "podTemplate": "z"},
    ],
)
def test_what_has_not_the_shape_of_a_pod_names_nothing(serving: dict[str, Any]) -> None:
    assert named(**serving) == set()


def test_only_auto_asks_for_content() -> None:
    assert asks_for_content(manifest())
    for other in ({}, {"spec": None}, manifest(configChecksum="Ignore"), {"spec": {"serving": {"image": "a"}}}):
        assert not asks_for_content(other)


ENV = {"envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "token"}}]}


def test_every_entry_that_is_used_counts_and_no_other() -> None:
    known = {SETTINGS: Content({"a": "1", "b": "2"}), TOKEN: Content({"t": "3"})}
    before = of(known, **ENV).digest
    assert before == of(known, **ENV).digest
    assert before != of({**known, TOKEN: Content({"t": "4"})}, **ENV).digest
    assert before != of({**known, SETTINGS: Content({"a": "1", "b": "2", "c": "5"})}, **ENV).digest
    one = {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]}
    assert of(known, **one).digest == of({SETTINGS: Content({"a": "1", "b": "other"})}, **one).digest
    assert of(known, **one).digest != of({SETTINGS: Content({"a": "other"})}, **one).digest


def test_the_order_of_the_places_does_not_matter() -> None:
    known = {SETTINGS: Content({"a": "1"}), TOKEN: Content({"t": "3"})}
    turned = {"envFrom": list(reversed(ENV["envFrom"]))}
    assert of(known, **ENV).digest == of(known, **turned).digest


@pytest.mark.parametrize(
    ("known", "reason", "words"),
    [
        ({SETTINGS: Absent()}, Reason.CONFIGURATION_MISSING, "ConfigMap settings"),
        ({SETTINGS: Content({}), TOKEN: Absent()}, Reason.CONFIGURATION_MISSING, "Secret token"),
        (
            {SETTINGS: Unread("403 for you")},
            Reason.CONFIGURATION_UNREADABLE,
            "ConfigMap settings, which can't be read: 403",
        ),
    ],
)
def test_what_is_not_there_or_not_readable_is_named(known: Any, reason: Reason, words: str) -> None:
    told = of(known, **ENV)
    assert told.digest is None
    assert told.reason is reason
    assert words in told.message


def test_a_key_that_is_not_there_is_named_unless_it_is_optional() -> None:
    key = {"name": "settings", "key": "missing"}
    told = of({SETTINGS: Content({"a": "1"})}, env=[{"name": "A", "valueFrom": {"configMapKeyRef": key}}])
    assert "key missing of ConfigMap settings" in told.message
    optional = [{"name": "A", "valueFrom": {"configMapKeyRef": key | {"optional": True}}}]
    without = of({SETTINGS: Content({"a": "1"})}, env=optional)
    assert without.digest is not None
    assert without.digest != of({SETTINGS: Content({"missing": "1"})}, env=optional).digest
    assert without.digest != of({}, env=optional).digest


def test_what_is_still_being_read_is_nothing_to_tell() -> None:
    told = of({SETTINGS: Unread()}, **ENV)
    assert (told.digest, told.message) == (None, "")


AUTO = deployment(serving={"image": "a/b:1", "configChecksum": "Auto", "startupSeconds": 60})


def test_without_auto_the_revision_is_that_of_the_spec_alone() -> None:
    plain = deployment()
    assert resolved(plain, Children(), Configuration("digest")) is plain
    assert frozen_by(plain, None) is None


def test_content_makes_the_revision_and_its_digest_is_not_in_it() -> None:
    one, two = (resolved(AUTO, Children(), Configuration(digest)).revision for digest in ("1" * 64, "2" * 64))
    assert len({one, two, AUTO.revision}) == 3
    assert all(len(each) == 10 for each in (one, two))
    assert frozen_by(AUTO, Configuration("1" * 64)) is None


def test_while_the_content_is_not_known_the_revision_is_the_last_of_the_same_spec() -> None:
    unknown = Configuration(message="gone")
    assert resolved(AUTO, Children(), unknown).revision == AUTO.revision
    kept: dict[tuple[str, str], ChildObject] = {}
    for ordinal, revision in enumerate(("1111111111", "2222222222", "3333333333")):
        record = controller_revision(replace(AUTO, revision=revision), revision, ordinal, 1)
        kept["ControllerRevision", record["metadata"]["name"]] = ChildObject(record, "u", "1", 1)
    children = Children(objects=kept)
    assert resolved(AUTO, children, unknown).revision == "3333333333"
    of_status = AUTO.status.model_copy(update={"candidate": None})
    from tests.unit.core.situations import role

    serves = replace(AUTO, status=of_status.model_copy(update={"stable": role("1111111111")}))
    assert resolved(serves, children, unknown).revision == "1111111111"
    tried = replace(serves, status=serves.status.model_copy(update={"candidate": role("2222222222")}))
    assert resolved(tried, children, None).revision == "2222222222"
    another = deployment(serving={"image": "a/b:2", "configChecksum": "Auto", "startupSeconds": 60})
    assert resolved(another, children, unknown).revision == another.revision
    frozen = frozen_by(AUTO, unknown)
    assert frozen is not None
    assert frozen.message == "gone"
