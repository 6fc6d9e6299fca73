"""The pixels of a clip: uint8, 0..255, RGB, from the decoder to the normalization on the device.

Clips with deeper pixels (10-bit) start here: ``decoding/color.py`` (``to_rgb``) and ``decoding/images.py`` convert to
8 bits; ``transforms/{resample,photometric}.py`` and ``batch/{shared_memory,normalize}.py`` assume 0..255.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]  # (H, W, C)
Frames = npt.NDArray[np.uint8]  # (T, H, W, C)
