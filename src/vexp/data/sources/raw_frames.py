"""The data option ``raw_frames``: videos that were taken apart into images, or into optical flow (mmaction2's
RawframeDataset)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vexp.core.errors import UserError
from vexp.core.fields import option
from vexp.data.annotations.annotation import Annotation
from vexp.data.decoding import FRAME_BACKENDS
from vexp.data.sources.base import ListedSource, Reader, Source, segment_of
from vexp.data.sources.config import ListData

TEMPLATES = {"RGB": "img_{:05}.jpg", "Flow": "flow_{}_{:05d}.jpg"}


@dataclass(kw_only=True, slots=True)
class RawFrames(ListData):
    """Folders of images, one a frame; lists say ``folder total_frames label`` or, with an offset, ``folder offset
    total_frames label`` a line. A list that gives no number of frames (``folder label``) has the folders looked into.
    """

    decoding_backend: str = option("auto", "what decodes the images; all give the same pixels", choices=FRAME_BACKENDS)
    modality: str = option(
        "RGB",
        "what a frame is: a coloured image, or a pair of grey ones, the x and y of optical flow",
        choices=tuple(TEMPLATES),
    )
    filename_tmpl: str | None = option(
        None, "file of a frame by its number; null: img_{:05}.jpg, for Flow (x or y first) flow_{}_{:05d}.jpg"
    )
    start_index: int = option(1, "number in the name of a folder's first file", ge=0)
    with_offset: bool = option(
        False, "lines are 'folder offset total_frames label': a part of a folder, from offset on"
    )
    fps: float | None = option(
        None, "rate that frames were extracted at; needed to sample by time", unit="frames a second", gt=0
    )

    def __post_init__(self) -> None:
        ListData.__post_init__(self)
        if self.with_offset:
            if self.format not in ("auto", "frames_with_offset"):
                raise ValueError(f"with_offset=true and format={self.format}: set format to auto or frames_with_offset")
            self.format = "frames_with_offset"
        template, words = self.template, ["x"] if self.modality == "Flow" else []
        try:
            works = template.format(*words, 1) != template.format(*words, 2)
            works = works and (not words or template.format("x", 1) != template.format("y", 1))
        except (ValueError, IndexError, KeyError):
            works = False
        if not works:
            places = "two places in braces, for x or y and for" if words else "one place in braces, for"
            raise ValueError(f"filename_tmpl={template}: needs {places} the number: {TEMPLATES[self.modality]}")

    def check_decoding(self) -> None:
        """Every backend gives the same pixels, and notices a file that is cut off."""

    @property
    def template(self) -> str:
        """``filename_tmpl``, or what it is for the modality."""
        return TEMPLATES[self.modality] if self.filename_tmpl is None else self.filename_tmpl

    def source(self, split: str) -> Source | None:
        rows = self.annotation(split)
        return RawFrameSource(rows, self) if rows is not None else None


class RawFrameSource(ListedSource):
    """Folders of images named by an annotation."""

    def __init__(self, annotation: Annotation, options: RawFrames) -> None:
        ListedSource.__init__(self, annotation)
        self.options = options

    def open(self, index: int) -> AbstractContextManager[Reader]:
        from vexp.data.decoding.frame_folder import RawFrameReader  # a decoder is loaded by the worker that decodes

        options, folder = self.options, Path(self.annotation.path(index))
        if folder.is_file():
            raise UserError(f"{folder}: is a file, not a folder of raw frames; for video files set data=video_list")
        offset, total = self.annotation.frames(index) or (0, None)
        reader = RawFrameReader(
            folder, options.template, first=options.start_index + offset, total=total,
            flow=options.modality == "Flow", backend=options.decoding_backend, fps=options.fps,
        )  # fmt: skip
        opened = cast("AbstractContextManager[Reader]", reader)
        return segment_of(str(folder), opened, self.annotation.segment(index))
