"""``data.cache_features``: where the features of a run are, and what determines them."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.data.loading.feature_cache import FeatureCache, cache_root
from vexp.experiment.input_shape import input_shape
from vexp.model.trained_part import TrainedPart, trained_part

#: Options that do not change the features: of the data, those of loading and labels; of the model, those whose effect
#: is in the weights, and those of the trained part.
_NOT_OF_DATA = (
    "batch_size", "eval_batch_size", "num_workers", "mp_context", "on_error", "max_bad_fraction", "sample_timeout",
    "default_epochs", "classes", "directional", "flip_label_map", "split_seed", "train", "val", "test",
    "cache_features",
)  # fmt: skip
_NOT_OF_MODEL = ("weights", "init", "freeze", "probe", "probe_depth", "probe_heads")


def find_trained_part(config: Config, model: nn.Module, device: torch.device) -> TrainedPart:
    """Find the trained part of a model in training mode for clips of the training pipeline.

    Raises:
        ConfigError: If its input is not a fixed function of a clip.
    """
    clips = torch.zeros(2, *input_shape(config, "train"), device=device)
    with nullcontext() if device.type == "meta" else config.amp.autocast(device):  # there is none on the meta device
        return trained_part(model.train(), clips)


def feature_cache(
    config: Config, model: nn.Module, part: TrainedPart, split: str, device: torch.device
) -> FeatureCache:
    """Return the cache of the features that an encoder gives for the pipeline of a split.

    Its folder is named after a checksum of everything that determines them. ``features.json`` there lists it.
    """
    settings = to_dict(config, types=True)
    described: dict[str, Any] = {
        "encoder": encoder_checksum(model, part),
        "trained_part": part.paths[0],
        "model": {key: value for key, value in settings["model"].items() if key not in _NOT_OF_MODEL},
        "data": {key: value for key, value in settings["data"].items() if key not in _NOT_OF_DATA},
        "pipeline": [settings["pipeline"][split], config.pipeline.lazy],
        "img_norm": settings["img_norm"],
        "precision": [config.amp.dtype, config.backend.tf32, device.type, torch.__version__],
        "training_mode": split == "train",
    }
    text = json.dumps(described, indent=2, sort_keys=True)
    folder = cache_root() / hashlib.sha256(text.encode()).hexdigest()[:24]
    return FeatureCache(folder, text)


def encoder_checksum(model: nn.Module, part: TrainedPart) -> str:
    """Return the SHA-256 of the names and values of all parameters and buffers outside of the trained part."""
    digest = hashlib.sha256()
    inside = tuple(f"{path}." for path in part.paths)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not name.startswith(inside):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
