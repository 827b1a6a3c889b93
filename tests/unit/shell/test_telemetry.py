"""What is counted, and how a decision is told."""

import logging
from typing import Any

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.api.kinds import SERVICE, Kind
from serinus.api.reasons import Happening
from serinus.core.plan import Manifest, Note
from serinus.kube.cluster import Conflict
from serinus.shell.events import EventRecorder
from serinus.shell.telemetry import CountedCluster, Telemetry, Teller

MANIFEST = {"metadata": {"name": "iris"}}


class OnlyCreates:
    """A cluster where a Service can be created once."""

    def __init__(self) -> None:
        self.objects: list[Manifest] = []

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        if self.objects:
            raise Conflict(f"create {kind.kind} {namespace}")
        self.objects.append(manifest)
        return manifest


class KeepsEvents:
    """An event store that is not asked in these tests."""

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> dict[str, Any]:
        raise AssertionError

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> dict[str, Any]:
        raise AssertionError


async def test_writes_are_counted_with_their_result_and_the_error_passes() -> None:
    telemetry = Telemetry("test")
    cluster = CountedCluster(OnlyCreates(), telemetry)  # type: ignore[arg-type] # has the one call that is made
    await cluster.create(SERVICE, "team", MANIFEST)
    with pytest.raises(Conflict):
        await cluster.create(SERVICE, "team", MANIFEST)
    lines = telemetry.exposition().decode().splitlines()
    assert 'serinus_writes_total{kind="Service",result="Done",verb="create"} 1.0' in lines
    assert 'serinus_writes_total{kind="Service",result="Conflict",verb="create"} 1.0' in lines


def iris() -> ModelDeployment:
    return ModelDeployment.parse(
        {
            "metadata": {"name": "iris", "namespace": "team", "uid": "1", "resourceVersion": "5"},
            "spec": {"serving": {"image": "iris:1"}},
        }
    )


async def test_decision_is_one_line_with_its_facts_as_pairs(caplog: pytest.LogCaptureFixture) -> None:
    telemetry, deployment = Telemetry("test"), iris()
    teller = Teller(EventRecorder(KeepsEvents(), "test"), telemetry)
    with caplog.at_level(logging.INFO):
        teller.tell(deployment, Note(Happening.ROLLED_BACK, "errors: 9 %, at most 1 %", "Warning"))
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert vars(line) | {
        "namespace": "team",
        "deployment": "iris",
        "happening": "RolledBack",
        "because": "errors: 9 %, at most 1 %",
    } == vars(line)
    assert b'serinus_happenings_total{happening="RolledBack"} 1.0' in telemetry.exposition()


async def test_what_users_expect_is_logged_and_counted_without_an_event(caplog: pytest.LogCaptureFixture) -> None:
    recorder, telemetry = EventRecorder(KeepsEvents(), "test"), Telemetry("test")
    teller = Teller(recorder, telemetry)
    with caplog.at_level(logging.INFO):
        teller.tell(iris(), Note(Happening.COUNTING_STARTED, "the hold counts", as_event=False))
        assert recorder.waiting == 0
        teller.tell(iris(), Note(Happening.COUNTING_STARTED, "the hold goes on"))
    assert recorder.waiting == 1
    assert [vars(line)["because"] for line in caplog.records] == ["the hold counts", "the hold goes on"]
    assert b'serinus_happenings_total{happening="CountingStarted"} 2.0' in telemetry.exposition()
