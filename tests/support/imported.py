"""Configs of mmaction2 from text, and their conversion results as objects of vexp."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from support.paths import GOLDEN_DIR
from vexp.config.defaults import defaults_of
from vexp.config.options import options
from vexp.tools.mmaction2.config_file import Source, read_config
from vexp.tools.mmaction2.convert import convert
from vexp.tools.mmaction2.result import ConversionResult

CONFIGS = GOLDEN_DIR / "mmaction_configs"
ALL = sorted(path for path in CONFIGS.glob("v?/**/*.py") if path.parent.name != "_base_")

#: Complete configs of 0.x and 1.x, which tests extend.
SMALL_0 = """
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet3dSlowOnly', depth=50),
    cls_head=dict(type='I3DHead', num_classes=5, in_channels=2048))
pipeline = [dict(type='SampleFrames', clip_len=4, frame_interval=2)]
data = dict(
    train=dict(type='VideoDataset', ann_file='a.txt', pipeline=pipeline),
    val=dict(type='VideoDataset', ann_file='b.txt', pipeline=pipeline))
optimizer = dict(type='SGD', lr=0.1)
total_epochs = 10
"""
SMALL_1 = """
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet3dSlowOnly', depth=50),
    cls_head=dict(type='I3DHead', num_classes=5, in_channels=2048))
pipeline = [dict(type='SampleFrames', clip_len=4, frame_interval=2)]
train_dataloader = dict(dataset=dict(type='VideoDataset', ann_file='a.txt', pipeline=pipeline))
val_dataloader = dict(dataset=dict(type='VideoDataset', ann_file='b.txt', pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10)
"""


def read(path: Path, text: str) -> Source:
    """Write a config file and read it."""
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def convert_source(source: Source) -> ConversionResult:
    """Convert a config and drop defaults, without composing the result."""
    result = convert(source, defaults_of)
    result.drop_defaults()
    return result


@cache
def golden(path: Path) -> tuple[Source, ConversionResult]:
    """Return a golden config and its result, which must not be modified."""
    source = read_config(path)
    return source, convert_source(source)


def below(result: ConversionResult, prefix: str) -> dict[str, Any]:
    """Return the values below a key by their relative names."""
    return {key[len(prefix) :]: given.value for key, given in result.values.items() if key.startswith(prefix)}


def lr_policy(result: ConversionResult) -> Any:
    """Build the learning rate policy of a result."""
    arguments: dict[str, Any] = {}
    for path, value in below(result, "lr_policy.").items():
        *above, name = path.split(".")  # phases.warmup.end
        nested = arguments
        for part in above:
            nested = nested.setdefault(part, {})
        nested[name] = value
    return options()["lr_policy"][result.choices["lr_policy"]](**arguments)


def rates(policy: Any, *, base: float, epochs: int, iters: int) -> list[float]:
    """Return the learning rate of every step of a run with ``iters`` steps per epoch."""
    total = epochs * iters
    return [policy.lr_at(base, step=step, steps_per_epoch=iters, total_steps=total) for step in range(total)]


def sampler(result: ConversionResult, split: str) -> Any:
    """Build the sampler of a split."""
    name, option = next(iter(result.steps[split].items()))
    return options()["transform"][option](**below(result, f"pipeline.{split}.{name}."))
