"""Where things are: the checkout, its state, the shared cache, and the names derived from them. For every module."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parents[1]
TOOLCHAIN = PACKAGE / "toolchain"
MANIFESTS = PACKAGE / "manifests"
IMAGES = CHECKOUT / "images"

STATE = CHECKOUT / ".state" / "cluster"
"""Everything one cluster leaves on disk. Gone after `down`."""

BUILT_IMAGES = CHECKOUT / ".state" / "images.json"
"""Which build stands behind each image name of this checkout. Outlives the cluster."""

KUBECONFIG = STATE / "kubeconfig"
LOGS = STATE / "log"

IDENTITY = "serinus-" + hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
"""Names the checkout's cluster, cgroup, processes and network interface, so that two checkouts never meet."""


def cache() -> Path:
    """Return the user's cache folder, shared by all checkouts; `SERINUS_CACHE` moves it."""
    chosen = os.environ.get("SERINUS_CACHE")
    return Path(chosen).absolute() if chosen else Path.home() / ".cache" / "serinus"
