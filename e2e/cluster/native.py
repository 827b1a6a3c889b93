"""A single-node Kubernetes cluster without a container engine: plain programs in namespaces of their own.

Called by `lifecycle` and `images` where no Docker engine answers. Needs Linux and root. Nothing of it lies outside its
namespaces, its cgroup and the checkout's state folder, so several checkouts run side by side and `down` leaves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from e2e.cluster import buildah, cgroups, components, machine, namespaces, tools
from e2e.cluster.components import Layout
from e2e.cluster.context import Build
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.locations import IMAGES, KUBECONFIG, LOGS, STATE
from e2e.cluster.process import ClusterError, CommandError, Word, last_lines, run, succeeds
from e2e.cluster.progress import step
from e2e.cluster.supervisor import Daemon

NODE = "node1"
CLUSTER_DNS = "10.96.0.10"
PAUSE_IMAGE = "localhost/serinus-e2e/pause:1"

_POD_RANGE = "10.244.0.0/24"
_SOCKET = Path("/run/containerd/containerd.sock")
_KUBELET = Path("/var/lib/kubelet")
"""Where the kubelet finds its folder: in a deep checkout the paths of its sockets would be too long."""
_PORTS = {"api_port": 6443, "etcd_port": 2379, "etcd_peer_port": 2380}
_READY_SECONDS = 300
_BUILD_LABEL = "serinus.dev/build"
_USERS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
    "proxy": "/CN=system:kube-proxy",
    "scheduler": "/CN=system:kube-scheduler",
}


def prepare() -> None:
    """Install and build everything the cluster is made of, so that starting it is only starting."""
    machine.check()
    machine.install_packages()
    with ThreadPoolExecutor() as beside:
        base_image_made = beside.submit(buildah.base_image)  # waits for the network where compilers wait for processors
        tools.kubernetes()
        tools.packaged()
        tools.coredns()
        tools.prometheus()
        base_image_made.result()


def runs() -> bool:
    """Tell whether there are processes of the checkout's cluster."""
    return namespaces.supervisor() is not None


def answers() -> bool:
    """Tell whether the checkout's cluster runs and its API server answers."""
    return runs() and KUBECONFIG.exists() and Kubectl().answers()


def create() -> None:
    """Start the cluster from nothing, clearing what is left of an earlier one, and wait until its node is ready."""
    if namespaces.anything_left():
        with step("clearing what an earlier cluster left"):
            namespaces.end()
    with step("starting etcd, the control plane and the node"):
        LOGS.mkdir(parents=True)
        link = namespaces.choose_link()
        layout = Layout(STATE, str(link.node), **_PORTS)
        components.make_credentials(layout, _USERS, names=f",DNS:{NODE}")
        layout.authority.kubeconfig("admin", layout.server, KUBECONFIG)
        _write_settings(layout)
        namespaces.start(_daemons(layout), link, {_KUBELET: STATE / "kubelet"})
        _await_containerd()
        load({PAUSE_IMAGE: _build_pause()})
        _await_node()


def destroy() -> None:
    """End the cluster and everything in it; leave nothing but the cache."""
    namespaces.end()


def build(what: Build, key: str) -> None:
    """Build an image into the store, unless it is there."""
    buildah.build(what, key)


def base_image() -> str:
    """Return the name of the image that stands in for python:3.11-slim-bookworm."""
    return buildah.base_image()


def load(keys: Mapping[str, str]) -> None:
    """Give the node images, as name → key of their build; what it has is not sent again."""
    present = _loaded()
    wanted = {name: key for name, key in keys.items() if present.get(name) != key}
    if not wanted:
        return
    exports = {name: buildah.export(key) for name, key in wanted.items()}
    blobs = set(run(*_ctr("content", "ls", "--quiet")).split())
    command = [str(word) for word in _ctr("images", "import", *_snapshotter_flag(), "-")]
    with tempfile.TemporaryFile() as output:
        importer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        if importer.stdin is None:
            raise AssertionError("a pipe was asked for")
        try:
            with importer.stdin as sink:
                buildah.write_archive(exports, blobs, sink)
        except BrokenPipeError:
            pass  # The importer gave up; its exit code and output say why.
        if importer.wait() != 0:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise CommandError(command, f"exit code {importer.returncode}", text, "make cluster-down cluster")
    for name, key in wanted.items():
        run(*_ctr("images", "label", name, f"{_BUILD_LABEL}={key}"))


def send_signal(program: str, number: signal.Signals) -> None:
    """Send a signal to one of the node's programs, such as kube-apiserver."""
    for pid in cgroups.members():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/cmdline").read_text(errors="replace").partition("\0")[0].endswith(f"/{program}"):
                os.kill(pid, number)
                return
    raise ClusterError(f"{program} is not running", f"see {LOGS / program}.log")


def status() -> list[str]:
    """Return what can be said about the cluster, a line each."""
    pid = namespaces.supervisor()
    if pid is None:
        left = namespaces.anything_left()
        return ["native cluster: not running", *(f"left behind: {what} (make cluster-down)" for what in left)]
    return [
        f"native cluster: process {pid} and {len(cgroups.members()) - 1} more",
        f"enter its namespaces: nsenter --target={pid} --mount --net --pid",
        f"logs: {LOGS}",
    ]


def _daemons(layout: Layout) -> list[Daemon]:
    programs = tools.kubernetes()
    kubelet_authorities = ["--kubelet-client-certificate", "--kubelet-client-key"]
    admin = [layout.authority.folder / "admin.crt", layout.authority.folder / "admin.key"]
    commands: dict[str, list[str]] = {
        "containerd": ["/usr/bin/containerd", f"--config={STATE / 'containerd.toml'}"],
        "etcd": components.etcd(layout),
        "kube-apiserver": components.api_server(
            layout,
            *(f"{flag}={path}" for flag, path in zip(kubelet_authorities, admin, strict=True)),
            "--kubelet-preferred-address-types=InternalIP",
        ),
        "kube-controller-manager": components.controller_manager(layout, f"--cluster-cidr={_POD_RANGE}"),
        "kube-scheduler": components.scheduler(layout),
        "kubelet": [
            str(programs / "kubelet"),
            f"--config={STATE / 'kubelet.json'}",
            f"--kubeconfig={layout.kubeconfig('kubelet')}",
            f"--hostname-override={NODE}",
            f"--node-ip={layout.address}",
            f"--root-dir={_KUBELET}",
            f"--cert-dir={layout.authority.folder}",
        ],
        "kube-proxy": [str(programs / "kube-proxy"), f"--config={STATE / 'proxy.json'}"],
    }
    return [Daemon(command=command, log=str(LOGS / f"{name}.log")) for name, command in commands.items()]


def _write_settings(layout: Layout) -> None:
    pki = layout.authority.folder
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.GROUP,
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "podLogsDir": str(STATE / "pod-logs"),
        "resolvConf": "",
        "staticPodPath": "",
        "failSwapOn": False,
        # The disk is the machine's: no image may vanish and no pod be evicted because something else fills it.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("proxy"))},
        "clusterCIDR": _POD_RANGE,
        "hostnameOverride": NODE,
        "mode": "iptables",
        # The limits are the machine's, not a namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    # ptp routes between pods; a bridge would need a kernel module for Services to work within one node.
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {"type": "host-local", "ranges": [[{"subnet": _POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (STATE / "kubelet").mkdir()
    (STATE / "cni").mkdir()
    (STATE / "cni" / "10-pods.conflist").write_text(json.dumps(network))
    (STATE / "kubelet.json").write_text(json.dumps(kubelet))
    (STATE / "proxy.json").write_text(json.dumps(proxy))
    (STATE / "containerd.toml").write_text(_containerd_settings())


def _containerd_settings() -> str:
    return f"""\
version = 2
root = {json.dumps(str(STATE / "containerd"))}
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE runc may not lower a score below its own.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = {json.dumps(str(STATE / "cni"))}
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{_snapshotter()}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def _snapshotter() -> str:
    """Return the way layers are stacked; an overlay can't lie on an overlay."""
    on_overlay = run("stat", "--file-system", "--format=%T", STATE).strip() == "overlayfs"
    return "native" if on_overlay else "overlayfs"


def _snapshotter_flag() -> list[str]:
    return [f"--snapshotter={_snapshotter()}"]


def _build_pause() -> str:
    what = Build(tools.pause(), IMAGES / "pause" / "Dockerfile", {})
    buildah.build(what, what.key())
    return what.key()


def _await_containerd() -> None:
    _await("containerd", lambda: succeeds(*_ctr("version")))


def _await_node() -> None:
    def ready() -> bool:
        kubectl = Kubectl()
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return kubectl.answers() and kubectl.try_run("get", "node", NODE, "-o", path) == "True"

    _await("the node", ready)


def _await(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not ready():
        if namespaces.supervisor() is None or time.monotonic() > deadline:
            logs = [f"  {log.name}:\n{_indented(log)}" for log in sorted(LOGS.glob("*.log"))]
            message = f"{what} did not become ready within {_READY_SECONDS} s\n" + "\n".join(logs)
            raise ClusterError(message, f"the whole logs are in {LOGS}; make cluster-down cluster starts anew")
        time.sleep(0.2)


def _indented(log: Path) -> str:
    return "\n".join("    " + line[:300] for line in last_lines(log.read_text(errors="replace"), 4))


def _ctr(*arguments: Word) -> list[Word]:
    return namespaces.enter("ctr", f"--address={_SOCKET}", "--namespace=k8s.io", *arguments)


def _loaded() -> dict[str, str]:
    """Return the images the node has, as name → key of their build."""
    found = {}
    for line in run(*_ctr("images", "ls")).splitlines():
        name, _, labels = line.partition(" ")
        if f"{_BUILD_LABEL}=" in labels:
            found[name] = labels.split(f"{_BUILD_LABEL}=")[1].split(",")[0].strip()
    return found
