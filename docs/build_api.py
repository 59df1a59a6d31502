"""Build the site of the API from docstrings, without a network: `make docs`.

    python docs/build_api.py out/docs

Every module that can be imported here has its page, and a name in backticks is a link where it is known. Links that
lead nowhere are listed, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("liveavatar", "widgets")
GPU_ONLY = "triton"          # what imports it has a page only where it is


def names_of_modules() -> Iterator[str]:
    """Yield the dotted names of all modules of ours."""
    for package in PACKAGES:
        yield package
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            yield module.name


def importable(name: str) -> bool:
    """Say whether a module has a page: programs have none, nor has what needs a library of GPUs that is not here."""
    if name.endswith("__main__"):
        return False
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name != GPU_ONLY:
            raise
        return False
    return True


def build(folder: Path, names: list[str]) -> list[str]:
    """Write the pages of those of these modules that can be imported. -> their names"""
    import pdoc

    given = [name for name in names if importable(name)]
    pdoc.render.configure(docformat="markdown", show_source=False)
    with warnings.catch_warnings():
        for known in ("Error parsing type annotation", "Couldn't import", ".*has already been added"):
            warnings.filterwarnings("ignore", known)       # for type checkers; GPU_ONLY; a package
        pdoc.pdoc(*given, *(f"!{name}$" for name in names if name not in given), output_directory=folder)
    return given


class Page(HTMLParser):
    """The names on a page that links can lead to, and the links on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's name, and where it leads."""
        for key, value in attrs:
            if key == "id" and value:
                self.anchors.add(value)
            elif key in ("href", "src") and value:
                self.links.append(value)


def broken_links(folder: Path) -> list[str]:
    """List the links between pages of a folder that lead nowhere: "page -> link"."""
    page_at = cache(lambda path: Page(path.read_text(encoding="utf-8")))
    broken = []
    for path in sorted(folder.rglob("*.html")):
        for link in page_at(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = target.is_file() and (not parts.fragment or target.suffix != ".html"
                                          or unquote(parts.fragment) in page_at(target).anchors)
            if not known:
                broken.append(f"{path.relative_to(folder)} -> {link}")
    return broken


def main() -> int:
    """Build the site and check its links; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "out" / "docs")
    folder = parser.parse_args().folder
    sys.path.insert(0, str(ROOT))
    given = build(folder, list(names_of_modules()))
    broken = broken_links(folder)
    print(*(f"leads nowhere: {link}" for link in broken), sep="\n", end="\n" if broken else "")
    print(f"{folder / 'index.html'}: {len(given)} modules")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
