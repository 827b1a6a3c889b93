"""Which nodes a pod may run on, and which ones it prefers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.api.placement import Accelerator
from serinus.core.render import ReservedField
from serinus.core.render.placement import accelerator_affinity, joined_affinity
from tests.unit.core.render.resources import container, pod_spec

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
PRODUCTS = ("H100", "A100", "L4")
MEMORY_MIB = (23034, 40960, 81559)


def placed(**placement: Any) -> dict[str, Any]:
    return pod_spec({"placement": placement})


def admits(term: dict[str, Any], labels: dict[str, str]) -> bool:
    """What the scheduler makes of a node selector term (k8s.io/component-helpers/scheduling/corev1/nodeaffinity)."""

    def holds(rule: dict[str, Any]) -> bool:
        value = labels.get(rule["key"])
        match rule["operator"]:
            case "In":
                return value in rule["values"]
            case "NotIn":
                return value not in rule["values"]
            case "Gt":
                return value is not None and int(value) > int(rule["values"][0])
            case "DoesNotExist":
                return value is None
        raise AssertionError(rule)

    rules = term.get("matchExpressions", [])
    return bool(rules) and all(holds(rule) for rule in rules)


def schedulable(affinity: dict[str, Any], labels: dict[str, str]) -> bool:
    required = affinity.get("nodeAffinity", {}).get(REQUIRED)
    return required is None or any(admits(term, labels) for term in required["nodeSelectorTerms"])


def score(affinity: dict[str, Any], labels: dict[str, str]) -> int:
    preferred = affinity.get("nodeAffinity", {}).get(PREFERRED, [])
    return sum(each["weight"] for each in preferred if admits(each["preference"], labels))


CHOICE = st.fixed_dictionaries(
    {}, optional={"product": st.sampled_from(PRODUCTS), "minMemoryGiB": st.sampled_from([22, 40, 79])}
)
CHOICES = st.lists(CHOICE.filter(bool), min_size=1, max_size=6)
NODES = st.fixed_dictionaries(
    {},
    optional={
        "nvidia.com/gpu.product": st.sampled_from(PRODUCTS),
        "nvidia.com/gpu.memory": st.sampled_from([str(size) for size in MEMORY_MIB]),
        "nvidia.com/gpu.sharing-strategy": st.sampled_from(["none", "mps", "time-slicing"]),
        "pool": st.sampled_from(["serving", "batch"]),
    },
)


def suits(choice: dict[str, Any], node: dict[str, str]) -> bool:
    product, memory = choice.get("product"), choice.get("minMemoryGiB")
    if product is not None and node.get("nvidia.com/gpu.product") != product:
        return False
    if memory is None:
        return True
    shared = node.get("nvidia.com/gpu.sharing-strategy", "none") != "none"
    enough = int(node.get("nvidia.com/gpu.memory", "0")) >= memory * 1024
    return enough and (product is not None or not shared)


@given(CHOICES, NODES)
def test_a_node_is_taken_exactly_when_it_suits_one_of_the_choices(choices: list[dict[str, Any]], node: dict[str, str]):
    affinity = accelerator_affinity(Accelerator.model_validate({"anyOf": choices}))

    assert schedulable(affinity, node) == any(suits(choice, node) for choice in choices)


@given(CHOICES, NODES, NODES)
def test_the_node_that_suits_the_earlier_choice_is_preferred(
    choices: list[dict[str, Any]], one: dict[str, str], other: dict[str, str]
):
    affinity = accelerator_affinity(Accelerator.model_validate({"anyOf": choices}))
    best = [next((i for i, choice in enumerate(choices) if suits(choice, node)), None) for node in (one, other)]
    if len(choices) > 1 and None not in best and best[0] < best[1]:
        assert score(affinity, one) > score(affinity, other)


TERMS = st.lists(
    st.fixed_dictionaries(
        {
            "matchExpressions": st.lists(
                st.one_of(
                    st.just({"key": "pool", "operator": "In", "values": ["serving"]}),
                    st.just({"key": "pool", "operator": "DoesNotExist"}),
                    st.just({"key": "nvidia.com/gpu.product", "operator": "NotIn", "values": ["L4"]}),
                ),
                max_size=2,
            )
        }
    ),
    min_size=1,
    max_size=3,
)


@given(CHOICES, TERMS, NODES)
def test_what_the_user_requires_is_required_besides(
    choices: list[dict[str, Any]], terms: list[dict[str, Any]], node: dict[str, str]
):
    ours = accelerator_affinity(Accelerator.model_validate({"anyOf": choices}))
    theirs = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}
    both = joined_affinity(ours, theirs, "spec.placement.affinity")

    assert schedulable(both, node) == (schedulable(ours, node) and schedulable(theirs, node))


def test_preferences_and_pod_affinity_of_the_user_stay_beside_serinus_own():
    preference = {"weight": 7, "preference": {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}}
    anti = {REQUIRED: [{"topologyKey": "kubernetes.io/hostname"}]}
    found = placed(
        accelerator={"anyOf": [{"product": "H100"}, {"product": "A100"}]},
        affinity={"nodeAffinity": {PREFERRED: [preference]}, "podAntiAffinity": anti},
    )["affinity"]

    assert [each["weight"] for each in found["nodeAffinity"][PREFERRED]] == [100, 50, 7]
    assert found["podAntiAffinity"] == anti


@pytest.mark.parametrize(
    ("affinity", "path"),
    [
        ({"nodeAffinity": []}, "spec.placement.affinity.nodeAffinity"),
        ({"podAffinity": {REQUIRED: "x"}}, f"spec.placement.affinity.podAffinity.{REQUIRED}"),
        ({"nodeAffinity": {REQUIRED: {}}}, f"spec.placement.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"),
        (
            {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": 1}]}}},
            f"spec.placement.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms.matchFields",
        ),
    ],
)
def test_an_affinity_of_the_wrong_shape_is_refused_by_its_path(affinity: dict[str, Any], path: str):
    with pytest.raises(ReservedField, match="core/v1") as refused:
        placed(affinity=affinity)

    assert refused.value.path == path


def test_an_accelerator_is_requested_and_limited_alike():
    found = container(
        {"placement": {"accelerator": {"count": 2}}, "serving": {"resources": {"requests": {"cpu": "1"}}}}
    )

    assert found["resources"] == {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}


def test_a_gpu_named_twice_is_refused():
    with pytest.raises(ReservedField, match=r"remove it here") as refused:
        container({"placement": {"accelerator": {}}, "serving": {"resources": {"limits": {"nvidia.com/gpu": 1}}}})

    assert refused.value.path == "spec.serving.resources.limits[nvidia.com/gpu]"


@pytest.mark.parametrize(
    ("resource", "tainted"),
    [
        (None, ["nvidia.com/gpu"]),
        ("nvidia.com/mig-3g.40gb", ["nvidia.com/mig-3g.40gb", "nvidia.com/gpu"]),
        ("amd.com/gpu", ["amd.com/gpu"]),
    ],
)
def test_the_accelerators_usual_taint_is_tolerated(resource: str | None, tainted: list[str]):
    accelerator = {} if resource is None else {"resource": resource}
    own = {"key": "dedicated", "operator": "Exists"}
    found = placed(accelerator=accelerator, tolerations=[own])["tolerations"]

    assert found == [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in tainted] + [own]


def test_cards_that_pods_share_count_by_memory_only_for_those_that_ask_for_shared_ones():
    shared = {"nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
    plain = placed(accelerator={"anyOf": [{"minMemoryGiB": 40}]})["affinity"]
    asking = placed(accelerator={"resource": "nvidia.com/gpu.shared", "anyOf": [{"minMemoryGiB": 40}]})["affinity"]

    assert not schedulable(plain, shared)
    assert schedulable(asking, shared)


def test_pods_of_a_revision_spread_softly_over_nodes_and_zones():
    found = pod_spec()["topologySpreadConstraints"]

    assert [each["topologyKey"] for each in found] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert {each["whenUnsatisfiable"] for each in found} == {"ScheduleAnyway"}
    assert all("serinus.dev/revision" in each["labelSelector"]["matchLabels"] for each in found)


def test_a_users_constraint_replaces_them_and_counts_its_own_revision_unless_it_says_otherwise():
    strict = {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    own = strict | {"topologyKey": "row", "labelSelector": {"matchLabels": {"tier": "gpu"}}}
    first, second = placed(topologySpreadConstraints=[strict, own])["topologySpreadConstraints"]

    assert "serinus.dev/revision" in first["labelSelector"]["matchLabels"]
    assert second == own
