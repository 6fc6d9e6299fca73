"""Paths of the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Recorded outputs that tests compare with.
GOLDEN_DIR = ROOT / "tests" / "golden"
