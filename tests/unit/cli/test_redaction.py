"""What leaves the cluster in a support bundle has no secrets that users wrote into specs."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serinus.cli.redaction import redacted
from serinus.cli.support import archive

SECRET = "hunter2"
TEMPLATE: dict[str, Any] = {
    "metadata": {
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRET, "team": "a"},
        "managedFields": [{"manager": SECRET}],
    },
    "spec": {
        "containers": [
            {
                "name": "model",
                "image": f"https://robot:{SECRET}@registry.example.com/iris:1",
                "env": [
                    {"name": "PASSWORD", "value": SECRET},
                    {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                ],
                "command": ["serve", f"--token={SECRET}", "--verbose", SECRET],
                "args": [f"--key={SECRET}"],
            }
        ]
    },
}


def test_values_of_variables_arguments_and_passwords_in_urls_are_taken_out():
    clean = redacted({"data": {"template": TEMPLATE}, "spec": {"serving": TEMPLATE["spec"]["containers"][0]}})

    assert SECRET not in json.dumps(clean)
    container = clean["data"]["template"]["spec"]["containers"][0]
    assert [each["name"] for each in container["env"]] == ["PASSWORD", "FROM"]
    assert container["env"][1]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "password"}}
    assert container["command"] == ["(redacted)", "--token=(redacted)", "--verbose", "(redacted)"]
    assert container["image"] == "https://(redacted)@registry.example.com/iris:1"
    assert clean["data"]["template"]["metadata"]["annotations"] == {"team": "a"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["env", "args", "value", "name", "spec"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_users_write_is_redacted_without_an_error_and_once_is_enough(value: Any):
    once = redacted(value)
    assert redacted(once) == once


def test_the_archive_is_read_by_its_owner_only():
    with tarfile.open(fileobj=io.BytesIO(archive("iris-support", {"status.txt": "fine"}))) as tar:
        (entry,) = tar.getmembers()
        assert (entry.name, entry.mode) == ("iris-support/status.txt", 0o600)
        assert (tar.extractfile(entry) or io.BytesIO()).read() == b"fine"
