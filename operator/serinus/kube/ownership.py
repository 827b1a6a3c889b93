"""Who owns the fields of a child, in the sense of server-side apply.

Server-side apply removes what its manager applied earlier and leaves out now, and nothing else. Two things would stay
for good: what the object was made with, since children are made by POST (so that a foreign object is never written) and
API servers book that as an `Update`; and what somebody added by hand. A Service with another port would have two, and
one with a selector that was added to would select no pod. So before an apply, all of the spec is booked as applied by
us, as client-go's `csaupgrade` does with its own fields. What others put into metadata and status stays theirs.

Called by `serinus.kube.client`; the caches keep what they see of it (`only_whether_booked`), and of a ModelDeployment
who asks for an action (`only_who_asked`). Most applies take nothing out of the object, and need no books at all
(`takes_nothing_out`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serinus.api.deployment import owned_annotations
from serinus.api.kinds import AUTOSCALER, FIELD_MANAGER, GROUP, HTTP_ROUTE, REPLICA_SET, SERVICE, Kind
from serinus.core.plan import Manifest

_SPEC: Final = "f:spec"
_NEVER_APPLIED: Final[Mapping[Kind, frozenset[str]]] = {
    REPLICA_SET: frozenset({"f:replicas"}),
    AUTOSCALER: frozenset({"f:behavior"}),
}
"""Fields of the spec that are set at creation and only scaled afterwards, or by people alone: an apply that owned them
would reset them."""

_FILLED_IN: Final[Mapping[Kind, frozenset[str]]] = {
    AUTOSCALER: frozenset({"behavior"}),
    HTTP_ROUTE: frozenset(),
    SERVICE: frozenset(
        ("clusterIP", "clusterIPs", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "sessionAffinity")
    ),
}
"""Fields of the spec that the API server or people add, of the kinds whose specs else consist of values that an apply
replaces whole: the lists of an HTTPRoute and of an autoscaler and the selector of a Service are atomic, and the ports
of a Service are compared."""
_OURS: Final = (f"{GROUP}/", "app.kubernetes.io/")
"""Beginnings of the labels and annotations that Serinus writes."""


def takes_nothing_out(kind: Kind, observed: Manifest, wanted: Manifest) -> bool:
    """Whether an apply of `wanted` turns the spec into what is wanted, whoever is booked as owner of its fields.

    That is so where all that is there is wanted with another value at most: nothing has to go.
    """
    if kind not in _FILLED_IN:
        return False
    spec, wanted_spec = observed["spec"], wanted["spec"]
    extra = spec.keys() - wanted_spec.keys() - _FILLED_IN[kind]
    return not extra and spec.get("ports") == wanted_spec.get("ports") and not _leaves_out_labels(observed, wanted)


def _leaves_out_labels(observed: Manifest, wanted: Manifest) -> bool:
    return any(
        key.startswith(_OURS) and key not in wanted["metadata"].get(place, {})
        for place in ("labels", "annotations")
        for key in observed["metadata"].get(place) or ()
    )


def booked_as_apply(kind: Kind, managed_fields: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """`metadata.managedFields` with the spec, and all that `serinus` wrote, booked as applied by `serinus`.

    None if they are booked so already. Entries of subresources (status, scale) are left alone.
    """
    exempt = _NEVER_APPLIED.get(kind, frozenset())
    applied: dict[str, Any] = {}
    others: list[Mapping[str, Any]] = []
    origin: Mapping[str, Any] | None = None
    for entry in managed_fields:
        fields = entry.get("fieldsV1") or {}
        if _is_applied_by_us(entry):
            applied = _union(applied, fields)
        elif entry.get("subresource"):
            others.append(entry)
        else:
            ours = entry.get("manager") == FIELD_MANAGER
            taken, left = _divide(fields, exempt, whole=ours)
            if taken:
                origin = origin or entry
                applied = _union(applied, taken)
            if left:
                others.append({**entry, "fieldsV1": left})
    if origin is None:
        return None
    booked = next((entry for entry in managed_fields if _is_applied_by_us(entry)), origin)
    return [{**booked, "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": applied}, *others]


def without_managed_fields(manifest: dict[str, Any]) -> Manifest:
    """The object without `metadata.managedFields`, which are most of its size."""
    metadata = {key: value for key, value in manifest.get("metadata", {}).items() if key != "managedFields"}
    return {**manifest, "metadata": metadata}


def only_whether_booked(kind: Kind, manifest: dict[str, Any]) -> Manifest:
    """The object without `metadata.managedFields`, which are most of its size: an empty list says it is booked as ours.

    For the caches of kinds that are applied again and again, where to look it up each time would double the calls. Of
    who changed its spec after us, as people do by hand, the name and the time stay (`changed_by`).
    """
    metadata = dict(manifest["metadata"])
    fields = metadata.pop("managedFields", None) or ()
    if any(map(_is_applied_by_us, fields)) and booked_as_apply(kind, fields) is None:
        metadata["managedFields"] = []
    elif (changed := _changed_after_us(fields)) is not None:
        metadata["managedFields"] = [{"manager": changed["manager"], "time": changed["time"], "fieldsV1": {_SPEC: {}}}]
    return {**manifest, "metadata": metadata}


def changed_by(manifest: Manifest) -> str:
    """Who changed the spec of an object after Serinus wrote it last; empty where that is not known, or nobody."""
    changed = _changed_after_us(manifest["metadata"].get("managedFields") or ())
    return str(changed["manager"]) if changed is not None else ""


def only_who_asked(manifest: dict[str, Any]) -> Manifest:
    """The ModelDeployment with as much of `metadata.managedFields` as says who set the annotations that are ours."""
    metadata = dict(manifest["metadata"])
    entries = metadata.pop("managedFields", None) or ()
    asked = [kept for entry in entries if (kept := _of_our_annotations(entry)) is not None]
    if asked:
        metadata["managedFields"] = asked
    return {**manifest, "metadata": metadata}


def _of_our_annotations(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    ours: dict[str, Any] = {key: {} for key in owned_annotations(entry) if key.startswith(f"f:{GROUP}/")}
    fields = {"f:metadata": {"f:annotations": ours}}
    return {**entry, "fieldsV1": fields} if ours else None


def is_booked(manifest: Manifest) -> bool:
    """Whether a cached object is known to be booked as ours."""
    return bool(manifest["metadata"].get("managedFields") == [])


def _changed_after_us(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The entry of who changed the spec last, if no write of ours is later. Times are in whole seconds."""
    of_spec = [each for each in entries if _SPEC in (each.get("fieldsV1") or {}) and not each.get("subresource")]
    ours = max((str(each.get("time", "")) for each in of_spec if each.get("manager") == FIELD_MANAGER), default="")
    others = [each for each in of_spec if each.get("manager") != FIELD_MANAGER and {"manager", "time"} <= each.keys()]
    newest = max(others, key=lambda each: str(each["time"]), default=None)
    return newest if newest is not None and str(newest["time"]) >= ours else None


def _is_applied_by_us(entry: Mapping[str, Any]) -> bool:
    ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
    return ours and not entry.get("subresource")


def _divide(fields: Mapping[str, Any], exempt: frozenset[str], *, whole: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is to be booked as ours, and what the entry keeps; `whole`: all of it but what is exempt, else the spec."""
    spec = fields.get(_SPEC, {})
    taken_spec = {key: value for key, value in spec.items() if key not in exempt}
    kept_spec = {key: value for key, value in spec.items() if key in exempt}
    rest = {key: value for key, value in fields.items() if key != _SPEC}
    taken = ({_SPEC: taken_spec} if taken_spec else {}) | (rest if whole else {})
    kept = ({_SPEC: kept_spec} if kept_spec and not whole else {}) | ({} if whole else rest)
    return taken, kept


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _union(merged.get(key, {}), value)
    return merged
