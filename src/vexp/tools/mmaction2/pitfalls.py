"""Known traps: what a config says and mmaction2 does not do, or does and the config does not say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vexp.core.errors import format_value
from vexp.tools.mmaction2.rules import ConversionResult
from vexp.tools.mmaction2.tree import Node, ScalarNode


def find_traps(draft: ConversionResult, path: Path) -> None:
    """Add those that the values together make, to those that were met on the way."""
    for trap in (_benchmark, _milestones, _units, _directions, _sampling, _channels, _precision):
        trap(draft)
    _batch(draft, path)


def _value(draft: ConversionResult, key: str, otherwise: Any = None) -> Any:
    given = draft.values.get(key)
    return otherwise if given is None else given.value


def _at(draft: ConversionResult, key: str, what: str) -> None:
    given = draft.values.get(key)
    draft.trap(given.node if given is not None and given.node is not None else draft.config, what)


def _benchmark(draft: ConversionResult) -> None:
    if not _value(draft, "cudnn_benchmark"):
        return
    if _value(draft, "deterministic"):
        _at(draft, "cudnn_benchmark", (
            "cudnn_benchmark beside deterministic: mmcv benchmarks all the same, and the run does not repeat; "
            "left out here, where both together are refused"
        ))  # fmt: skip
        draft.withdraw("cudnn_benchmark", "works against deterministic, which is kept")
    elif _value(draft, "seed") is not None:
        _at(draft, "cudnn_benchmark", (
            "cudnn_benchmark beside a seed: cuDNN may choose other algorithms in the next run, which then differs in "
            "the last digits; deterministic=true repeats"
        ))  # fmt: skip


def _milestones(draft: ConversionResult) -> None:
    by_epoch = _value(draft, "lr_policy.by_epoch", True)
    length = _value(draft, "epochs") if by_epoch else _value(draft, "max_steps")
    unit = "epochs" if by_epoch else "steps"
    if length is None:
        return
    steps = _value(draft, "lr_policy.step")
    late = [step for step in steps if step >= length] if isinstance(steps, list) else []
    if late:
        _at(
            draft,
            "lr_policy.step",
            f"milestones {format_value(late)} lie past the end of {length} {unit}: never reached",
        )
    periods = _value(draft, "lr_policy.periods")
    if periods is not None and sum(periods) < length:
        _at(draft, "lr_policy.periods", (
            f"periods cover {sum(periods)} of {length} {unit}: mmcv stops with an error when they are over; here the "
            "run is refused before it starts"
        ))  # fmt: skip
    start = _value(draft, "eval.start")
    if start is not None and _value(draft, "eval.by_epoch", True) and start > _value(draft, "epochs", start):
        _at(draft, "eval.start", f"evaluation begins at epoch {start} of {_value(draft, 'epochs')}: only at the end")


def _units(draft: ConversionResult) -> None:
    if draft.generation:
        return
    by_steps = _value(draft, "max_steps") is not None
    if not by_steps and _value(draft, "eval.by_epoch") is False:
        _at(draft, "eval.by_epoch", (
            "evaluation by iteration on the epoch runner: after it mmaction2 trains on in eval mode to the end of the "
            "epoch (dropout off, batch norm frozen); here train mode is restored"
        ))  # fmt: skip
    if not by_steps and _value(draft, "checkpoint.by_epoch") is False:
        _at(draft, "checkpoint.by_epoch", (
            "checkpoints by iteration on the epoch runner: mmcv files each under the epoch, over the last one, and "
            "resuming skips the rest of the epoch; here each has its step"
        ))  # fmt: skip
    if by_steps and _value(draft, "lr_policy.by_epoch") and draft.choices.get("lr_policy") != "fixed":
        _at(draft, "lr_policy.by_epoch", (
            "a rate by epoch on the iteration runner never moves in mmcv, not even in the warm-up; here it moves"
        ))  # fmt: skip
    if by_steps and _value(draft, "checkpoint.by_epoch", True) and _value(draft, "checkpoint.interval", -1) > 0:
        _at(draft, "checkpoint.interval", "checkpoints by epoch on the iteration runner: mmcv saves none; here it does")


def _directions(draft: ConversionResult) -> None:
    mirrors = [key for key in draft.values if re.fullmatch(r"pipeline\.\w+\.flip\w*\.flip_ratio", key)]
    steps = [f"pipeline.{split}.{n}" for split, names in draft.steps.items() for n, o in names.items() if o == "flip"]
    if not steps or "data.flip_label_map" in draft.values:
        return
    lists = " ".join(str(_value(draft, f"data.{split}.{key}", "")) for split in ("train", "val")
                     for key in ("ann_file", "data_prefix"))  # fmt: skip
    if re.search(r"sthv[12]|something|jester|diving48", lists, re.IGNORECASE):
        _at(draft, (mirrors or ["data.train.ann_file"])[0], (
            f"{steps[0]} mirrors clips of a set whose classes tell left from right, without flip_label_map: a mirrored "
            "clip keeps the wrong label. Name the pairs in data.flip_label_map, or leave the flip out: "
            f"data.directional=true ~{steps[0]}"
        ))  # fmt: skip


def _sampling(draft: ConversionResult) -> None:
    for split, names in draft.steps.items():
        name = next(iter(names), None)
        if name is None:
            continue
        test = _value(draft, f"pipeline.{split}.{name}.test_mode", False)
        key = f"pipeline.{split}.{name}"
        if (split == "train") == bool(test) and draft.default(f"{key}.test_mode") is not ...:
            what = (
                "test_mode=True in training: always the same frames, no augmentation in time"
                if split == "train"
                else "no test_mode: the frames are random, so the score differs from run to run"
            )
            _at(draft, _said(draft, key), f"{split}: {what}")
    lengths = {split: _length(draft, split) for split in draft.steps}
    for split in ("val", "test"):
        seen, trained = lengths.get(split), lengths.get("train")
        if seen is not None and trained is not None and seen != trained:
            if draft.choices["model"].startswith("tsn"):
                continue  # its logits are means over any number of frames
            _at(draft, _said(draft, f"pipeline.{split}.{next(iter(draft.steps[split]))}"), (
                f"{split} samples {seen[0]} frames, {seen[1]} apart, training {trained[0]} frames, {trained[1]} apart: "
                "the net sees another speed or length"
            ))  # fmt: skip


def _said(draft: ConversionResult, step: str) -> str:
    """The first value of a step that the source gives."""
    given = (key for key, value in draft.values.items() if key.startswith(f"{step}.") and value.node is not None)
    return next(given, step)


def _length(draft: ConversionResult, split: str) -> tuple[int, int] | None:
    name = next(iter(draft.steps[split]), None)
    key = f"pipeline.{split}.{name}"
    length = _value(draft, f"{key}.clip_len") or _value(draft, f"{key}.segments")
    return None if length is None else (length, _value(draft, f"{key}.frame_interval", 1))


def _channels(draft: ConversionResult) -> None:
    mean, to_bgr = _value(draft, "img_norm.mean"), _value(draft, "img_norm.to_bgr", False)
    if not isinstance(mean, list) or len(mean) != 3 or mean[0] == mean[2]:
        return
    looks_bgr = mean[0] < mean[2]  # of natural images red is the brightest channel
    if looks_bgr != bool(to_bgr):
        order, sees = ("BGR", "RGB") if looks_bgr else ("RGB", "BGR")
        _at(draft, "img_norm.mean", (
            f"mean {format_value(mean)} looks like {order} and the net is given {sees} (to_bgr={format_value(bool(to_bgr))}): "
            "mmaction2 subtracts it all the same, and so does vexp; is it what the weights were trained with?"
        ))  # fmt: skip


def _precision(draft: ConversionResult) -> None:
    if draft.generation == 0 and draft.choices.get("amp") == "fp16" and _value(draft, "grad.accumulate", 1) > 1:
        _at(draft, "grad.accumulate", "mmcv cannot accumulate under fp16=dict(...): it stops; here both work together")


def _batch(draft: ConversionResult, path: Path) -> None:
    """A rate that was set for another number of samples a step."""
    if _value(draft, "optimizer.base_batch_size") is not None or "optimizer.lr" not in draft.values:
        return
    batch, rate = _value(draft, "data.batch_size"), _value(draft, "optimizer.lr")
    node: Node | None = draft.config.get("auto_scale_lr", "base_batch_size")
    named = re.search(r"(\d+)xb(\d+)", path.stem)
    if isinstance(node, ScalarNode) and not node.unread:
        base, why = int(node.value), "auto_scale_lr says"
    elif named:
        base, why = int(named[1]) * int(named[2]), f"{named[0]} in the file's name says"
    elif batch is not None:
        base, why = 8 * batch, "mmaction2's published configs are for 8 GPUs, which would be"
    else:
        return
    here = (batch or draft.default("data.batch_size")) * _value(draft, "grad.accumulate", 1)
    if here != base:
        _at(draft, "optimizer.lr", (
            f"lr={format_value(rate)}: {why} {base} samples a step, a step here has {here}; optimizer.base_batch_size={base} "
            "scales the rate (Goyal et al. 2017)"
        ))  # fmt: skip
