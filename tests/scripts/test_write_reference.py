"""docs/reference.md and the pages below it say what the sources say today."""

from __future__ import annotations

import re
from pathlib import Path

from support.documents import ROOT, load_script

from vexp.config.keys import all_keys
from vexp.config.search_path import conf_dir

DOCS = ROOT / "docs"


def made() -> dict[Path, str]:
    pages: dict[Path, str] = load_script("docs/write_reference").pages()
    return pages


def test_reference_pages_are_current_and_complete() -> None:
    pages = made()
    stale = [path.name for path, text in pages.items() if not path.is_file() or path.read_text() != text]
    assert stale == [], "run: python scripts/docs/write_reference.py"
    assert {path.name for path in (DOCS / "reference").iterdir()} == {
        p.name for p in pages if p.parent.name == "reference"
    }
    whole = "".join(pages.values())
    assert [key.path for key in all_keys() if not key.holds_keys and f"| `{key.path}` |" not in whole] == []
    options = [f"`{path.parent.name}={path.stem}`" for path in conf_dir().glob("*/*.yaml")]
    assert [option for option in options if option not in whole] == []


def test_reference_links_exist() -> None:
    for page in (DOCS / "reference.md", *(DOCS / "reference").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
