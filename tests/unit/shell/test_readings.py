"""What the reader asks of a metric source."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.api.status import MetricSlices
from serinus.api.values import Percent
from serinus.core.due import EvidenceRequest, Survey, Window
from serinus.core.readings import Missing, MissingReason, SliceCounts
from serinus.core.verdicts import Undecided
from serinus.shell.readings import EvidenceReader

START = datetime(2026, 1, 1, tzinfo=UTC)
GATEWAY = {"gateway": {"parentRefs": [{"name": "public"}]}}
WINDOW = Window(START, START + timedelta(minutes=5))
SURVEY = Survey("1111111111", Window(START - timedelta(hours=1), START), 3600.0, 3600.0)
REQUEST = EvidenceRequest(
    moves=1,
    judged="2222222222",
    judged_pods=(),
    window=WINDOW,
    pass_since=START,
    baseline="1111111111",
    baseline_window=WINDOW,
    concurrent=True,
)
FIXED = MetricSlices(
    metric="errors", label="country", values=("DE", "FR"), least_percent=Percent("1"), rest_percent=Percent("10")
)


class Listener:
    """A source that remembers what it was asked, and knows nothing but slices."""

    def __init__(self, slices=None):
        self.asked, self.surveyed, self.known = [], [], slices

    async def read(self, request):
        self.asked.append(request)
        return Missing(MissingReason.EMPTY, "nothing")

    async def slices(self, request, *, most):
        self.surveyed.append((request, most))
        return self.known

    def query(self, _):
        return ""


def deployment(traffic=None, **metric):
    errors = {"name": "errors", "errors": {}, "limit": {"maxPercent": "1"}, **metric}
    return ModelDeployment.parse(
        {
            "metadata": {"name": "fraud", "namespace": "prod", "uid": "1", "generation": 1},
            "spec": {
                "serving": {"image": "registry.example.com/fraud:1"},
                "traffic": traffic or {},
                "analysis": {"metrics": [errors]},
            },
        }
    )


@pytest.mark.parametrize(("traffic", "route"), [(GATEWAY, "fraud"), ({}, None)], ids=["gateway", "plain Service"])
async def test_both_revisions_are_asked_for_by_the_route_that_leads_to_them(traffic, route):
    listener = Listener()
    await EvidenceReader(listener, 5.0).read(deployment(traffic), REQUEST)
    assert {(each.pod_prefix, each.route) for each in listener.asked} == {
        ("fraud-1111111111", route),
        ("fraud-2222222222", route),
    }


async def test_slices_that_are_not_fixed_yet_are_chosen_and_nothing_is_judged():
    listener = Listener(SliceCounts(1e6, {"FR": 3e5, "DE": 6e5, "LI": 5.0}))
    found = await EvidenceReader(listener, 5.0).read(deployment(perSlice="country"), replace(REQUEST, survey=SURVEY))
    assert found.slices == (FIXED,)
    assert isinstance(found.verdicts[0].verdict, Undecided)
    assert "it is fixed first by which values of country it is judged" in found.verdicts[0].message
    assert listener.asked == [], "no evidence is read"
    ((asked, most),) = listener.surveyed
    assert (asked.pod_prefix, asked.slice_label, most) == ("fraud-1111111111", "country", 20)
    assert (asked.grid.anchor, asked.end) == ((START - timedelta(hours=1)).timestamp(), START.timestamp())


async def test_slices_that_are_fixed_are_judged_by_and_not_asked_for_again():
    listener = Listener()
    found = await EvidenceReader(listener, 5.0).read(
        deployment(perSlice="country"), replace(REQUEST, survey=SURVEY, slices=(FIXED,))
    )
    assert found.slices == ()
    assert listener.surveyed == []
    assert {each.slice_label for each in listener.asked} == {"country"}


@pytest.mark.parametrize("other", [{"label": "region"}, {"metric": "latency"}], ids=["label", "metric"])
async def test_slices_of_something_else_are_not_taken(other):
    listener = Listener(SliceCounts(0.0, {}))
    found = await EvidenceReader(listener, 5.0).read(
        deployment(perSlice="country"),
        replace(REQUEST, survey=SURVEY, slices=(FIXED.model_copy(update=other),)),
    )
    assert [(each.metric, each.label, each.values) for each in found.slices] == [("errors", "country", ())]


async def test_a_survey_that_can_not_be_had_is_missing_evidence():
    lost = Missing(MissingReason.TIMEOUT, "Prometheus did not answer.")
    found = await EvidenceReader(Listener(lost), 5.0).read(
        deployment(perSlice="country"), replace(REQUEST, survey=SURVEY)
    )
    assert found.slices == ()
    assert found.verdicts[0].verdict == lost


async def test_where_nothing_served_before_there_is_nothing_to_ask():
    listener = Listener()
    survey = replace(SURVEY, revision=None)
    found = await EvidenceReader(listener, 5.0).read(deployment(perSlice="country"), replace(REQUEST, survey=survey))
    assert (listener.surveyed, found.slices[0].values) == ([], ())


class Labelled(Listener):
    """A source with a question that nothing answers."""

    def query(self, _):
        return 'requests_total{namespace="prod",pod=~"fraud-2222222222-.+"}'


async def test_a_metric_that_nobody_reports_quotes_the_question():
    found = await EvidenceReader(Labelled(), 5.0).read(deployment(), REQUEST)
    assert found.verdicts[0].message.endswith(f"Asked was {Labelled().query(None)}")
    assert found.verdicts[0].query == Labelled().query(None)
