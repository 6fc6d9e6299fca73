"""The whole configuration: what the groups and root keys are. Each group's own page is the file its class lives in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vexp.checkpoint import Checkpoint
from vexp.core.fields import REQUIRED, ValidatedConfig, option
from vexp.data.batch.mixup import Blending
from vexp.data.batch.normalize import ImgNorm
from vexp.data.sources.config import Data
from vexp.data.transforms.pipeline import Pipeline
from vexp.evaluation.config import Eval
from vexp.model import ModelOption
from vexp.model.loss import Bce, CrossEntropy, Loss
from vexp.optim.ema import Ema
from vexp.optim.gradients import Grad
from vexp.optim.lr_policy import WarmedPolicy
from vexp.optim.optimizers import Optimizer
from vexp.runtime.amp import Amp
from vexp.runtime.backend import Backend
from vexp.runtime.config import Dist
from vexp.tracking.config import Log


def _device(value: str) -> str | None:
    known = value in ("auto", "cpu", "cuda") or (value.startswith("cuda:") and value[5:].isdecimal())
    return None if known else "must be auto, cpu, cuda or cuda:N"


@dataclass(kw_only=True, slots=True)
class Sweep(ValidatedConfig):
    """The ``sweep`` group: the jobs of one multirun (``-m``)."""

    name: str | None = option(
        None, "folder of the sweep below out_root/sweeps; null: the swept keys, as in lr_policy_x_optimizer"
    )
    objective: str | None = option(
        None, "what its jobs are ranked by and a search improves, val/top1_acc; null: the metric of eval.save_best"
    )
    changed: str = option(
        "refuse",
        "a job whose folder was made with other settings: an error that names them, begun anew, or what is there kept",
        choices=("refuse", "rerun", "keep"),
    )
    fail_fast: bool = option(False, "begin no further job after one has failed")


@dataclass(kw_only=True, slots=True)
class Config(ValidatedConfig):
    """One experiment."""

    data: Data = option(REQUIRED, "which videos, in which splits, in batches of what size")
    pipeline: Pipeline = option(Pipeline, "the steps that make samples of videos, for each split")
    img_norm: ImgNorm = option(
        ImgNorm, "what is done to pixel values before the net: (x - mean) / std, for every split"
    )
    blending: Blending = option(
        Blending, "clips of a training batch mixed with each other, their labels in the same shares"
    )
    model: ModelOption = option(REQUIRED, "the net, and the weights it starts from")
    backend: Backend = option(
        Backend, "memory layout, compilation, reduced precision of float32 and threads: speed, not results"
    )
    loss: Loss = option(REQUIRED, "what training makes small")
    optimizer: Optimizer = option(REQUIRED, "how a gradient changes the weights: base rate, momentum, weight decay")
    lr_policy: WarmedPolicy = option(REQUIRED, "how the learning rate moves during training")
    grad: Grad = option(Grad, "what is done to gradients before a step: accumulated, clipped, looked at")
    amp: Amp = option(Amp, "automatic mixed precision: the dtype of convolutions and products")
    ema: Ema = option(Ema, "a running average of the weights, evaluated and saved beside them")
    eval: Eval = option(Eval, "when the model is evaluated, by what, and which result is the best")
    checkpoint: Checkpoint = option(Checkpoint, "when checkpoints are written, where, and how many are kept")
    log: Log = option(Log, "how often training speaks, and to whom")
    dist: Dist = option(Dist, "the processes of one run")
    sweep: Sweep = option(Sweep, "the jobs of one multirun (-m)")

    epochs: int | None = option(
        None, "length of training; null: data.default_epochs, unless max_steps is set", unit="epochs", ge=1
    )
    max_steps: int | None = option(None, "length of training in optimizer steps, instead of epochs", unit="steps", ge=1)
    seed: int = option(0, "seed of weights, order, frames and crops: the same seed gives the same run", ge=0)
    deterministic: bool = option(
        False, "only algorithms that repeat to the bit, or an error where there is none; not with cudnn_benchmark"
    )
    cudnn_benchmark: bool = option(
        False, "let cuDNN time its convolutions and take the fastest (may differ from run to run)"
    )
    diff_rank_seed: bool = option(
        False, "each process draws its own dropout and blending, not all the same; samples never depend on processes"
    )
    device: str = option("auto", "where the net runs: auto (a GPU if there is one), cpu, cuda, cuda:N", check=_device)
    run_name: str | None = option(None, "folder of the run below out_root; null: the experiment's name, or the data's")
    out_root: str = option("runs", "folder in which run folders are made")
    resume: str | None = option(
        None, "go on from a checkpoint: auto (the newest of this run folder), a file or a run folder"
    )
    init_from: str | None = option(
        None, "start from these weights, as model.weights.path, for any net: a file, a run folder, an address"
    )
    plugins: list[str] = option([], "packages of one's own that the config may build from")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError(
                f"epochs={self.epochs} and max_steps={self.max_steps}: only one can be the length of training; "
                "set the other to null"
            )
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError(
                "deterministic=true and cudnn_benchmark=true: benchmarking may choose another algorithm in the next "
                "run, which is what deterministic rules out; set one of them to false"
            )
        if self.resume not in (None, "auto") and self.init_from is not None:
            raise ValueError("resume and init_from are both set: resume continues a run, init_from starts a new one")
        if self.init_from is not None and getattr(getattr(self.model, "weights", None), "path", None) is not None:
            raise ValueError("init_from and model.weights.path are both set: give the weights to start from once")
        if self.dist.nproc > 1 and self.backend.compile and self.backend.compile_mode != "default":
            raise ValueError(
                f"backend.compile_mode={self.backend.compile_mode}: captures CUDA graphs, which cannot hold the "
                f"exchange of gradients of dist.nproc={self.dist.nproc} processes; take backend.compile_mode=default"
            )
        if self.dist.nproc > 1 and self.device.startswith("cuda:"):
            raise ValueError(
                f"device={self.device}: is one GPU, dist.nproc={self.dist.nproc} processes take one each; device=cuda, "
                "and CUDA_VISIBLE_DEVICES chooses among them"
            )
        if self.eval.happens and (problem := self.data.missing_split_reason("val")):
            raise ValueError(f"data.{problem}; or train without validation: eval=never")
        for split in ("train", "val"):
            if not self.pipeline.of(split):
                raise ValueError(f"pipeline.{split}: holds no step; choose an option, pipeline=...")
        given = [f"val/{name}" for name in self.eval.results()]
        if self.sweep.objective not in (None, *given):
            raise ValueError(f"sweep.objective={self.sweep.objective}: the evaluation gives {', '.join(given)}")
        self._check_mirroring()

    def _check_mirroring(self) -> None:
        """A mirrored clip of "moving left" shows "moving right": its label must move with it, or it must not happen."""
        for split in ("train", "val", "test"):
            for name, step in self.pipeline.of(split).items():
                mirrors = getattr(step, "mirrors", "")
                key = f"pipeline.{split}.{name}"
                if mirrors and self.data.directional:
                    raise ValueError(f"data.directional=true: {key} mirrors clips; leave it out with ~{key}")
                if mirrors == "some views" and self.data.flip_label_map:
                    raise ValueError(
                        f"{key}: mixes views that data.flip_label_map gives different labels; take another crop"
                    )


#: Groups whose options are classes of their own. What OmegaConf checks is the chosen option's class.
OPEN_GROUPS = ("data", "model", "loss", "optimizer", "lr_policy")


def options() -> dict[str, dict[str, type[Any]]]:
    """The classes of all options: group -> option -> dataclass. YAML files of the same name choose them."""
    from vexp.data.sources.config import Folder, Motion, VideoList
    from vexp.data.sources.raw_frames import RawFrames
    from vexp.data.transforms import color, frame_sampling, resize, segment_sampling
    from vexp.model import zoo as zoo
    from vexp.model.config import Tiny3d, TorchvisionVideo
    from vexp.optim import lr_policy, optimizers_extra
    from vexp.optim.optimizers import SGD, Adam, AdamW

    return {
        "data": {"motion": Motion, "video_list": VideoList, "raw_frames": RawFrames, "folder": Folder},
        "transform": {
            "sample_frames": frame_sampling.SampleFrames,
            "dense_sample_frames": frame_sampling.DenseSampleFrames,
            "segment_frames": segment_sampling.SegmentFrames,
            "untrimmed_sample_frames": frame_sampling.UntrimmedSampleFrames,
            "resize": resize.Resize,
            "random_rescale": resize.RandomRescale,
            "random_short_side_scale": resize.RandomRescale,
            "random_resized_crop": resize.RandomResizedCrop,
            "random_crop": resize.RandomCrop,
            "center_crop": resize.CenterCrop,
            "three_crop": resize.ThreeCrop,
            "ten_crop": resize.TenCrop,
            "multi_scale_crop": resize.MultiScaleCrop,
            "flip": resize.Flip,
            "color_jitter": color.ColorJitter,
        },
        "model": {
            "tiny3d": Tiny3d,
            "torchvision": TorchvisionVideo,
            "tsn": zoo.Tsn,
            "tsm": zoo.Tsm,
            "slowonly": zoo.SlowOnly,
            "slowfast": zoo.SlowFast,
            "i3d": zoo.I3d,
            "c3d": zoo.C3d,
            "r2plus1d": zoo.R2plus1d,
            "csn": zoo.Csn,
            "x3d": zoo.X3d,
            "timesformer": zoo.TimeSformer,
        },
        "loss": {"cross_entropy": CrossEntropy, "bce": Bce},
        "optimizer": {
            "sgd": SGD,
            "adam": Adam,
            "adamw": AdamW,
            "adadelta": optimizers_extra.Adadelta,
            "adafactor": optimizers_extra.Adafactor,
            "adagrad": optimizers_extra.Adagrad,
            "adamax": optimizers_extra.Adamax,
            "asgd": optimizers_extra.ASGD,
            "nadam": optimizers_extra.NAdam,
            "radam": optimizers_extra.RAdam,
            "rmsprop": optimizers_extra.RMSprop,
            "rprop": optimizers_extra.Rprop,
        },
        "lr_policy": {
            "fixed": lr_policy.Fixed,
            "step": lr_policy.Step,
            "cosine": lr_policy.Cosine,
            "cosine_restart": lr_policy.CosineRestart,
            "exp": lr_policy.Exp,
            "poly": lr_policy.Poly,
            "inv": lr_policy.Inv,
            "linear": lr_policy.Linear,
            "flat_cosine": lr_policy.FlatCosine,
            "cyclic": lr_policy.Cyclic,
            "one_cycle": lr_policy.OneCycle,
            "chain": lr_policy.Chain,
        },
    }
