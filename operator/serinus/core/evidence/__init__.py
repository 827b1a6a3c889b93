"""How evidence becomes a verdict: the statistics of Serinus.

`judge.Judge` is the way in. From raw counters to a verdict:

1. `intervals` turns raw cumulative counters into counts per grid interval, and `coverage` says whether they can be
   trusted;
2. `betting` tests "above an absolute limit", `increase` tests "above stable" and both directions of Pass;
3. `comparison` puts the tests of one countable metric together, `decision` says what they mean, and `gauges` looks at
   values that can't be counted;
4. `policy` holds what is judged: limits, tolerance, error budget.

Every test is an *e-process*: a number that starts at 1 and, for a harmless candidate, has an expectation of at most 1
at every time, however often and whenever it is looked at. By Ville's inequality the chance that it ever reaches
1/alpha is at most alpha. Nothing is stored: a verdict is a function of the readings, so that a cold evaluation after a
restart gives what an incremental one gave.
"""
