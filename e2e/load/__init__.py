"""Clients of the models under test: a load generator that runs as a pod, and the reader of what it saw.

Called by the demo and the end-to-end tests: `pod` says how the generator runs in the cluster, `generator` is what runs
there, `report` answers how many requests were sent, answered and failed, by model version and interval of time.
"""
