"""Checkpoints: when one is written, written whole or not at all, read without trust, and which are kept.

A file holds tensors and plain containers only, so that ``torch.load(weights_only=True)`` reads it anywhere.
``manifest.json`` beside the files holds their checksums.
"""

from vexp.checkpoint.async_save import Background, Snapshot
from vexp.checkpoint.config import Checkpoint
from vexp.checkpoint.discovery import find, locate
from vexp.checkpoint.file import complete, load, looks_right, save
from vexp.checkpoint.retention import BEST, LAST, prunable, prune

__all__ = [
    "BEST", "LAST", "Background", "Checkpoint", "Snapshot",
    "complete", "find", "load", "locate", "looks_right", "prunable", "prune", "save",
]  # fmt: skip
