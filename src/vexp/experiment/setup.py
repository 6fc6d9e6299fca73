"""From a ``Config`` to the objects of a run: device, datasets, loaders, schedule and task."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from vexp.config.schema import Config
from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.class_balance import epoch_length
from vexp.data.loading.dataset import ClipDataset, flip_table
from vexp.data.loading.step_plan import StepPlan
from vexp.data.sources.subsets import select_samples
from vexp.experiment.eval_save_schedule import Schedule, step_plan, total_steps
from vexp.runtime.device import pick_device
from vexp.runtime.distributed import SINGLE_PROCESS, World
from vexp.runtime.seed import set_global_switches
from vexp.task import task_class
from vexp.task.base import Task


@dataclass(slots=True)
class Experiment:
    """Everything that does not change during a run; ``warnings`` are shown before it starts."""

    config: Config
    device: torch.device
    train_set: ClipDataset
    val_set: ClipDataset | None
    plan: StepPlan
    total_steps: int
    task: Task
    warnings: list[str] = field(default_factory=list)
    world: World = field(default_factory=World)

    @property
    def classes(self) -> list[str]:
        """Class names of the training data."""
        return self.train_set.source.classes

    @property
    def schedule(self) -> Schedule:
        """When the run evaluates, saves and logs."""
        return Schedule(self.config, self.plan, self.total_steps, self.val_set is not None)

    @property
    def epochs(self) -> int:
        """Epochs started by the last step."""
        return self.epoch(self.total_steps)

    def epoch(self, step: int) -> int:
        """Return the epoch (1-based) of optimizer step ``step`` (1-based); 0 before training."""
        return -(-step // self.plan.steps_per_epoch)

    def lr_at(self, base_lr: float, step: int) -> float:
        """Return the learning rate of optimizer step ``step`` (0-based) of a parameter group."""
        per_epoch, total_steps = self.plan.steps_per_epoch, self.total_steps
        return self.config.lr_policy.lr_at(base_lr, step=step, steps_per_epoch=per_epoch, total_steps=total_steps)


def apply_switches(config: Config) -> None:
    """Seed the generators and set every process-wide switch of torch, in both directions."""
    set_global_switches(seed=config.seed, deterministic=config.deterministic, cudnn_benchmark=config.cudnn_benchmark)
    config.backend.set_switches()


def build_experiment(
    config: Config, world: World = SINGLE_PROCESS, *, prepare: bool = True, for_model: bool = True
) -> Experiment:
    """Choose the device, read the annotations and build the datasets and the task.

    Without ``prepare`` no data are generated (``data=motion``), and no sample can be read; without ``for_model`` it is
    not checked that the data fit the model.

    Raises:
        UserError: If an annotation cannot be read, the device does not exist, or data, loss and model do not match.
    """
    channels, given = getattr(config.model, "channels", None), config.input_channels
    if for_model and channels is not None and channels != given:
        rule = (
            f"the pipeline draws {given} heat maps; set it to {given}"
            if config.data.content == "joints"
            else (
                f"img_norm.mean has {given} values; RGB needs model.channels=3 and three values (img_norm=kinetics), "
                "optical flow needs 2 and img_norm=flow"
            )
        )
        raise ConfigError(rule, key="model.channels", value=channels)
    device = pick_device(config.device, world)
    if prepare:
        with world.local_main_process_first():
            config.data.prepare()
    train_set = make_dataset(config, "train")
    if train_set is None:
        raise UserError("data: has no training samples")
    task = task_class(config.data)
    val_set = make_dataset(config, "val")
    plan = step_plan(config, epoch_length(train_set.source, config.data.train))
    if plan.steps_per_epoch == 0:
        rule = f"{plan.num_samples} samples do not fill one step of {plan.samples_per_step}; lower data.batch_size or "
        raise ConfigError(f"{rule}grad.accumulate", key="data.train.drop_last", value=True)
    config, warnings = task.with_data(config, train_set.source), []
    if val_set is not None:
        warnings = task.check_data(config, val_set.source, split="val", train=train_set.source)
    elif config.eval.patience is not None:
        warnings = [f"eval.patience={config.eval.patience}: has no effect, there is no validation split"]
    steps = total_steps(config, plan)
    built = task(config, train_set.source.classes, device)
    return Experiment(config, device, train_set, val_set, plan, steps, built, warnings, world)


def make_dataset(config: Config, split: str, *, pipeline: str | None = None) -> ClipDataset | None:
    """Return the samples of a split (train, val or test); None if it does not exist.

    They are processed by the pipeline of the split ``pipeline``, by default by their own.

    Raises:
        UserError: If the split has no sample or its annotation cannot be read.
    """
    source, pipeline = select_samples(config.data, split), pipeline or split
    if source is None:
        return None
    if len(source) == 0:
        raise UserError(f"data.{split}: holds no sample")
    on_bad = "fail" if config.data.on_error != "skip" else "replace" if pipeline == "train" else "leave_out"
    return task_class(config.data).dataset_class(
        source,
        config.pipeline.of(pipeline),
        seed=config.seed,
        lazy=config.pipeline.lazy,
        flip_labels=flip_table(source.classes, config.data.flip_label_map),
        on_bad=on_bad,
        training=split == pipeline == "train",
        repeats=config.data.train.repeat_augment if split == pipeline == "train" else 1,
        apart=split == "train" and config.data.train.mix != "samples",
        own_classes=split == "train" and config.data.train.own_classes,
    )
