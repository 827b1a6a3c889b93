"""Counts per interval from a CSV, and what is said of one that makes no sense."""

import pytest

from serinus.core.evidence.intervals import Interval, Tally
from serinus.core.history import Served, UnreadableHistory, from_csv, from_intervals

HEAD = "time,metric,total,bad"


def test_rows_become_counts_by_metric_and_interval():
    found = from_csv(
        [HEAD + ",refused", "60,errors,100,1,2", "120,errors,50,0,", "240,errors,10,0,0", "120,latency,50,4,0"]
    )
    assert (found.begins_at, found.interval_seconds, found.length) == (0.0, 60.0, 4)
    assert found.metrics["errors"] == {0: Served(100, 1, 2), 1: Served(50, 0, 0), 3: Served(10, 0, 0)}
    assert found.metrics["latency"] == {1: Served(50, 4, 0)}
    assert found.of("errors") == Served(160, 1, 2)
    assert found.of("unknown") == Served(0, 0)


def test_times_may_be_written_as_people_do():
    found = from_csv([HEAD, "1970-01-01T00:01:00,errors,1,0", "1970-01-01T01:02:00+01:00,errors,1,0"])
    assert (found.begins_at, found.interval_seconds, found.length) == (0.0, 60.0, 2)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["time,metric,total"], "line 1: no column bad"),
        ([], "line 1: no column time"),
        ([HEAD, "60,errors,100,1"], "at least two intervals"),
        ([HEAD, "60,errors,100,1", "yesterday,errors,1,0"], "line 3: the time 'yesterday'"),
        ([HEAD, "60,errors,100,nan"], "line 2: bad is 'nan'"),
        ([HEAD, "60,errors,-1,0"], "line 2: total is '-1'"),
        ([HEAD, "60,errors,1"], "line 2: bad is ''"),
        ([HEAD, "60,errors,1,2"], "line 2: 2 bad and 0 refused of 1"),
        ([HEAD, "60,a,1,0", "120,a,1,0", "150,a,1,0", "200,a,1,0"], "line 5: the time is not a multiple of 30 s"),
        ([HEAD, "60,a,1,0", "120,a,1,0", "120,a,2,0"], "line 4: a second row for 'a'"),
        ([HEAD, "0,a,1,0", "1,a,1,0", "1e9,a,1,0"], "1,000,000,001 intervals"),
    ],
)
def test_what_makes_no_sense_is_said_with_its_line(lines, said):
    with pytest.raises(UnreadableHistory, match=said.replace("(", r"\(")):
        from_csv(lines)


def test_intervals_of_counters_become_counts_over_all_strata():
    intervals = (
        Interval(1, {"/a": Tally(10, 1, 2, 3), "/b": Tally(5, 1, 1, 0)}),
        Interval(3, {"/a": Tally(10, 0, 0, 0)}),
    )
    found = from_intervals(0.0, 15.0, 4, {"errors": intervals})
    assert found.metrics["errors"] == {0: Served(15, 2, 3), 2: Served(10, 0, 0)}


def test_a_column_with_slices_divides_the_counts_of_a_metric():
    rows = ["60,errors,DE,100,1", "60,errors,FR,10,2", "120,errors,DE,50,0", "120,errors,,5,0", "60,latency,,7,1"]
    found = from_csv(["time,metric,slice,total,bad", *rows])
    assert found.metrics["errors"] == {0: Served(110, 3), 1: Served(55, 0)}
    assert found.of_slices("errors") == {"DE": 150, "FR": 10, "": 5}
    assert found.of_slice("errors", "FR") == Served(10, 2)
    assert found.slices["latency"] == {"": {0: Served(7, 1)}}


def test_the_same_slice_twice_at_a_time_is_said():
    rows = ["60,a,DE,1,0", "60,a,FR,1,0", "120,a,DE,1,0", "120,a,DE,2,0"]
    with pytest.raises(UnreadableHistory, match="line 5: a second row for 'a' and the slice 'DE' at this time"):
        from_csv(["time,metric,slice,total,bad", *rows])
