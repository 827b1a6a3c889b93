"""What makes a revision: the fields of ``model``, ``serving`` and ``placement`` as the user set them, hashed.

Works on the spec as the API server stores it, not on the parsed models: fields that a newer CRD knows and this operator
does not are counted as well, and the operator's defaults never are. So neither a new default nor a new operator version
makes a revision. Read by ``serinus.api.deployment`` and wherever a ControllerRevision is compared with the spec. Names
of a revision's objects are made here too.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

REVISION_LENGTH: Final = 10

SECTIONS: Final = ("model", "serving", "placement")

_MEANINGFUL_WHEN_EMPTY: Final = frozenset({("placement", "accelerator")})

MAX_NAME_LENGTH: Final = 53
"""Longest ``metadata.name``: ``<name>-candidate`` has to be a Service, whose names end at 63 characters."""

MAX_CHILD_NAME_LENGTH: Final = 57
"""Longest name of a revision's objects: generated pod names cut their prefix at 58, and would lose the revision."""

MAX_JOB_NAME_LENGTH: Final = 63

DEPLOYMENT_NAME_PATTERN: Final = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"

_NAME_DIGEST_LENGTH: Final = 8


def revision_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the user set in the sections that make a revision.

    Null is the same as unset everywhere, as it is to the API server. An empty map or list is the same as unset where it
    stands for a whole section or directly in one (``model: {}``, ``serving.env: []``), since it asks for nothing there;
    ``placement.accelerator: {}`` asks for one accelerator and counts. Deeper down, empty values count
    (``volumes: [{name: tmp, emptyDir: {}}]``). Text counts as written: the quantities ``1`` and ``"1000m"`` differ, and
    so does the order of lists.
    """
    sections = {name: _section_fields(name, spec.get(name)) for name in SECTIONS}
    return {name: fields for name, fields in sections.items() if fields}


def revision_hash(spec: Mapping[str, Any], configuration: str = "") -> str:
    """The revision of a raw ``spec``: ten hexadecimal characters of the SHA-256 of its canonical JSON.

    Canonical means: ``revision_fields``, keys sorted by code point, no white space, UTF-8. ``configuration`` is the
    digest of the ConfigMaps and Secrets that it names, where their content is part of the revision.
    """
    canonical = json.dumps(revision_fields(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    whole = f"{canonical}\n{configuration}" if configuration else canonical
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:REVISION_LENGTH]


def child_name(deployment: str, revision: str) -> str:
    """Name of a revision's ReplicaSet, Service and ControllerRevision: ``<deployment>-<revision>``.

    At most 57 characters. A deployment's name that is too long for that is cut and given eight characters of its own
    digest, so that two long names with one beginning stay apart.
    """
    return f"{_shortened(deployment, MAX_CHILD_NAME_LENGTH - len(revision) - 1)}-{revision}"


def preflight_job_name(deployment: str, revision: str, attempt: int) -> str:
    """Name of the Job that tries a revision in one attempt: ``<deployment>-<revision>-preflight-<attempt>``.

    At most 63 characters, as it becomes a label of its pods; a longer name is cut as that of a child.
    """
    suffix = f"-{revision}-preflight-{attempt}"
    return f"{_shortened(deployment, MAX_JOB_NAME_LENGTH - len(suffix))}{suffix}"


def _shortened(deployment: str, room: int) -> str:
    if len(deployment) <= room:
        return deployment
    digest = hashlib.sha256(deployment.encode()).hexdigest()[:_NAME_DIGEST_LENGTH]
    return f"{deployment[: room - _NAME_DIGEST_LENGTH - 1].rstrip('-')}-{digest}"


def revision_of_child(deployment: str, child: str) -> str | None:
    """The revision of an object by its name, which nobody can edit; None for a name that ``child_name`` does not give.

    Labels say the same until somebody removes or changes them.
    """
    revision = child[-REVISION_LENGTH:]
    return revision if child_name(deployment, revision) == child else None


def candidate_service_name(deployment: str) -> str:
    """Name of the Service that leads to the candidate while there is one."""
    return f"{deployment}-candidate"


def network_policy_name(deployment: str) -> str:
    """Name of the NetworkPolicy of its pods: not the name alone, which people give to one of their own."""
    return f"{deployment}-serving"


def _section_fields(section: str, value: object) -> object:
    fields = without_nulls(value)
    if not isinstance(fields, dict):
        return fields
    return {
        name: field
        for name, field in fields.items()
        if field not in ({}, []) or (section, name) in _MEANINGFUL_WHEN_EMPTY
    }


def without_nulls(value: object) -> object:
    """The value without null fields, which are the same as unset to the API server."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value
