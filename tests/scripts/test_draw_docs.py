"""The drawings of docs/ show what vexp does today."""

from __future__ import annotations

from PIL import Image
from support.documents import load_script


def test_drawings_are_current_and_small() -> None:
    drawings = load_script("docs/draw_docs")
    for name, drawing in drawings.DRAWINGS.items():
        path = drawings.IMAGES / f"{name}.png"
        with Image.open(path) as picture:
            assert picture.info["Description"] == drawing.checksum(), f"{name}: run python scripts/docs/draw_docs.py"
        assert path.stat().st_size < 100_000
