"""Certificates and kubeconfigs of a throw-away cluster, made with openssl. Called by `native` and `controlplane`."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.once import write_whole
from e2e.cluster.process import run

_DAYS = "3650"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
_CONFIG = """\
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth,serverAuth
"""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority and the folder that everything it signs lands in."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def service_account_key(self) -> Path:
        """The key that signs service-account tokens."""
        return self.folder / "service-accounts.key"

    @property
    def service_account_public_key(self) -> Path:
        """The key that verifies service-account tokens."""
        return self.folder / "service-accounts.pub"

    def sign(self, name: str, subject: str, addresses: str = "") -> None:
        """Make `<name>.crt` and `<name>.key` for a subject such as `/O=system:nodes/CN=system:node:a`.

        `addresses` is openssl's list of what a server is called: `IP:127.0.0.1,DNS:localhost`.
        """
        names = ("-addext", f"subjectAltName={addresses}") if addresses else ()
        authority = ("-CA", self.certificate, "-CAkey", self.folder / "ca.key")
        self.request("leaf", name, subject, *authority, *names)

    def kubeconfig(self, name: str, server: str, path: Path) -> None:
        """Write a kubeconfig that holds all it needs and presents the certificate `name`."""

        def data(file: str) -> str:
            return base64.b64encode((self.folder / file).read_bytes()).decode()

        user = {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}
        cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "serinus", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "serinus", "context": {"cluster": "serinus", "user": name}}],
            "current-context": "serinus",
        }
        write_whole(path, json.dumps(document, indent=2) + "\n", mode=0o600)

    def request(self, section: str, name: str, subject: str, *more: str | Path) -> None:
        """Make `<name>.crt` and `<name>.key` with the extensions of one section: `authority` or `leaf`."""
        run(
            *("openssl", "req", "-x509", "-config", self.folder / "openssl.cnf", "-extensions", section, *_KEY),
            *("-days", _DAYS, "-subj", subject, "-keyout", self.folder / f"{name}.key"),
            *("-out", self.folder / f"{name}.crt", *more),
            advice="OpenSSL 3 is needed (on Debian: apt-get install openssl)",
        )


def make_authority(folder: Path) -> Authority:
    """Make a certificate authority and a service-account key in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "openssl.cnf").write_text(_CONFIG)
    authority = Authority(folder)
    authority.request("authority", "ca", "/CN=serinus-test-cluster")
    private, public = authority.service_account_key, authority.service_account_public_key
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
    run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    return authority
