"""Command lines of etcd and the control plane, the same for the native cluster and for the control plane alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import tools
from e2e.cluster.pki import Authority, make_authority

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a control plane listens and keeps its files."""

    folder: Path
    address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def authority(self) -> Authority:
        return Authority(self.folder / "pki")

    def kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user}.kubeconfig"


def make_credentials(layout: Layout, users: dict[str, str], names: str = "") -> None:
    """Make the authority, the API server's certificate and a kubeconfig for each user, given as name → subject."""
    authority = make_authority(layout.authority.folder)
    served = f"IP:{layout.address},IP:127.0.0.1,IP:{API_SERVICE_ADDRESS},DNS:localhost,DNS:kubernetes.default.svc"
    authority.sign("apiserver", "/CN=kube-apiserver", served + names)
    for user, subject in users.items():
        authority.sign(user, subject)
        authority.kubeconfig(user, layout.server, layout.kubeconfig(user))


def etcd(layout: Layout) -> list[str]:
    """Return etcd's command line; the data is thrown away with the cluster, so nothing waits for the disk."""
    clients = f"http://127.0.0.1:{layout.etcd_port}"
    peers = f"http://127.0.0.1:{layout.etcd_peer_port}"
    return [
        str(tools.packaged() / "etcd"),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout, *more: str) -> list[str]:
    """Return kube-apiserver's command line."""
    pki = layout.authority.folder
    return [
        str(tools.kubernetes() / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{layout.etcd_port}",
        f"--bind-address={layout.address}",
        f"--advertise-address={layout.address}",
        f"--secure-port={layout.api_port}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--service-account-key-file={layout.authority.service_account_public_key}",
        f"--service-account-signing-key-file={layout.authority.service_account_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged",
        *more,
    ]


def controller_manager(layout: Layout, *more: str) -> list[str]:
    """Return kube-controller-manager's command line; its user is `controller-manager`."""
    return [
        str(tools.kubernetes() / "kube-controller-manager"),
        f"--kubeconfig={layout.kubeconfig('controller-manager')}",
        f"--service-account-private-key-file={layout.authority.service_account_key}",
        f"--root-ca-file={layout.authority.certificate}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--authentication-skip-lookup",
        *more,
    ]


def scheduler(layout: Layout, *more: str) -> list[str]:
    """Return kube-scheduler's command line; its user is `scheduler`."""
    return [
        str(tools.kubernetes() / "kube-scheduler"),
        f"--kubeconfig={layout.kubeconfig('scheduler')}",
        "--leader-elect=false",
        *more,
    ]
