"""What the native cluster needs of the machine, and what image builds need to know of it.

Called by `native` and `buildah`.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from e2e.cluster.process import ClusterError, CommandError, missing_programs, run
from e2e.cluster.progress import step

SUITE = "bookworm"

_PACKAGES = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "unshare": "util-linux",
}
_CNI_PLUGINS = [Path("/usr/lib/cni", name) for name in ("ptp", "host-local", "portmap")]

_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def check() -> None:
    """Raise `ClusterError` where the native cluster can't work."""
    if platform.system() != "Linux":
        raise ClusterError(f"no Docker engine answers, and this is {platform.system()}", "start Docker")
    if os.geteuid() != 0:
        advice = "start Docker, or run this as root on Debian 12 for a cluster without Docker"
        raise ClusterError("no Docker engine answers, and the native cluster needs root", advice)


def install_packages() -> None:
    """Install Debian packages for the programs that are missing, removing none."""
    wanted = {_PACKAGES[program] for program in missing_programs(_PACKAGES)}
    if not all(plugin.exists() for plugin in _CNI_PLUGINS):
        wanted.add("containernetworking-plugins")
    if not wanted:
        return
    names = sorted(wanted)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "--no-remove", *names]
    if missing_programs(["apt-get"]):
        raise ClusterError(f"these Debian packages are missing: {' '.join(names)}", "install them, or start Docker")
    with step(f"Debian packages: {' '.join(names)}"):
        run("apt-get", "update", "-qq", advice="check apt's sources and the network, then run this again")
        advice = f"install them by hand, then run this again: apt-get install {' '.join(names)}"
        run(*command, env={"DEBIAN_FRONTEND": "noninteractive"}, advice=advice)


def debian_mirror() -> str | None:
    """Return the address this machine gets Debian 12 from, if it is one that does."""
    try:
        fields = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
        listed = run("apt-get", "indextargets", "--format", fields, "Created-By: Packages")
    except CommandError:
        return None
    for line in listed.splitlines():
        words = line.split()
        if words[1:] == [SUITE, "main"]:
            return words[0]
    return None


def apt_settings() -> str:
    """Return the machine's settings of how apt downloads: proxies, retries, checks of dates."""
    listed = run("apt-config", "dump")
    wanted = re.compile(r"^Acquire::(http|https|Check-|Retries|Force|Max-|Min-)", re.IGNORECASE)
    return "".join(line + "\n" for line in listed.splitlines() if wanted.match(line))


def pip_settings() -> str:
    """Return a pip.conf with the machine's `PIP_` settings, and its certificates where a build sees them."""
    settings = {"cert": str(_CA_BUNDLE)} if _CA_BUNDLE.exists() else {}
    for name in ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "retries"):
        value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            settings[name] = value
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def certificates() -> Path | None:
    """Return the machine's bundle of trusted certificates."""
    return _CA_BUNDLE if _CA_BUNDLE.exists() else None
