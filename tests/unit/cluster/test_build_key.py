"""Which changes make an image be built again, and which do not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster.context import Build

Key = Callable[[], str]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"\x00\x01")
    (tmp_path / "model" / "notes.md").write_text("why")
    (tmp_path / "service.py").write_text("pass\n")
    return tmp_path


@pytest.fixture
def key(context: Path) -> Key:
    return lambda: Build(context, context / "Dockerfile", {"VERSION": "1"}).key()


def test_nothing_changed_gives_the_same_key(key: Key) -> None:
    assert key() == key()


@pytest.mark.parametrize("path", ["Dockerfile", "service.py", "model/weights.bin"])
def test_a_changed_file_gives_another_key(context: Path, key: Key, path: str) -> None:
    before = key()
    with (context / path).open("ab") as file:
        file.write(b"# more\n")
    assert key() != before


def test_a_renamed_file_gives_another_key(context: Path, key: Key) -> None:
    before = key()
    (context / "service.py").rename(context / "served.py")
    assert key() != before


def test_a_file_made_executable_gives_another_key(context: Path, key: Key) -> None:
    before = key()
    (context / "service.py").chmod(0o755)
    assert key() != before


def test_another_argument_gives_another_key(context: Path, key: Key) -> None:
    assert Build(context, context / "Dockerfile", {"VERSION": "2"}).key() != key()


@pytest.mark.parametrize("rule", ["model/notes.md", "**/*.md", "model/*.md", "model", "*", "/model/notes.md"])
def test_a_change_that_dockerignore_leaves_out_keeps_the_key(context: Path, key: Key, rule: str) -> None:
    (context / ".dockerignore").write_text(f"# what the image does not need\n{rule}\n")
    before = key()
    (context / "model" / "notes.md").write_text("because")
    assert key() == before


@pytest.mark.parametrize("rules", ["*.md", "*\n!model", "**/*.md\n!model/notes.md", "notes.md"])
def test_a_change_that_dockerignore_lets_in_gives_another_key(context: Path, key: Key, rules: str) -> None:
    (context / ".dockerignore").write_text(rules + "\n")
    before = key()
    (context / "model" / "notes.md").write_text("because")
    assert key() != before
