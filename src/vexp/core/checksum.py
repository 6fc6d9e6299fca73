"""The checksum by which a file is known again."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(*paths: Path) -> str:
    """Of the files' contents one after the other, 64 digits, as ``sha256sum`` prints them.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
