"""Features of samples on the disk, one file per sample, so that processes and runs can share and complete them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vexp.core.errors import UserError
from vexp.core.files import atomic_write, ensure_writable_dir, write_text
from vexp.data.sources.base import Source

if TYPE_CHECKING:
    import torch

_TENSOR = "features"


def cache_root() -> Path:
    """Return the folder of all caches of features: features/ in $VEXP_CACHE or ~/.cache/vexp."""
    return Path(os.environ.get("VEXP_CACHE") or "~/.cache/vexp").expanduser().absolute() / "features"


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """The features of an encoder in ``folder``, which the caller names after everything that determines them.

    A file is named after the video of the sample, its size and its time of modification: a video that has changed has
    no features. Files are written atomically, so that a killed run leaves none that is incomplete.
    """

    folder: Path
    description: str = ""  # what determines the features, as JSON

    def describe(self) -> None:
        """Write the description beside the features.

        Raises:
            UserError: If the folder cannot be written.
        """
        ensure_writable_dir(self.folder, "set VEXP_CACHE=FOLDER")
        write_text(self.folder / "features.json", self.description)

    def path(self, source: Source, index: int) -> Path:
        """Return the file of a sample, which may not exist."""
        name = hashlib.sha256(source.fingerprint(index).encode(errors="surrogateescape")).hexdigest()
        return self.folder / name[:2] / f"{name[:40]}.safetensors"

    def missing(self, source: Source) -> list[int]:
        """Return the indices of the samples without features."""
        return [index for index in range(len(source)) if not self.path(source, index).is_file()]

    def save(self, source: Source, index: int, features: torch.Tensor) -> None:
        """Write the features of the views of a sample, float (V, ...).

        Raises:
            UserError: If the disk is full or the folder cannot be written.
        """
        from safetensors.torch import save_file

        path = self.path(source, index)
        try:
            with atomic_write(path) as temporary:
                save_file({_TENSOR: features.contiguous()}, temporary)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path}: features cannot be written: {reason}; set VEXP_CACHE to another disk") from error

    def load(self, source: Source, index: int) -> torch.Tensor:
        """Read the features of the views of a sample, float (V, ...).

        Raises:
            UserError: If there are none, or the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.path(source, index)
        try:
            return load_file(path)[_TENSOR]
        except FileNotFoundError:
            raise UserError("it has no cached features: it could not be read when they were computed") from None
        except (SafetensorError, KeyError, OSError) as error:
            raise UserError(f"{path}: damaged features ({error}); delete the file and resume the run") from None
