"""``spec.traffic``: where requests come in. Never makes a revision; read by the router."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from serinus.api.schema import ApiModel, rule
from serinus.api.values import DnsLabel, ObjectName, Port, cel_string

HOSTNAME_PATTERN: Final = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
PATH_PATTERN: Final = r"^/([-A-Za-z0-9._~!$&'()*+,;=:@/]|%[0-9a-fA-F]{2})*$"
_PATH_MESSAGE: Final = (
    "must not contain '//', '/./', '/../', an encoded slash (%2F), nor end in '/.' or '/..': the Gateway API refuses "
    "such a path"
)

SectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Hostname = Annotated[str, StringConstraints(pattern=HOSTNAME_PATTERN, max_length=253)]
Path = Annotated[str, StringConstraints(pattern=PATH_PATTERN, max_length=1024)]


def _path_rule_cel(field: str) -> str:
    unwanted = [cel_string(part) for part in ("//", "/./", "/../", "%2f", "%2F")]
    contains = " || ".join(f"self.{field}.contains({part})" for part in unwanted)
    return f"!has(self.{field}) || !({contains} || self.{field}.endsWith('/.') || self.{field}.endsWith('/..'))"


def _path_is_plain(path: str) -> bool:
    unwanted = any(part in path for part in ("//", "/./", "/../", "%2f", "%2F"))
    return not unwanted and not path.endswith(("/.", "/.."))


class GatewayReference(ApiModel):
    """A Gateway, or one listener of it, that the route attaches to."""

    name: ObjectName
    """Name of the Gateway."""

    namespace: DnsLabel | None = None
    """Namespace of the Gateway. When unset, that of the ModelDeployment. The listener has to admit routes from the
    ModelDeployment's namespace."""

    section_name: SectionName | None = None
    """Name of one listener of the Gateway. When unset, all listeners that admit the route."""


def _admissible(first: GatewayReference, second: GatewayReference) -> bool:
    if first.name != second.name or first.namespace != second.namespace:
        return True
    sections = {first.section_name, second.section_name}
    return len(sections) == 2 and None not in sections


class GatewayTraffic(ApiModel):
    """An HTTPRoute of the Gateway API, made and owned by Serinus, which splits requests by weight."""

    parent_refs: Annotated[
        tuple[GatewayReference, ...],
        Field(min_length=1, max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ]
    """Gateways the route attaches to: at least one. Two entries for one Gateway need different sectionNames."""

    hostnames: Annotated[
        tuple[Hostname, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Host names the route answers to; `*.` stands for any first label. When unset, those of the listener."""

    path_prefix: Path = "/"
    """Path prefix the route answers to, matched by whole path elements. Default `/`, every path."""

    rewrite_prefix: Path | None = None
    """What the path prefix is replaced by before a request reaches the model: `/` strips it. When unset, the path is
    passed on unchanged."""

    @rule(
        "self.parentRefs.all(a, self.parentRefs.exists_one(b, a.name == b.name && "
        "has(a.__namespace__) == has(b.__namespace__) && "
        "(!has(a.__namespace__) || a.__namespace__ == b.__namespace__) && "
        "(!has(a.sectionName) || !has(b.sectionName) || a.sectionName == b.sectionName)))",
        "parentRefs must differ: name a Gateway once, or give each of its entries a sectionName of its own",
        field_path=".parentRefs",
    )
    def _parents_differ(self) -> bool:
        return all(
            _admissible(first, second)
            for position, first in enumerate(self.parent_refs)
            for second in self.parent_refs[position + 1 :]
        )

    @rule(_path_rule_cel("pathPrefix"), f"pathPrefix {_PATH_MESSAGE}", field_path=".pathPrefix")
    def _path_prefix_is_plain(self) -> bool:
        return _path_is_plain(self.path_prefix)

    @rule(_path_rule_cel("rewritePrefix"), f"rewritePrefix {_PATH_MESSAGE}", field_path=".rewritePrefix")
    def _rewrite_prefix_is_plain(self) -> bool:
        return self.rewrite_prefix is None or _path_is_plain(self.rewrite_prefix)


class Traffic(ApiModel):
    """Where requests come in."""

    port: Port = 80
    """Port of the Services, the stable one as well as those of the revisions. Default 80."""

    gateway: GatewayTraffic | None = None
    """Route requests through a gateway, which splits them exactly by weight. When unset, there is only a plain Service,
    which switches all requests at once, or splits them by the number of pods."""
