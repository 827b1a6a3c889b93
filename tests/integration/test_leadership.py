"""The election on a real Lease: one leads, and another follows when it stops, dies, freezes or can't renew."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import takewhile
from pathlib import Path

import pytest

from e2e.cluster.controlplane import ControlPlane
from serinus.api.kinds import SERVICE
from serinus.kube.client import HttpCluster, open_cluster
from serinus.kube.cluster import NotFound, Unavailable
from serinus.kube.credentials import from_kubeconfig
from serinus.shell.leadership import LEASE, LeaderOnly, Leadership, LeaseTerms
from tests.integration.second_api_server import SecondApiServer
from tests.integration.test_cluster_contract import service

ROOT = Path(__file__).parents[2]
DURATION_SECONDS = 6.0
"""Long enough for a busy machine to renew in time, short enough to be waited for."""


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[HttpCluster]:
    async with open_cluster(from_kubeconfig(plane.kubeconfig)) as cluster:
        yield cluster


class Elector:
    """A process that takes part, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().strip())

    @property
    def leads(self) -> bool:
        turns = [line.split()[0] for line in self.lines if not line.startswith("writes")]
        return bool(turns) and turns[-1] == "gained"

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        await self.process.wait()
        await self._reading


@asynccontextmanager
async def electing(
    plane: ControlPlane, namespace: str, *identities: str, duration_seconds: float = DURATION_SECONDS
) -> AsyncIterator[list[Elector]]:
    path = os.pathsep.join((str(ROOT / "operator"), str(ROOT)))
    electors = []
    try:
        for identity in identities:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.integration.elector"),
                *(plane.server, str(plane.layout.authority.folder), namespace, identity, str(duration_seconds)),
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdout=asyncio.subprocess.PIPE,
            )
            electors.append(Elector(process))
        yield electors
    finally:
        for elector in electors:
            await elector.end()


async def eventually(holds: Callable[[], bool], seconds: float = 60) -> float:
    """Seconds that it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + seconds, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def test_of_several_processes_one_leads(plane: ControlPlane, cluster: HttpCluster, namespace: str):
    async with electing(plane, namespace, "one", "two", "three") as electors:
        await eventually(lambda: any(elector.leads for elector in electors))
        await asyncio.sleep(1.5 * DURATION_SECONDS)  # long enough for the others to try

        assert [elector.leads for elector in electors].count(True) == 1
        lease = await cluster.get(LEASE, namespace, "serinus")
        leader = ["one", "two", "three"][[elector.leads for elector in electors].index(True)]
        assert lease["spec"]["holderIdentity"] == leader
        assert lease["spec"]["leaseTransitions"] == 0
        assert lease["spec"]["renewTime"].endswith("Z")


async def test_a_leader_that_stops_hands_over_without_waiting_for_the_lease_to_run_out(
    plane: ControlPlane, namespace: str
):
    async with electing(plane, namespace, "one", "two", duration_seconds=60) as electors:
        await eventually(lambda: any(elector.leads for elector in electors))
        leader, standby = sorted(electors, key=lambda elector: not elector.leads)
        leader.process.terminate()

        assert await eventually(lambda: standby.leads) < 20
        assert await leader.process.wait() == 0


async def test_a_standby_acts_as_soon_as_the_lease_is_given_back(cluster: HttpCluster, namespace: str):
    gained: list[float] = []
    terms = LeaseTerms(namespace, "serinus", duration_seconds=600, renew_deadline_seconds=400, retry_seconds=300)
    leader = Leadership(cluster, terms, "one", on_gained=lambda: None, on_lost=lambda _: None)
    leading = asyncio.create_task(leader.run())
    await eventually(lambda: leader.leading)
    standby = Leadership(
        cluster, terms, "two", on_gained=lambda: gained.append(time.monotonic()), on_lost=lambda _: None
    )
    waiting = asyncio.create_task(standby.run())
    await eventually(lambda: standby.holder == "one")

    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)

    await eventually(lambda: standby.leading, seconds=60)  # and not after the 300 s of a retry
    assert len(gained) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_standby_makes_a_lease_that_was_deleted(cluster: HttpCluster, namespace: str):
    terms = LeaseTerms(namespace, "serinus", duration_seconds=600, renew_deadline_seconds=400, retry_seconds=300)
    lease = {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.kind,
        "metadata": {"name": "serinus", "namespace": namespace},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 600},
    }
    made = await cluster.create(LEASE, namespace, lease)
    standby = Leadership(cluster, terms, "two", on_gained=lambda: None, on_lost=lambda _: None)
    waiting = asyncio.create_task(standby.run())
    await eventually(lambda: standby.holder == "gone")

    await cluster.delete(LEASE, namespace, "serinus", made["metadata"]["uid"])

    await eventually(lambda: standby.leading, seconds=60)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_leader_that_dies_is_followed_when_its_lease_has_run_out(plane: ControlPlane, namespace: str):
    async with electing(plane, namespace, "one", "two") as electors:
        await eventually(lambda: any(elector.leads for elector in electors))
        leader, standby = sorted(electors, key=lambda elector: not elector.leads)
        leader.process.kill()

        took = await eventually(lambda: standby.leads)
    assert 0.25 * DURATION_SECONDS < took < DURATION_SECONDS + 15


def is_allowed_after(moment: float, line: str) -> bool:
    """Whether a process says that it asked after that moment whether it may write, and might."""
    return line.startswith("writes") and float(line.split()[1]) >= moment


async def test_a_leader_that_was_frozen_writes_nothing_when_it_thaws(plane: ControlPlane, namespace: str):
    async with electing(plane, namespace, "one", "two") as electors:
        await eventually(lambda: any(elector.leads for elector in electors))
        leader, standby = sorted(electors, key=lambda elector: not elector.leads)
        await eventually(lambda: any(line.startswith("writes") for line in leader.lines))
        leader.process.send_signal(signal.SIGSTOP)
        await eventually(lambda: standby.leads)
        said, thawed_at = len(leader.lines), time.monotonic()
        leader.process.send_signal(signal.SIGCONT)

        await eventually(lambda: any(line.startswith("lost") for line in leader.lines[said:]))
        await asyncio.sleep(0.5)
        until_it_leads_again = takewhile(lambda line: line != "gained", leader.lines[said:])
        assert [line for line in until_it_leads_again if is_allowed_after(thawed_at, line)] == []


async def test_a_leader_that_can_not_renew_stops_before_others_may_start(namespace: str, second: SecondApiServer):
    lost: list[str] = []
    terms = LeaseTerms(namespace, "serinus", duration_seconds=30, renew_deadline_seconds=2, retry_seconds=0.3)
    await second.start()
    async with open_cluster(second.credentials) as through_second:
        leadership = Leadership(through_second, terms, "cut-off", on_gained=lambda: None, on_lost=lost.append)
        task = asyncio.create_task(leadership.run())
        await eventually(lambda: leadership.leading)
        second.kill()
        took = await eventually(lambda: bool(lost))

        assert took < terms.duration_seconds
        assert not leadership.leading
        assert "was not renewed for 2 s" in lost[0]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_leader_whose_lease_is_taken_by_hand_stops(cluster: HttpCluster, namespace: str):
    lost: list[str] = []
    terms = LeaseTerms(namespace, "serinus", DURATION_SECONDS, renew_deadline_seconds=5, retry_seconds=0.3)
    leadership = Leadership(cluster, terms, "one", on_gained=lambda: None, on_lost=lost.append)
    task = asyncio.create_task(leadership.run())
    await eventually(lambda: leadership.leading)

    await cluster.merge(
        LEASE, namespace, "serinus", {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 60}}
    )
    await eventually(lambda: bool(lost))

    assert lost == [f"somebody holds Lease {namespace}/serinus now"]
    assert not leadership.leading
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await cluster.get(LEASE, namespace, "serinus"))["spec"]["holderIdentity"] == "somebody"


async def test_a_lease_that_was_deleted_is_made_again(cluster: HttpCluster, namespace: str):
    lost: list[str] = []
    terms = LeaseTerms(namespace, "serinus", DURATION_SECONDS, renew_deadline_seconds=5, retry_seconds=0.2)
    leadership = Leadership(cluster, terms, "one", on_gained=lambda: None, on_lost=lost.append)
    task = asyncio.create_task(leadership.run())
    await eventually(lambda: leadership.leading)
    first = await cluster.get(LEASE, namespace, "serinus")
    await cluster.delete(LEASE, namespace, "serinus", first["metadata"]["uid"])
    uids: set[str] = set()

    async def is_made_again() -> None:
        while not uids - {first["metadata"]["uid"]}:
            with contextlib.suppress(NotFound):
                uids.add((await cluster.get(LEASE, namespace, "serinus"))["metadata"]["uid"])

    async with asyncio.timeout(60):
        await is_made_again()
    assert leadership.leading
    assert lost == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_does_not_lead_reads_and_does_not_write(cluster: HttpCluster, namespace: str):
    made = await cluster.create(SERVICE, namespace, service())
    allowed = False
    gated = LeaderOnly(cluster, lambda: allowed)
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]

    assert (await gated.get(SERVICE, namespace, "iris"))["metadata"]["uid"] == uid
    for write in (
        gated.create(SERVICE, namespace, service("other")),
        gated.apply(SERVICE, namespace, service(), version),
        gated.scale(SERVICE, namespace, "iris", 2, version),
        gated.delete(SERVICE, namespace, "iris", uid),
        gated.write_status(namespace, "iris", {}, version),
    ):
        with pytest.raises(Unavailable, match="not sent, since this process does not hold the Lease"):
            await write
    assert await cluster.get(SERVICE, namespace, "iris") == made
    allowed = True
    await gated.delete(SERVICE, namespace, "iris", uid)
