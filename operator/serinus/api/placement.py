"""``spec.placement``: which nodes the pods may run on. Part of the revision, without defaults in the CRD.

Read by the renderer of pod templates.
"""

from typing import Annotated, Final

from pydantic import Field

from serinus.api.passthrough import OpenObject, OpenObjects
from serinus.api.schema import ApiModel, rule
from serinus.api.values import Integer, LabelValue, QualifiedName

NVIDIA_PREFIX: Final = "nvidia.com/"


class AcceleratorChoice(ApiModel):
    """One kind of accelerator that will do; given both fields, a node has to satisfy both."""

    product: LabelValue | None = None
    """Product name as GPU Feature Discovery labels the node with it (`nvidia.com/gpu.product`), such as
    `NVIDIA-H100-80GB-HBM3`. When unset, any product."""

    min_memory_gib: Annotated[Integer, Field(ge=1, le=4096)] | None = Field(default=None, alias="minMemoryGiB")
    """Least memory of one GPU in GiB (compared with the node's label `nvidia.com/gpu.memory`, which is in MiB). When
    unset, any size. Cards report a little less than their nominal size: ask for 79, not 80, of an 80 GB card."""

    @rule(
        "has(self.product) || has(self.minMemoryGiB)",
        "an entry of anyOf needs product, minMemoryGiB or both; leave anyOf out to accept any node with the resource",
    )
    def _says_something(self) -> bool:
        return self.product is not None or self.min_memory_gib is not None


class Accelerator(ApiModel):
    """Accelerators each pod gets."""

    resource: QualifiedName | None = None
    """Extended resource to ask for: `nvidia.com/gpu`, a MIG slice such as `nvidia.com/mig-3g.40gb`, `amd.com/gpu` or
    another. When unset, `nvidia.com/gpu`."""

    count: Annotated[Integer, Field(ge=1, le=64)] | None = None
    """Accelerators for each pod. When unset, 1."""

    any_of: Annotated[
        tuple[AcceleratorChoice, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    """Kinds of accelerator that will do, the best one first: nodes with an earlier entry are preferred. When unset, any
    node that has the resource."""

    @rule(
        "!has(self.anyOf) || self.anyOf.size() == 0 || !has(self.resource) || self.resource.startsWith('nvidia.com/')",
        "anyOf reads the node labels of NVIDIA's GPU Feature Discovery and needs a resource of nvidia.com/; select "
        "other accelerators by placement.nodeSelector",
        field_path=".anyOf",
    )
    def _any_of_needs_nvidia(self) -> bool:
        return not self.any_of or self.resource is None or self.resource.startswith(NVIDIA_PREFIX)


class Placement(ApiModel):
    """Which nodes the pods may run on. Part of the revision."""

    accelerator: Accelerator | None = None
    """Accelerators each pod gets. When unset, none. `{}` asks for one NVIDIA GPU of any kind."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels a node has to carry, as in core/v1."""

    tolerations: OpenObjects = ()
    """Taints the pods tolerate, in the shape of core/v1. The usual NoSchedule taint of the accelerator's resource is
    tolerated without being named."""

    affinity: OpenObject = Field(default_factory=dict)
    """Node and pod affinity, in the shape of core/v1. Joined with the affinity made from `accelerator.anyOf`."""

    topology_spread_constraints: OpenObjects = ()
    """How pods spread over zones or nodes, in the shape of core/v1. A constraint without labelSelector counts the pods
    of its own revision."""
