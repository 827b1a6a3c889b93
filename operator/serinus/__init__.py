"""Serinus: a Kubernetes operator that puts machine-learning models into production safely and keeps them healthy there.

The layers, from the outside in: ``__main__`` > ``shell`` > ``settings`` > ``kube`` | ``metrics`` > ``core`` > ``api``.
A layer imports only from those to its right.
"""

__version__ = "0.1.0"
