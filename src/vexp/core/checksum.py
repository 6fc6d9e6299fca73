"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of the concatenated files as 64 hex digits, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
