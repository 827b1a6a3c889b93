"""`kubectl serinus policies`: the platform's policies, and which resources each holds for.

Who is held by what is taken from the statuses, which the operator keeps: so it is what is in force, and a policy that
is gone and still guards a rollout is listed as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from serinus.api.kinds import CLUSTER_ROLLOUT_POLICY, MODEL_DEPLOYMENT, ROLLOUT_POLICY
from serinus.api.policy import Policy
from serinus.api.status import PolicyStatus
from serinus.cli import options
from serinus.cli.access import Access, Where, with_cluster
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import as_data
from serinus.cli.state import status_of
from serinus.cli.terminal import complain, show, show_data, styled
from serinus.core.plan import Manifest

_GONE = "gone"
_UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Use:
    """What a policy is to one resource."""

    resource: str
    """`namespace/name`."""
    fields: tuple[str, ...]
    """Fields of the resource that it gives."""
    metrics: tuple[str, ...]
    """Its metrics by which the resource is judged."""
    violations: tuple[str, ...]
    """What of the resource is outside its bounds."""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One policy."""

    kind: str
    namespace: str
    name: str
    mode: str
    """`Enforce` or `Audit`; `gone` where there is no such policy any more, `unreadable` where this version can't read
    it."""
    holds_for: tuple[Use, ...]


def rows(policies: Iterable[Manifest], resources: Iterable[Manifest]) -> list[PolicyRow]:
    """The policies in the order of kind, namespace and name, with the resources that say that they are held by them."""
    modes = {_identity(each): _mode(each) for each in policies}
    uses: dict[tuple[str, str, str], list[Use]] = {key: [] for key in modes}
    for resource in resources:
        namespace = resource["metadata"].get("namespace", "")
        for held in _policies_of(resource):
            at = "" if held.kind == CLUSTER_ROLLOUT_POLICY.kind else namespace
            name = f"{namespace}/{resource['metadata']['name']}"
            use = Use(name, tuple(each.field for each in held.fields), held.metrics, held.violations)
            uses.setdefault((held.kind, at, held.name), []).append(use)
    return [
        PolicyRow(*key, modes.get(key, _GONE), tuple(sorted(found, key=lambda use: use.resource)))
        for key, found in sorted(uses.items())
    ]


def _identity(policy: Manifest) -> tuple[str, str, str]:
    metadata = policy["metadata"]
    return str(policy["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


def _mode(policy: Manifest) -> str:
    read = Policy.parse(policy)
    return _UNREADABLE if read.problems else read.spec.bounds.mode.value


def _policies_of(resource: Manifest) -> tuple[PolicyStatus, ...]:
    try:
        return status_of(resource).policies
    except CommandFailed:  # one of another version does not hide the others
        return ()


def table(found: Sequence[PolicyRow], *, wide: bool) -> Table:
    """The rows under a heading, as kubectl prints them."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    headings = ["KIND", "NAMESPACE", "NAME", "BOUNDS", "HOLDS FOR", "TAKEN BY", "OUTSIDE"]
    for heading in [*headings, *(["RESOURCES"] if wide else [])]:
        drawn.add_column(heading, no_wrap=heading != "RESOURCES")
    for each in found:
        taken = sum(bool(use.fields or use.metrics) for use in each.holds_for)
        outside = sum(bool(use.violations) for use in each.holds_for)
        counts = (str(len(each.holds_for)), str(taken), str(outside))
        styles = (each.mode, "yellow" if each.mode in {_GONE, _UNREADABLE} else "")
        cells = [*map(styled, (each.kind, each.namespace, each.name)), styled(styles), *map(styled, counts)]
        names = [styled(", ".join(use.resource for use in each.holds_for))] if wide else []
        drawn.add_row(*cells, *names)
    return drawn


def policies(
    namespace: options.Namespace = None,
    output: options.Form = options.Output.TEXT,
    *,
    everywhere: options.AllNamespaces = False,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """List the platform's policies: for how many resources each holds, how many take from it, how many are outside."""
    where = Where(kubeconfig, context, namespace)
    found = with_cluster(where, lambda access: _look(access, everywhere=everywhere), needs_namespace=not everywhere)
    if output in {options.Output.JSON, options.Output.YAML}:
        show_data(as_data(found), output.value)
    elif not found:
        complain("No policy found")
    else:
        show(table(found, wide=output is options.Output.WIDE))


async def _look(access: Access, *, everywhere: bool) -> list[PolicyRow]:
    found: list[Manifest] = []
    for kind, everywhere_of_it in ((CLUSTER_ROLLOUT_POLICY, True), (ROLLOUT_POLICY, everywhere)):
        listed = await access.listed(kind, everywhere=everywhere_of_it, optional=True)
        found += [{**each, "kind": kind.kind} for each in listed]
    return rows(found, await access.listed(MODEL_DEPLOYMENT, everywhere=everywhere))
