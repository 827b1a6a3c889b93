"""The documentation speaks of what there is: reasons, verdicts, values, metrics, files and links.

Commands and manifests are checked in `test_documented_commands.py` and `test_documented_manifests.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import Collector

from serinus.api.analysis import UndecidedAction
from serinus.api.reasons import REASONS, ConditionType, Reason
from serinus.cli.advice import CURES
from serinus.core.gateways import ENVOY_GATEWAY, TRAEFIK, known_features
from serinus.core.readings import MissingReason
from serinus.core.verdicts import UndecidedReason, VerdictKind
from serinus.kube.client import open_cluster
from serinus.kube.credentials import Credentials
from serinus.settings import Settings
from serinus.shell import app
from serinus.shell.metric_source import NoSource
from serinus.shell.reconciler import PassOutcome
from serinus.shell.telemetry import Telemetry
from serinus.webhooks.sending import open_sender
from tests.contract.fenced import DOCS, PAGES, ROOT


def tables(page: Path, heading: str) -> set[str]:
    """The CamelCase words in the first column of the table under a heading."""
    section = page.read_text().split(f"\n## {heading}")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {word for cell in first_cells for word in re.findall(r"`([A-Z]\w+)`", cell)}


def test_every_reason_for_a_person_to_act_has_its_cure() -> None:
    page = DOCS / "understand-a-waiting-rollout.md"
    told = tables(page, "Reconciling") | tables(page, "Stalled")
    assert told <= set(Reason), "documented reasons that are never written"
    means_no_trouble = {
        Reason.SERVING,
        Reason.STABLE,
        Reason.SETTLED,
        Reason.RUNNING,
        Reason.NOT_STALLED,
        Reason.STARTING,
        Reason.WATCHING,
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.SUPERSEDED,
    }
    elsewhere = {reason for reason in Reason if f"`{reason}`" in page.read_text()}
    unexplained = {Reason.NO_READY_PODS}
    assert set(Reason) - means_no_trouble - unexplained == (told | elsewhere) - unexplained


def test_recovery_from_every_reason_of_stalled_is_told() -> None:
    page = (DOCS / "recover.md").read_text()
    reasons = set(REASONS[ConditionType.STALLED]) - {Reason.NOT_STALLED}
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()
    to_mend = tables(DOCS / "recover.md", "Something has to be mended")
    assert to_mend == set(CURES) - {Reason.STATUS_LOST}, "it has a section of its own"


def test_every_reason_to_be_undecided_is_told() -> None:
    assert tables(DOCS / "undecided.md", "Why it is undecided") == set(UndecidedReason)
    actions = {action for action in UndecidedAction if f"| `{action}`" not in (DOCS / "undecided.md").read_text()}
    assert actions == set()


def test_what_was_tried_with_gateways_is_told_as_it_is_known() -> None:
    rows = [line.split("|")[1:-1] for line in (DOCS / "gateways.md").read_text().splitlines() if line.startswith("|")]
    controllers = [re.search(r"`(.+)`", cell) for cell in rows[0][2:]]
    told = {
        (controller[1], feature)
        for row in rows[2:]
        for feature in re.findall(r"`(HTTP\w+)`", row[0])
        for controller, cell in zip(controllers, row[2:], strict=True)
        if controller is not None and cell.strip() == "works"
    }
    known = {(each, feature.value) for each in (TRAEFIK, ENVOY_GATEWAY) for feature in known_features(each, (), {})}
    assert told == known


def test_verdicts_and_their_reasons_are_told() -> None:
    waiting = (DOCS / "understand-a-waiting-rollout.md").read_text()
    assert tables(DOCS / "understand-a-waiting-rollout.md", "The verdict") == set(VerdictKind)
    assert tables(DOCS / "metrics.md", "When a metric") <= set(MissingReason)
    assert {word for word in re.findall(r"`(\w+)`", waiting) if word in set(UndecidedReason)}


def test_values_named_in_the_pages_are_the_charts() -> None:
    values = yaml.safe_load((ROOT / "charts" / "serinus" / "values.yaml").read_text())

    def known(path: str, node: Any) -> bool:
        for part in path.split("."):
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True

    text = "\n".join(page.read_text() for page in PAGES)
    set_by_helm = set(re.findall(r"--set[ =]([\w.]+)=", text))
    in_tables = set(re.findall(r"^\| `([\w.]+)`(?:, `[\w.]+`)? \|", (DOCS / "install.md").read_text(), re.MULTILINE))
    assert {"prometheus.url", "watchNamespaces"} <= in_tables
    assert {path for path in set_by_helm | in_tables if not known(path, values)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\((?!https?:)([^)#][^)]*)\)", text)]
    files = re.findall(r"`((?:operator|examples|charts|deploy|docs|crds|tests|requirements)/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [file for file in files if not (ROOT / file).exists()]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Those that Markdown gives headings, and those that are written out."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
    return slugs | set(re.findall(r'<a id="([^"]+)">', page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_part_of_a_page_lead_to_it(page: Path) -> None:
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        target = (page.parent / file).resolve() if file else page
        assert anchor in anchors(target), f"{file}#{anchor}"


def test_the_sites_navigation_names_pages_that_exist() -> None:
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert "index.md" in named
    assert [page for page in named if not (DOCS / page).is_file()] == []
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} == set(named), "each has its place"


async def test_the_operators_own_metrics_are_told_as_they_are() -> None:
    """Name, type, labels and meaning, in a table's row for each."""
    credentials, telemetry = Credentials("http://127.0.0.1:1"), Telemetry("test")
    async with open_cluster(credentials) as cluster:
        source, stopping = NoSource(), app._StopSignal()
        async with open_sender(Path(), ()) as post:
            app._Operator(Settings(), credentials, cluster, source, telemetry=telemetry, stopping=stopping, post=post)
        there = {row for collector in telemetry._registry._collector_to_names for row in described(collector)}
    section = (DOCS / "operate.md").read_text().split("\n## Metrics")[1].split("\n## ")[0]
    assert {line for line in section.splitlines() if line.startswith("| `")} == there


def test_alerts_speak_of_metrics_that_there_are() -> None:
    page = (DOCS / "operate.md").read_text()
    there = set(re.findall(r"^\| `(serinus_\w+)` \|", page, re.MULTILINE))
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"serinus_\w+", page)}
    assert len(there) > 15
    assert named <= there


def described(collector: Collector) -> Iterator[str]:
    labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
    for metric in collector.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        if name.startswith("serinus_"):
            yield f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |"


def test_every_outcome_of_a_pass_is_told() -> None:
    page = (DOCS / "operate.md").read_text()
    assert {outcome for outcome in PassOutcome if f"`{outcome}`" not in page} == set()


def test_the_plugin_advises_on_every_reason_that_a_person_has_to_mend() -> None:
    stalled = tables(DOCS / "understand-a-waiting-rollout.md", "Stalled")
    rolled_back = {
        Reason.METRIC_FAILED,
        Reason.PREFLIGHT_FAILED,
        Reason.CONTAINER_RESTARTED,
        Reason.READINESS_LOST,
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        Reason.UNDECIDED_TOO_LONG,
        Reason.EVIDENCE_MISSING_TOO_LONG,
        Reason.ABORTED,
        Reason.RETURNED,
    }
    assert stalled - rolled_back == set(CURES)
