"""The effects that ``vexp explain`` lists are computed by the functions of a run, without torch and without videos."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from vexp import compose
from vexp.checkpoint import Checkpoint
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.transforms.crops import ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.evaluation.config import Eval
from vexp.model.loss import CrossEntropy
from vexp.optim.ema import Ema
from vexp.optim.lr_policy import Cosine, CosineRestart, Fixed, LrPolicy, Step
from vexp.tools.explain.effects import key_effects, schedule_of
from vexp.tracking.config import Log


@pytest.fixture(scope="module")
def config() -> Config:
    """480 samples in steps of 8: 60 steps an epoch, 14 epochs; base rate 0.01."""
    return compose(["optimizer=sgd", "optimizer.lr=0.01", "pipeline=clip_16x4_224"])


@pytest.mark.parametrize(
    ("path", "changed", "lines"),
    [
        (
            "eval.interval",
            {"eval": Eval(start=3, interval=2, at_end=False)},
            ["evaluations: 6: after epochs 3, 5, 7, 9, 11, 13"],
        ),
        (
            "eval.start",
            {"eval": Eval(start=0, interval=7)},
            ["evaluations: 2: after epochs 7, 14", "evaluates before training as well"],
        ),
        (
            "eval.interval",
            {"eval": Eval(interval=20, at_end=False)},
            ["evaluations: none", "warning: eval.interval=20: "],
        ),
        (
            "log.interval",
            {"log": Log(interval=70)},
            ["training lines: none", "warning: log.interval=70: an epoch has 60 steps"],
        ),
        (
            "log.interval",
            {"log": Log(interval=1000, by_epoch=False)},
            ["training lines: none", "warning: log.interval=1000: the run has 840 steps"],
        ),
        (
            "log.interval",
            {"log": Log(interval=1000, by_epoch=False, ignore_last=False)},
            ["training lines: 14: after epochs 1, 2, 3, 4 ... 13, 14"],
        ),
        ("eval.by_epoch", {"eval": Eval(by_epoch=False, interval=400)}, ["evaluations: 3: after steps 400, 800, 840"]),
        (
            "eval.save_best",
            {"eval": Eval(save_best="loss", patience=3)},
            ["best.pth: the lowest val/loss; 3 evaluations without improvement end the run"],
        ),
        (
            "checkpoint.max_keep_ckpts",
            {"checkpoint": Checkpoint(interval=5, max_keep_ckpts=1)},
            ["checkpoints: 3: after epochs 5, 10, 14", "kept in the end: epoch_14.pth"],
        ),
        ("epochs", {}, ["840 optimizer steps = 14 epochs of 60 steps; 480 training samples, 8 samples per step"]),
        (
            "grad.accumulate",
            {"epochs": None, "max_steps": 90},
            ["90 optimizer steps = 1.5 epochs of 60 steps; 480 training samples, 8 samples per step"],
        ),
        ("data.val.indices", {}, ["val: 128 samples of 8 classes, 16 to 16 each"]),
        (
            "img_norm.std",
            {},
            ["gray level 0 becomes [-2.118, -2.036, -1.804], 255 becomes [2.249, 2.429, 2.640] (RGB)"],
        ),
        ("ema.decay", {"ema": Ema(decay=0.99)}, ["a step counts half as much 69 steps later = 1.15 epochs"]),
        ("loss.class_weights", {"loss": CrossEntropy(class_weights="auto")}, ["weights of 8 classes: 1 to 1"]),
        ("optimizer.lr", {}, ["base rate 0.01 for steps of 8 samples: not scaled"]),
        # a value without numbers
        ("seed", {}, []),
    ],
)
def test_key_effects_of_a_value_lists_its_numbers(
    path: str, changed: dict[str, object], lines: list[str], config: Config
) -> None:
    effects = key_effects(replace(config, **changed), path)  # type: ignore[arg-type]
    assert len(effects) == len(lines)
    for effect, line in zip(effects, lines, strict=True):
        assert effect == line or (line.startswith("warning: ") and effect.startswith(line))


@pytest.mark.parametrize(
    ("policy", "path", "line"),
    [
        # the sentence of a warm-up: 24 steps of the 60 of an epoch
        (
            Cosine(warmup="linear", warmup_iters=24),
            "lr_policy.warmup_iters",
            "warms up (linear) from 0.001 to 0.01 over 24 steps = 0.4 epochs",
        ),
        (Cosine(warmup_iters=24), "lr_policy.warmup_iters", "warning: warmup_iters=24: "),
        (Step(step=[2, 3]), "lr_policy.step", "drop x 0.1: lr 0.01 -> 0.001 at step 121, after 2 epochs"),
        (Step(step=[2, 3]), "lr_policy.gamma", "drop x 0.1: lr 0.001 -> 0.0001 at step 181, after 3 epochs"),
        (Step(step=[2, 30]), "lr_policy", "warning: step=[2,30]: the run ends after 14 epochs"),
        (CosineRestart(periods=[5]), "lr_policy.periods", "the run will be refused: periods=[5]: "),
        (Step(step=1), "lr_policy.step", "and 5 more: vexp plan draws them"),
        (Fixed(), "lr_policy", "lr 0.01 at the first step, 0.01 at the last (840)"),
    ],
)
def test_key_effects_of_a_policy_lists_its_rates(policy: LrPolicy, path: str, line: str, config: Config) -> None:
    effects = key_effects(replace(config, lr_policy=policy), path)
    assert any(effect.startswith(line) for effect in effects), effects


def test_key_effects_of_a_transform_lists_frames_and_sizes(config: Config) -> None:
    """clip_16x4_224 tests ten clips of 64 frames and three crops of 256."""
    assert key_effects(config, "pipeline.test.sample.num_clips") == [
        "a clip spans 64 frames: 2.56 s at 25 a second, 2.13 s at 30 a second",
        "of a video of 300 frames: frames 11, 15, 19, 23, ..., 67, 71; 10 clips, from frames 11, 35, 59, 82, 106, 130, "
        "154, 177, 201, 225",
    ]
    assert key_effects(config, "pipeline.test.crop.crop_size") == [
        "of a video of 340x256: 340x256 -> 3 views of 256x256"
    ]
    assert key_effects(config, "pipeline.test")[-1] == "test: 10 clips x 3 crops of 256x256 a video"
    (drawn,) = key_effects(config, "pipeline.train.crop.area_range")
    assert drawn.startswith("of a video of 340x256, for example: 340x256 -> ")
    timed = {"sample": SampleFrames(clip_len=8, clip_seconds=2.0), "crop": ThreeCrop(crop_size=128)}
    slow = replace(config, pipeline=replace(config.pipeline, val=timed))
    assert key_effects(slow, "pipeline.val.sample")[0] == "a clip spans 8 frames: 2 s at 4 a second"


def test_schedule_of_too_few_samples_is_rejected(config: Config) -> None:
    with pytest.raises(UserError, match=r"data\.train: 4 samples make no step of 8"):
        schedule_of(
            replace(config, data=replace(config.data, train=replace(config.data.train, indices=4, drop_last=True)))
        )


ASKED = """
import sys
from vexp import compose
from vexp.tools.explain.effects import key_effects
config = compose([])
paths = ("lr_policy", "pipeline", "data", "eval", "checkpoint", "log", "img_norm")
assert [key_effects(config, path) for path in paths]
print(sorted({"torch", "torchvision", "cv2", "av"} & sys.modules.keys()))
"""


def test_key_effects_import_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "[]\n")
