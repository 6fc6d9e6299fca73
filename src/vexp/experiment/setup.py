"""From a ``Config`` to the objects of a run: sets, net, loss, in the order in which the data flows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.loading.dataset import ClipDataset, flip_table
from vexp.data.loading.step_plan import StepPlan
from vexp.data.sources.base import Source
from vexp.data.sources.subsets import select_samples
from vexp.evaluation.label_checks import check_labels, check_loss, class_counts
from vexp.experiment.schedule import Schedule, step_plan, total_steps
from vexp.model.loss import Loss
from vexp.runtime.distributed import SINGLE_PROCESS, World


@dataclass(slots=True)
class Experiment:
    """What does not change during a run; ``warnings`` are for the user, before it begins."""

    config: Config
    device: torch.device
    train_set: ClipDataset
    val_set: ClipDataset | None
    plan: StepPlan
    total_steps: int
    criterion: nn.Module
    warnings: list[str] = field(default_factory=list)
    processes: World = field(default_factory=World)

    @property
    def classes(self) -> list[str]:
        return self.train_set.source.classes

    @property
    def calendar(self) -> Schedule:
        return Schedule(self.config, self.plan, self.total_steps, self.val_set is not None)

    @property
    def epochs(self) -> int:
        """Epochs begun by the last step."""
        return self.calendar.epochs

    def epoch(self, step: int) -> int:
        """The epoch (1-based) that optimizer step ``step`` (1-based) belongs to; 0 before training."""
        return -(-step // self.plan.steps_per_epoch)


def build_experiment(
    config: Config, processes: World = SINGLE_PROCESS, *, prepare: bool = True, for_net: bool = True
) -> Experiment:
    """Read the lists and choose the device.

    Args:
        config: its ``dist.nproc`` processes share each step.
        processes: this one among them; ``ALONE`` where nothing is trained.
        prepare: make what data options make by themselves; without it no sample can be read.
        for_net: the data must fit the net; without it they can be looked at.

    Raises:
        UserError: a list or folder that cannot be read, a device that is not there, a schedule that cannot work.
    """
    channels = getattr(config.model, "channels", None)
    if for_net and channels is not None and channels != len(config.img_norm.mean):
        raise UserError(
            f"model.channels={channels}: img_norm.mean has {len(config.img_norm.mean)} values; RGB needs "
            "model.channels=3 and three values (img_norm=kinetics), optical flow needs 2 and img_norm=flow"
        )
    device = pick_device(config.device, processes)
    if prepare:
        with processes.local_main_process_first():
            config.data.prepare()
    train_set = make_dataset(config, "train")
    if train_set is None:
        raise UserError("data: has no training samples")
    if config.data.train.class_balance and train_set.source.multi_label:
        raise UserError(
            f"data.train.class_balance={config.data.train.class_balance}: balances samples of one label each, those of "
            "the training list have several; set it to 0"
        )
    val_set = make_dataset(config, "val")
    plan = step_plan(config, len(train_set))
    if plan.steps_per_epoch == 0:
        raise UserError(
            f"data.train.drop_last=true: {len(train_set)} samples do not fill one step of {plan.samples_per_step}; "
            "lower data.batch_size or grad.accumulate"
        )
    config, warnings = with_class_weights(config, train_set.source), []
    if val_set is not None:
        classes, multi_label = len(train_set.source.classes), train_set.source.multi_label
        warnings = check_labels(config.eval, val_set.source, classes, split="val", multi_label=multi_label)
    elif config.eval.patience is not None:
        warnings = [f"eval.patience={config.eval.patience}: there is no validation, the run will not end early"]
    criterion = config.loss.build().to(device)
    return Experiment(
        config, device, train_set, val_set, plan, total_steps(config, plan), criterion, warnings, processes
    )


def with_class_weights(config: Config, train: Source) -> Config:
    """The config with the weights of the classes in numbers, as they stand in every checkpoint.

    Raises:
        UserError: the loss is for another kind of labels than the training list has, or for another number of classes.
    """
    check_loss(train, getattr(config.loss, "multi_label", None))
    if not isinstance(config.loss, Loss):
        return config
    weights = config.loss.weights(class_counts(train).tolist())
    return replace(config, loss=replace(config.loss, class_weights=weights))


def make_dataset(config: Config, split: str, *, pipeline: str | None = None) -> ClipDataset | None:
    """The samples of a split, through its own pipeline or another's; None where the split is not there."""
    source = select_samples(config.data, split)
    if source is None:
        return None
    if len(source) == 0:
        raise UserError(f"data.{split}: holds no sample")
    flip_labels = flip_table(source.classes, config.data.flip_label_map)
    steps = config.pipeline.of(pipeline or split)
    skips, trains = config.data.on_error == "skip", (pipeline or split) == "train"
    return ClipDataset(
        source, steps, seed=config.seed, lazy=config.pipeline.lazy, flip_labels=flip_labels,
        on_bad="fail" if not skips else "replace" if trains else "leave_out",
    )  # fmt: skip


def pick_device(name: str, processes: World = SINGLE_PROCESS) -> torch.device:
    """``auto`` is the first GPU, or the CPU where there is none; of several processes each takes a GPU of its own.

    Raises:
        UserError: a GPU that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not processes.alone and (name == "cuda" or (name == "auto" and count)):
        if processes.local_rank >= count:
            raise UserError(
                f"device={name}: each process takes a GPU of its own, torch finds {count} on this machine, and process "
                f"{processes.local_rank + 1} has none; lower nproc, or device=cpu"
            )
        return torch.device("cuda", processes.local_rank)
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device={name}: torch finds {count} CUDA devices; use device=cpu or device=auto")
    return device
