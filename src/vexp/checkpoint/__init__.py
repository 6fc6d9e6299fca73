"""Checkpoints: atomic writes, safe reads, checksums, discovery and pruning.

A file holds tensors and plain containers only, so that ``torch.load(weights_only=True)`` reads it anywhere.
``manifest.json`` beside the files holds their checksums.
"""

from vexp.checkpoint.async_save import Background, Snapshot
from vexp.checkpoint.config import Checkpoint
from vexp.checkpoint.discovery import find, locate, repair_manifest
from vexp.checkpoint.file import check_training_state, complete, has_checkpoint_header, load, save
from vexp.checkpoint.pruning import BEST, LAST, prunable, prune

__all__ = ["BEST", "LAST", "Background", "Checkpoint", "Snapshot", "check_training_state", "complete", "find"]
__all__ += ["has_checkpoint_header", "load", "locate", "prunable", "prune", "repair_manifest", "save"]
