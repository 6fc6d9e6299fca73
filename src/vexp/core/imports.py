"""Imports of a command."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import modules in this block without collecting garbage, of which there is none: it takes a tenth of the time.

    What is imported stays to the end of the process. Later collections leave it out, also those of worker processes,
    in which they would copy the memory that is shared with this one.
    """
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
            if "torch" in sys.modules:  # extensions with it report what is not collected at the end
                atexit.register(gc.unfreeze)
        gc.enable()
