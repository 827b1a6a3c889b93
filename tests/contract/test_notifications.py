"""docs/be-told.md: its values install, and what they send is what a receiver takes, over real HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from serinus.api import templates
from serinus.api.deployment import ModelDeployment
from serinus.api.notifications import ALLOWED_HOST_PATTERN, EVENTS, AllowedHost, Escape
from serinus.api.templates import PLACES
from serinus.core.notifications import body_of, due
from serinus.settings import Settings
from serinus.webhooks.sending import Delivered, open_sender
from tests.contract.chart import CHART, only, operator_container, rendered, settings_of
from tests.unit.webhooks.receivers import KEY, Received, mounted, receiving

PAGE = (Path(__file__).parents[2] / "docs" / "be-told.md").read_text()
EVIL = '<!channel> [click](https://evil.example) *b* "}, {"x": 1 {id}'


def example(receiver: str) -> dict[str, Any]:
    """The chart's values in the page that set up a receiver."""
    blocks = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    found = [block for block in blocks if receiver in block.get("notifications", {}).get("receivers", {})]
    assert len(found) == 1
    return found[0]["notifications"]  # type: ignore[no-any-return]


def told(receiver: str) -> ModelDeployment:
    """A resource that a receiver is to be told of: it was rolled back for a reason that means trouble."""
    revision = "9a87b9ccbe"
    entry = {
        "at": "2026-03-01T12:04:31Z",
        "event": "RolledBack",
        "revision": revision,
        "because": EVIL,
        "number": 9,
    }
    return ModelDeployment.parse(
        {
            "metadata": {
                "name": "fraud",
                "namespace": "ml-fraud",
                "uid": "6f2c1c1e-90b0-4d5e-a0a5-1b1d3c5b7f11",
                "annotations": {"serinus.dev/notify": receiver},
            },
            "spec": {"serving": {"image": "registry.example.com/fraud:3"}},
            "status": {
                "history": [entry],
                "candidate": {"revision": revision, "version": "3", "image": "registry.example.com/fraud:3"},
                "notified": [{"receiver": receiver, "upTo": 8}],
            },
        }
    )


async def sent(settings: Settings, name: str, folder: Path) -> Received:
    """What a real HTTP server gets of a receiver of these settings, in place of the receiver's own host."""
    receiver = settings.receivers[name]
    (notification,) = due(told(name), name, receiver)
    body = json.dumps(body_of(notification, receiver, settings.cluster_name)).encode()
    async with receiving() as server:
        mounted(folder, name, f"http://127.0.0.1:{server.port}/hook", key=KEY if receiver.signed else None)
        async with open_sender(folder, [AllowedHost.parse(f"http://127.0.0.1:{server.port}")]) as sender:
            assert await sender.send(name, notification.id, body, signed=receiver.signed) == Delivered()
    (received,) = server.received
    return received


def installed(name: str) -> Settings:
    """The settings that the operator makes of the page's values."""
    return settings_of(rendered({"notifications": example(name)}))


async def test_slack_gets_blocks_in_which_users_mention_and_link_nothing(tmp_path: Path) -> None:
    received = await sent(installed("slack-ml"), "slack-ml", tmp_path)
    escaped = EVIL.replace("<", "&lt;").replace(">", "&gt;")
    assert received.json == {
        "text": "RolledBack: ml-fraud/fraud",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "RolledBack: fraud"}},
            {"type": "section", "text": {"type": "plain_text", "text": escaped}},
            {
                "type": "context",
                "elements": [
                    {
                        "type": "plain_text",
                        "text": "prod-eu / ml-fraud, revision 9a87b9ccbe 3, by serinus, 2026-03-01T12:04:31.000000Z",
                    }
                ],
            },
        ],
    }
    assert "webhook-signature" not in received.headers


async def test_teams_gets_an_adaptive_card_whose_texts_take_no_markdown(tmp_path: Path) -> None:
    received = await sent(installed("teams-ml"), "teams-ml", tmp_path)
    assert received.json["type"] == "message"
    (attachment,) = received.json["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    runs = [run for block in card["body"] for run in block["inlines"]]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for run in runs} == {"TextRun"}
    assert [run["text"] for run in runs][:2] == ["RolledBack: ml-fraud/fraud", EVIL]


async def test_a_service_of_ones_own_verifies_what_it_gets_with_the_pages_code(tmp_path: Path) -> None:
    received = await sent(installed("ml-portal"), "ml-portal", tmp_path)
    (shown,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    shown["data"]["message"] = EVIL
    assert received.json == shown

    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    page: dict[str, Any] = {}
    exec(code, page)
    verified, message_id = page["verified"], shown["data"]["id"]
    assert received.headers["webhook-id"] == message_id
    assert verified(received.headers, received.body, KEY, set())
    assert not verified(received.headers, received.body, KEY, {message_id}), "had before"
    assert not verified(received.headers, received.body + b" ", KEY, set()), "changed on the way"
    assert not verified({**received.headers, "webhook-id": "another"}, received.body, KEY, set())
    assert not verified({**received.headers, "webhook-timestamp": "1"}, received.body, KEY, set()), "old"
    assert not verified(received.headers, received.body, "whsec_" + "A" * 32, set()), "another key"


def test_places_and_events_of_the_page_are_those_that_there_are() -> None:
    section = PAGE.split("\n## Templates")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    places = {place for cell in cells for place in re.findall(r"`\{(\w+)\}`", cell)}
    events = {event for cell in cells for event in re.findall(r"`([A-Z]\w+)`", cell)}
    assert places == set(PLACES)
    assert events == set(EVENTS)


def test_the_chart_knows_the_operators_events_escapes_and_hosts() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["notifications"]["properties"]
    receiver = schema["receivers"]["additionalProperties"]["properties"]
    assert receiver["events"]["items"]["enum"] == list(EVENTS)
    assert receiver["escape"]["enum"] == list(Escape)
    assert schema["allowedHosts"]["items"]["pattern"] == ALLOWED_HOST_PATTERN


def test_the_chart_knows_the_places_of_templates() -> None:
    """So that a name that there is not is refused by Helm, where it would keep the operator from starting."""
    pattern = json.loads((CHART / "values.schema.json").read_text())["definitions"]["template"]["pattern"]
    assert re.findall(r"\((\w+(?:\|\w+)+)\)", pattern) == ["|".join(PLACES)]
    for text in ("{event} {{literal}}", "{{{name}}}", "two\nlines, no place", ""):
        assert re.search(pattern, text), text
        templates.check(text)
    for text in ("{nmae}", "{", "}", "{}", "{name.x}", "{name!r}", "{name:>9}", "{{name}", "{name}}"):
        assert not re.search(pattern, text), text
        with pytest.raises(templates.TemplateError):
            templates.check(text)


def test_values_reach_the_operator_without_the_names_of_secrets() -> None:
    manifests = rendered({"notifications": example("slack-ml")})
    settings = settings_of(manifests)
    assert settings.cluster_name == "prod-eu"
    assert settings.receiver_hosts == (AllowedHost("https", "hooks.slack.com", False, 443),)
    assert settings.receivers["slack-ml"].escape is Escape.SLACK
    told = next(each["value"] for each in operator_container(manifests)["env"] if each["name"] == "SERINUS_RECEIVERS")
    assert "secretName" not in told


def test_secrets_are_mounted_where_the_sender_reads_them_and_may_be_missing() -> None:
    manifests = rendered({"notifications": example("ml-portal")})
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    (volume,), (mount,) = pod["volumes"], operator_container(manifests)["volumeMounts"]
    (source,) = volume["projected"]["sources"]
    assert mount["mountPath"] == str(settings_of(manifests).receiver_directory)
    assert mount["readOnly"]
    assert "subPath" not in mount  # the kubelet never brings those up to date
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert source["secret"]["optional"], "notifications must not keep the operator from starting"
    assert {item["key"]: item["path"] for item in source["secret"]["items"]} == {
        "url": "ml-portal/url",
        "signingKey": "ml-portal/signing-key",
        "ca.crt": "ml-portal/ca.crt",
    }


def test_secrets_of_prometheus_and_of_receivers_lie_side_by_side() -> None:
    prometheus = {"url": "https://prometheus:9090", "auth": {"bearerToken": {"secretName": "tok"}}}
    manifests = rendered({"notifications": example("ml-portal"), "prometheus": prometheus})
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["volumes"]] == ["prometheus-credentials", "receivers"]
    assert [each["name"] for each in operator_container(manifests)["volumeMounts"]] == [
        "prometheus-credentials",
        "receivers",
    ]


@pytest.mark.parametrize("text", ["{event} {{literal}}", "a\nb \"c\" 'd' \\ $x %s", "ü <b> & 😀", "null", "1"])
def test_a_template_comes_through_the_chart_as_it_was_written(text: str) -> None:
    receivers: Mapping[str, Any] = {"chat": {"secretName": "chat", "body": {"text": text, "n": [1, 2.5, True, None]}}}
    values = {"notifications": {"allowedHosts": ["a.example"], "receivers": receivers}}
    assert settings_of(rendered(values)).receivers["chat"].body == receivers["chat"]["body"]
