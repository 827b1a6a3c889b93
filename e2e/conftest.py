"""What all end-to-end tests share: the stage, the demo's story, and an eye on the operator's logs.

Most modules have a model of their own and disturb nobody: they wait more than they work, so a few processes run them
beside each other (`-m beside_others --numprocesses 3 --dist loadfile`). The others go one after the other in one
process. The story comes first and has the machine to itself, as its clients' latencies count; the modules that disturb
all of the cluster (Prometheus, the operator, the API server) come last.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from e2e.cluster.locations import CHECKOUT
from e2e.cluster.once import file_lock
from e2e.operator_pods import Logs, wait_until_one_leads
from e2e.stage import Stage, set_up
from e2e.story import Story, play

STORY_NAMESPACE = "e2e-story"

BESIDE_OTHERS = (
    "e2e.test_people",
    "e2e.test_blue_green",
    "e2e.test_bad_candidates",
    "e2e.test_pod_ratio",
    "e2e.test_match_steps",
    "e2e.test_capacity",
    "e2e.test_hand_edits",
    "e2e.test_applied_again",
    "e2e.test_recreate",
    "e2e.test_plain_service",
    "e2e.test_preflight",
    "e2e.test_lost_pods",
    "e2e.test_shares",
    "e2e.test_placement",
    "e2e.test_evicted_pods",
    "e2e.test_spec",
)
"""The longest come first."""
ONE_BY_ONE = (
    "e2e.cluster.test_cluster",
    "e2e.test_story",
    "e2e.test_envoy_gateway",
    "e2e.test_operator",
    "e2e.test_prometheus_outage",
    "e2e.test_operator_killed",
    "e2e.test_api_server_outage",
    "e2e.test_bad_network",
    "e2e.test_helm",
    "e2e.test_argocd",
)
ORDER = BESIDE_OTHERS + ONE_BY_ONE


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules into the order in which they go; one that is not named comes last, alone."""

    def module(item: pytest.Item) -> str:
        return item.nodeid.partition("::")[0].removesuffix(".py").replace("/", ".")

    def place(item: pytest.Item) -> int:
        return ORDER.index(module(item)) if module(item) in ORDER else len(ORDER)

    items.sort(key=place)
    for item in items:
        if module(item) in BESIDE_OTHERS:
            item.add_marker(pytest.mark.beside_others)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """One run at a time in a checkout, whatever the number of its processes: a second one waits."""
    if _is_worker() or session.config.option.collectonly:
        return (yield)
    with file_lock(CHECKOUT / ".state" / "e2e.lock"):
        return (yield)


def _is_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


@pytest.fixture(scope="session")
def stage() -> Stage:
    """The cluster, with Serinus installed and leading."""
    with file_lock(CHECKOUT / ".state" / "stage.lock"):
        stage = set_up()
    wait_until_one_leads(stage)
    return stage


@pytest.fixture(scope="session")
def story(stage: Stage, logs: Logs) -> Iterator[Story]:
    """The demo's story, told once."""
    host = f"{STORY_NAMESPACE}.example.com"  # beside a demo that is still up
    try:
        yield play(stage, STORY_NAMESPACE, lambda _: None, host)
    finally:
        logs.read()
        stage.kubectl.run("delete", "namespace", STORY_NAMESPACE, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def logs(stage: Stage) -> Logs:
    """What the operator logs from now on."""
    logs = Logs(stage)
    logs.forget()
    return logs


@pytest.fixture(autouse=True)
def the_operator_logs_no_trouble(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: no defect, and no right that was missing, in the operator's logs."""
    if "stage" not in request.fixturenames:
        yield
        return
    logs: Logs = request.getfixturevalue("logs")
    yield
    found = logs.new_trouble()
    assert not found, "the operator logged what it never should:\n" + "\n".join(found)
