"""The source tree keeps its shape: layers, names, docstrings, and nothing that shadows the standard library."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "operator"
PACKAGE = SOURCE / "serinus"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON = [
    *MODULES,
    *(module for folder in ("e2e", "bench", "handbook") for module in sorted((ROOT / folder).rglob("*.py"))),
]

SAYS_NOTHING = {"common", "helper", "helpers", "manager", "managers", "misc", "tools", "util", "utils"}


@functools.cache
def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


@functools.cache
def imported(module: Path) -> set[str]:
    """Dotted names of all that a module imports."""
    names: set[str] = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the layer"
            names.add(node.module or "")
    return names


def test_layers_hold() -> None:
    """In a process of its own, since import-linter sets up the log anew; what it read before is in its cache."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    told = subprocess.run([program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_core_needs_only_the_standard_library_and_the_api() -> None:
    for module in (PACKAGE / "core").rglob("*.py"):
        foreign = {
            name
            for name in imported(module)
            if not name.startswith(("serinus.api", "serinus.core"))
            and name.split(".")[0] not in sys.stdlib_module_names
        }
        assert not foreign, f"{module.relative_to(ROOT)} imports {foreign}"


IMPURE = {"asyncio", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "time", "uuid"}


def test_core_has_no_clock_no_dice_no_log_and_no_io() -> None:
    for module in (PACKAGE / "core").rglob("*.py"):
        roots = {name.split(".")[0] for name in imported(module)}
        assert not roots & IMPURE, f"{module.relative_to(ROOT)} imports {roots & IMPURE}"
        called = {ast.unparse(node.func) for node in ast.walk(parsed(module)) if isinstance(node, ast.Call)}
        asked = {name for name in called if re.fullmatch(r"(open|print|input)|.*\.(now|utcnow|today)", name)}
        assert not asked, f"{module.relative_to(ROOT)} calls {asked}"


def test_operator_folder_does_not_shadow_the_standard_library() -> None:
    assert not (SOURCE / "__init__.py").exists()


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {module.parent for module in MODULES}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


@pytest.mark.parametrize("module", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_says_what_it_owns(module: Path) -> None:
    tree = parsed(module)
    if tree.body:
        assert ast.get_docstring(tree), "the first thing in a module is what it owns and who calls it"


def test_names_of_modules_mean_something() -> None:
    named = {module for module in MODULES if {module.stem, module.parent.name} & SAYS_NOTHING}
    assert named == set()


def test_no_absolute_path_of_one_machine_is_in_the_tree() -> None:
    machine = re.compile(r"(?<![\w.])/(root|home/[a-z]+|work|Users)/")
    suffixes = {".py", ".toml", ".yaml", ".yml", ".md", ".txt", ".json", ".tpl", ""}
    skipped = {
        ".git",
        ".venv",
        ".state",
        "site",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
    }
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in skipped]
        for name in files:
            path = Path(folder, name)
            if path.suffix in suffixes and machine.search(path.read_text(errors="ignore")):
                found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_the_plugins_requirements_are_the_operators_and_its_own() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return set(re.findall(r"^[a-z][\w.-]*==[^ ;\\]+", text, re.MULTILINE))

    assert pins("operator") < pins("cli") <= pins("dev")
    own = {pin.split("==")[0] for pin in pins("cli") - pins("operator")}
    assert {"typer", "rich"} <= own, "the operator's image goes without them"


def test_the_site_is_made_with_the_versions_that_development_has() -> None:
    """Both are installed into one environment."""

    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([a-z][\w.-]*)==([^ ;\\]+) \\", text, re.MULTILINE))

    site, development = pins("docs"), pins("dev")
    both = site.keys() & development.keys()
    assert {"kopf", "pygments"} <= both
    assert {name: site[name] for name in both} == {name: development[name] for name in both}
