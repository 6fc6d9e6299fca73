"""The pixels of a clip: uint8, 0..255, RGB, from the decoder to the normalization on the device.

``decoding/color.py`` and ``decoding/images.py`` convert to 8 bits. These assume them: ``decoding/frame_stream.py``,
``sources/base.py``, ``transforms/{resample,photometric,pixel_operations,random_erasing,pipeline,view_layout}.py``,
``batch/{batch,shared_memory,normalize}.py``, and the description of the input in ``vexp.inference.export``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from vexp.core.lazy import np

if TYPE_CHECKING:
    import numpy.typing as npt

Frame: TypeAlias = "npt.NDArray[np.uint8]"  # (H, W, C)
Frames: TypeAlias = "npt.NDArray[np.uint8]"  # (T, H, W, C)
