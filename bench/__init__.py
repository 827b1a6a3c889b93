"""The benchmark: many ModelDeployments at once on a real control plane, with everything around it played.

`python -m bench` (or `make bench-scale SIZE=500`) starts etcd, kube-apiserver, kube-controller-manager and
kube-scheduler, and beside them processes of this package in place of what a machine has no room for: `bench.kubelet`
makes pods Ready at once, `bench.gateway` accepts routes, `bench.prometheus` has numbers. The operator runs as it ships,
with the rights and the environment of its chart. Everything is on loopback and ends with the run.
"""
