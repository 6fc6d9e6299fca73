"""Checkpoints: when one is written, written whole or not at all, read without trust, and which are kept.

A file holds tensors and plain containers only, so that ``torch.load(weights_only=True)`` reads it anywhere.
``manifest.json`` beside the files holds their checksums.
"""

from vexp.checkpoint.background import Background, Snapshot
from vexp.checkpoint.files import complete, load, looks_right, save
from vexp.checkpoint.folder import find, locate
from vexp.checkpoint.options import Checkpoint
from vexp.checkpoint.retain import BEST, LAST, prunable, prune

__all__ = [
    "BEST", "LAST", "Background", "Checkpoint", "Snapshot",
    "complete", "find", "load", "locate", "looks_right", "prunable", "prune", "save",
]  # fmt: skip
