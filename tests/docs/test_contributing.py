"""Check that docs/contributing.md names files and symbols that exist."""

from __future__ import annotations

import re

import pytest
from support.paths import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
_REFERENCE = re.compile(r"`((?:src|conf|tests|scripts)/[\w./]*)`(?: \(((?:`\w+`(?:, )?)+)\))?")
REFERENCES = sorted({(path, symbols) for path, symbols in _REFERENCE.findall(PAGE)})


@pytest.mark.parametrize(("path", "symbols"), REFERENCES)
def test_reference_to_source_exists(path: str, symbols: str) -> None:
    assert (ROOT / path).exists()
    for symbol in re.findall(r"\w+", symbols):
        assert re.search(rf"\b{symbol}\b", (ROOT / path).read_text(encoding="utf-8")), f"{path} has no {symbol}"


def test_page_names_many_places_to_change() -> None:
    assert len(REFERENCES) > 40
