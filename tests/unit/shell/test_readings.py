"""What the reader asks of a metric source."""

from datetime import UTC, datetime, timedelta

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.core.due import EvidenceRequest, Window
from serinus.core.readings import Missing, MissingReason
from serinus.shell.readings import EvidenceReader

START = datetime(2026, 1, 1, tzinfo=UTC)
GATEWAY = {"gateway": {"parentRefs": [{"name": "public"}]}}


class Listener:
    """A source that remembers what it was asked, and knows nothing."""

    def __init__(self):
        self.asked = []

    async def read(self, request):
        self.asked.append(request)
        return Missing(MissingReason.EMPTY, "nothing")

    def query(self, _):
        return ""


@pytest.mark.parametrize(("traffic", "route"), [(GATEWAY, "fraud"), ({}, None)], ids=["gateway", "plain Service"])
async def test_both_revisions_are_asked_for_by_the_route_that_leads_to_them(traffic, route):
    deployment = ModelDeployment.parse(
        {
            "metadata": {"name": "fraud", "namespace": "prod", "uid": "1", "generation": 1},
            "spec": {"serving": {"image": "registry.example.com/fraud:1"}, "traffic": traffic},
        }
    )
    window = Window(START, START + timedelta(minutes=5))
    listener = Listener()
    request = EvidenceRequest(
        moves=1,
        judged="2222222222",
        judged_pods=(),
        window=window,
        pass_since=START,
        baseline="1111111111",
        baseline_window=window,
        concurrent=True,
    )
    await EvidenceReader(listener, 5.0).read(deployment, request)
    assert {(each.pod_prefix, each.route) for each in listener.asked} == {
        ("fraud-1111111111", route),
        ("fraud-2222222222", route),
    }
