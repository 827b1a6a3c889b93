"""Queries hold what was asked for and nothing that a name or a user's text could smuggle in."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.metrics import promql
from serinus.metrics.promql import Matcher, Pods, Selector, SelectorError

PODS = Pods("prod", ("fraud-91b2f0c4de",))
MATCHERS = 'namespace="prod",pod=~"fraud-91b2f0c4de-.+"'
TEXT = st.text(st.characters(exclude_categories=("Cs",)))

HOSTILE = {
    "quote": 'a"b',
    "closing brace": 'x"} or vector(1) #',
    "backslash": "a\\b",
    "backslash at the end": "a\\",
    "newline": "a\nb",
    "NUL": "a\0b",
    "regex": r"a.b*c+(d|e)[f]{2}^$?",
    "placeholder": "%pods%",
    "not ASCII": "naïve-モデル",
}


def unquoted(literal: str) -> str:
    """What a Go parser reads from a double-quoted literal made of the escapes that are used here."""
    assert literal[0] == literal[-1] == '"'
    body = literal[1:-1]
    assert re.fullmatch(r'(?:[^"\\\n]|\\["\\]|\\x[0-9a-f]{2})*', body), "the literal ends early or is malformed"
    return re.sub(r'\\(?:(["\\])|x([0-9a-f]{2}))', lambda found: found[1] or chr(int(found[2], 16)), body)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_value_stays_one_string_literal(text):
    assert unquoted(promql.quote(text)) == text


@given(TEXT)
def test_every_text_survives_quoting(text):
    assert unquoted(promql.quote(text)) == text


@given(TEXT, TEXT)
def test_a_literal_pattern_matches_its_text_only(text, other):
    pattern = re.compile(promql.re2_literal(text))
    assert pattern.fullmatch(text)
    assert bool(pattern.fullmatch(other)) == (text == other)


def test_half_a_surrogate_pair_is_refused_instead_of_sent():
    with pytest.raises(SelectorError, match="surrogate"):
        promql.quote("\ud800")


def test_pods_of_one_revision_are_matched_by_namespace_and_name():
    assert ",".join(map(str, PODS.matchers)) == MATCHERS


def test_dots_in_a_name_match_dots_only():
    _, pod = Pods("prod", ("model.v1-91b2f0c4de",)).matchers
    pattern = re.compile(pod.value)
    assert pattern.fullmatch("model.v1-91b2f0c4de-abcde")
    assert not pattern.fullmatch("modelxv1-91b2f0c4de-abcde")


def test_pods_of_several_revisions_are_matched_by_an_alternative():
    _, pod = Pods("prod", ("a-1", "b-2")).matchers
    pattern = re.compile(pod.value)
    assert pattern.fullmatch("a-1-x")
    assert pattern.fullmatch("b-2-x")
    assert not pattern.fullmatch("a-1")
    assert not pattern.fullmatch("c-3-a-1-x")


def test_label_names_can_be_chosen():
    pods = Pods("prod", ("a-1",), pod_label="exported_pod", namespace_label="exported_namespace")
    assert ",".join(map(str, pods.matchers)) == 'exported_namespace="prod",exported_pod=~"a-1-.+"'


@pytest.mark.parametrize("name", ["", "po d", "pod=~'x'", "1pod", 'pod"', "pod\n", "pöd"])
def test_a_label_name_that_is_none_is_refused(name):
    with pytest.raises(SelectorError, match="label name"):
        str(Matcher(name, "=", "x"))
    with pytest.raises(SelectorError, match="label name"):
        promql.freshness(Selector("x_total", ()), name)


@pytest.mark.parametrize("name", ["", "a b", "a{", "1a", "sum(a", "a\n"])
def test_a_metric_name_that_is_none_is_refused(name):
    with pytest.raises(SelectorError, match="metric name"):
        str(Selector(name, ()))


def test_requests_leave_probes_out_whatever_the_scrape_calls_their_path():
    assert str(promql.requests(PODS)) == (
        f"bentoml_service_request_total{{{MATCHERS},"
        'endpoint!~"/(livez|readyz|healthz|metrics)",exported_endpoint!~"/(livez|readyz|healthz|metrics)"}'
    )


def test_known_paths_restrict_requests_under_either_label():
    assert promql.known_requests(PODS, ["/read", '/a"b|c']) == (
        f'bentoml_service_request_total{{{MATCHERS},exported_endpoint="",endpoint=~"(/a\\"b\\\\|c|/read)"}} or '
        f'bentoml_service_request_total{{{MATCHERS},exported_endpoint=~"(/a\\"b\\\\|c|/read)"}}'
    )


def test_without_known_paths_all_but_probes_are_asked_for():
    assert promql.known_requests(PODS, []) == str(promql.requests(PODS))


def test_buckets_are_those_of_successful_answers_at_the_given_bounds():
    assert str(promql.buckets_at(PODS, ["0.5", "+Inf"])).endswith('http_response_code=~"2..",le=~"(\\\\+Inf|0\\\\.5)"}')


SELECTORS = {
    "nulls_total{%pods%}": f"nulls_total{{{MATCHERS}}}",
    "nulls_total{%pods%,}": f"nulls_total{{{MATCHERS}}}",
    " ns:nulls:total { %pods% } ": f"ns:nulls:total{{{MATCHERS}}}",
    'a{kind="image",%pods%}': f'a{{kind="image",{MATCHERS}}}',
    "a{kind='image' , %pods%, b!~`x\\d+`}": f'a{{kind="image",{MATCHERS},b!~"x\\\\d+"}}',
    'a{%pods%,k="x}"}': f'a{{{MATCHERS},k="x}}"}}',
    r'a{%pods%,k="tab\t quote\" hex\x41 uni\u00e9"}': f'a{{{MATCHERS},k="tab\\x09 quote\\" hexA unié"}}',
    'a{%pods%,k="%pods%"}': f'a{{{MATCHERS},k="%pods%"}}',
}


@pytest.mark.parametrize(("text", "query"), SELECTORS.items())
def test_a_series_selector_is_written_anew_for_the_pods(text, query):
    assert str(promql.user_selector(text, PODS)) == query


REFUSED = {
    "": "name of a counter",
    "a": "'{' has to stand here",
    "{%pods%}": "name of a counter",
    "a{}": "exactly once",
    "a{%pods%,%pods%}": "exactly once",
    'a{k="%pods%"}': "exactly once",
    "a{%pods%}[5m]": "nothing may follow",
    "a{%pods%} offset 5m": "nothing may follow",
    "a{%pods%} or b{%pods%}": "nothing may follow",
    "a{%pods%} # b": "nothing may follow",
    "rate(a{%pods%}[5m])": "'{' has to stand here",
    "sum by (x) (a{%pods%})": "'{' has to stand here",
    'a{%pods%,__name__="b"}': "__name__",
    "a{%pods%,k=5}": "quoted value",
    "a{%pods%,k}": "one of = != =~ !~",
    'a{%pods%,k=="x"}': "quoted value",
    'a{%pods% k="x"}': "',' has to stand here",
    'a{%pods%,k="x}': "quoted value",
    'a{%pods%,k="x\ny"}': "quoted value",
    r'a{%pods%,k="\q"}': "escape",
    r'a{%pods%,k="\xff"}': "write the character itself",
    r'a{%pods%,k="\ud800"}': "no character",
    "a{%pods%": "',' has to stand here",
    "a{%pods%}}": "nothing may follow",
    "a{,%pods%}": "label's name",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_anything_but_a_series_selector_is_refused_with_the_reason(text, why):
    with pytest.raises(SelectorError, match=re.escape(why)):
        promql.user_selector(text, PODS)


@given(TEXT)
def test_no_text_makes_more_than_one_selector(text):
    """Whatever is accepted has the form metric{matchers} with both matchers of the pods in it."""
    try:
        query = str(promql.user_selector(f'a{{k="{text}",%pods%}}', PODS))
    except SelectorError:
        return
    literal = r'"(?:[^"\\\n]|\\.)*"'
    assert re.fullmatch(rf"a\{{(?:[a-z_A-Z][a-z_A-Z0-9]*(?:=|!=|=~|!~){literal},?)+\}}", query)
    assert MATCHERS in query


QUERIES = {
    "max(mem{%pods%})": f"max(mem{{{MATCHERS}}})",
    "a{%pods%} / b{%pods%}": f"a{{{MATCHERS}}} / b{{{MATCHERS}}}",
    'a{k="%pods%",%pods%} # %pods% it\'s': f'a{{k="%pods%",{MATCHERS}}} # %pods% it\'s',
}


@pytest.mark.parametrize(("text", "query"), QUERIES.items())
def test_a_query_is_kept_and_the_placeholder_replaced_outside_of_strings(text, query):
    assert promql.user_query(text, PODS) == query


@pytest.mark.parametrize("text", ["up", 'a{k="%pods%"}', "up # %pods%", "a{k='%pods%'}"])
def test_a_query_that_would_measure_every_revision_is_refused(text):
    with pytest.raises(SelectorError, match="%pods%"):
        promql.user_query(text, PODS)
