"""The Kubernetes kinds that Serinus reads or writes, and the names it puts on them.

Owned by the API: labels and annotations are what users select by, and what survives an upgrade of the operator.
"""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "serinus.dev"
VERSION = "v1alpha1"

LABEL_DEPLOYMENT = f"{GROUP}/deployment"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_ROLE = f"{GROUP}/role"
"""On Services only, and so on their EndpointSlices: `stable`, `candidate` or `revision`."""
ROLE_STABLE = "stable"
ROLE_CANDIDATE = "candidate"
ROLE_REVISION = "revision"
"""The Service of one revision's pods: what routes point at."""
LABEL_PREFLIGHT = f"{GROUP}/preflight"
"""On the pods of a preflight Job: the ModelDeployment. They carry none of the labels that Services select by."""
ANNOTATION_STABLE = f"{GROUP}/stable"
"""On a stable Service that leads to the pods of two revisions: which of them is stable."""
ANNOTATION_MOVES = f"{GROUP}/moves"
"""`status.moves` at the time a child was written: the fence against a stale writer."""
ANNOTATION_ADOPT = f"{GROUP}/adopt"
"""On a foreign object: the name of the ModelDeployment that may take it over."""
ANNOTATION_NOTIFY = f"{GROUP}/notify"
"""On a ModelDeployment: names of the receivers that are told of its rollouts, with commas between them."""
MANAGED_BY = "serinus"
FIELD_MANAGER = "serinus"
CONTAINER = "model"
"""Name of the BentoML container in a pod."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A Kubernetes kind and its place in the API."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


MODEL_DEPLOYMENT = Kind(GROUP, VERSION, "ModelDeployment", "modeldeployments")
CLUSTER_ROLLOUT_POLICY = Kind(GROUP, VERSION, "ClusterRolloutPolicy", "clusterrolloutpolicies")
ROLLOUT_POLICY = Kind(GROUP, VERSION, "RolloutPolicy", "rolloutpolicies")
POLICY_KINDS = (CLUSTER_ROLLOUT_POLICY, ROLLOUT_POLICY)
NAMESPACE = Kind("", "v1", "Namespace", "namespaces")
LABEL_NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Kubernetes puts it on every Namespace, with its name."""
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
SERVICE = Kind("", "v1", "Service", "services")
POD = Kind("", "v1", "Pod", "pods")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
"""Made by Kubernetes for each Service, with the Service's labels: where gateways learn which pods there are."""
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
GATEWAY = Kind(HTTP_ROUTE.group, "v1", "Gateway", "gateways")
GATEWAY_CLASS = Kind(HTTP_ROUTE.group, "v1", "GatewayClass", "gatewayclasses")
"""Of the cluster: says which controller a Gateway is run by, and maybe what that can do."""
POD_MONITOR = Kind("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors")
DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
AUTOSCALER = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")
JOB = Kind("batch", "v1", "Job", "jobs")
CUSTOM_METRICS_GROUP = "custom.metrics.k8s.io"
"""The API from which autoscalers read metrics of pods other than CPU and memory: an adapter serves it, or nobody."""

CHILD_KINDS = (
    CONTROLLER_REVISION,
    REPLICA_SET,
    SERVICE,
    HTTP_ROUTE,
    POD_MONITOR,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    AUTOSCALER,
    JOB,
)
