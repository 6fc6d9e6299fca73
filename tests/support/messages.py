"""Golden text files: recorded wording that is reviewed as text."""

import difflib
import os

import pytest

from support.paths import GOLDEN_DIR

#: Set to 1 to write the golden files anew instead of comparing with them.
UPDATE = "VEXP_UPDATE_GOLDEN"


def check_golden(name: str, text: str) -> None:
    """Compare a text with a golden file; fail with their difference."""
    path = GOLDEN_DIR / name
    if os.environ.get(UPDATE) == "1":
        path.write_text(text, encoding="utf-8")
    recorded = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text != recorded:
        diff = difflib.unified_diff(recorded.splitlines(), text.splitlines(), "recorded", "now", lineterm="", n=1)
        pytest.fail("\n".join([f"{name} differs; review it and set {UPDATE}=1 to record it", *diff]), pytrace=False)
