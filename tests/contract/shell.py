"""Shell commands as the documentation has them: taken apart, without being run.

What stands after `$ ` is a command and the rest of such a block its output; where no line begins so, all are commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

_HEREDOC = re.compile(r"<<-?'?(\w+)'?")
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_CONTROL = {"do", "done", "then", "fi", "else", "while", "!"}


@dataclass(frozen=True)
class Command:
    """One program with its arguments, and what it is given on standard input."""

    words: tuple[str, ...]
    given: str = ""

    @property
    def program(self) -> str:
        """The program's name, without the folder that it lies in."""
        return self.words[0].rpartition("/")[2]

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands(text: str) -> Iterator[Command]:
    """All commands of a block, those in `$(…)` included."""
    for line, given in _lines(text):
        yield from _simple(line, given)


def outputs(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a block whose output stands below them, as the line and that output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        if output.strip():
            yield line, output


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Logical lines with their here-documents."""
    has_output = re.search(r"^\$ ", text, re.MULTILINE)
    lines = iter(text.splitlines())
    for first in lines:
        if has_output and not first.startswith("$ "):
            continue
        line = first.removeprefix("$ ") if has_output else first
        while _is_open(line):
            line = f"{line.removesuffix(chr(92))} {next(lines)}"
        heredoc = _HEREDOC.search(line)
        given = []
        if heredoc:
            while (below := next(lines)) != heredoc[1]:
                given.append(below)
            line = line.replace(heredoc[0], "")
        yield line, "\n".join(given)


def _is_open(line: str) -> bool:
    """Whether the command goes on in the next line."""
    if line.endswith("\\"):
        return True
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return True
    return False


def _simple(line: str, given: str) -> Iterator[Command]:
    for inner in _SUBSTITUTION.findall(line):
        yield from _simple(inner, "")
    lexer = shlex.shlex(_SUBSTITUTION.sub("SUBSTITUTED", line), posix=True, punctuation_chars=";|&<>")
    lexer.commenters = ""
    lexer.whitespace_split = True
    words: list[str] = []
    skipped = False
    for token in (*_without_comment(list(lexer)), ";"):
        if set(token) <= set(";|&"):
            if words and words[0] != "for":
                yield Command(tuple(words), given)
            words = []
        elif set(token) <= set("<>"):
            skipped = True
        elif skipped:
            skipped = False
        elif not words and (token in _CONTROL or _ASSIGNMENT.match(token)):
            continue
        else:
            words.append(token)


def _without_comment(tokens: list[str]) -> list[str]:
    """A `#` begins a comment where a word begins; within a word, as in `REVISION#1`, it does not."""
    return tokens[: next((at for at, token in enumerate(tokens) if token.startswith("#")), len(tokens))]
