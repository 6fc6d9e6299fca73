"""Archives of a folder, as people make them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path


def write_zip(path: Path, folder: Path, *, deflated: bool = False) -> Path:
    """Write the files of a folder into a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for file in _files(folder):
            archive.write(file, file.relative_to(folder))
    return path


def write_tar(path: Path, folder: Path, files: Iterable[Path] | None = None, start: str = "") -> Path:
    """Write the files of a folder, or some of them, into a tar archive, under names that begin with ``start``."""
    with tarfile.open(path, "w") as archive:
        for file in _files(folder) if files is None else files:
            archive.add(file, f"{start}{file.relative_to(folder)}")
    return path


def write_shards(folder: Path, source: Path, count: int) -> Path:
    """Deal the files of a folder out to archives ``shard-00.tar`` ...; return the pattern of them all."""
    files = _files(source)
    for shard in range(count):
        write_tar(folder / f"shard-{shard:02}.tar", source, files[shard::count])
    return folder / f"shard-{{00..{count - 1:02}}}.tar"


def write_entries(path: Path, entries: Iterable[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    """Write a tar archive of (name, content), or of headers without content."""
    with tarfile.open(path, "w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
