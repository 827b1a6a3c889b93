"""A simulated world: an API server, a ReplicaSet controller, pods, a gateway, requests and Prometheus, on one clock.

The real reconciler, the real `decide`, the real carry-out code and the real evidence engine run in it.
"""
