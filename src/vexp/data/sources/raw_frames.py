"""Source of videos that were extracted to images, or to images of optical flow."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.sources.base import ListedSource, Reader, open_segment

#: Default file names of frames by modality.
TEMPLATES = {"RGB": "img_{:05}.jpg", "Flow": "flow_{}_{:05d}.jpg"}


class RawFrameSource(ListedSource):
    """Folders of images listed in an annotation."""

    def __init__(
        self,
        annotation: Annotation,
        *,
        template: str = TEMPLATES["RGB"],
        start_index: int = 1,
        flow: bool = False,
        backend: str = "auto",
        fps: float | None = None,
    ) -> None:
        """Create the source.

        Args:
            annotation: The folders.
            template: File name of a frame by its number; of flow by component (x or y) and number.
            start_index: Number in the name of the first file.
            flow: Frames are pairs of gray images, x and y of optical flow.
            backend: Image decoder.
            fps: Rate at which the frames were extracted; None: unknown.
        """
        ListedSource.__init__(self, annotation)
        self.template, self.start_index, self.flow = template, start_index, flow
        self.backend, self.fps = backend, fps

    def open(self, index: int) -> AbstractContextManager[Reader]:
        from vexp.data.decoding.frame_folder import RawFrameReader  # imports a decoder: only in the worker

        folder = Path(self.annotation.path(index))
        if folder.is_file():
            raise UserError(f"{folder}: is a file, not a folder of raw frames; for video files set data=video_list")
        offset, total = self.annotation.frames(index) or (0, None)
        reader = RawFrameReader(
            folder, self.template, first=self.start_index + offset, total=total, flow=self.flow, backend=self.backend,
            fps=self.fps,
        )  # fmt: skip
        opened = cast("AbstractContextManager[Reader]", reader)
        return open_segment(str(folder), opened, self.annotation.segment(index))
