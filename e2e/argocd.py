"""Argo CD beside the cluster: its application controller, its repository server and a Redis, for one Git repository.

The programs run on this machine with the credentials of the cluster's administrator, as Argo CD's developers run them;
nothing of it but CRDs, settings and Applications is in the cluster. They are built when a test first asks for them.
Called by `e2e.test_argocd`.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from e2e.cluster import tools
from e2e.cluster.locations import LOGS
from e2e.cluster.process import run
from e2e.stage import ROOT, Stage, wait_until
from e2e.watching import Watch

NAMESPACE = "argocd"
SNIPPET = ROOT / "deploy" / "argocd" / "argocd-cm.yaml"
MODULE = tools.GoModule("argocd", "github.com/argoproj/argo-cd/v3", target=".")
KIND = "applications.argoproj.io"
CRDS = (f"crd/{KIND}", "crd/appprojects.argoproj.io")
REFRESH = "argocd.argoproj.io/refresh"
SYNC_OPTIONS = ["ServerSideApply=true"]
SYNC_SECONDS = 90
"""Several times what a busy machine takes from a commit to its sync."""
RESYNC_SECONDS = 10
"""How often Argo CD compares Git and the cluster by itself: in its installations, every few minutes."""

Manifest = dict[str, Any]


class Repository:
    """A Git repository on disk, with one manifest in it."""

    def __init__(self, folder: Path) -> None:
        """Make it, empty, in a folder that exists."""
        self._folder = folder
        self._git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return f"file://{self._folder}"

    def commit(self, manifest: Manifest, subject: str) -> str:
        """Make the manifest what `main` says, and return the commit."""
        (self._folder / "model.yaml").write_text(json.dumps(manifest, indent=2))
        self._git("add", "model.yaml")
        self._git("commit", "--quiet", f"--message={subject}")
        return self._head()

    def revert(self) -> str:
        """Take the last commit back by another one, and return that."""
        self._git("revert", "--no-edit", "HEAD")
        return self._head()

    def _head(self) -> str:
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        author = {"GIT_AUTHOR_NAME": "e2e", "GIT_AUTHOR_EMAIL": "e2e@example.com"}
        committer = {"GIT_COMMITTER_NAME": "e2e", "GIT_COMMITTER_EMAIL": "e2e@example.com"}
        nobody_elses = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return run("git", *words, cwd=self._folder, env={**author, **committer, **nobody_elses})


class Application:
    """One Application, followed from before it is made."""

    def __init__(self, stage: Stage, name: str) -> None:
        """`stage` is where Argo CD is installed."""
        self._stage, self.name = stage, name
        self._watch = Watch(stage.kubectl, KIND, NAMESPACE, name, _told)

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(*error)

    def create(self, url: str, namespace: str) -> None:
        """As docs/gitops.md has it, with selfHeal."""
        self._stage.apply(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Application",
                "metadata": {
                    "name": self.name,
                    "namespace": NAMESPACE,
                    "annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"},
                },
                "spec": {
                    "project": "default",
                    "source": {"repoURL": url, "path": ".", "targetRevision": "main"},
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                    "syncPolicy": {"automated": {"selfHeal": True, "prune": True}, "syncOptions": SYNC_OPTIONS},
                },
            }
        )

    def refresh(self) -> None:
        """Have Argo CD forget what it knows, and look at Git and at the cluster now."""
        self._kubectl("annotate", KIND, self.name, "--overwrite", f"{REFRESH}=hard")

        def refreshed() -> bool:
            found = json.loads(self._kubectl("get", KIND, self.name, "--output=json"))
            return REFRESH not in found["metadata"].get("annotations", {})

        wait_until(f"Application {self.name} is refreshed", refreshed, SYNC_SECONDS)

    def sync_again(self) -> list[str]:
        """Apply what is in Git once more, as by the button; what Argo CD says of each object it applied."""
        user = f"e2e-{secrets.token_hex(4)}"
        operation = {"initiatedBy": {"username": user}, "sync": {"syncOptions": SYNC_OPTIONS}}
        self._kubectl("patch", KIND, self.name, "--type=merge", f"--patch={json.dumps({'operation': operation})}")

        def over(application: Manifest) -> bool:
            state = _operation(application)
            by = state.get("operation", {}).get("initiatedBy", {}).get("username")
            return by == user and state.get("phase") == "Succeeded"

        state = _operation(self.wait_for("it is synced again", over, SYNC_SECONDS))
        return [f"{each['status']}: {each['message']}" for each in state["syncResult"]["resources"]]

    def wait_for(self, what: str, reached: Callable[[Manifest], bool], seconds: float) -> Manifest:
        """Wait until the Application fulfils `reached`, and return it."""
        return self._watch.wait_for(what, reached, seconds)

    def wait_until_synced(self, commit: str) -> Manifest:
        """Wait until a commit is applied, and Argo CD has seen that nothing differs."""
        self.refresh()
        return self.wait_for(f"{commit} is synced", lambda m: is_synced(m) and _compared(m) == commit, SYNC_SECONDS)

    def wait_until_health(self, wanted: str, seconds: float) -> Manifest:
        """Wait until Argo CD says so."""
        return self.wait_for(f"its health is {wanted}", lambda m: health_of(m) == wanted, seconds)

    def was_in_sync_with(self, commit: str) -> None:
        """Fail if Argo CD ever saw a difference between a commit and the cluster, once it had applied it."""
        compared = [seen.manifest for seen in self._watch.seen if _compared(seen.manifest) == commit]
        first = next(place for place, manifest in enumerate(compared) if is_synced(manifest))
        assert all(is_synced(manifest) for manifest in compared[first:]), [_told(each) for each in compared]

    def healths(self, since: float) -> list[str]:
        """Every health that Argo CD told since a moment (Unix time), without repetitions."""
        return [each for each, _ in groupby(health_of(seen.manifest) for seen in self._watch.seen if seen.at >= since)]

    def _kubectl(self, *words: str) -> str:
        return self._stage.kubectl.run(f"--namespace={NAMESPACE}", *words)


def is_synced(application: Manifest) -> bool:
    """Whether Argo CD sees no difference to Git."""
    return bool(application.get("status", {}).get("sync", {}).get("status") == "Synced")


def message_of(application: Manifest) -> str:
    """What the health script says of the one resource of an Application."""
    (resource,) = application["status"]["resources"]
    return str(resource["health"].get("message", ""))


def health_of(application: Manifest) -> str:
    """What Argo CD calls the health of an Application; "" before it has looked."""
    return str(application.get("status", {}).get("health", {}).get("status", ""))


def _compared(application: Manifest) -> str:
    """The commit that the cluster was compared with."""
    return str(application.get("status", {}).get("sync", {}).get("revision", ""))


def _operation(application: Manifest) -> Manifest:
    """What was last applied, and how it went."""
    found: Manifest = application.get("status", {}).get("operationState", {})
    return found


def _told(application: Manifest | None) -> str:
    """What an Application says of itself, for messages."""
    status = (application or {}).get("status", {})
    shown = {key: status.get(key) for key in ("sync", "health", "resources", "conditions", "operationState")}
    return f"{json.dumps(shown)}\nArgo CD's logs are {LOGS}/argocd-*.log"


@contextmanager
def argo_cd(stage: Stage, folder: Path) -> Iterator[None]:
    """Argo CD runs, with what is shipped for it in its settings; afterwards nothing of it is left but its logs."""
    program = tools.built(MODULE, "Argo CD's controller and repository server from source (some minutes)") / "argocd"
    redis, repository = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    others = (f"--redis={redis}", "--logformat=text", f"--metrics-port={_free_port()}")
    resync = (f"--app-resync={RESYNC_SECONDS}", "--app-resync-jitter=0", "--persist-resource-health")
    commands = {
        "redis": ("redis", redis),
        "repo-server": (
            *("argocd-repo-server", *others, "--disable-tls", "--address=127.0.0.1"),
            f"--port={repository.rpartition(':')[2]}",
        ),
        "controller": (
            *("argocd-application-controller", *others[:-1], f"--metrics-port={_free_port()}", *resync),
            *(f"--namespace={NAMESPACE}", "--repo-server-plaintext", f"--repo-server={repository}"),
        ),
    }
    environment = {
        "KUBECONFIG": str(stage.kubectl.kubeconfig),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(folder / "ask-pass.sock"),
        "TMPDIR": str(folder),
    }
    try:
        _install(stage)
        with ExitStack() as running:
            for name, words in commands.items():
                running.enter_context(_process(name, (str(program), *words), environment, folder))
            yield
    finally:
        stage.kubectl.run("delete", *CRDS, "--ignore-not-found", "--wait", timeout_seconds=120)
        stage.remove_namespace(NAMESPACE)


def _install(stage: Stage) -> None:
    """CRDs, the least settings, and the entries for ModelDeployments as docs/gitops.md adds them."""
    crds = Path(tools.downloaded(MODULE)["Dir"]) / "manifests" / "crds"
    stage.kubectl.apply(crds / "application-crd.yaml", crds / "appproject-crd.yaml")
    stage.kubectl.run("wait", "--for=condition=Established", *CRDS, "--timeout=60s")
    stage.make_namespace(NAMESPACE)
    labels = {"app.kubernetes.io/part-of": "argocd"}
    project = {"sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}]}
    stage.apply(
        [
            {
                "apiVersion": version,
                "kind": kind,
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
                **content,
            }
            for version, kind, name, content in (
                ("v1", "ConfigMap", "argocd-cm", {"data": {"application.resourceTrackingMethod": "annotation"}}),
                ("v1", "Secret", "argocd-secret", {"stringData": {"server.secretkey": secrets.token_hex(16)}}),
                ("argoproj.io/v1alpha1", "AppProject", "default", {"spec": project}),
            )
        ]
    )
    stage.kubectl.run(
        *("apply", "--server-side", "--field-manager=serinus"), f"--namespace={NAMESPACE}", f"--filename={SNIPPET}"
    )


@contextmanager
def _process(name: str, command: tuple[str, ...], environment: dict[str, str], folder: Path) -> Iterator[None]:
    """A program that runs meanwhile, and ends with this one, however that ends."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"argocd-{name}.log").open("w") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
        assert process.poll() is None, f"Argo CD's {name} ended by itself: {log.name}"
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
