"""The configuration of a run: its groups and root keys. The class of a group is defined beside what it configures."""

from __future__ import annotations

from dataclasses import dataclass

from vexp.checkpoint import Checkpoint
from vexp.config.sweep import Sweep
from vexp.core.errors import ConfigError
from vexp.core.fields import REQUIRED, ValidatedConfig, option
from vexp.core.files import folder_name_rule
from vexp.data.batch.mixup import Blending
from vexp.data.batch.normalize import ImgNorm
from vexp.data.sources.config import Data
from vexp.data.transforms.pipeline import Pipeline
from vexp.evaluation.config import Eval
from vexp.model import ModelOption
from vexp.model.config import Model
from vexp.model.loss import Loss
from vexp.optim.ema import Ema
from vexp.optim.gradients import Grad
from vexp.optim.lr_policy import WarmedPolicy
from vexp.optim.optimizers import Optimizer
from vexp.runtime.amp import Amp
from vexp.runtime.backend import Backend
from vexp.runtime.config import Dist
from vexp.tracking.config import Log


def _device(value: str) -> str | None:
    known = value in ("auto", "cpu", "cuda", "mps") or (value.startswith("cuda:") and value[5:].isdecimal())
    return None if known else "must be auto, cpu, cuda, cuda:N or mps"


def _not_empty(path: str) -> str | None:
    return None if path.strip() else "must not be empty; null for none"  # otherwise it would be the working folder


@dataclass(kw_only=True, slots=True)
class Config(ValidatedConfig):
    """The configuration of one run."""

    data: Data = option(REQUIRED, "Videos, their splits and labels, and the size of batches.")
    pipeline: Pipeline = option(Pipeline, "Transforms that make samples of videos, for each split.")
    img_norm: ImgNorm = option(ImgNorm, "Normalization of pixel values, (x - mean) / std, for every split.")
    blending: Blending = option(Blending, "Mixup and CutMix of the clips and labels of a training batch.")
    model: ModelOption = option(REQUIRED, "Model and its initial weights.")
    backend: Backend = option(Backend, "Memory layout, compilation, float32 precision and threads: speed, not results.")
    loss: Loss = option(REQUIRED, "Training loss.")
    optimizer: Optimizer = option(REQUIRED, "Optimizer and its hyperparameters.")
    lr_policy: WarmedPolicy = option(REQUIRED, "Learning-rate policy and its warm-up.")
    grad: Grad = option(Grad, "Gradient accumulation, clipping and checks.")
    amp: Amp = option(Amp, "Automatic mixed precision.")
    ema: Ema = option(Ema, "Exponential moving average of the weights, evaluated and saved in addition to them.")
    eval: Eval = option(Eval, "Evaluation: when, metrics, and the best score.")
    checkpoint: Checkpoint = option(Checkpoint, "Checkpoints: when they are written, where, and how many are kept.")
    log: Log = option(Log, "Logging interval and backends.")
    dist: Dist = option(Dist, "Distributed training.")
    sweep: Sweep = option(Sweep, "Jobs of one multirun (-m).")

    epochs: int | None = option(
        None, "Length of training; null: data.default_epochs, unless max_steps is set.", unit="epochs", ge=1, le=10**9
    )
    max_steps: int | None = option(
        None, "Length of training in optimizer steps, instead of epochs.", unit="steps", ge=1, le=10**12
    )
    seed: int = option(0, "Seed of weights, sample order, frames and crops; the same seed gives the same run.", ge=0)
    deterministic: bool = option(
        False,
        "Use deterministic algorithms only; raise an error if an operation has none. Excludes cudnn_benchmark.",
    )
    cudnn_benchmark: bool = option(
        False, "Let cuDNN time its convolution algorithms and use the fastest, which may differ from run to run."
    )
    diff_rank_seed: bool = option(
        False, "Give each process its own random dropout and blending; samples never depend on the process."
    )
    device: str = option(
        "auto",
        "Device of the model: auto (a CUDA GPU, else the CPU), cpu, cuda, cuda:N or mps (a Mac).",
        check=_device,
    )
    run_name: str | None = option(
        None,
        "Folder of the run below out_root; null: the name of the experiment, else of the data option.",
        check=folder_name_rule,
    )
    out_root: str = option("runs", "Folder in which run folders are made.")
    resume: str | None = option(
        None, "Checkpoint to resume from: auto (the newest of this run folder), a file or a run folder.",
        check=_not_empty,
    )  # fmt: skip
    init_from: str | None = option(
        None, "Initial weights (file, run folder or URL), as model.weights.path; works with any model.",
        check=_not_empty,
    )  # fmt: skip
    plugins: list[str] = option([], "Python packages whose classes the config may instantiate.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        self._check_exclusive_keys()
        self._check_processes()
        if self.dist.strategy == "fsdp":
            self._check_sharding()
        if self.eval.happens and (error := self.data.missing_split_error("val")):
            error.hint += "; or train without validation: eval=never"
            raise error.below("data")
        for split in ("train", "val"):
            if self.data.content != "features" and not self.pipeline.of(split):
                raise ConfigError("has no transform; choose an option, pipeline=...", key=f"pipeline.{split}")
        if isinstance(self.model, Model):
            self.model.check_clips(self.pipeline, self.img_norm)
        self._check_content()
        self._check_task()
        self.sweep.check_objective(self.eval.results(self.data.task))
        self._check_flips()
        if self.data.cache_features:
            self._check_cached_features()

    @property
    def input_channels(self) -> int:
        """Channels of a pixel of the model's input: those of the frames, or the number of heat maps."""
        return self.pipeline.heat_maps("train") or len(self.img_norm.mean)

    def _check_content(self) -> None:
        """Check that the pipelines draw heat maps if the data are skeletons, and only then.

        Raises:
            ConfigError: If they do not.
        """
        has_joints = self.data.content == "joints"
        for split in ("train", "val", "test"):
            key, maps = f"pipeline.{split}", self.pipeline.heat_maps(split)
            if maps is None and has_joints:
                raise ConfigError("makes no heat maps of the skeletons; set pipeline=skeleton", key=key)
            if maps not in (None, self.input_channels):
                raise ConfigError(f"draws {maps} heat maps, pipeline.train {self.input_channels}", key=key)
            for name, step in self.pipeline.of(split).items():
                of_joints = hasattr(step, "compact") or hasattr(step, "prepare")
                if of_joints and not has_joints:
                    raise ConfigError("is for skeletons, the data are videos; set data=skeleton", key=f"{key}.{name}")
                if has_joints and not (of_joints or hasattr(step, "indices") or hasattr(step, "plan")):
                    raise ConfigError("needs frames, skeletons have none; leave it out", key=f"{key}.{name}")

    def _check_task(self) -> None:
        """Check that model and metrics are for the task of the data."""
        task, of_model = self.data.task, getattr(self.model, "task", None)
        if isinstance(task, str) and of_model is not None and of_model != task:
            rule = f"{type(self.model).__name__} is a model for {of_model}, but the data is for {task}"
            raise ConfigError(rule, key="model", hint="; without model=..., the data option chooses one that fits")
        if not self.eval.happens:
            return  # eval=never has the metrics of recognition
        try:
            self.eval.check_metrics(task)
        except ConfigError as error:
            raise error.below("eval") from None

    def _check_exclusive_keys(self) -> None:
        if self.epochs is not None and self.max_steps is not None:
            raise ConfigError(
                f"max_steps={self.max_steps} is set, too: set one of them to null",
                key="epochs", value=self.epochs,
            )  # fmt: skip
        if self.deterministic and self.cudnn_benchmark:
            raise ConfigError(
                "cudnn_benchmark=true may choose another algorithm in the next run; set one of them to false",
                key="deterministic", value=True,
            )  # fmt: skip
        if self.init_from is None:
            return
        if self.resume not in (None, "auto"):
            raise ConfigError(
                "init_from is set, too: resume continues a run, init_from starts a new one",
                key="resume", value=self.resume,
            )  # fmt: skip
        if getattr(getattr(self.model, "weights", None), "path", None) is not None:
            raise ConfigError(
                "model.weights.path is set, too: give the initial weights once", key="init_from", value=self.init_from
            )

    def _check_processes(self) -> None:
        nproc, backend = self.dist.nproc, self.backend
        if self.device == "mps" and self.data.task in ("localization", "detection"):
            rule = f"task={self.data.task} computes in float64, which a Mac's GPU does not have; set device=cpu"
            raise ConfigError(rule, key="device", value=self.device)
        if nproc > 1 and backend.compile and backend.compile_mode != "default":
            raise ConfigError(
                f"captures CUDA graphs, which cannot hold the gradient all-reduce of dist.nproc={nproc} processes; "
                "use backend.compile_mode=default",
                key="backend.compile_mode", value=backend.compile_mode,
            )  # fmt: skip
        if nproc > 1 and self.device == "mps":
            rule = "a Mac has one GPU, and torch's gloo cannot average gradients on it; set device=cpu or nproc=1"
            raise ConfigError(rule, key="device", value=self.device)
        if nproc > 1 and self.device.startswith("cuda:"):
            raise ConfigError(
                f"is one GPU, but each of dist.nproc={nproc} processes needs its own; use device=cuda, and "
                "CUDA_VISIBLE_DEVICES to choose among them",
                key="device", value=self.device,
            )  # fmt: skip

    def _check_cached_features(self) -> None:
        """Check that every epoch has the same clips, which are computed with numpy and need no torch."""
        from vexp.data.transforms.randomness import first_random_step

        key = "data.cache_features"
        if self.blending.mixes:
            rule = "blending mixes the clips of a batch anew in every step; set blending=never"
            raise ConfigError(rule, key=key, value=True)
        if self.dist.strategy == "fsdp":
            raise ConfigError("is not supported with dist.strategy=fsdp; set it to ddp", key=key, value=True)
        if self.data.train.repeat_augment > 1:
            rule = f"repeat_augment={self.data.train.repeat_augment} would give equal samples of a video; set it to 1"
            raise ConfigError(rule, key=key, value=True)
        for split in ("train", "val"):
            if (name := first_random_step(self.pipeline.of(split), len(self.img_norm.mean))) is not None:
                rule = f"pipeline.{split}.{name} draws random numbers, so that every epoch has other clips"
                hint = "; train on the clips of validation, 'pipeline.train=${pipeline.val}'"
                raise ConfigError(rule, key=key, value=True, hint=hint)

    def _check_sharding(self) -> None:
        """Check that no option needs whole weights in each process."""
        if self.backend.compile:
            rule = "is not supported with dist.strategy=fsdp; set it to false"
            raise ConfigError(rule, key="backend.compile", value=True)
        if self.backend.channels_last:
            rule = "changes the memory order of weights, which dist.strategy=fsdp shards; set it to null"
            raise ConfigError(rule, key="backend.channels_last", value=True)
        if not getattr(self.optimizer, "supports_shards", True):
            name = type(self.optimizer).__name__
            rule = f"{name} uses whole rows and columns of weights, which dist.strategy=fsdp shards; use adamw"
            raise ConfigError(rule, key="optimizer")

    def _check_flips(self) -> None:
        """Check that clips are not mirrored where that changes their label, as of "moving left", and none is mapped."""
        for split in ("train", "val", "test"):
            for name, transform in self.pipeline.of(split).items():
                mirrors = getattr(transform, "mirrors", "")
                key = f"pipeline.{split}.{name}"
                if mirrors and self.data.directional:
                    raise ConfigError(
                        f"{key} mirrors clips; leave it out with ~{key}", key="data.directional", value=True
                    )
                if mirrors == "some views" and self.data.flip_label_map:
                    raise ConfigError(
                        "mixes views that data.flip_label_map gives different labels; use another crop", key=key
                    )
