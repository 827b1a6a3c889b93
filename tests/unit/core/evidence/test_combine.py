"""One verdict over all metrics: the worst of the enforced ones."""

import itertools

import pytest

from serinus.api.analysis import MetricMode
from serinus.core.readings import Missing, MissingReason
from serinus.core.verdicts import (
    Fail,
    FailReason,
    MetricVerdict,
    Pass,
    Undecided,
    UndecidedReason,
    VerdictKind,
    combine,
    kind_of,
    reason_of,
)

FAIL = Fail(FailReason.ABOVE_LIMIT)
MISSING = Missing(MissingReason.TIMEOUT, "Prometheus did not answer.")
UNDECIDED = Undecided(UndecidedReason.NOT_ENOUGH_EVIDENCE)
WORST_FIRST = (FAIL, MISSING, UNDECIDED, Pass())


def metric(verdict, mode=MetricMode.ENFORCE):
    return MetricVerdict("m", mode, verdict, None, None, None, None, None, "1 %", None, "m: …")


@pytest.mark.parametrize("verdicts", list(itertools.product(WORST_FIRST, repeat=3)))
def test_the_worst_enforced_verdict_counts_in_any_order(verdicts):
    assert combine(metric(verdict) for verdict in verdicts) == min(verdicts, key=WORST_FIRST.index)


@pytest.mark.parametrize("observed", WORST_FIRST)
def test_what_is_only_observed_never_decides(observed):
    assert combine([metric(observed, MetricMode.OBSERVE), metric(Pass())]) == Pass()


@pytest.mark.parametrize("verdicts", [[], [metric(Pass(), MetricMode.OBSERVE)]])
def test_nothing_enforced_is_no_pass(verdicts):
    assert combine(verdicts) == Undecided(UndecidedReason.NOTHING_ENFORCED)


def test_a_pass_is_guaranteed_only_if_every_metric_is():
    assert combine([metric(Pass()), metric(Pass(guaranteed=False))]) == Pass(guaranteed=False)


@pytest.mark.parametrize(
    ("verdict", "kind", "reason"),
    [
        (FAIL, VerdictKind.FAIL, "AboveLimit"),
        (MISSING, VerdictKind.MISSING, "Timeout"),
        (UNDECIDED, VerdictKind.UNDECIDED, "NotEnoughEvidence"),
        (Pass(), VerdictKind.PASS, "ShownHarmless"),
        (Pass(guaranteed=False), VerdictKind.PASS, "WithinLimit"),
    ],
)
def test_every_verdict_has_a_kind_and_a_reason_of_one_word(verdict, kind, reason):
    assert (kind_of(verdict), reason_of(verdict)) == (kind, reason)
    assert metric(verdict).kind is kind
