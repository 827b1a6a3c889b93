"""`python -m handbook docs/reference` writes the reference; called by `make generate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import yaml

from handbook import conditions, reference

CRDS: Final = Path(__file__).parents[1] / "crds"


def pages() -> dict[str, str]:
    """The generated pages by the names of their files."""
    crds = {file.name: yaml.load(file.read_bytes(), yaml.CSafeLoader) for file in sorted(CRDS.glob("*.yaml"))}
    told = {f"{crd['spec']['names']['singular']}.md": reference.page(crd, file) for file, crd in crds.items()}
    return {**told, "conditions.md": conditions.page()}


def main() -> None:
    """Write them into a folder."""
    parser = argparse.ArgumentParser(prog="python -m handbook", description="Generate the reference.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
