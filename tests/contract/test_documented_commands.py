"""Every command in the documentation is one that exists, with the options that it has, on files that are there.

The plugin's commands are parsed by the plugin itself; kubectl's and helm's by a table of what the pages use; make's
targets, files, paths in the status, annotations, chart values and build arguments are looked up. A program that this
test does not know fails it: teach it, or say beside the block why nothing checks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from e2e.cluster.__main__ import _parser as cluster
from serinus.api import kinds
from serinus.cli.app import app as plugin
from serinus.cli.asking import Verb
from tests.contract.fenced import BLOCKS, PAGES, ROOT, Block, code_spans
from tests.contract.shell import Command, commands
from tests.contract.test_documented_manifests import CRDS, KNOWN, VALUES, VALUES_SCHEMA, merged, paths, problems_of

PLUGIN: Any = get_command(plugin)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
ANNOTATIONS = {f"{kinds.GROUP}/{action}" for action in (*Verb, "pause")} | {
    value for name, value in vars(kinds).items() if name.startswith(("ANNOTATION_", "LABEL_"))
}
YOURS = {"iris.yaml", "models/", "counts.csv", "canary.yaml", "model.yaml", "policies.yaml", "scoring.yaml", "FILE"}
"""Files that a reader has."""
MADE = {"dist/serinus.yaml"}
"""By `make manifests`."""

OURS = {"mdep", "modeldeployment", "modeldeployments"}
NAMES = [crd["spec"]["names"] for crd in CRDS]
FIELDS = {
    name: {
        path
        for version in crd["spec"]["versions"]
        for part, schema in version["schema"]["openAPIV3Schema"]["properties"].items()
        for path in paths(schema, part)
    }
    for crd, names in zip(CRDS, NAMES, strict=True)
    for name in (names["singular"], names["plural"], *names.get("shortNames", ()))
}
"""Of each of our kinds, by each of its names."""
RESOURCES = {name for names in NAMES for name in (names["singular"], names["plural"], *names.get("shortNames", ()))} | {
    *(
        "crd",
        "deployment",
        "events",
        "gateway",
        "gatewayclass",
        "gatewayclasses",
        "hpa",
        "httproute",
        "lease",
        "namespace",
        "nodes",
        "pod",
    ),
    *("rolebindings", "clusterrolebindings"),
    *("pods", "podmonitors", "controllerrevisions", "httproutes", "replicasets", "service", "services"),
}
GLOBAL = {"-n", "--namespace", "--kubeconfig", "--context"}
VALUED = {
    *GLOBAL,
    "-f",
    "-o",
    "-l",
    "-L",
    "-p",
    "--selector",
    "--field-selector",
    "--type",
    "--set",
    "--values",
    "--replicas",
    "--field-manager",
    "--filename",
    "--clusterrole",
    "--serviceaccount",
    "--show-only",
}
"""Options whose value is the next word, where it does not follow after `=`."""
KUBECTL: dict[str, set[str]] = {
    "annotate": {"--overwrite", "--field-manager"},
    "apply": {"-f", "--filename", "--server-side", "--force-conflicts", "--dry-run", "--field-manager"},
    "config": {"--current", "--namespace"},
    "create": {
        *("-f", "--from-file", "--from-literal", "--cert", "--key"),
        *("--clusterrole", "--group", "--serviceaccount"),
    },
    "delete": {"-f", "--ignore-not-found", "--force"},
    "describe": set(),
    "drain": set(),
    "edit": set(),
    "exec": set(),
    "explain": {"--recursive"},
    "get": {"-o", "-w", "-A", "-l", "-L", "--field-selector", "--selector"},
    "label": {"--overwrite"},
    "logs": {"--prefix", "--selector"},
    "patch": {"--type", "-p"},
    "port-forward": set(),
    "rollout": set(),
    "scale": {"--replicas"},
}
HELM: dict[str, set[str]] = {
    "rollback": {"--namespace"},
    "status": {"--namespace"},
    "template": {"--namespace", "--set", "--values", "-f", "--show-only"},
    "test": {"--namespace", "--logs"},
    "install": {"--namespace", "--create-namespace", "--set", "--values", "-f", "--wait"},
    "upgrade": {"--namespace", "--set", "--values", "-f", "--reset-then-reuse-values", "--install"},
    "uninstall": {"--namespace"},
    "show": set(),
}


def documented() -> Iterator[Any]:
    """Each command of each block, and those in the text that name the plugin, make, kubectl or helm."""
    for block in BLOCKS:
        if block.language == "console" and block.unchecked is None:
            for number, command in enumerate(commands(block.text)):
                yield pytest.param(command, block.page, id=f"{block.place}#{number}")
    for page in PAGES:
        for number, span in enumerate(code_spans(page)):
            if re.match(r"(make|kubectl(?! argo)|kubectl-serinus|helm) [a-z]", span) and "…" not in span:
                for command in commands(span):
                    yield pytest.param(command, page, id=f"{page.relative_to(ROOT)}`{number}")


@pytest.mark.parametrize(("command", "page"), list(documented()))
def test_a_command_exists_as_it_is_written(command: Command, page: Path) -> None:
    known = PROGRAMS.get(command.program)
    assert known is not None, f"{command}: teach this test what {command.program} is"
    known(command, page)


@pytest.mark.parametrize(
    "line",
    [
        "make demos",
        "make walks STEPS=3",
        "kubectl serinus stat NAME",
        "kubectl serinus status NAME --waits",
        "kubectl serinus list --sort size",
        "kubectl serinus validate -f nowhere.yaml",
        "kubectl get mdep NAME --watch-only",
        "kubectl get modeldeploymants",
        "kubectl get mdep NAME -o jsonpath='{.status.stable.revisions}'",
        "kubectl annotate mdep NAME serinus.dev/approved=REVISION/STEP",
        "kubectl explain mdep.spec.rollouts",
        "kubectl apply -f examples/digits/v4.yaml",
        "helm install serinus charts/serinus --set prometheus.address=http://prometheus:9090",
        "helm install serinus charts/serinus --set replicas=many",
        "helm upgrade serinus charts/operator",
        "docker build --build-arg MODEL=1 -t digits examples/digits/image",
        "curl http://127.0.0.1:6060/debug/stacks",
        "python3 examples/digits/sent.py http://127.0.0.1:18080",
        "python3 examples/digits/send.py http://127.0.0.1:18080 --speed 5",
        "python3 -m e2e.cluster push localhost/serinus-operator:0.1.0",
        "serinusctl status NAME",
    ],
)
def test_a_command_that_does_not_exist_is_found_out(line: str) -> None:
    (command,) = commands(line)
    with pytest.raises(Exception):  # noqa: B017, PT011 -- each checker complains in its own way
        test_a_command_exists_as_it_is_written(command, ROOT / "README.md")


def options_of(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The options among the words, with their values."""
    rest = iter(words)
    for word in rest:
        if word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            yield name, value if equals else next(rest, "") if name in VALUED else ""


def plain_words(words: tuple[str, ...]) -> list[str]:
    """What is neither an option nor the value of one."""
    rest, found = iter(words), []
    for word in rest:
        if word.startswith("-") and word != "-":
            if "=" not in word and word in VALUED:
                next(rest, None)
        else:
            found.append(word)
    return found


def there(path: str, page: Path) -> bool:
    """A file of the repository, of the reader, or one that a block of this page begins with as a comment."""
    return path in YOURS | MADE or path == "-" or (ROOT / path).exists() or f"# {path}\n" in page.read_text()


def make(command: Command, page: Path) -> None:
    words = command.words[1:]
    settings = [word.partition("=")[0] for word in words if "=" in word]
    assert {word for word in words if "=" not in word} <= TARGETS, command
    assert [name for name in settings if f"$({name}" not in MAKEFILE and f"$(or $({name})" not in MAKEFILE] == []


def own_plugin(words: tuple[str, ...], page: Path) -> None:
    """Parsed by the plugin's own parser, which knows its commands, options and what each has to be given."""
    if not words or words[0] in {"--version", "--help", "--install-completion"}:
        return
    name, *arguments = words
    assert name in PLUGIN.commands, f"there is no kubectl serinus {name}"
    if not arguments:
        return  # a mention
    PLUGIN.commands[name].make_context(name, [word.strip("[]") for word in arguments])
    assert [value for option, value in options_of(tuple(arguments)) if option == "-f" and not there(value, page)] == []


def kubectl(command: Command, page: Path) -> None:
    if "serinus" in command.words[1:2] or command.program == "kubectl-serinus":
        own_plugin(command.words[2 if command.program == "kubectl" else 1 :], page)
        return
    words, of_the_pod = cut(command.words[1:])
    verb, *rest = plain_words(words)
    assert verb in KUBECTL, f"{command}: teach this test kubectl {verb}"
    assert bool(of_the_pod) == (verb == "exec"), command
    for option, value in options_of(words):
        assert option in KUBECTL[verb] | GLOBAL, f"kubectl {verb} {option}"
        if option in {"-f", "--filename"}:
            assert there(value, page), value
        if option == "-o" and rest[:1] and rest[0] in OURS:
            own_paths(value)
        if option in {"-l", "--selector"} and "serinus.dev/" in value:
            assert value.partition("=")[0] in ANNOTATIONS
    if verb in {"get", "describe", "delete", "annotate", "label", "patch", "scale"} and rest:
        assert set(rest[0].partition("/")[0].split(",")) <= RESOURCES, rest[0]
    if verb == "annotate":
        for word in rest[2:]:
            assert re.split(r"[=]|-$", word)[0] in ANNOTATIONS, word
    if verb == "explain":
        name, _, field = rest[0].partition(".")
        assert field.replace(".FIELD", "") in FIELDS[name], rest[0]
    if verb == "config":
        assert rest == ["set-context"]
    for document in yaml.safe_load_all(command.given.replace("$uid", "uid")):
        assert isinstance(document, dict)
        assert document.get("kind") == "Service" or problems_of(document) == []


def cut(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is for kubectl itself, and what it runs in a pod."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def own_paths(output: str) -> None:
    """The paths that a jsonpath takes out of a ModelDeployment."""
    if not output.startswith("jsonpath="):
        assert output in {"yaml", "json", "wide", "name"}, output
        return
    below = re.findall(r"\{range \.([\w.]+)\[\*\]\}", output)
    for path in re.findall(r"\{\.([a-zA-Z.]+)(?:\[[^\]]*\])?(?:\.\w+)?\}", output):
        prefixes = [f"{each}." for each in below] or [""]
        known = [f"{prefix}{path}" for prefix in prefixes]
        assert any(each in KNOWN or each.startswith("metadata.") for each in known), path


def helm(command: Command, page: Path) -> None:
    verb, *rest = plain_words(command.words[1:])
    assert verb in HELM, f"{command}: teach this test helm {verb}"
    for option, value in options_of(command.words[1:]):
        assert option in HELM[verb], f"helm {verb} {option}"
        if option == "--set":
            path, _, given = value.partition("=")
            assert_value(path, given)
        if option in {"--values", "-f"}:
            assert there(value, page), value
        if option == "--show-only":
            assert (ROOT / "charts" / "serinus" / value).is_file(), value
    if verb in {"install", "upgrade", "template"} and rest:
        assert (ROOT / rest[1] / "Chart.yaml").is_file(), rest[1]


def assert_value(path: str, given: str) -> None:
    """The chart has the value, and its schema takes what it is set to."""
    value: Any = given.strip("{}").split(",") if given.startswith("{") else yaml.safe_load(given)
    for part in reversed(re.split(r"(?<!\\)\.", path)):
        value = {part.replace("\\", ""): value}
    assert next(iter(value)) in VALUES, path
    if "…" not in given:
        jsonschema.Draft7Validator(VALUES_SCHEMA).validate(merged(VALUES, value))


def docker(command: Command, page: Path) -> None:
    verb, *rest = command.words[1:]
    assert verb in {"build", "push"}
    if verb == "build":
        folder = ROOT / rest[-1]
        dockerfile = (folder / "Dockerfile").read_text()
        named = [rest[at + 1].partition("=")[0] for at, word in enumerate(rest) if word == "--build-arg"]
        assert [name for name in named if f"ARG {name}" not in dockerfile] == []


def curl(command: Command, page: Path) -> None:
    """Only to the operator's own port for profiles, and to a gateway that the reader names."""
    (url,) = [word for word in command.words if word.startswith("http")]
    if ":6060" in url:
        path = re.sub(r".*:6060|\?.*", "", url)
        assert f'"{path}"' in (ROOT / "operator" / "serinus" / "shell" / "profiling.py").read_text(), path
    else:
        assert re.match(r"http://(GATEWAY|127\.0\.0\.1:\d+|localhost:\d+)/", url), url


def pip(command: Command, page: Path) -> None:
    assert command.words[1] == "install"
    files = [command.words[at + 1] for at, word in enumerate(command.words) if word == "-r"]
    assert all((ROOT / file).is_file() for file in files)


def python(command: Command, page: Path) -> None:
    """A file of ours is there and has the options that it is given; the cluster's own command takes its arguments."""
    first, *rest = command.words[1:]
    if first == "-m" and rest[0].startswith("e2e."):
        assert rest[0] == "e2e.cluster", rest[0]
        try:
            cluster().parse_args(rest[1:])
        except SystemExit:
            raise AssertionError(f"{command}: python3 -m e2e.cluster does not take it") from None
    elif first != "-m":
        text = (ROOT / first).read_text()
        assert [option for option, _ in options_of(tuple(rest)) if f'"{option}"' not in text] == []


def nothing_of_ours(command: Command, page: Path) -> None:
    """Programs of the reader's system that are given nothing of the project."""


PROGRAMS: dict[str, Callable[[Command, Path], None]] = {
    "make": make,
    "kubectl": kubectl,
    "kubectl-serinus": kubectl,
    "helm": helm,
    "docker": docker,
    "curl": curl,
    "pip": pip,
    "python3": python,
    **dict.fromkeys(
        ("cd", "echo", "export", "grep", "ln", "mkdir", "kind", "git", "openssl", "argocd"), nothing_of_ours
    ),
}


def test_every_command_of_the_plugin_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert [name for name in PLUGIN.commands if f"kubectl serinus {name}" not in text] == []


def test_a_block_that_nothing_checks_is_rare_and_says_why() -> None:
    """Here they are all, to be looked through."""
    assert {(block.place.partition(":")[0], block.unchecked) for block in unchecked()} == {
        ("docs/be-told.md", "tests/contract/test_notifications.py compares it with what is sent"),
        ("docs/be-told.md", "tests/contract/test_notifications.py runs it"),
        ("docs/gitops.md", "for kustomize, whose schema is not ours"),
        ("docs/gitops.md", "for Argo CD, whose schema is not ours"),
        ("docs/gitops.md", "for Flux, whose schema is not ours"),
        ("docs/scale-a-model.md", "a rule of prometheus-adapter, whose configuration is not ours"),
    }
    assert len(list(unchecked())) == 6


def unchecked() -> Iterator[Block]:
    yield from (block for block in BLOCKS if block.unchecked is not None)
