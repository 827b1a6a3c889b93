"""Everything that speaks to a Kubernetes API server; nothing in here decides.

`cluster` is the port that carrying out a plan needs, `client` speaks HTTP, `credentials` says as whom, `informers` keep
caches of what is there, and `observation` turns raw objects into what `serinus.core` reads. Called by `serinus.shell`.
"""
