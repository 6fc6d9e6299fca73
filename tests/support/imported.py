"""What the tests of this room share: configs from text, and what was made of them as vexp's own objects."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from support.paths import GOLDEN_DIR
from vexp.config.defaults import defaults_of
from vexp.config.schema import options
from vexp.tools.mmaction2.config_file import Source, read_config
from vexp.tools.mmaction2.convert import convert
from vexp.tools.mmaction2.rules import ConversionResult

CONFIGS = GOLDEN_DIR / "mmaction_configs"
ALL = sorted(path for path in CONFIGS.glob("v?/**/*.py") if path.parent.name != "_base_")

#: A whole config of 0.x and of 1.x; a test adds the lines that it is about.
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
    """A config of this text."""
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def drafted(source: Source) -> ConversionResult:
    """What is made of a config, without what is the default anyway, before vexp itself has looked at it."""
    draft = convert(source, defaults_of)
    draft.settle()
    return draft


@cache
def golden(path: Path) -> tuple[Source, ConversionResult]:
    """A config of the folder and what is made of it, for tests that only look."""
    source = read_config(path)
    return source, drafted(source)


def below(draft: ConversionResult, prefix: str) -> dict[str, Any]:
    """The values below a key, by their own names."""
    return {key[len(prefix) :]: given.value for key, given in draft.values.items() if key.startswith(prefix)}


def lr_policy(draft: ConversionResult) -> Any:
    """The learning-rate policy of a draft."""
    arguments: dict[str, Any] = {}
    for path, value in below(draft, "lr_policy.").items():
        *above, name = path.split(".")  # phases.warmup.end
        held = arguments
        for part in above:
            held = held.setdefault(part, {})
        held[name] = value
    return options()["lr_policy"][draft.choices["lr_policy"]](**arguments)


def rates(policy: Any, *, base: float, epochs: int, iters: int) -> list[float]:
    """The rate of every step of a run of ``iters`` steps an epoch."""
    total = epochs * iters
    return [policy.lr_at(base, step=step, steps_per_epoch=iters, total_steps=total) for step in range(total)]


def sampler(draft: ConversionResult, split: str) -> Any:
    """The sampler of a split."""
    name, option = next(iter(draft.steps[split].items()))
    return options()["transform"][option](**below(draft, f"pipeline.{split}.{name}."))
