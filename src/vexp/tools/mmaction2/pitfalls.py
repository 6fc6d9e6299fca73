"""Known pitfalls: values of a config that have a different effect in mmaction2 than they seem to have."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from vexp.core.errors import format_value
from vexp.tools.mmaction2.result import ConversionResult


def find_pitfalls(result: ConversionResult, path: Path) -> None:
    """Add the pitfalls of combinations of values. A value of the wrong type has none: composing rejects it."""
    checks = (_benchmark, _milestones, _units, _directions, _sampling, _channels, _precision, partial(_batch, path))
    for check in checks:
        check(result)


def _number(value: Any) -> Any:
    """Return a value if it is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(value: Any) -> list[Any] | None:
    """Return a value if it is a list of numbers, else None."""
    return value if isinstance(value, list) and None not in map(_number, value) else None


def _add(result: ConversionResult, key: str, what: str) -> None:
    given = result.values.get(key)
    result.add_pitfall(given.node if given is not None and given.node is not None else result.config, what)


def _benchmark(result: ConversionResult) -> None:
    key = "cudnn_benchmark"
    if result.value(key) and result.value("deterministic"):
        _add(result, key, (
            "cudnn_benchmark beside deterministic: mmcv benchmarks all the same, and the run does not repeat; "
            "left out here, where both together are refused"
        ))  # fmt: skip
        result.revoke(key, "works against deterministic, which is kept")
    elif result.value(key) and result.value("seed") is not None:
        _add(result, key, (
            "cudnn_benchmark beside a seed: cuDNN may choose other algorithms in the next run, which then differs in "
            "the last digits; deterministic=true repeats"
        ))  # fmt: skip


def _milestones(result: ConversionResult) -> None:
    by_epoch = result.value("lr_policy.by_epoch", True)
    key, unit = ("epochs", "epochs") if by_epoch else ("max_steps", "steps")
    if (length := _number(result.value(key))) is None:
        return
    late = [step for step in _numbers(result.value("lr_policy.step")) or [] if step >= length]
    if late:
        what = f"milestones {format_value(late)} lie past the end of {length} {unit}: never reached"
        _add(result, "lr_policy.step", what)
    periods = _numbers(result.value("lr_policy.periods"))
    if periods is not None and sum(periods) < length:
        _add(result, "lr_policy.periods", (
            f"periods cover {sum(periods)} of {length} {unit}: mmcv stops with an error when they are over; here the "
            "run is refused before it starts"
        ))  # fmt: skip
    start, epochs = _number(result.value("eval.start")), _number(result.value("epochs"))
    if start is not None and epochs is not None and result.value("eval.by_epoch", True) and start > epochs:
        _add(result, "eval.start", f"evaluation begins at epoch {start} of {epochs}: only at the end")


def _units(result: ConversionResult) -> None:
    """Check units that differ from that of the runner (0.x)."""
    if result.generation:
        return
    by_steps, moves = result.value("max_steps") is not None, result.choices.get("lr_policy") != "fixed"
    interval = _number(result.value("checkpoint.interval"))
    saves_by_epoch = result.value("checkpoint.by_epoch", True) and interval is not None and interval > 0
    for key, applies, what in (
        ("eval.by_epoch", not by_steps and result.value("eval.by_epoch") is False, (
            "evaluation by iteration on the epoch runner: after it mmaction2 trains on in eval mode to the end of the "
            "epoch (dropout off, batch norm frozen); here train mode is restored"
        )),
        ("checkpoint.by_epoch", not by_steps and result.value("checkpoint.by_epoch") is False, (
            "checkpoints by iteration on the epoch runner: mmcv files each under the epoch, over the last one, and "
            "resuming skips the rest of the epoch; here each has its step"
        )),
        ("lr_policy.by_epoch", by_steps and result.value("lr_policy.by_epoch") and moves, (
            "a rate by epoch on the iteration runner never moves in mmcv, not even in the warm-up; here it moves"
        )),
        ("checkpoint.interval", by_steps and saves_by_epoch, (
            "checkpoints by epoch on the iteration runner: mmcv saves none; here it does"
        )),
    ):  # fmt: skip
        if applies:
            _add(result, key, what)


def _directions(result: ConversionResult) -> None:
    mirrors = [key for key in result.values if re.fullmatch(r"pipeline\.\w+\.flip\w*\.flip_ratio", key)]
    steps = [f"pipeline.{split}.{n}" for split, names in result.steps.items() for n, o in names.items() if o == "flip"]
    lists = " ".join(str(result.value(f"data.{split}.{key}", "")) for split in ("train", "val")
                     for key in ("ann_file", "data_prefix"))  # fmt: skip
    directional = re.search(r"sthv[12]|something|jester|diving48", lists, re.IGNORECASE)
    if directional and steps and "data.flip_label_map" not in result.values:
        _add(result, (mirrors or ["data.train.ann_file"])[0], (
            f"{steps[0]} mirrors clips of a set whose classes tell left from right, without flip_label_map: a mirrored "
            "clip keeps the wrong label. Name the pairs in data.flip_label_map, or leave the flip out: "
            f"data.directional=true ~{steps[0]}"
        ))  # fmt: skip


def _sampling(result: ConversionResult) -> None:
    samplers = {split: f"pipeline.{split}.{next(iter(steps))}" for split, steps in result.steps.items() if steps}
    places = {}  # the first key of each sampler that the source sets
    for split, step in samplers.items():
        given = (key for key, value in result.values.items() if key.startswith(f"{step}.") and value.node is not None)
        places[split] = next(given, step)
        test_mode = bool(result.value(f"{step}.test_mode", False))
        if (split == "train") == test_mode and result.default(f"{step}.test_mode") is not ...:
            what = "no test_mode: the frames are random, so the score differs from run to run"
            if test_mode:
                what = "test_mode=True in training: always the same frames, no augmentation in time"
            _add(result, places[split], f"{split}: {what}")
    if result.choices["model"].startswith("tsn"):
        return  # it averages the logits of any number of frames
    clips = {split: clip for split, step in samplers.items() if (clip := _clip(result, step)) is not None}
    if any(result.steps[step.split(".")[1]][step.split(".")[2]] == "segment_frames" for step in samplers.values()):
        clips = {split: (length, 1) for split, (length, _) in clips.items()}  # segments of the whole video
    trained = clips.get("train")
    for split, clip in clips.items():
        if trained is not None and clip != trained:
            _add(result, places[split], (
                f"{split} samples {clip[0]} frames, {clip[1]} apart, training {trained[0]} frames, {trained[1]} apart: "
                "the model sees another speed or length"
            ))  # fmt: skip


def _clip(result: ConversionResult, step: str) -> tuple[int, int] | None:
    """Return the number and the interval of the frames of a clip; None if they are unknown."""
    length = result.value(f"{step}.clip_len") or result.value(f"{step}.segments")
    return None if length is None else (length, result.value(f"{step}.frame_interval", 1))


def _channels(result: ConversionResult) -> None:
    mean, to_bgr = _numbers(result.value("img_norm.mean")), bool(result.value("img_norm.to_bgr", False))
    if mean is None or len(mean) != 3 or mean[0] == mean[2]:
        return
    looks_bgr = mean[0] < mean[2]  # of natural images red is the brightest channel
    if looks_bgr != to_bgr:
        order, sees = ("BGR", "RGB") if looks_bgr else ("RGB", "BGR")
        _add(result, "img_norm.mean", (
            f"mean {format_value(mean)} looks like {order} and the model is given {sees} "
            f"(to_bgr={format_value(to_bgr)}): mmaction2 subtracts it all the same, and so does vexp; is it what the "
            "weights were trained with?"
        ))  # fmt: skip


def _precision(result: ConversionResult) -> None:
    accumulate = _number(result.value("grad.accumulate")) or 1
    if result.generation == 0 and result.choices.get("amp") == "fp16" and accumulate > 1:
        what = "mmcv cannot accumulate under fp16=dict(...): it stops; here both work together"
        _add(result, "grad.accumulate", what)


def _batch(path: Path, result: ConversionResult) -> None:
    """Check for a learning rate that was chosen for another number of samples per step."""
    if result.value("optimizer.base_batch_size") is not None or "optimizer.lr" not in result.values:
        return
    batch, rate = _number(result.value("data.batch_size")), _number(result.value("optimizer.lr"))
    named = re.search(r"(\d+)xb(\d+)", path.stem)
    if result.choices.get("data") == "activitynet":  # 0.x: bmn_400x100_2x8_9e, features and then GPUs x videos
        named = named or re.search(r"(?<=_)(\d+)x(\d+)(?=_\d+e)", path.stem)
    if (scaling := _number(result.config.scalar("auto_scale_lr", "base_batch_size"))) is not None:
        base, why = int(scaling), "auto_scale_lr"
    elif named:
        base, why = int(named[1]) * int(named[2]), f"{named[0]} in the file name"
    elif batch is not None:
        base, why = 8 * batch, f"8 GPUs x {batch}, as all published configs"
    else:
        return
    if rate is None:
        return
    size = (batch or result.default("data.batch_size")) * (_number(result.value("grad.accumulate")) or 1)
    if size != base:
        gpus = base // size if base % size == 0 else 0
        several = f"dist.nproc={gpus} on {gpus} GPUs, or " if gpus > 1 else ""
        _add(result, "optimizer.lr", (
            f"lr={format_value(rate)} was tuned for {base} samples a step ({why}); this run uses {size}. Set {several}"
            f"optimizer.base_batch_size={base}, which scales the rate"
        ))  # fmt: skip
