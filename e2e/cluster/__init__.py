"""The real cluster that the demo and the end-to-end tests run on.

Owns everything between a fresh machine and a ready Kubernetes 1.34 node with DNS, a gateway and Prometheus. Called by
`make cluster` (through `__main__`), the demo, the end-to-end tests and, for a control plane alone, the integration
tests. Standard library only: it runs before any virtual environment exists.

Two ways lead to the same cluster: kind where a Docker engine answers (`kind`), otherwise a native node in namespaces
of its own (`native`). Only making the cluster and loading images differ.
"""
