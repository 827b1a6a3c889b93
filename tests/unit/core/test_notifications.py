"""Who is told of which decisions: once each, in order, and never of what was decided before."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from serinus.api.deployment import ModelDeployment
from serinus.api.notifications import Escape, Receiver, parse_receivers
from serinus.api.reasons import Happening, Phase
from serinus.api.status import HistoryEntry, ModelDeploymentStatus, NotifiedReceiver, PolicyStatus
from serinus.core.conditions import conditions
from serinus.core.decide import decide
from serinus.core.notifications import body_of, due, receivers_of
from serinus.core.observation import Capabilities
from serinus.core.plan import Move, Plan, Realise
from tests.unit.core.situations import (
    CANDIDATE,
    NOW,
    STABLE,
    children,
    deployment,
    observation,
    seconds,
    situation,
    status,
)

SLACK = Receiver()
ALL_SERVE = children({STABLE: 4, CANDIDATE: 4}, {STABLE: 100}, selected=STABLE)
IDLE = children({STABLE: 4}, {STABLE: 100}, selected=STABLE)


def notifying(names: str) -> ModelDeployment:
    return deployment({"serinus.dev/notify": names})


def entry(
    number: int, event: Happening = Happening.PROMOTED, revision: str = STABLE, because: str = ""
) -> HistoryEntry:
    return HistoryEntry(at=NOW + seconds(number), event=event, revision=revision, because=because, number=number)


def told_up_to(number: int, *entries: HistoryEntry, receiver: str = "slack") -> ModelDeploymentStatus:
    marks = (NotifiedReceiver(receiver=receiver, up_to=number),)
    return status().model_copy(update={"history": entries, "notified": marks})


def numbers(of: ModelDeployment, told: ModelDeploymentStatus, receiver: Receiver = SLACK) -> list[int]:
    return [each.number for each in due(replace(of, status=told), "slack", receiver)]


def moved(plan: Plan) -> ModelDeploymentStatus:
    assert isinstance(plan.action, Move)
    return plan.action.status


# Who ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "names"),
    [
        ("slack-ml", ("slack-ml",)),
        (" slack-ml , teams,slack-ml,", ("slack-ml", "teams")),
        ("https://evil.example/hook,teams", ("teams",)),
        ("Slack ML", ()),
        ("", ()),
        (",".join(f"r{number}" for number in range(30)), tuple(f"r{number}" for number in range(10))),
    ],
)
def test_the_annotation_names_receivers_and_nothing_else(annotation: str, names: tuple[str, ...]):
    assert receivers_of(notifying(annotation)) == names


def test_without_the_annotation_nobody_is_told():
    assert receivers_of(deployment()) == ()


def holding(name: str, *receivers: str, kind: str = "ClusterRolloutPolicy") -> PolicyStatus:
    return PolicyStatus(kind=kind, name=name, notify=receivers)


def under(of: ModelDeployment, *policies: PolicyStatus) -> ModelDeployment:
    return replace(of, status=of.status.model_copy(update={"policies": policies}))


def test_policies_name_receivers_too_and_theirs_come_first():
    house, team = holding("house", "sre", "slack"), holding("team", "audit", kind="RolloutPolicy")
    assert receivers_of(under(deployment(), team, house)) == ("audit", "sre", "slack")
    assert receivers_of(under(notifying("slack,own"), team, house)) == ("audit", "sre", "slack", "own")
    many = notifying(",".join(f"r{number}" for number in range(10)))
    assert receivers_of(under(many, house)) == ("sre", "slack", *(f"r{number}" for number in range(8)))


def test_a_policy_that_does_not_hold_any_more_names_nobody():
    before = under(notifying("own"), holding("house", "sre"))
    assert receivers_of(before, policies=()) == ("own",)


def test_who_names_a_receiver_that_there_is_not_is_told():
    told = told_of_unknown(under(notifying("slak,slack"), holding("house", "pagr", "slack")), {"slack": SLACK})
    assert told is not None
    assert told[2].startswith("ClusterRolloutPolicy house names pagr; serinus.dev/notify names slak: nobody is told")


def told_of_unknown(
    of: ModelDeployment, receivers: dict[str, Receiver], before: Any = ()
) -> tuple[str, str, str] | None:
    told = status().model_copy(update={"conditions": before, "policies": of.status.policies})
    seen = conditions(situation(told, IDLE, of, capabilities=Capabilities(receivers=receivers)), None)
    found = next((each for each in seen if each.type == "ReceiversUnknown"), None)
    return (found.status, found.reason, found.message) if found else None


def test_a_receiver_that_there_is_not_is_told_with_those_that_there_are():
    told = told_of_unknown(notifying("slak"), {"slack": SLACK, "other-team": Receiver(namespaces=("others",))})
    assert told is not None
    assert told[:2] == ("True", "NoSuchReceiver")
    assert "names slak: nobody is told there" in told[2]
    assert told[2].endswith("for namespace models it has slack")


def test_another_namespaces_receiver_is_as_one_that_there_is_not():
    others = {"pager": Receiver(namespaces=("others",))}
    told = told_of_unknown(notifying("pager"), others)
    assert told is not None
    assert told[2].endswith("for namespace models it has none")
    assert numbers(notifying("slack"), told_up_to(0, entry(1)), Receiver(namespaces=("others",))) == []


def test_what_is_no_name_and_one_too_many_are_told_as_well():
    receivers = {f"r{number}": SLACK for number in range(11)}
    told = told_of_unknown(notifying("https://evil.example/" + "x" * 500), receivers)
    assert told is not None
    assert "https://evil.example/" in told[2]
    assert len(told[2]) < 600
    eleven = told_of_unknown(notifying(",".join(receivers)), receivers)
    assert eleven is not None
    assert "names r10: nobody" in eleven[2]


def test_there_is_no_condition_before_it_was_ever_so_and_it_ends_with_the_mistake():
    receivers = {"slack": SLACK}
    assert told_of_unknown(notifying("slack"), receivers) is None
    wrong = situation(status(), IDLE, notifying("slak"), capabilities=Capabilities(receivers=receivers))
    over = told_of_unknown(notifying("slack"), receivers, conditions(wrong, None))
    assert over is not None
    assert over[:2] == ("False", "ReceiversKnown")


# What is remembered ---------------------------------------------------------------------------------------------------


def test_a_receiver_is_told_from_the_first_decision_after_it_was_named():
    before = status().model_copy(update={"history": (entry(4), entry(3))})

    after = moved(decide(observation(before, IDLE, notifying("slack"))))

    assert [each.event for each in after.history][:1] == [Happening.CANDIDATE_STARTED]
    assert after.history[0].number == 5
    assert after.notified == (NotifiedReceiver(receiver="slack", up_to=4),)
    assert numbers(notifying("slack"), after) == [5]


def test_a_history_of_a_version_that_did_not_count_is_not_told():
    old = status().model_copy(update={"history": (entry(4).model_copy(update={"number": 0}),)})
    after = moved(decide(observation(old, IDLE, notifying("slack"))))
    assert after.history[0].number == 1
    assert numbers(notifying("slack"), after) == [1]


def test_a_decision_leaves_alone_what_was_remembered_of_the_others_and_drops_who_is_not_named_any_more():
    before = told_up_to(2, entry(4), entry(3)).model_copy(
        update={"notified": tuple(NotifiedReceiver(receiver=name, up_to=2) for name in ("gone", "slack"))}
    )
    after = moved(decide(observation(before, IDLE, notifying("slack,teams"))))
    assert [(each.receiver, each.up_to) for each in after.notified] == [("slack", 2), ("teams", 4)]


def test_an_idle_resource_writes_nothing_for_an_annotation():
    idle = deployment({"serinus.dev/notify": "slack"})
    rejected = status(Phase.IDLE, stable=CANDIDATE)
    seen = children({CANDIDATE: 4}, {CANDIDATE: 100}, selected=CANDIDATE)
    first = decide(observation(rejected, seen, idle, capabilities=Capabilities(receivers={"slack": SLACK})))
    assert isinstance(first.action, Realise)
    assert first.action.status is not None
    settled = first.action.status
    again = decide(observation(settled, seen, idle, capabilities=Capabilities(receivers={"slack": SLACK})))
    assert isinstance(again.action, Realise)
    assert again.action.status is None


def test_what_was_sent_is_recorded_by_the_next_pass_at_once():
    seen = children({CANDIDATE: 4}, {CANDIDATE: 100}, selected=CANDIDATE)
    idle = status(Phase.IDLE, stable=CANDIDATE)
    told = told_up_to(1, entry(3), entry(2)).model_copy(update={"stable": idle.stable})

    plan = decide(observation(told, seen, notifying("slack"), notified={"slack": 2}, status_written_at=NOW))

    assert isinstance(plan.action, Realise)
    assert plan.action.status is not None
    assert plan.action.status.notified == (NotifiedReceiver(receiver="slack", up_to=2),)


def test_a_decision_records_what_was_sent_with_the_same_write():
    before = told_up_to(1, entry(3), entry(2))
    after = moved(decide(observation(before, IDLE, notifying("slack"), notified={"slack": 3, "stranger": 9})))
    assert after.notified == (NotifiedReceiver(receiver="slack", up_to=3),)
    assert numbers(notifying("slack"), after) == [4]


# What is due ----------------------------------------------------------------------------------------------------------


def test_what_is_due_comes_oldest_first():
    told = told_up_to(2, entry(5), entry(4), entry(3), entry(2))
    assert numbers(notifying("slack"), told) == [3, 4, 5]
    assert numbers(notifying("teams"), told) == []


def test_a_receiver_is_told_of_the_events_that_it_wants():
    told = told_up_to(0, entry(2, Happening.ROLLED_BACK), entry(1, Happening.STEP_PASSED))
    assert numbers(notifying("slack"), told, Receiver(events=(Happening.ROLLED_BACK,))) == [2]


def test_an_event_has_an_id_of_its_own_that_stays_the_same():
    def ids(*entries: HistoryEntry) -> list[str]:
        of = replace(notifying("slack"), status=told_up_to(0, *entries))
        return [each.id for each in due(of, "slack", SLACK)]

    assert ids(entry(2), entry(1)) == [*ids(entry(1)), *ids(entry(2))]
    assert len({*ids(entry(2), entry(1))}) == 2
    lost_and_counted_anew = entry(1).model_copy(update={"at": NOW + seconds(500)})
    assert ids(lost_and_counted_anew) != ids(entry(1))
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", each) for each in ids(entry(2), entry(1))), "Standard Webhooks: no dots"


# What is said ---------------------------------------------------------------------------------------------------------


def body(receiver: Receiver, because: str = "", cluster: str = "") -> Any:
    of = replace(notifying("slack"), status=told_up_to(0, entry(1, Happening.ROLLED_BACK, because=because)))
    return body_of(due(of, "slack", receiver)[0], receiver, cluster)


def test_without_a_template_the_body_says_all_there_is():
    said = body(SLACK, "MetricFailed: errors 3 %", "prod-eu")
    assert said["type"] == "modeldeployment.RolledBack"
    assert said["timestamp"] == "2026-03-01T12:00:01.000000Z"
    assert said["data"]["message"] == "MetricFailed: errors 3 %"
    assert (said["data"]["cluster"], said["data"]["namespace"], said["data"]["name"]) == ("prod-eu", "models", "iris")
    assert said["data"]["revision"] == STABLE


def receiver_with(body: Any, **more: Any) -> Receiver:
    return Receiver.model_validate({"body": body, **more})


def test_places_are_filled_in_texts_and_nowhere_else():
    template = {"{name}": ["{{{namespace}}}/{name}", 3, None, True, {"deep": "{event}!"}]}
    assert body(receiver_with(template)) == {"{name}": ["{models}/iris", 3, None, True, {"deep": "RolledBack!"}]}


@pytest.mark.parametrize(
    "message", ['"}, {"text": "x', "{id} {{name}} {0} {message.__class__}", "a\nb\\u0000\t%s $x", "😀"]
)
def test_what_users_write_stays_a_text(message: str):
    assert body(receiver_with({"text": "{message}"}), message) == {"text": message}


def test_slack_is_spared_what_it_would_make_links_and_mentions_of():
    text = "<!channel> <https://evil.example|look> & more"
    plain, escaped = receiver_with("{message}"), receiver_with("{message}", escape="Slack")
    assert body(plain, text) == text
    assert body(escaped, text) == "&lt;!channel&gt; &lt;https://evil.example|look&gt; &amp; more"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"a": {"body": {"text": "{mesage}"}}}', "there is no place {mesage}; there are id, event"),
        ('{"a": {"body": "{message.__class__}"}}', "there is no place"),
        ('{"a": {"body": "{message!r}"}}', "there is no place"),
        ('{"a": {"body": "{message:>9}"}}', "there is no place"),
        ('{"a": {"body": "{0}"}}', "there is no place"),
        ('{"a": {"body": "{}"}}', "there is no place"),
        ('{"a": {"body": ["} off"]}}', "write a brace as {{ or }}"),
        ('{"a": {"events": ["Promotion"]}}', "a.events.0"),
        ('{"a": {"url": "https://x"}}', "a.url: Extra inputs are not permitted"),
        ('{"A B": {}}', "A B"),
        ("[]", "all of it"),
        ("{", "Invalid JSON"),
    ],
)
def test_receivers_that_make_no_sense_are_refused_with_the_place(text: str, advice: str):
    with pytest.raises(ValueError, match=re.escape(advice)):
        parse_receivers(text)


def test_receivers_are_read_as_the_platform_team_writes_them():
    text = '{"slack": {"events": ["RolledBack"], "signed": false, "escape": "Slack", "body": {"text": "{name}"}}}'
    assert parse_receivers(text) == {
        "slack": Receiver(events=(Happening.ROLLED_BACK,), signed=False, escape=Escape.SLACK, body={"text": "{name}"})
    }
