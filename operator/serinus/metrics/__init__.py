"""Metric sources: where readings come from.

`source` is the interface and its questions, `prometheus` the implementation for Prometheus and what speaks its API
(Thanos, Mimir, VictoriaMetrics). Called by `serinus.shell`; the answers are `serinus.core.readings`.
"""
