"""The operator's process: watches, the reconcile loop, leadership, telemetry.

The only layer that knows time, tasks and the outside world. `serinus.__main__` starts `serinus.shell.app`; everything
that is decided is decided in `serinus.core`.
"""
