"""Lets the site follow links into the rest of the repository, and leaves no page out. Loaded by MkDocs.

On a page in the repository a link to `../examples/canary.yaml` or `../CONTRIBUTING.md` leads to that file. The site has
only what lies in `docs/`, so each file that is linked becomes a page of its own here, and so on from there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, InclusionLevel

_LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_CODE: Final = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_ELSEWHERE: Final = "repository/"
_LANGUAGES: Final = {".yaml": "yaml", ".yml": "yaml", ".py": "python", ".toml": "toml"}


def on_config(config: Any) -> Any:
    """Put pages that the navigation does not name at its end. Called by MkDocs."""
    docs = Path(config.docs_dir)
    named = set(_named(config.nav))
    others = sorted({page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} - named)
    if others:
        config.nav.append({"More": others})
    return config


def _named(nav: Any) -> Iterator[str]:
    """The pages in a navigation, which is made of lists, of single-entry maps, and of names of files."""
    match nav:
        case str():
            yield nav
        case list():
            for entry in nav:
                yield from _named(entry)
        case dict():
            for entry in nav.values():
                yield from _named(entry)


def on_files(files: Any, *, config: Any) -> Any:
    """Add a page for every file of the repository that a page links to. Called by MkDocs."""
    root = Path(config.docs_dir).parent
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for linked in sorted(_outside(page.content_string, _source(page.src_uri), root)):
            if files.get_file_from_path(_uri(linked)) is None:
                content = _as_page(root / linked)
                added = File.generated(config, _uri(linked), content=content, inclusion=InclusionLevel.NOT_IN_NAV)
                files.append(added)
                waiting.append(added)
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: object) -> str:
    """Turn the page's links into those of the site. Called by MkDocs."""
    root, here = Path(config.docs_dir).parent, page.file.src_uri

    def led(link: re.Match[str]) -> str:
        target = _target(link["path"], _source(here), root)
        if target is None:
            return link[0]
        return posixpath.relpath(_uri(target), posixpath.dirname(here) or ".") + (link["anchor"] or "")

    return _LINK.sub(led, markdown)


def _outside(markdown: str, source: str, root: Path) -> set[str]:
    found = {_target(link["path"], source, root) for link in _LINK.finditer(_CODE.sub("", markdown))}
    return {target for target in found if target is not None and not target.startswith("docs/")}


def _target(path: str, source: str, root: Path) -> str | None:
    """The file that a link leads to, from the repository's root; None where there is none, for MkDocs to complain."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if (root / target / "README.md").is_file():
        return f"{target}/README.md"
    return target if (root / target).is_file() else None


def _source(uri: str) -> str:
    """Where the text of a page stands in the repository."""
    return uri.removeprefix(_ELSEWHERE) if uri.startswith(_ELSEWHERE) else f"docs/{uri}"


def _uri(target: str) -> str:
    """The site's path of a file of the repository."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"{_ELSEWHERE}{target}" + ("" if target.endswith(".md") else ".md")


def _as_page(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    return f"# {file.name}\n\n```{_LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n```\n"
