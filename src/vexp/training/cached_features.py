"""``data.cache_features``: training behind a frozen encoder whose output is computed once for each video."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from vexp.config.instantiate import to_dict
from vexp.config.schema import Config
from vexp.core.log import plural
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.loading.feature_cache import FeatureCache, cache_root
from vexp.experiment.input_shape import input_shape
from vexp.experiment.setup import Experiment
from vexp.model.trained_part import TrainedPart, encoder, take_features, trained_part
from vexp.task.recognition import view_forward
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)

#: Options that do not change the features: of the data, those of loading and labels; of the model, those whose effect
#: is in the weights, and those of the trained part.
_NOT_OF_DATA = (
    "batch_size", "eval_batch_size", "num_workers", "mp_context", "on_error", "max_bad_fraction", "sample_timeout",
    "default_epochs", "classes", "directional", "flip_label_map", "split_seed", "train", "val", "test",
    "cache_features", "cache", "cache_size", "cache_short_side",
)  # fmt: skip
_NOT_OF_MODEL = ("weights", "init", "freeze", "probe", "probe_depth", "probe_heads")


def use_cached_features(exp: Experiment, state: TrainState) -> None:
    """Compute the features of all samples that have none, and make datasets and models use them.

    All processes of a run must call it together; each computes its share.

    Raises:
        ConfigError: If the input of the trained part is not a fixed function of a clip.
        UserError: If a video cannot be read (``data.on_error=fail``) or the features cannot be written.
    """
    model, world = state.model, exp.world
    part = find_trained_part(exp.config, model, exp.device)
    size = " x ".join(map(str, part.shape))
    logger.info(f"cached features: the input of {part.paths[0]}, {size} {str(part.dtype).removeprefix('torch.')}")
    for split, dataset in (("train", exp.train_set), ("val", exp.val_set)):
        if dataset is None or (split == "val" and not exp.config.eval.happens):
            continue
        start = time.perf_counter()
        cache = feature_cache(exp.config, model, part, split, exp.device)
        if world.is_main_process:
            cache.describe()
        missing = cache.missing(dataset.source)
        world.barrier()  # before a process writes, all have listed the same
        model.train(split == "train")
        _fill(exp, model, part, cache, dataset, split, missing[world.rank :: world.world_size])
        world.barrier()
        dataset.features = cache
        logger.info(
            f"cached features of {plural(len(dataset), split + ' video')} in {cache.folder}: "
            f"{len(missing)} computed in {time.perf_counter() - start:.1f} s, {len(dataset) - len(missing)} existed"
        )
    take_features(model, part)
    if state.ema is not None:
        take_features(state.ema.module, part)


def _fill(
    exp: Experiment,
    model: nn.Module,
    part: TrainedPart,
    cache: FeatureCache,
    dataset: ClipDataset,
    split: str,
    indices: Sequence[int],
) -> None:
    """Compute and write the features of the samples ``indices``; unreadable ones are left out if they may be."""
    if not indices:
        return
    data = exp.config.data
    dataset = copy.copy(dataset)
    if dataset.on_bad != "fail":
        dataset.on_bad = "leave_out"
    size = data.batch_size if split == "train" else data.eval_batch_size or data.batch_size
    batches: list[list[Key]] = [
        [(0, index) for index in indices[start : start + size]] for start in range(0, len(indices), size)
    ]
    bad = BadSamples(dataset, split=split, max_fraction=data.max_bad_fraction)
    forward = view_forward(exp.config, exp.device)
    with encoder(model, part) as encode:
        for batch in iterate_batches(make_loader(dataset, batches, data, exp.device, persistent=False), bad):
            for index, features in zip(batch.ids.tolist(), forward(encode, batch), strict=True):
                cache.save(dataset.source, index, features.to(part.dtype))


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
