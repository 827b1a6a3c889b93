"""PromQL from escaped parts.

Every query that Serinus sends is built here or of these parts, called by `serinus.metrics.prometheus`. Names and label
values are quoted for PromQL strings and for RE2; a user's series selector is parsed and written anew, so nothing in it
but matchers can survive; a user's query is kept as it is, `%pods%` aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from serinus.api.measures import PODS_PLACEHOLDER

Operator = Literal["=", "!=", "=~", "!~"]

REQUESTS: Final = "bentoml_service_request_total"
DURATION_BUCKETS: Final = "bentoml_service_request_duration_seconds_bucket"
PATH_LABELS: Final = ("endpoint", "exported_endpoint")
"""BentoML's path. The Prometheus Operator gives its targets a label `endpoint` too (the port's name), and Prometheus
then keeps BentoML's as `exported_endpoint`."""
CODE_LABEL: Final = "http_response_code"
PROBES: Final = "/(livez|readyz|healthz|metrics)"
"""Kubelets and monitors ask these; BentoML counts them like any request."""

_MOST_LOOKS: Final = 300
_LONGEST_LOOK_MS: Final = 600_000
_METRIC_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR: Final = re.compile(r"=~|!~|!=|=")
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_LITERAL: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|' + r"'(?:[^'\\\n]|\\.)*'|`[^`]*`")
_SKIPPED: Final = re.compile(_LITERAL.pattern + r"|#[^\n]*")
_ESCAPE: Final = re.compile(r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_RE2_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_SIMPLE_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class SelectorError(ValueError):
    """A user's selector or query that can't be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher."""

    label: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        if not _LABEL_NAME.fullmatch(self.label):
            raise SelectorError(f"{self.label!r} is no label name: letters, digits and _ only, no digit first")
        return f"{self.label}{self.operator}{quote(self.value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """An instant-vector selector: a metric and matchers that all have to hold."""

    metric: str
    matchers: tuple[Matcher, ...]

    def __str__(self) -> str:
        if not _METRIC_NAME.fullmatch(self.metric):
            raise SelectorError(f"{self.metric!r} is no metric name: letters, digits, _ and : only, no digit first")
        return f"{self.metric}{{{','.join(map(str, self.matchers))}}}"

    def where(self, *matchers: Matcher) -> Selector:
        """The same with further matchers."""
        return Selector(self.metric, (*self.matchers, *matchers))


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of one or more revisions, by the labels that carry their names."""

    namespace: str
    prefixes: tuple[str, ...]
    """`<name>-<hash>` of each revision."""
    pod_label: str = "pod"
    namespace_label: str = "namespace"

    @property
    def matchers(self) -> tuple[Matcher, Matcher]:
        """What `%pods%` stands for."""
        pods = f"{any_of(self.prefixes)}-.+"
        return Matcher(self.namespace_label, "=", self.namespace), Matcher(self.pod_label, "=~", pods)


def quote(text: str) -> str:
    """A PromQL string literal (Go's double-quoted form) of exactly this value."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise SelectorError(f"{text!r} holds half a surrogate pair, which UTF-8 can't carry")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped) + '"'


def re2_literal(text: str) -> str:
    """An RE2 pattern that matches exactly this text."""
    return _RE2_SPECIAL.sub(lambda found: "\\" + found[0], text)


def any_of(texts: Iterable[str]) -> str:
    """An RE2 pattern that matches exactly each of these texts."""
    alternatives = [re2_literal(text) for text in texts]
    return alternatives[0] if len(alternatives) == 1 else f"({'|'.join(alternatives)})"


def requests(pods: Pods) -> Selector:
    """BentoML's counter of requests, without probes."""
    return Selector(REQUESTS, pods.matchers).where(*_no_probes())


def known_requests(pods: Pods, paths: Iterable[str]) -> str:
    """BentoML's counter of requests to these paths. Without paths: to all, probes aside.

    Whoever asks for paths that do not exist makes new series without end; the restriction keeps answers small.
    """
    wanted = sorted(paths)
    if not wanted:
        return str(requests(pods))
    plain, exported = PATH_LABELS
    base = Selector(REQUESTS, pods.matchers)
    pattern = any_of(wanted)
    unrenamed = base.where(Matcher(exported, "=", ""), Matcher(plain, "=~", pattern))
    renamed = base.where(Matcher(exported, "=~", pattern))
    return f"{unrenamed} or {renamed}"


def path_survey(pods: Pods) -> str:
    """Time of the newest scrape, by pod and path, of all paths that were answered with anything but 404.

    One number each, in Unix seconds: tells which paths exist and how fresh each pod's counters are.
    """
    existing = requests(pods).where(Matcher(CODE_LABEL, "!=", "404"))
    return f"max by ({', '.join((pods.pod_label, *PATH_LABELS))}) (timestamp({existing}))"


def freshness(selector: Selector, pod_label: str) -> str:
    """Time of the newest scrape of a counter, by pod, in Unix seconds."""
    return f"max by ({_label(pod_label)}) (timestamp({selector}))"


def increase_by(selector: Selector, labels: Iterable[str], seconds: int, most: int) -> str:
    """By how much a counter rose in so many seconds, by the values of labels: the largest of them."""
    by = ", ".join(map(_label, labels))
    return f"topk({most}, sum by ({by}) (increase({selector}[{seconds}s])))"


def increase(selector: Selector, seconds: int) -> str:
    """By how much a counter rose in so many seconds, all of its series together."""
    return f"sum(increase({selector}[{seconds}s]))"


def seconds_between_scrapes(up: Selector, expected_seconds: float) -> str:
    """Seconds from one scrape of a target to the next: each target's average, and the median of all targets.

    It is taken between scrapes that were seen, so that a young target tells the same as an old one; one that was
    scraped less than three times tells nothing. Scrapes are looked for every half of the expected time, within ten
    minutes; where less than four seconds are expected, in less, so that it stays with 300 looks at a target. Times from
    that half on are exact; shorter ones are told as about that half.
    """
    step_ms = round(expected_seconds * 1000 / 2)
    scrapes = f"timestamp({up})[{min(_LONGEST_LOOK_MS, _MOST_LOOKS * step_ms)}ms:{step_ms}ms]"
    first, last, gaps = f"min_over_time({scrapes})", f"max_over_time({scrapes})", f"changes({scrapes})"
    return f"quantile(0.5, ({last} - {first}) / ({gaps} >= 2))"


def buckets(pods: Pods) -> Selector:
    """BentoML's duration histogram without probes: every bucket of successful answers."""
    return Selector(DURATION_BUCKETS, pods.matchers).where(*_no_probes(), Matcher(CODE_LABEL, "=~", "2.."))


def buckets_at(pods: Pods, bounds: Iterable[str]) -> Selector:
    """The buckets with these bounds, each as its label `le` writes it."""
    return buckets(pods).where(Matcher("le", "=~", any_of(sorted(bounds))))


def user_selector(text: str, pods: Pods) -> Selector:
    """A user's series selector, such as `nulls_total{%pods%,kind="image"}`, for these pods.

    Raises SelectorError for anything else: functions, ranges, offsets, a second selector, a missing or second `%pods%`.
    """
    return _SelectorParser(text).parse(pods)


def user_query(text: str, pods: Pods) -> str:
    """A user's query with `%pods%` replaced wherever it stands outside of strings and comments.

    Raises SelectorError where it stands nowhere: the query would measure every revision at once.
    """
    matchers = ",".join(map(str, pods.matchers))
    parts: list[str] = []
    replaced, position = 0, 0
    for found in _SKIPPED.finditer(text):
        code = text[position : found.start()]
        replaced += code.count(PODS_PLACEHOLDER)
        parts += [code.replace(PODS_PLACEHOLDER, matchers), found[0]]
        position = found.end()
    rest = text[position:]
    replaced += rest.count(PODS_PLACEHOLDER)
    if not replaced:
        raise SelectorError(f"{PODS_PLACEHOLDER} does not stand among the matchers of any selector of {text!r}")
    return "".join([*parts, rest.replace(PODS_PLACEHOLDER, matchers)])


def _no_probes() -> Iterator[Matcher]:
    return (Matcher(label, "!~", PROBES) for label in PATH_LABELS)


def _label(name: str) -> str:
    if not _LABEL_NAME.fullmatch(name):
        raise SelectorError(f"{name!r} is no label name: letters, digits and _ only, no digit first")
    return name


@dataclass(slots=True)
class _SelectorParser:
    """Reads `metric{matcher, %pods%, …}` and nothing else."""

    text: str
    position: int = 0

    def parse(self, pods: Pods) -> Selector:
        self._blank()
        metric = self._take(_METRIC_NAME, "the name of a counter")
        self._blank()
        self._expect("{")
        matchers: list[Matcher] = []
        placeholders = 0
        while not self._at("}"):
            if self._at(PODS_PLACEHOLDER):
                self.position += len(PODS_PLACEHOLDER)
                placeholders += 1
                matchers += pods.matchers
            else:
                matchers.append(self._matcher())
            self._blank()
            if not self._at("}"):
                self._expect(",")
                self._blank()
        self._expect("}")
        self._blank()
        if self.position < len(self.text):
            raise self._error("nothing may follow the closing brace: no function, range, offset or second selector")
        if placeholders != 1:
            raise self._error(f"{PODS_PLACEHOLDER} has to stand among the matchers exactly once")
        return Selector(metric, tuple(matchers))

    def _matcher(self) -> Matcher:
        label = self._take(_LABEL_NAME, f"a label's name or {PODS_PLACEHOLDER}")
        if label == "__name__":
            raise self._error("the counter's name stands before the brace; __name__ can't be matched again")
        self._blank()
        operator = self._take(_OPERATOR, "one of = != =~ !~")
        self._blank()
        value = self._unquote(self._take(_LITERAL, "a quoted value"))
        match operator:
            case "=" | "!=" | "=~" | "!~":
                return Matcher(label, operator, value)
            case _:
                raise self._error("one of = != =~ !~ has to stand here")

    def _unquote(self, literal: str) -> str:
        body = literal[1:-1]
        if literal[0] == "`":
            return body
        parts: list[str] = []
        position = 0
        while (slash := body.find("\\", position)) >= 0:
            escape = _ESCAPE.match(body, slash)
            if escape is None:
                raise self._error(f"{literal} holds an escape that PromQL does not know")
            parts += [body[position:slash], self._character(escape)]
            position = escape.end()
        return "".join([*parts, body[position:]])

    def _character(self, escape: re.Match[str]) -> str:
        simple, byte, short, long, octal = escape.groups()
        if simple:
            return _SIMPLE_ESCAPES.get(simple, simple)
        code = int(octal, 8) if octal else int(byte or short or long, 16)
        if (byte or octal) and code > 0x7F:
            raise self._error(f"{escape[0]} is one byte of a character; write the character itself")
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(f"{escape[0]} is no character")
        return chr(code)

    def _at(self, text: str) -> bool:
        return self.text.startswith(text, self.position)

    def _blank(self) -> None:
        if found := _BLANK.match(self.text, self.position):
            self.position = found.end()

    def _take(self, pattern: re.Pattern[str], wanted: str) -> str:
        found = pattern.match(self.text, self.position)
        if found is None:
            raise self._error(f"{wanted} has to stand here")
        self.position = found.end()
        return found[0]

    def _expect(self, text: str) -> None:
        if not self._at(text):
            raise self._error(f"{text!r} has to stand here")
        self.position += len(text)
        if text == "{":
            self._blank()

    def _error(self, why: str) -> SelectorError:
        return SelectorError(f"series selector {self.text!r}, position {self.position}: {why}")
