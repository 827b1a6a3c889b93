"""What `status`, `list` and `history` tell of a resource, beyond the recorded trees."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from serinus.api.reasons import Happening, Phase
from serinus.api.status import (
    Condition,
    HandledAction,
    HistoryEntry,
    MetricSlices,
    MetricStatus,
    ModelDeploymentStatus,
    SampleCounts,
    SliceStatus,
)
from serinus.api.values import Percent
from serinus.cli.fleet import Sort, ordered, row, table
from serinus.cli.history import decisions, json_lines
from serinus.cli.outcome import CommandFailed
from serinus.cli.report import Report, as_data, report
from serinus.cli.state import State
from serinus.cli.status import _without_clocks, seconds_of
from serinus.cli.terminal import as_text, duration, styled
from serinus.cli.tree import tree
from tests.unit.core.situations import CANDIDATE, NOW, SPEC, STABLE, holding, seconds, status


def resource(told: ModelDeploymentStatus, **changes: Any) -> dict[str, Any]:
    metadata = {"name": "iris", "namespace": "models", "uid": "7f0c", "generation": 3, "resourceVersion": "17"}
    plain = told.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {"metadata": metadata, "spec": SPEC, "status": plain} | changes


def with_conditions(told: ModelDeploymentStatus, **true: str) -> ModelDeploymentStatus:
    """The status with these conditions true, each with its message, and the others false."""
    conditions = tuple(
        Condition(
            type=kind,
            status="True" if kind in true else "False",
            observed_generation=3,
            last_transition_time=NOW,
            reason="AsTold",
            message=true.get(kind, "no"),
        )
        for kind in ("Available", "Ready", "Reconciling", "Stalled", "Paused")
    )
    return told.model_copy(update={"conditions": conditions})


def judged(**changes: Any) -> ModelDeploymentStatus:
    """In the first step for 30 s, with 25 requests to the candidate and 475 to stable in them."""
    metric = {
        "name": "errors",
        "verdict": "Undecided",
        "reason": "NotEnoughEvidence",
        "candidate": SampleCounts(bad=1, total=25),
        "stable": SampleCounts(bad=0, total=475),
        "limit": "1 %",
        "needed": 250,
        "at": NOW,
    }
    return holding().model_copy(update={"analysis": (MetricStatus(**metric | changes),)})


def seen(told: ModelDeploymentStatus, **changes: Any) -> Report:
    return report(resource(told, **changes), (), (), NOW)


def shown(of: Report) -> str:
    return as_text(tree(of, NOW))


def test_what_a_metric_needs_is_told_in_requests_and_in_time():
    of = seen(judged())

    assert of.metrics[0].needed_seconds == pytest.approx(250 / (500 / 30 * 0.05))
    assert "about 250 more requests in this step, 5 min at this rate" in shown(of)
    assert "4 % bad of 25, stable 0 % of 475, limit 1 %" in shown(of)


def test_where_stable_serves_nothing_the_rate_is_the_revisions_own():
    assert seen(judged(stable=None)).metrics[0].needed_seconds == pytest.approx(250 / (25 / 30))


def test_nothing_is_promised_of_a_metric_that_would_not_pass_like_this():
    assert "more requests" not in shown(seen(judged(needed=None)))
    assert "more requests" not in shown(seen(judged(verdict="Pass", needed=0)))


def test_a_hold_that_has_passed_goes_on_until_the_undecided_action():
    late = judged().model_copy(update={"rollout": holding(counting_since=NOW - seconds(100)).rollout})
    (until,) = seen(late).until

    assert until.at == NOW + timedelta(seconds=60 - 100 + 3600)
    assert "still undecided, analysis.undecided.action is Pause" in until.what


def test_a_spec_that_can_not_be_read_hides_nothing_of_the_status():
    broken = seen(with_conditions(judged(), Stalled="spec.serving.image: wrong"), spec={"serving": {}})

    assert broken.state is State.FAILED
    assert [line.revision for line in broken.revisions] == [CANDIDATE, STABLE]
    assert "spec.serving.image: Field required" in shown(broken)


WRITTEN = NOW - seconds(600)


def left_alone(told: ModelDeploymentStatus, annotations: dict[str, str] | None = None, **changed: float) -> Report:
    """The resource with a status of ten minutes ago, and what was changed so many seconds ago since then."""
    owned = {
        "spec": {"f:spec": {}},
        "annotation": {"f:metadata": {"f:annotations": {f"f:{name}": {} for name in annotations or {}}}},
    }
    entries = [{"manager": "serinus", "subresource": "status", "time": as_data(WRITTEN), "fieldsV1": {"f:status": {}}}]
    entries += [
        {"manager": "kubectl", "time": as_data(NOW - seconds(age)), "fieldsV1": owned[what]}
        for what, age in changed.items()
    ]
    asked = resource(told)
    asked["metadata"] = {**asked["metadata"], "managedFields": entries, "annotations": annotations or {}}
    return report(asked, (), (), NOW)


def begun(told: ModelDeploymentStatus) -> ModelDeploymentStatus:
    rollout = told.rollout.model_copy(update={"evidence_started_at": NOW - seconds(900)})
    return told.model_copy(update={"rollout": rollout})


def test_an_operator_that_counts_no_more_is_missed():
    gone = left_alone(begun(with_conditions(judged(at=WRITTEN), Reconciling="goes on")))

    assert gone.silence.startswith(
        "no operator has written here since 11:50:00 UTC, and it should have: the counts are"
    )
    assert "kubectl get lease -A | grep serinus" in gone.silence
    assert gone.until == ()
    assert "nothing: it goes on by itself" not in shown(gone)
    assert "and the pods serve on" in gone.to_do[0]
    assert "held 0 of 60 s" in shown(gone), "the hold began after it was last seen: nobody vouches for what came since"


@pytest.mark.parametrize(
    "told",
    [
        begun(judged(at=NOW - seconds(190))),  # a minute, two intervals and two minutes more
        judged(at=WRITTEN),  # counts of an attempt before this one
        begun(judged(at=WRITTEN)).model_copy(update={"rollout": status(Phase.STARTING, candidate=CANDIDATE).rollout}),
        status(),
    ],
)
def test_an_operator_with_nothing_to_write_is_not_missed(told: ModelDeploymentStatus):
    assert left_alone(with_conditions(told, Reconciling="goes on")).silence == ""


def test_an_operator_that_wrote_lately_is_not_missed():
    told = resource(begun(with_conditions(judged(at=WRITTEN), Reconciling="goes on")))
    wrote = {"manager": "serinus", "subresource": "status", "time": as_data(NOW - seconds(60))}
    told["metadata"] = {**told["metadata"], "managedFields": [wrote]}

    assert report(told, (), (), NOW).silence == ""


def test_a_watch_that_does_not_end_is_noticed():
    watching = status(Phase.WATCHING, previous=STABLE, stable=CANDIDATE, step_started_at=NOW - seconds(300))
    told = with_conditions(watching, Ready="serves")

    assert "the watch ended at 11:56:00 UTC" in left_alone(told).silence


def test_an_action_that_nobody_takes_up_is_told_at_once_and_missed_after_two_minutes():
    told, abort = with_conditions(judged(), Reconciling="goes on"), {"serinus.dev/abort": f"{CANDIDATE}#x"}
    just_sent, long_ago = left_alone(told, abort, annotation=20), left_alone(told, abort, annotation=300)

    assert just_sent.remarks == ("serinus.dev/abort is sent at 11:59:40 UTC, and not taken up yet",)
    assert just_sent.silence == ""
    assert "serinus.dev/abort stands there since 11:55:00 UTC, and was not taken up" in long_ago.silence


def test_a_pause_that_nobody_takes_up_is_told_at_once_and_missed_after_two_minutes():
    told, pause = with_conditions(judged(), Reconciling="goes on"), {"serinus.dev/pause": "true"}
    just_sent = left_alone(told, pause, annotation=20)

    assert just_sent.remarks == ("serinus.dev/pause is sent at 11:59:40 UTC, and not taken up yet",)
    assert just_sent.silence == ""
    assert "serinus.dev/pause stands there since 11:55:00 UTC" in left_alone(told, pause, annotation=300).silence


def test_an_action_that_has_to_wait_says_for_what_and_misses_nobody():
    told = status(Phase.AWAITING_APPROVAL, candidate=CANDIDATE, step="five", step_index=0, step_count=2)
    asked = {"serinus.dev/approve": f"{CANDIDATE}/five#x", "serinus.dev/pause": "true"}
    of = left_alone(with_conditions(told, Reconciling="waits", Paused="waits"), asked, annotation=300)

    assert any("serinus.dev/approve is sent" in each and "a pause is on" in each for each in of.remarks)
    assert of.silence == ""


def test_a_generation_that_nobody_looks_at_is_missed_after_two_minutes():
    told = with_conditions(judged(), Reconciling="goes on")
    newer = told.model_copy(
        update={"conditions": tuple(each.model_copy(update={"observed_generation": 2}) for each in told.conditions)}
    )
    assert left_alone(newer, spec=60).silence == ""
    assert "the spec was changed at 11:55:00 UTC" in left_alone(newer, spec=300).silence


def test_counts_of_an_earlier_moment_are_told_with_it():
    told = with_conditions(
        judged(at=NOW - seconds(25), message="errors: undecided, 25 of about 275 requests in this step"),
        Reconciling="step five: errors: undecided, 25 of about 275 requests in this step",
    )
    of = shown(seen(told))

    assert "limit 1 %, as of 11:59:35 UTC; about 250 more requests in this step" in of
    assert "requests in this step (counts as of 11:59:35 UTC)" in of
    assert "as of" not in shown(seen(judged()))


def test_metrics_say_since_when_they_count_as_a_step_has_evidence_of_its_own():
    assert "metrics, counted since 11:45:00 UTC over all steps" in shown(seen(begun(judged())))


def test_a_line_that_differs_in_its_clocks_only_says_nothing_new():
    lines = {
        _without_clocks(f"Holding: held {held} of 60 s; errors: 25 of 275 (counts as of 11:59:{held} UTC)")
        for held in (10, 12)
    }
    assert len(lines) == 1
    assert "errors: 25 of 275" in lines.pop()


def test_images_that_differ_are_told_whatever_else_goes_on():
    differ = Condition(
        type="ImagesDiffer", status="True", last_transition_time=NOW, reason="TagPushedAgain", message="two images"
    )
    told = judged()
    assert seen(told.model_copy(update={"conditions": (differ,)})).remarks == ("two images",)
    over = differ.model_copy(update={"status": "False"})
    assert seen(told.model_copy(update={"conditions": (over,)})).remarks == ()


def test_an_action_that_did_nothing_is_told_while_it_stands_there():
    ignored = HandledAction(action="promote", value="x", carried_out=False, message="promote for x does nothing")
    told = judged().model_copy(update={"actions": (ignored,)})
    asked = resource(told)
    asked["metadata"] = {**asked["metadata"], "annotations": {"serinus.dev/promote": "x"}}

    assert report(asked, (), (), NOW).remarks == ("promote for x does nothing",)
    assert seen(told).remarks == ()


@pytest.mark.parametrize(
    ("true", "state"),
    [
        ({"Ready": "serves"}, State.SERVING),
        ({"Reconciling": "goes on"}, State.PROGRESSING),
        ({"Reconciling": "waits", "Paused": "waits"}, State.NEEDS_A_PERSON),
        ({"Stalled": "broken", "Paused": "suspended"}, State.FAILED),
    ],
)
def test_the_state_follows_the_conditions(true: dict[str, str], state: State):
    assert seen(with_conditions(judged(), **true)).state is state


def test_a_generation_that_no_operator_has_seen_is_in_no_other_state():
    told = resource(with_conditions(judged(), Ready="serves"))
    told["metadata"] = {**told["metadata"], "generation": 4}
    assert report(told, (), (), NOW).state is State.UNSEEN


def test_a_spec_that_the_operator_can_not_read_is_a_failure_though_the_rest_is_of_an_older_generation():
    told = with_conditions(judged(), Stalled="spec.serving.port: wrong")
    newer = {"Stalled", "Ready", "Reconciling"}
    conditions = tuple(
        each.model_copy(update={"observed_generation": 4}) if each.type in newer else each for each in told.conditions
    )
    asked = resource(told.model_copy(update={"conditions": conditions}))
    asked["metadata"] = {**asked["metadata"], "generation": 4}
    assert report(asked, (), (), NOW).state is State.FAILED


def test_the_report_as_data_has_the_names_of_the_api_and_instants_in_utc():
    data = as_data(seen(judged()))
    assert data["metrics"][0]["needed"] == 250
    assert data["revisions"][0]["weightPercent"] == 0
    assert data["until"][0]["at"] == "2026-03-01T12:00:30Z"
    json.dumps(data)


def test_control_characters_that_users_wrote_do_not_reach_the_terminal():
    evil = with_conditions(judged(), Reconciling="see \x1b]8;;http://evil\x07here\x1b[2J")
    assert "\x1b" not in shown(seen(evil))
    assert "\x07" not in shown(seen(evil))
    assert "\x9b" not in styled("\x9b31m").plain
    assert "\u202e" not in styled("safe \u202eelbarts").plain


def test_markup_of_users_is_text():
    assert "[red]not red[/red]" in shown(seen(with_conditions(judged(), Reconciling="[red]not red[/red]")))


# list ----------------------------------------------------------------------------------------------------------------


def named(name: str, told: ModelDeploymentStatus) -> dict[str, Any]:
    made = resource(told)
    made["metadata"] = {**made["metadata"], "name": name, "creationTimestamp": "2026-03-01T11:00:00Z"}
    return made


def test_who_needs_a_person_stands_first():
    rows = [
        row(named("a", with_conditions(status(), Ready="serves"))),
        row(named("b", with_conditions(judged(), Reconciling="goes on"))),
        row(named("c", with_conditions(judged(), Paused="approve it"))),
        row(named("d", with_conditions(status(Phase.REJECTED), Stalled="rolled back"))),
    ]
    assert [each.name for each in ordered(rows, Sort.STATE)] == ["d", "c", "b", "a"]
    assert [each.name for each in ordered(rows, Sort.NAME)] == ["a", "b", "c", "d"]
    lines = as_text(table(ordered(rows, Sort.STATE), NOW, wide=True, everywhere=False)).splitlines()
    assert lines[0].split() == [
        "NAME",
        "STATE",
        "PHASE",
        "STEP",
        "WEIGHT",
        "STABLE",
        "CANDIDATE",
        "REASON",
        "AGE",
        "MESSAGE",
    ]
    assert lines[2].split()[:5] == ["c", "NeedsAPerson", "Holding", "five", "0"]
    assert "60 min" in lines[1]


def test_a_status_of_another_version_hides_no_other_resource():
    unreadable = named("a", status())
    unreadable["status"]["rollout"]["phase"] = "Levitating"
    assert row(unreadable).state is State.FAILED


# history -------------------------------------------------------------------------------------------------------------


def test_the_audit_export_is_one_json_object_in_a_line_oldest_first():
    entries = tuple(
        HistoryEntry(at=NOW - seconds(age), event=event, revision=CANDIDATE, by=by, field_manager=manager, because=why)
        for age, event, by, manager, why in (
            (1, Happening.PROMOTED, "person", "serinus-plugin", "a person asked\nfor it"),
            (60, Happening.STEP_ENTERED, "serinus", "", "Step five (5 %)"),
        )
    )
    told = resource(status().model_copy(update={"history": entries}))

    lines = [json.loads(line) for line in json_lines(decisions(told)).splitlines()]

    assert [line["event"] for line in lines] == ["StepEntered", "Promoted"]
    assert lines[1] == {
        "at": "2026-03-01T11:59:59Z",
        "namespace": "models",
        "name": "iris",
        "uid": "7f0c",
        "event": "Promoted",
        "revision": CANDIDATE,
        "by": "person",
        "fieldManager": "serinus-plugin",
        "because": "a person asked\nfor it",
    }


# words ---------------------------------------------------------------------------------------------------------------


def test_durations_are_told_in_two_units_at_most():
    told = {45: "45 s", 360: "6 min", 5_999: "100 min", 7_800: "2 h 10 min", 7_200: "2 h", 273_600: "3 d 4 h"}
    assert {seconds_: duration(seconds_) for seconds_ in told} == told | {5_999: "1 h 40 min"}
    assert duration(864_000) == "10 d"


def test_a_time_out_is_written_as_kubectl_takes_it():
    assert [seconds_of(text) for text in ("90", "90s", "10m", "1h30m")] == [90, 90, 600, 5400]
    for nonsense in ("", "x", "5 min", "-3s", "10m!"):
        with pytest.raises(CommandFailed, match="is no duration"):
            seconds_of(nonsense)


def test_the_worst_slices_of_a_metric_are_shown_below_it():
    slices = (
        SliceStatus(
            value="FR",
            verdict="Fail",
            candidate=SampleCounts(bad=20, total=100),
            stable=SampleCounts(bad=1, total=1000),
            lower="8.1",
            upper="36.0",
        ),
        SliceStatus(value="", verdict="Undecided", decides=False, candidate=SampleCounts(bad=0, total=0)),
    )
    told = judged(slices=slices)
    fixed = (MetricSlices(metric="errors", label="country", values=("DE", "FR"), least_percent=Percent("1")),)
    rollout = told.rollout.model_copy(update={"slices": fixed})
    shown = report(resource(told.model_copy(update={"rollout": rollout})), (), (), NOW + seconds(60))
    text = as_text(tree(shown, NOW))
    assert "country=FR  Fail  20 % bad of 100 (between 8.1 and 36.0 %), stable 0.1 % of 1,000" in text
    assert "other country  Undecided (too thin to be waited for)  no request yet" in text
    assert as_data(shown)["metrics"][0]["slices"][0]["name"] == "country=FR"
