"""Describe the effect of a key in a run, in numbers: evaluated epochs, learning rates, seconds of video, clip sizes.

Each line is computed by the functions that the run itself uses. Annotation files are read, videos are not; torch is not
imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vexp.checkpoint.pruning import prunable
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.log import plural
from vexp.data.loading.class_balance import epoch_length
from vexp.data.loading.feature_cache import cache_root
from vexp.data.sources.subsets import select_samples
from vexp.data.transforms.frame_sampling import Sampler
from vexp.data.transforms.view import View
from vexp.evaluation.label_checks import class_counts
from vexp.experiment.eval_save_schedule import Schedule, step_plan, total_steps
from vexp.model.loss import Loss
from vexp.optim.optimizers import Optimizer
from vexp.task.views import clips_per_video

#: The video of the examples: frames, frames a second, width and height.
VIDEO_FRAMES, VIDEO_RATE, VIDEO_SIZE = 300, 30, (340, 256)
_MAX_NAMES = 1000  # checkpoints, the last ones, whose names are compared
_EVENTS = 8  # of a learning-rate policy that are listed


def key_effects(config: Config, path: str) -> list[str]:
    """Describe the effect of the key ``path``, or of all keys below it, in lines of text; empty if none is known.

    Raises:
        UserError: If an annotation file cannot be read.
    """
    describers = dict.fromkeys(describe for prefix, describe in _DESCRIBERS.items() if _touches(path, prefix))
    return [line for describe in describers for line in describe(config, path)]


def schedule_of(config: Config) -> Schedule:
    """Return the run's schedule.

    Raises:
        UserError: If there are too few training samples for a step, or an annotation file cannot be read.
    """
    train = select_samples(config.data, "train")
    plan = step_plan(config, epoch_length(train, config.data.train) if train is not None else 0)
    if plan.steps_per_epoch == 0:
        raise UserError(f"data.train: {plan.num_samples} samples make no step of {plan.samples_per_step}")
    return Schedule(config, plan, total_steps(config, plan), select_samples(config.data, "val") is not None)


def base_lr(config: Config, samples_per_step: int) -> float:
    """Return the base learning rate, before the multipliers of parameter groups."""
    optimizer = config.optimizer
    return optimizer.scaled_lr(samples_per_step) if isinstance(optimizer, Optimizer) else float(optimizer.lr)


def _touches(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + ".") or prefix.startswith(path + ".")


def _length(config: Config, _: str) -> list[str]:
    when = schedule_of(config)
    samples = plural(sum(when.plan.sections), "training sample")
    return [f"{when.length_text()}; {samples}, {when.step_text()}"]


def _evaluations(config: Config, _: str) -> list[str]:
    when = schedule_of(config)
    if not when.validates:
        return ["no evaluations: there is no validation split"]
    first = ["evaluates before training as well"] if config.eval.before_training(0, when.per_epoch) else []
    return [f"evaluations: {when.describe_steps(when.evaluations())}", *first, *_warnings(when, "eval")]


def _best(config: Config, _: str) -> list[str]:
    metric = config.eval.best_metric(config.data.task)
    if metric is None:
        return ["no best checkpoint is kept"]
    patience, greater = config.eval.patience, config.eval.greater_is_better(task=config.data.task)
    stop = f"; {plural(patience, 'evaluation')} without improvement end the run" if patience else ""
    return [f"best.pth: the {'highest' if greater else 'lowest'} val/{metric}{stop}"]


def _results(config: Config, _: str) -> list[str]:
    return [f"results: {', '.join('val/' + name for name in config.eval.results(config.data.task))}"]


def _checkpoints(config: Config, _: str) -> list[str]:
    when = schedule_of(config)
    steps = when.checkpoints()
    written = [config.checkpoint.name(step, when.per_epoch) for step in steps[-_MAX_NAMES:]]
    lines = [f"checkpoints: {when.describe_steps(steps)}"]
    if gone := prunable(written, config.checkpoint.max_keep_ckpts, written):
        lines.append(f"kept in the end: {', '.join(name for name in written if name not in gone)}")
    return [*lines, *_warnings(when, "checkpoint")]


def _log_lines(config: Config, _: str) -> list[str]:
    when = schedule_of(config)
    return [f"training lines: {when.describe_steps(when.log_lines())}", *_warnings(when, "log")]


def _warnings(when: Schedule, group: str) -> list[str]:
    return [f"warning: {text}" for key, text in when.warnings().items() if _touches(key, group)]


def _rate(config: Config, path: str) -> list[str]:
    when, policy = schedule_of(config), config.lr_policy
    base = base_lr(config, when.plan.samples_per_step)

    def lr_at(step: int) -> str:
        rate = policy.lr_at(base, step=step, steps_per_epoch=when.per_epoch, total_steps=when.total_steps)
        return f"{rate:.4g}"

    lines, events = [], policy.timeline(when.per_epoch, when.total_steps)
    if length := policy.warmup_steps(when.per_epoch):
        events = [event for event in events if not event[1].startswith("warm-up")]
        lines.append(
            f"warms up ({policy.warmup}) from {lr_at(0)} to {lr_at(length)} over {plural(length, 'step')} = "
            f"{length / when.per_epoch:.3g} epochs"
        )
    elif path.startswith("lr_policy.warmup"):
        lines.append("no warm-up: warmup is null")
    lines.append(f"lr {lr_at(0)} at the first step, {lr_at(when.total_steps - 1)} at the last ({when.total_steps})")
    lines += [
        f"{what}: lr {lr_at(max(0, step - 1))} -> {lr_at(step)} at step {step + 1}, after "
        f"{step / when.per_epoch:.3g} epochs"
        for step, what in events[:_EVENTS]
    ]
    if len(events) > _EVENTS:
        lines.append(f"and {len(events) - _EVENTS} more: vexp plan draws them")
    try:
        return lines + [f"warning: {text}" for text in policy.check(when.per_epoch, when.total_steps)]
    except ValueError as error:
        return [*lines, f"the run will be refused: {error}"]


def _scaled(config: Config, _: str) -> list[str]:
    option, when = config.optimizer, schedule_of(config)
    scaled = base_lr(config, when.plan.samples_per_step)
    size = getattr(option, "base_batch_size", None)
    if size is None:
        return [f"base rate {scaled:g} for steps of {when.plan.samples_per_step} samples: not scaled"]
    return [f"base rate {scaled:g}: {option.lr:g} for {size} samples a step, scaled to {when.plan.samples_per_step}"]


def _samples(config: Config, path: str) -> list[str]:
    lines = []
    for split in ("train", "val", "test"):
        if not _touches(path, f"data.{split}"):
            continue
        text = "no samples"
        if (source := select_samples(config.data, split)) is not None:
            counts = class_counts(source)
            text = f"{len(source)} samples of {len(counts)} classes, {counts.min():g} to {counts.max():g} each"
        lines.append(f"{split}: {text}")
    return lines


def _class_weights(config: Config, _: str) -> list[str]:
    train = select_samples(config.data, "train")
    if not isinstance(config.loss, Loss) or train is None or config.loss.class_weights is None:
        return []
    weights = config.loss.weights(class_counts(train).tolist()) or []
    return [f"weights of {len(weights)} classes: {min(weights):.3g} to {max(weights):.3g}"]


def _average(config: Config, _: str) -> list[str]:
    decay = config.ema.decay
    if decay is None:
        return ["no average: decay is null"]
    steps = math.log(0.5) / math.log(decay)
    return [f"a step counts half as much {steps:.3g} steps later = {steps / schedule_of(config).per_epoch:.3g} epochs"]


def _pixels(config: Config, _: str) -> list[str]:
    norm = config.img_norm
    if config.data.content == "joints":
        return ["no effect: heat maps of skeletons are not normalized"]
    ends = [[(value - m) / s for m, s in zip(norm.mean, norm.std, strict=True)] for value in (0, 255)]
    black, white = ("[" + ", ".join(f"{x:.3f}" for x in end) + "]" for end in ends)
    order = "x, y" if len(norm.mean) == 2 else "BGR" if norm.to_bgr else "RGB"
    return [f"gray level 0 becomes {black}, 255 becomes {white} ({order})"]


def _folder(config: Config, _: str) -> list[str]:
    return [f"run folder: {Path(config.out_root) / str(config.run_name)}/<time stamp>"]


def _features(config: Config, _: str) -> list[str]:
    if not config.data.cache_features:
        return ["no features are cached: every epoch reads the videos and computes the whole model"]
    counts = [len(source) for name in ("train", "val") if (source := select_samples(config.data, name)) is not None]
    videos = " + ".join(map(str, counts))
    return [f"the input of the trained part is computed once for {videos} videos, in {cache_root()}"]


def _mirrored(config: Config, _: str) -> list[str]:
    return [f"a mirrored clip of {a} is labelled {b}, and the reverse" for a, b in config.data.flip_label_map.items()]


def _pipeline(config: Config, path: str) -> list[str]:
    """Describe one transform, or a whole split if the path names no transform."""
    lines = []
    for split in ("train", "val", "test"):
        for name, step in config.pipeline.of(split).items():
            if not _touches(path, f"pipeline.{split}.{name}"):
                continue
            whole = path in ("pipeline", f"pipeline.{split}")
            effects = _frames(step) if isinstance(step, Sampler) else _views(config, split, name)
            lines += [f"{split}.{name}: {line}" if whole else line for line in effects]
        if path in ("pipeline", f"pipeline.{split}") and config.pipeline.of(split):
            width, height = (views := _views_after(config, split))[0].size
            clips = clips_per_video(config, split)
            count = "clips over the whole length" if clips is None else plural(clips, "clip")
            lines.append(f"{split}: {count} x {plural(len(views), 'crop')} of {width}x{height} a video")
    return lines


def _frames(step: Any) -> list[str]:
    """Describe the frames that a sampler takes of the example video."""
    lines = []
    if hasattr(step, "frame_interval"):
        span, rate = step.clip_len * step.frame_interval, step.rate
        rates = [rate] if rate is not None else [25, VIDEO_RATE]
        seconds = ", ".join(f"{span / per_second:.3g} s at {per_second:g} a second" for per_second in rates)
        lines.append(f"a clip spans {plural(span, 'frame')}: {seconds}")
    times = (np.arange(VIDEO_FRAMES) / VIDEO_RATE,) if getattr(step, "rate", None) is not None else ()
    draws = [step.indices(VIDEO_FRAMES, np.random.default_rng(seed), *times) for seed in range(4)]
    fixed = all(np.array_equal(draws[0], other) for other in draws[1:])
    clips = draws[0]
    starts = f"; {len(clips)} clips, from frames {_few(clips[:, 0])}" if len(clips) > 1 else ""
    example = "" if fixed else ", for example"
    return [*lines, f"of a video of {VIDEO_FRAMES} frames{example}: frames {_few(clips[0])}{starts}"]


def _views(config: Config, split: str, name: str) -> list[str]:
    """Describe the views that a geometric transform makes of a frame of the example's size."""
    if not hasattr(config.pipeline.of(split)[name], "plan"):
        return []
    names = list(config.pipeline.of(split))
    count = names.index(name)
    before, after = _views_after(config, split, count), _views_after(config, split, count + 1)
    fixed = all(_views_after(config, split, count + 1, seed) == after for seed in range(1, 6))
    size = "{}x{}".format(*VIDEO_SIZE)
    mirrored = sum(view.is_mirror_image for view in after)
    text = f"of a video of {size}{'' if fixed else ', for example'}: {_sizes(before)} -> {_sizes(after)}"
    return [text + (f", {mirrored} mirrored" if mirrored else "")]


def _views_after(config: Config, split: str, count: int | None = None, seed: int = 0) -> list[View]:
    """Return the views of the example's frame after the first ``count`` transforms; None: after all."""
    views, rng = [View.whole(*VIDEO_SIZE)], np.random.default_rng(seed)
    for step in list(config.pipeline.of(split).values())[:count]:
        views = step.plan(views, rng) if hasattr(step, "plan") else views
    return views


def _sizes(views: Sequence[View]) -> str:
    width, height = views[0].size
    return f"{width}x{height}" if len(views) == 1 else f"{len(views)} views of {width}x{height}"


def _few(numbers: Sequence[int] | np.ndarray) -> str:
    texts = [str(int(number)) for number in numbers]
    return ", ".join(texts if len(texts) <= 10 else [*texts[:4], "...", *texts[-2:]])


#: Key or group of keys -> function that describes its effect. Entries above and below a key apply to it.
_DESCRIBERS: dict[str, Callable[[Config, str], list[str]]] = {
    **dict.fromkeys(("epochs", "max_steps", "data.default_epochs", "data.batch_size", "grad.accumulate"), _length),
    **dict.fromkeys(("data.train", "data.val", "data.test"), _samples),
    "data.flip_label_map": _mirrored,
    "data.cache_features": _features,
    "pipeline": _pipeline,
    "img_norm": _pixels,
    "loss.class_weights": _class_weights,
    **dict.fromkeys(("optimizer.lr", "optimizer.base_batch_size"), _scaled),
    "lr_policy": _rate,
    "ema": _average,
    **dict.fromkeys(("eval.start", "eval.interval", "eval.by_epoch", "eval.at_end"), _evaluations),
    **dict.fromkeys(("eval.save_best", "eval.rule", "eval.patience"), _best),
    **dict.fromkeys(("eval.metrics", "eval.topk"), _results),
    **dict.fromkeys(
        [f"checkpoint.{name}" for name in ("interval", "by_epoch", "max_keep_ckpts", "save_last")], _checkpoints
    ),
    **dict.fromkeys(("log.interval", "log.by_epoch", "log.ignore_last"), _log_lines),
    **dict.fromkeys(("run_name", "out_root"), _folder),
}
