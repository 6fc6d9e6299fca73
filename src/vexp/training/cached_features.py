"""Training behind a frozen encoder whose output is computed once (``data.cache_features``)."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence

from torch import nn

from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset, Key
from vexp.data.loading.feature_cache import FeatureCache
from vexp.experiment.eval_save_schedule import plural
from vexp.experiment.feature_cache import feature_cache, find_trained_part
from vexp.experiment.setup import Experiment, view_forward
from vexp.model.trained_part import TrainedPart, encoder, take_features
from vexp.training.state import TrainState

logger = logging.getLogger(__name__)


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
