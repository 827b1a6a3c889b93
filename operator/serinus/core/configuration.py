"""The content of ConfigMaps and Secrets as part of the revision: `serving.configChecksum: Auto`.

What of them a spec names, what is known of their content, and which revision the two make. Content comes here only as
digests that are made with a key (`serinus.shell.configuration`), so that a revision, which everybody may read, tells
nothing of a Secret that could be guessed. Called by `serinus.shell`, and by the plugin, which knows no content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import CONFIG_MAP, CONTROLLER_REVISION, SECRET
from serinus.api.reasons import Reason
from serinus.api.revision import revision_hash, revision_of_child
from serinus.api.serving import ConfigChecksum
from serinus.core.observation import Children, Frozen
from serinus.core.raw import list_in, mapping


class Source(NamedTuple):
    """A ConfigMap or Secret in the namespace of the ModelDeployment."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in `serving` that names one."""

    source: Source
    keys: tuple[str, ...] | None
    """What is used of it; None: all."""
    optional: bool
    """Whether pods start without it."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one has."""

    digests: Mapping[str, str]
    """By key."""


@dataclass(frozen=True, slots=True)
class Absent:
    """It is not there."""


@dataclass(frozen=True, slots=True)
class Unread:
    """It could not be read."""

    why: str = ""
    """Empty: nobody has tried yet."""


Known = Content | Absent | Unread


@dataclass(frozen=True, slots=True)
class Configuration:
    """All content that a spec names, as one digest; or why there is none."""

    digest: str | None = None
    """None: not known, so that nothing new may begin."""
    reason: Reason = Reason.CONFIGURATION_UNREADABLE
    message: str = ""
    """Why it is not known, for people. Empty while it is being read."""


NOT_ALLOWED = Configuration(
    message="serving.configChecksum: Auto takes an operator that reads ConfigMaps and Secrets, which this one does "
    "not: set configChecksum.keySecretName in its Helm values, or configChecksum: Ignore in the spec"
)


def asks_for_content(manifest: Mapping[str, Any]) -> bool:
    """Whether a ModelDeployment as the API server has it wants the content to be part of its revision."""
    serving = mapping(mapping(manifest.get("spec")).get("serving"))
    return serving.get("configChecksum") == ConfigChecksum.AUTO


def references(manifest: Mapping[str, Any]) -> tuple[Reference, ...]:
    """All places in its `serving` that name a ConfigMap or a Secret whose content reaches the containers.

    Not `imagePullSecrets`, which no container sees. What has not the shape of core/v1 names nothing.
    """
    serving = mapping(mapping(manifest.get("spec")).get("serving"))
    pod = mapping(mapping(serving.get("podTemplate")).get("spec"))
    containers = [serving, *map(mapping, list_in(pod, "containers")), *map(mapping, list_in(pod, "initContainers"))]
    volumes = [*map(mapping, list_in(serving, "volumes")), *map(mapping, list_in(pod, "volumes"))]
    found = [reference for each in containers for reference in _of_container(each)]
    found += [reference for each in volumes for reference in _of_volume(each)]
    return tuple(dict.fromkeys(found))


def configuration(named: tuple[Reference, ...], look_up: Callable[[Source], Known]) -> Configuration:
    """The digest of all that is named; what pods could not start without has to be there."""
    told: list[tuple[str, str, str, str | None]] = []
    for reference in named:
        source, known = reference.source, look_up(reference.source)
        match known:
            case Unread(why):
                return Configuration(message=f"serving names {source}, which can't be read: {why}" if why else "")
            case Absent():
                if not reference.optional:
                    return _missing(str(source))
                told.append((*source, "", None))
            case Content(digests):
                for key in sorted(digests) if reference.keys is None else reference.keys:
                    if key not in digests and not reference.optional:
                        return _missing(f"key {key} of {source}")
                    told.append((*source, key, digests.get(key)))
    text = json.dumps(sorted(set(told), key=lambda each: (*each[:3], each[3] or "")), separators=(",", ":"))
    return Configuration(digest=hashlib.sha256(text.encode()).hexdigest())


def resolved(deployment: ModelDeployment, children: Children, known: Configuration | None) -> ModelDeployment:
    """The ModelDeployment with the revision that its spec and the content that it names make.

    Where the content is not known, the revision is the last one that was made of the same spec: so nothing looks as if
    the spec asked for something else.
    """
    if deployment.spec.serving.config_checksum is not ConfigChecksum.AUTO:
        return deployment
    if known is not None and known.digest is not None:
        return replace(deployment, revision=revision_hash(deployment.raw_spec, known.digest))
    return replace(deployment, revision=_last_of_same_spec(deployment, children) or deployment.revision)


def frozen_by(deployment: ModelDeployment, known: Configuration | None) -> Frozen | None:
    """Why the revision of the spec is not known; None where it is."""
    if deployment.spec.serving.config_checksum is not ConfigChecksum.AUTO:
        return None
    if known is None:  # the spec that is there now can't be read, and this is an earlier one
        return Frozen(Reason.CONFIGURATION_UNREADABLE, "")
    return None if known.digest is not None else Frozen(known.reason, known.message)


def _last_of_same_spec(deployment: ModelDeployment, children: Children) -> str | None:
    """The candidate, else what was rejected, else stable, else the newest that is kept, where the spec is the same."""
    status, fields = deployment.status, json.loads(json.dumps(deployment.revision_fields))
    same = {
        revision: int(child.manifest.get("revision", 0))
        for (kind, name), child in children.objects.items()
        if kind == CONTROLLER_REVISION.kind
        and (revision := revision_of_child(deployment.metadata.name, name)) is not None
        and (child.manifest.get("data") or {}).get("spec") == fields
    }
    roles = (status.candidate, *status.rejected, status.stable)
    by_role = next((role.revision for role in roles if role is not None and role.revision in same), None)
    return by_role or max(same, key=lambda revision: same[revision], default=None)


def _missing(what: str) -> Configuration:
    return Configuration(
        reason=Reason.CONFIGURATION_MISSING,
        message=f"serving names {what}, which is not there: create it, or say optional: true where it is named; what "
        "serves goes on, and nothing new begins until then",
    )


def _of_container(container: Mapping[str, Any]) -> Iterator[Reference]:
    for variable in map(mapping, list_in(container, "env")):
        source = mapping(variable.get("valueFrom"))
        yield from _named(CONFIG_MAP.kind, mapping(source.get("configMapKeyRef")), key="key")
        yield from _named(SECRET.kind, mapping(source.get("secretKeyRef")), key="key")
    for each in map(mapping, list_in(container, "envFrom")):
        yield from _named(CONFIG_MAP.kind, mapping(each.get("configMapRef")))
        yield from _named(SECRET.kind, mapping(each.get("secretRef")))


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    yield from _named(CONFIG_MAP.kind, mapping(volume.get("configMap")))
    yield from _named(SECRET.kind, mapping(volume.get("secret")), name="secretName")
    for each in map(mapping, list_in(mapping(volume.get("projected")), "sources")):
        yield from _named(CONFIG_MAP.kind, mapping(each.get("configMap")))
        yield from _named(SECRET.kind, mapping(each.get("secret")))


def _named(kind: str, told: Mapping[str, Any], *, name: str = "name", key: str = "") -> Iterator[Reference]:
    """What a reference names: one key, the keys of its `items`, or all."""
    found = told.get(name)
    if not isinstance(found, str) or not found:
        return
    items = tuple(sorted(str(mapping(item).get("key", "")) for item in list_in(told, "items")))
    keys = (str(told.get(key, "")),) if key else items or None
    yield Reference(Source(kind, found), keys, optional=told.get("optional") is True)
