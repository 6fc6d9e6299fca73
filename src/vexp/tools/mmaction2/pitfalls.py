"""Known pitfalls: values of a config that have a different effect in mmaction2 than they seem to have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vexp.core.errors import format_value
from vexp.tools.mmaction2.rules import ConversionResult
from vexp.tools.mmaction2.tree import Node, ScalarNode


def find_pitfalls(result: ConversionResult, path: Path) -> None:
    """Add the pitfalls of combinations of values."""
    for check in (_benchmark, _milestones, _units, _directions, _sampling, _channels, _precision):
        check(result)
    _batch(result, path)


def _value(result: ConversionResult, key: str, otherwise: Any = None) -> Any:
    given = result.values.get(key)
    return otherwise if given is None else given.value


def _at(result: ConversionResult, key: str, what: str) -> None:
    given = result.values.get(key)
    result.add_pitfall(given.node if given is not None and given.node is not None else result.config, what)


def _benchmark(result: ConversionResult) -> None:
    if not _value(result, "cudnn_benchmark"):
        return
    if _value(result, "deterministic"):
        _at(result, "cudnn_benchmark", (
            "cudnn_benchmark beside deterministic: mmcv benchmarks all the same, and the run does not repeat; "
            "left out here, where both together are refused"
        ))  # fmt: skip
        result.revoke("cudnn_benchmark", "works against deterministic, which is kept")
    elif _value(result, "seed") is not None:
        _at(result, "cudnn_benchmark", (
            "cudnn_benchmark beside a seed: cuDNN may choose other algorithms in the next run, which then differs in "
            "the last digits; deterministic=true repeats"
        ))  # fmt: skip


def _milestones(result: ConversionResult) -> None:
    by_epoch = _value(result, "lr_policy.by_epoch", True)
    length = _value(result, "epochs") if by_epoch else _value(result, "max_steps")
    unit = "epochs" if by_epoch else "steps"
    if length is None:
        return
    steps = _value(result, "lr_policy.step")
    late = [step for step in steps if step >= length] if isinstance(steps, list) else []
    if late:
        _at(
            result,
            "lr_policy.step",
            f"milestones {format_value(late)} lie past the end of {length} {unit}: never reached",
        )
    periods = _value(result, "lr_policy.periods")
    if periods is not None and sum(periods) < length:
        _at(result, "lr_policy.periods", (
            f"periods cover {sum(periods)} of {length} {unit}: mmcv stops with an error when they are over; here the "
            "run is refused before it starts"
        ))  # fmt: skip
    start = _value(result, "eval.start")
    if start is not None and _value(result, "eval.by_epoch", True) and start > _value(result, "epochs", start):
        _at(result, "eval.start", f"evaluation begins at epoch {start} of {_value(result, 'epochs')}: only at the end")


def _units(result: ConversionResult) -> None:
    if result.generation:
        return
    by_steps = _value(result, "max_steps") is not None
    if not by_steps and _value(result, "eval.by_epoch") is False:
        _at(result, "eval.by_epoch", (
            "evaluation by iteration on the epoch runner: after it mmaction2 trains on in eval mode to the end of the "
            "epoch (dropout off, batch norm frozen); here train mode is restored"
        ))  # fmt: skip
    if not by_steps and _value(result, "checkpoint.by_epoch") is False:
        _at(result, "checkpoint.by_epoch", (
            "checkpoints by iteration on the epoch runner: mmcv files each under the epoch, over the last one, and "
            "resuming skips the rest of the epoch; here each has its step"
        ))  # fmt: skip
    if by_steps and _value(result, "lr_policy.by_epoch") and result.choices.get("lr_policy") != "fixed":
        _at(result, "lr_policy.by_epoch", (
            "a rate by epoch on the iteration runner never moves in mmcv, not even in the warm-up; here it moves"
        ))  # fmt: skip
    if by_steps and _value(result, "checkpoint.by_epoch", True) and _value(result, "checkpoint.interval", -1) > 0:
        _at(
            result, "checkpoint.interval", "checkpoints by epoch on the iteration runner: mmcv saves none; here it does"
        )


def _directions(result: ConversionResult) -> None:
    mirrors = [key for key in result.values if re.fullmatch(r"pipeline\.\w+\.flip\w*\.flip_ratio", key)]
    steps = [f"pipeline.{split}.{n}" for split, names in result.steps.items() for n, o in names.items() if o == "flip"]
    if not steps or "data.flip_label_map" in result.values:
        return
    lists = " ".join(str(_value(result, f"data.{split}.{key}", "")) for split in ("train", "val")
                     for key in ("ann_file", "data_prefix"))  # fmt: skip
    if re.search(r"sthv[12]|something|jester|diving48", lists, re.IGNORECASE):
        _at(result, (mirrors or ["data.train.ann_file"])[0], (
            f"{steps[0]} mirrors clips of a set whose classes tell left from right, without flip_label_map: a mirrored "
            "clip keeps the wrong label. Name the pairs in data.flip_label_map, or leave the flip out: "
            f"data.directional=true ~{steps[0]}"
        ))  # fmt: skip


def _sampling(result: ConversionResult) -> None:
    for split, names in result.steps.items():
        name = next(iter(names), None)
        if name is None:
            continue
        test = _value(result, f"pipeline.{split}.{name}.test_mode", False)
        key = f"pipeline.{split}.{name}"
        if (split == "train") == bool(test) and result.default(f"{key}.test_mode") is not ...:
            what = (
                "test_mode=True in training: always the same frames, no augmentation in time"
                if split == "train"
                else "no test_mode: the frames are random, so the score differs from run to run"
            )
            _at(result, _first_given_key(result, key), f"{split}: {what}")
    lengths = {split: _length(result, split) for split in result.steps}
    for split in ("val", "test"):
        seen, trained = lengths.get(split), lengths.get("train")
        if seen is not None and trained is not None and seen != trained:
            if result.choices["model"].startswith("tsn"):
                continue  # its logits are means over any number of frames
            _at(result, _first_given_key(result, f"pipeline.{split}.{next(iter(result.steps[split]))}"), (
                f"{split} samples {seen[0]} frames, {seen[1]} apart, training {trained[0]} frames, {trained[1]} apart: "
                "the model sees another speed or length"
            ))  # fmt: skip


def _first_given_key(result: ConversionResult, step: str) -> str:
    """Return the first key of a step that the source sets."""
    given = (key for key, value in result.values.items() if key.startswith(f"{step}.") and value.node is not None)
    return next(given, step)


def _length(result: ConversionResult, split: str) -> tuple[int, int] | None:
    name = next(iter(result.steps[split]), None)
    key = f"pipeline.{split}.{name}"
    length = _value(result, f"{key}.clip_len") or _value(result, f"{key}.segments")
    return None if length is None else (length, _value(result, f"{key}.frame_interval", 1))


def _channels(result: ConversionResult) -> None:
    mean, to_bgr = _value(result, "img_norm.mean"), _value(result, "img_norm.to_bgr", False)
    if not isinstance(mean, list) or len(mean) != 3 or mean[0] == mean[2]:
        return
    looks_bgr = mean[0] < mean[2]  # of natural images red is the brightest channel
    if looks_bgr != bool(to_bgr):
        order, sees = ("BGR", "RGB") if looks_bgr else ("RGB", "BGR")
        _at(result, "img_norm.mean", (
            f"mean {format_value(mean)} looks like {order} and the model is given {sees} (to_bgr={format_value(bool(to_bgr))}): "
            "mmaction2 subtracts it all the same, and so does vexp; is it what the weights were trained with?"
        ))  # fmt: skip


def _precision(result: ConversionResult) -> None:
    if result.generation == 0 and result.choices.get("amp") == "fp16" and _value(result, "grad.accumulate", 1) > 1:
        _at(result, "grad.accumulate", "mmcv cannot accumulate under fp16=dict(...): it stops; here both work together")


def _batch(result: ConversionResult, path: Path) -> None:
    """Check for a learning rate that was chosen for another number of samples per step."""
    if _value(result, "optimizer.base_batch_size") is not None or "optimizer.lr" not in result.values:
        return
    batch, rate = _value(result, "data.batch_size"), _value(result, "optimizer.lr")
    node: Node | None = result.config.get("auto_scale_lr", "base_batch_size")
    named = re.search(r"(\d+)xb(\d+)", path.stem)
    if isinstance(node, ScalarNode) and not node.unread:
        base, why = int(node.value), "auto_scale_lr says"
    elif named:
        base, why = int(named[1]) * int(named[2]), f"{named[0]} in the file's name says"
    elif batch is not None:
        base, why = 8 * batch, "mmaction2's published configs are for 8 GPUs, which would be"
    else:
        return
    here = (batch or result.default("data.batch_size")) * _value(result, "grad.accumulate", 1)
    if here != base:
        _at(result, "optimizer.lr", (
            f"lr={format_value(rate)}: {why} {base} samples a step, a step here has {here}; optimizer.base_batch_size={base} "
            "scales the rate (Goyal et al. 2017)"
        ))  # fmt: skip
