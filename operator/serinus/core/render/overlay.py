"""The user's `podTemplate`, merged over the rendered pod template as `kubectl patch` would (strategic merge).

Maps are merged key by key. Lists whose items have an identity are merged by it (`_KEYS`, the API's own patch merge
keys); all other lists replace the rendered one, but for tolerations, which are added, and affinities, which are joined,
so that an overlay never undoes the placement. What Serinus relies on is refused, with the path of the field.

Used by `serinus.core.render.pod_template`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serinus.api.kinds import CONTAINER, GROUP
from serinus.core.render.bentoml import OPTIONS_VARIABLE, refuse_reserved
from serinus.core.render.placement import joined_affinity
from serinus.core.render.refusal import ReservedField, as_list, as_object

_ROOT: Final = "spec.serving.podTemplate"

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "schedulingGates": ("name",),
    "resourceClaims": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "tolerations": ("key", "operator", "value", "effect"),
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
}
"""Lists with identity, by the name of the field. Keys that an item leaves out compare as their default."""

_KEY_DEFAULTS: Final = {"protocol": "TCP", "operator": "Equal", "value": "", "effect": "", "key": ""}

_REPLACED_ITEMS: Final = frozenset({"volumes", "tolerations", "env"})
"""Lists whose items are unions: one of the same key is replaced, not merged, or it would have two sources."""

_RESERVED_IN_MODEL: Final = {
    "startupProbe": "Serinus writes it from serving.startupSeconds; set that",
    "readinessProbe": "Serinus decides by it where traffic may go; leave it out",
    "livenessProbe": "Serinus writes it from the request timeout; leave it out",
    "image": "it is the revision's identity; set spec.serving.image",
    "command": "set spec.serving.command",
    "args": "set spec.serving.args",
}


def merged(template: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """The rendered template (metadata and spec) with the overlay on top.

    Raises `ReservedField` where the overlay sets what Serinus keeps for itself, or has not the shape of a pod template.
    """
    for section in overlay:
        if section not in ("metadata", "spec"):
            raise ReservedField(f"{_ROOT}.{section}", "a pod template has metadata and spec only; remove it")
    _refuse_directives(overlay, _ROOT)
    labels_and_annotations = as_object(overlay.get("metadata", {}), f"{_ROOT}.metadata")
    spec = as_object(overlay.get("spec", {}), f"{_ROOT}.spec")
    _refuse_in_metadata(labels_and_annotations)
    _refuse_in_spec(spec, template)
    result = {
        "metadata": _merge_map(template["metadata"], labels_and_annotations, f"{_ROOT}.metadata"),
        "spec": _merge_map(template["spec"], {k: v for k, v in spec.items() if k != "affinity"}, f"{_ROOT}.spec"),
    }
    if "affinity" in spec:
        before = template["spec"].get("affinity", {})
        result["spec"]["affinity"] = joined_affinity(before, spec["affinity"], f"{_ROOT}.spec.affinity")
    return result


def _refuse_directives(overlay: Any, path: str) -> None:
    if isinstance(overlay, list | tuple):
        for item in overlay:
            _refuse_directives(item, path)
    if isinstance(overlay, Mapping):
        for key, value in overlay.items():
            if key.startswith("$"):
                raise ReservedField(
                    f"{path}.{key}", "directives of strategic merge patches are not supported; remove it"
                )
            _refuse_directives(value, f"{path}.{key}")


def _refuse_in_metadata(overlay: Mapping[str, Any]) -> None:
    for field in overlay:
        if field not in ("labels", "annotations"):
            raise ReservedField(f"{_ROOT}.metadata.{field}", "only labels and annotations can be set; remove it")
    for field in ("labels", "annotations"):
        for key in as_object(overlay.get(field, {}), f"{_ROOT}.metadata.{field}"):
            domain, slash, _ = key.rpartition("/")
            if slash and (domain == GROUP or domain.endswith(f".{GROUP}")):
                path = f"{_ROOT}.metadata.{field}[{key}]"
                raise ReservedField(path, f"names below {GROUP} are Serinus' own; use another domain")


def _refuse_in_spec(overlay: Mapping[str, Any], template: Mapping[str, Any]) -> None:
    root = f"{_ROOT}.spec"
    if "terminationGracePeriodSeconds" in overlay:
        path = f"{root}.terminationGracePeriodSeconds"
        raise ReservedField(path, "it follows from serving.drainSeconds and the request timeout; set those")
    rendered = next(c for c in template["spec"]["containers"] if c["name"] == CONTAINER)
    for item in as_list(overlay.get("containers", ()), f"{root}.containers"):
        container = as_object(item, f"{root}.containers")
        if container.get("name") == CONTAINER:
            _refuse_in_model(container, rendered, f"{root}.containers[{CONTAINER}]")


def _refuse_in_model(overlay: Mapping[str, Any], rendered: Mapping[str, Any], path: str) -> None:
    for field, reason in _RESERVED_IN_MODEL.items():
        if field in overlay:
            raise ReservedField(f"{path}.{field}", reason)
    if "preStop" in as_object(overlay.get("lifecycle", {}), f"{path}.lifecycle"):
        raise ReservedField(f"{path}.lifecycle.preStop", "it drains the pod; set spec.serving.drainSeconds")
    variables = [as_object(item, f"{path}.env") for item in as_list(overlay.get("env", ()), f"{path}.env")]
    refuse_reserved(variables, f"{path}.env", also=(OPTIONS_VARIABLE,))
    (own,) = rendered["ports"]
    for item in as_list(overlay.get("ports", ()), f"{path}.ports"):
        port = as_object(item, f"{path}.ports")
        if port.get("name") == own["name"] or port.get("containerPort") == own["containerPort"]:
            raise ReservedField(f"{path}.ports[{own['name']}]", "Services and probes use it; set spec.serving.port")


def _merge(rendered: Any, overlay: Any, field: str, path: str) -> Any:
    match rendered:
        case Mapping():
            return _merge_map(rendered, as_object(overlay, path), path)
        case list():
            items = as_list(overlay, path)
            return _merge_list(rendered, items, field, path) if field in _KEYS else items
        case _:
            return overlay


def _merge_map(rendered: Mapping[str, Any], overlay: Mapping[str, Any], path: str) -> dict[str, Any]:
    result = dict(rendered)
    for key, value in overlay.items():
        # A list with identity that was not rendered is merged over an empty one: its items are checked all the same.
        before = rendered.get(key, [] if key in _KEYS else None)
        result[key] = _merge(before, value, key, f"{path}.{key}")
    return result


def _merge_list(rendered: Sequence[Any], overlay: Sequence[Any], field: str, path: str) -> list[Any]:
    # What an earlier item of the same overlay brought is in `rendered` too, and nobody has looked at it yet.
    result = {_identity(as_object(item, path), field): item for item in rendered}
    for item in overlay:
        identity = _identity(as_object(item, path), field)
        if identity in result and field not in _REPLACED_ITEMS:
            result[identity] = _merge_map(result[identity], item, f"{path}[{identity[0]}]")
        else:
            result[identity] = item
    return list(result.values())


def _identity(item: Mapping[str, Any], field: str) -> tuple[Any, ...]:
    return tuple(str(item.get(key, _KEY_DEFAULTS.get(key, ""))) for key in _KEYS[field])
