"""The batches of a run for a training loop of one's own; the public name is ``vexp.data.loader``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from vexp.config.compose import compose
from vexp.core.errors import ConfigError, UserError
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, iterate_batches, make_loader
from vexp.experiment.setup import build_experiment, make_dataset
from vexp.runtime.distributed import World, world_from_environment
from vexp.training.batches import training_order

#: Forms of a batch, named after the library whose models take it.
FORMS = ("pytorchvideo", "transformers")


class ClipLoader:
    """An iterable over the batches of an epoch of a split, as dicts of normalized tensors.

    The samples of epoch n are a function of ``seed`` and n, and those that ``vexp train`` sees in that epoch. Each
    iteration is the next epoch; ``set_epoch`` chooses one. In a distributed program (``torch.distributed`` is
    initialized, or the environment is torchrun's) each process receives its own part, ``data.batch_size`` samples at a
    time. With data.on_error=skip a bad sample is replaced in training and left out in evaluation.

    Attributes:
        config: The whole config.
        dataset: The samples; ``dataset.source.name(i)`` is the name of number i.
        classes: Names of the classes.
    """

    def __init__(
        self,
        overrides: Sequence[str] = (),
        split: str = "train",
        *,
        form: str = "pytorchvideo",
        device: str | torch.device = "cpu",
        config_dirs: Sequence[str | Path] = (),
    ) -> None:
        """Compose the config and read the annotation; see ``vexp.data.loader``."""
        for key, value, known in (("split", split, ("train", "val", "test")), ("form", form, FORMS)):
            if value not in known:
                raise ConfigError(f"must be one of {', '.join(known)}", key=key, value=value)
        no_eval = [] if any(override.startswith("eval") for override in overrides) else ["eval=never"]
        fixed = ["device=cpu", "grad.accumulate=1"]  # the model, its device and its steps are the caller's
        self.config = compose([*no_eval, *overrides, *fixed], config_dirs=config_dirs)
        if self.config.data.task != "recognition":
            raise ConfigError("is not recognition, the only task with a loader", key="data.task")
        self.config.data.check_files()
        self.split, self.form, self.device, self.epoch = split, form, torch.device(device), 0
        self._exp = build_experiment(self.config, for_model=False) if split == "train" else None
        if self._exp is None:
            self.config.data.prepare()
        dataset = self._exp.train_set if self._exp is not None else make_dataset(self.config, split)
        if dataset is None:
            raise UserError(f"data.{split}: has no samples")
        self.dataset = dataset
        self.classes = dataset.source.classes
        data = self.config.data
        self.batch_size = data.batch_size if split == "train" else data.eval_batch_size or data.batch_size
        self._bad = BadSamples(dataset, split=split, max_fraction=data.max_bad_fraction)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        if self._exp is None:
            return self._sequential().rounds
        plan = replace(self._exp.plan, world_size=_world().world_size)
        return plan.steps_per_epoch * len(plan.batches(0))

    def set_epoch(self, epoch: int) -> None:
        """Make ``epoch`` (0-based) the next one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        sampler: Any = self._sequential()
        if self._exp is not None:
            world = _world()
            exp = replace(self._exp, plan=replace(self._exp.plan, world_size=world.world_size))
            steps = exp.plan.steps_per_epoch
            sampler = training_order(exp, epoch * steps, (epoch + 1) * steps, rank=world.rank)
        loader = make_loader(self.dataset, sampler, self.config.data, self.device, persistent=False)
        for batch in iterate_batches(loader, self._bad):
            yield self._formed(batch.to(self.device))

    def _sequential(self) -> SequentialSampler:
        world = _world()
        return SequentialSampler(len(self.dataset), self.batch_size, rank=world.rank, world_size=world.world_size)

    def _formed(self, batch: Batch) -> dict[str, Any]:
        video = self.config.img_norm.prepare_input(batch)  # (N * V, C, T, H, W)
        if self.form == "transformers":
            if batch.views > 1:
                rule = f"the pipeline makes {batch.views} views of a video, a model of transformers takes one"
                raise ConfigError(rule, key=f"pipeline.{self.split}")
            return {"pixel_values": video.transpose(1, 2), "labels": batch.labels}
        if batch.views > 1:
            video = video.view(len(batch), batch.views, *video.shape[1:])
        names = [self.dataset.source.name(index) for index in batch.ids.tolist()]
        return {"video": video, "label": batch.labels, "video_index": batch.ids, "video_name": names}


def _world() -> World:
    """Return this process among those of the program, whether torchrun or a library has started them."""
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return world_from_environment()
