"""What is in a file that should hold weights but does not."""

from __future__ import annotations

import zipfile
from pathlib import Path

_LFS = b"version https://git-lfs"
_ZIP = b"PK"
_PICKLE = b"\x80"
_SHOWN = 4  # names of an archive


def describe_content(path: Path, expected: str) -> str:
    """Describe why a file is no ``expected``, and what to do: the end of a sentence that begins with its name.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        beginning = file.read(40)
    if not beginning:
        return "is an empty file"
    hint = ""
    if beginning.startswith(_LFS):
        hint = " (a Git LFS pointer in place of the file; `git lfs pull` in its repository downloads it)"
    elif beginning.lstrip().startswith(b"<"):
        hint = " (a web page in place of the file; download it again, the server may require a login)"
    elif beginning.startswith((_ZIP, _PICKLE)) and expected != "checkpoint":
        hint = " (a zip archive or a pickle; the name of a file of torch.save must end in .pth)"
    return f"is no {expected}, it begins with {beginning.decode('latin-1')!r}{hint}"


def describe_archive(path: Path) -> str | None:
    """Describe a zip archive that ``torch.save`` did not write; None if it did, or the file is no intact archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    inner = [name.partition("/")[2] for name in names]
    if "constants.pkl" in inner:
        return "is a TorchScript program (torch.jit.save), which contains code; save its state_dict() with torch.save"
    if "data.pkl" in inner:
        return None
    shown = ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "") or "nothing"
    return f"is a zip archive but no checkpoint: it holds {shown}; if the weights are inside, unpack it"
