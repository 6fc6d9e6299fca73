"""Reading raw frames: folders with one image per frame, or two grayscale images per frame for optical flow."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.decoding.frame_stream import FrameReader
from vexp.data.decoding.images import image_decoder
from vexp.data.pixel_type import Frame
from vexp.data.storage import exists, is_stored, read

FLOW_AXES = ("x", "y")


class RawFrameReader(FrameReader):
    """Reader of one folder of raw frames; frame 0 is the file with number ``first``.

    ``filename_tmpl`` is a template for ``str.format``: of the number, or for ``flow``, whose frames are two grayscale
    images, of "x" or "y" and the number. Without ``total``, consecutive files are counted. ``backend`` is one of
    ``vexp.data.decoding.FRAME_BACKENDS``, ``fps`` the frame rate in frames per second, if known.
    """

    def __init__(
        self, folder: str | Path, filename_tmpl: str, *, first: int = 1, total: int | None = None, flow: bool = False,
        backend: str = "auto", fps: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(folder)
        self.filename_tmpl, self.first, self.flow, self.backend, self.fps = filename_tmpl, first, flow, backend, fps
        self._prefix, self._is_stored = os.path.join(folder, ""), is_stored(folder)
        self._axes = [[axis] for axis in FLOW_AXES] if flow else [[]]
        self.channels = 2 if flow else 3
        self._decode = image_decoder(backend)
        self._size: tuple[int, int] | None = None  # height, width
        self._num_frames = total if total is not None else self._count()

    def iter_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames at ascending, distinct indices, each uint8 (H, W, 3 or 2)."""
        self.check_range(indices)
        for number in indices:
            images = [self._read(self._path(number, axis), number) for axis in self._axes]
            yield np.stack(images, axis=-1) if self.flow else images[0]

    def _path(self, number: int, axis: list[str]) -> str:
        return self._prefix + self.filename_tmpl.format(*axis, self.first + number)

    def _read(self, path: str, number: int) -> NDArray[np.uint8]:
        """Read one file, (H, W, 3) or (H, W) for flow, and check that all files have the same size."""
        try:
            content = read(path)
        except FileNotFoundError:
            raise self._missing(path, number) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            image = self._decode(content, self.flow)
        except Exception as error:  # whatever a third party's binding throws
            reason = " ".join(str(error).split()) or type(error).__name__ if content else "the file is empty"
            raise UserError(
                f"{path}: frame {number} cannot be decoded ({self.backend}): {reason}"
                ". Extract the folder again, or remove it from the annotation."
            ) from error
        height, width = image.shape[:2]
        self._size = self._size or (height, width)
        if self._size != (height, width):
            raise UserError(
                f"{path}: is {width}x{height}, but other images of its folder are {self._size[1]}x{self._size[0]}: "
                "extract the folder again"
            )
        return image

    def _missing(self, path: str, number: int) -> UserError:
        if self._is_stored:
            return UserError(
                f"{path}: no such file: frame {number} of {self.num_frames} ({self.first} + {number}); correct "
                "data_prefix, filename_tmpl, start_index or the number in the annotation"
            )
        if not Path(self._prefix).is_dir():
            return UserError(f"{self.path}: no such folder of raw frames; correct data_prefix or the annotation")
        return UserError(
            f"{path}: no such file: frame {number} of {self.num_frames} ({self.first} + {number}). The folder holds "
            f"{len(os.listdir(self._prefix))} files; correct filename_tmpl, start_index or the number in the annotation"
        )

    def _count(self) -> int:
        """Count consecutive files from the first number on."""
        try:
            changed = 0 if self._is_stored else os.stat(self._prefix).st_mtime_ns
        except OSError as error:
            raise UserError(f"{self.path}: no folder of raw frames: {error.strerror}") from None
        count = _files_in_a_row(str(self.path), changed, self.filename_tmpl, self.first, self.flow)
        if not count:
            path = self._path(0, self._axes[0])
            raise UserError(f"{path}: no such file, so the folder holds no frame; correct filename_tmpl or start_index")
        return count

    def _frame_size(self) -> tuple[int, int]:
        return self._size or self.frames([0]).shape[1:3]


@functools.lru_cache(maxsize=4096)
def _files_in_a_row(folder: str, changed: int, filename_tmpl: str, first: int, flow: bool) -> int:
    """Count the files; ``changed`` is the modification time of the folder, which invalidates the cache."""
    names = None if is_stored(folder) else set(os.listdir(folder))
    axes = [[axis] for axis in FLOW_AXES] if flow else [[]]

    def is_there(name: str) -> bool:
        return exists(f"{folder}/{name}") if names is None else name in names

    numbers = itertools.count(first)
    return next(n for n in numbers if not all(is_there(filename_tmpl.format(*axis, n)) for axis in axes)) - first
