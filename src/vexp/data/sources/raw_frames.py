"""Source of videos that were extracted to images, or to images of optical flow."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.sources.base import ListedSource, Reader, open_segment
from vexp.data.storage import is_stored

#: Default file names of frames by modality.
TEMPLATES = {"RGB": "img_{:05}.jpg", "Flow": "flow_{}_{:05d}.jpg"}


@dataclass(eq=False, repr=False)
class RawFrameSource(ListedSource):
    """Folders of images listed in an annotation."""

    annotation: Annotation
    _: KW_ONLY
    template: str = TEMPLATES["RGB"]  # file name of a frame by its number; of flow by component (x or y) and number
    start_index: int = 1  # number in the name of the first file
    flow: bool = False  # frames are pairs of gray images, x and y of optical flow
    backend: str = "auto"  # image decoder
    fps: float | None = None  # rate at which the frames were extracted; None: unknown

    def __post_init__(self) -> None:
        ListedSource.__init__(self, self.annotation)

    def open(self, index: int) -> AbstractContextManager[Reader]:
        from vexp.data.decoding.frame_folder import RawFrameReader  # imports a decoder: only in the worker

        folder = self.annotation.path(index)
        if not is_stored(folder) and os.path.isfile(folder):
            raise UserError(f"{folder}: is a file, not a folder of raw frames; for video files set data=video_list")
        offset, total = self.annotation.frames(index) or (0, None)
        reader = RawFrameReader(
            folder,
            self.template,
            first=self.start_index + offset,
            total=total,
            flow=self.flow,
            backend=self.backend,
            fps=self.fps,
        )
        return open_segment(folder, reader, self.annotation.segment(index))
