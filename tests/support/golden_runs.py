"""Eight short training runs on the CPU, all of whose numbers are recorded, to detect any change of behavior.

    python tests/support/golden_runs.py [NAME ...]            compare with the recordings; exit status 1 if they differ
    python tests/support/golden_runs.py --record [NAME ...]   record anew, after an intended change of behavior
    python tests/support/golden_runs.py --record-folder NAME  train and keep a run folder (see golden_folders.py)

An argument with "=" is a further override of the runs, ``data.num_workers=2`` for example.

The runs depend on ``vexp.compose``, ``vexp.train.run``, the names of options and the files of a run folder, and on no
other part of vexp, so that modules can move. A recording (``tests/golden/runs/NAME.json``) holds the records of
metrics.jsonl without those of time, SHA-256 of the last weights, the names of the checkpoints, the best score and
predictions.csv; and the fingerprint of the libraries and the processor that decide the last bits of a float.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, as tests/conftest.py does
if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.golden_folders import record_folder
from support.golden_media import make_media
from support.golden_record import (
    Allowed,
    allowed_between,
    first_difference,
    read_recording,
    run_record,
    take_fingerprint,
    write_recording,
)

RECORDINGS = Path(__file__).parents[1] / "golden" / "runs"

_COMMON = ["device=cpu", "backend.threads=1", "log=text", "log.interval=2", "data.num_workers=0"]
_MOTION = ["data=motion", "data.train_clips=2", "data.val_clips=1", "model.width=8"]
#: Without it an image model whose batch norm is frozen gives every clip nearly the same logits.
_INIT = "model.init={{type: Kaiming, layer: Conv2d, mode: fan_in}}"

#: name -> overrides; {media} is the folder that ``make_media`` has filled
RUNS: dict[str, list[str]] = {
    "motion": [
        *_MOTION, "data.batch_size=4", "data.num_workers=1", "epochs=3", "optimizer=adamw",
        "optimizer.paramwise.norm_decay_mult=0", "lr=cosine", "lr.min_lr_ratio=0.05", "eval.start=0",
        "eval.metrics=[top_k_accuracy,mean_class_accuracy,expected_calibration_error]", "eval.topk=[1,3]",
        "checkpoint.max_keep_ckpts=2",
    ],
    "video_list": [
        "data=video_list", "data.train.ann_file={media}/videos/train.txt", "data.val.ann_file={media}/videos/val.txt",
        "data.batch_size=3", "data.num_workers=2", "data.train.class_balance=0.5", "epochs=3", "seed=1",
        "transform@pipeline.train.sample=dense_sample_frames", "pipeline.train.sample.clip_len=6",
        "pipeline.train.sample.num_clips=2", "pipeline.train.sample.sample_range=20",
        "pipeline.train.sample.temporal_jitter=true", "~pipeline.train.crop", "~pipeline.train.resize",
        "+transform@pipeline.train.rescale=random_rescale", "pipeline.train.rescale.scale_range=[48,60]",
        "+transform@pipeline.train.place=random_crop", "pipeline.train.place.size=[44,40]",
        "+transform@pipeline.train.color=color_jitter", "pipeline.val.sample.clip_len=6",
        "pipeline.val.sample.out_of_bound_opt=repeat_last", "pipeline.val.resize.scale=[-1,48]",
        "pipeline.val.crop.crop_size=[44,40]", "model.width=8", "model.dropout=0.3", "loss.label_smoothing=0.1",
        "loss.class_weights=auto", "optimizer=sgd", "optimizer.lr=0.02", "optimizer.nesterov=true", "lr=poly",
        "lr.power=0.9", "lr.warmup=linear", "lr.warmup_iters=3", "eval.interval=2", "eval.topk=[1,2]",
        "eval.save_best=loss", "checkpoint.interval=2", "checkpoint.background=false",
    ],
    "raw_frames": [
        "data=raw_frames", "data.train.ann_file={media}/frames/train.txt", "data.val.ann_file={media}/frames/val.txt",
        "data.with_offset=true", "data.decoding_backend=simplejpeg", "data.batch_size=2", "max_steps=8", "seed=2",
        "pipeline=segments_8_224", "pipeline.train.sample.segments=4", "transform@pipeline.train.crop=multi_scale_crop",
        "pipeline.train.crop.input_size=48", "pipeline.train.crop.scales=[1,0.875,0.75,0.66]",
        "pipeline.train.resize.scale=[48,48]", "+transform@pipeline.train.flip=flip", "pipeline.val.sample.segments=4",
        "pipeline.val.sample.twice_sample=true", "pipeline.val.resize.scale=[-1,48]",
        "transform@pipeline.val.crop=three_crop", "pipeline.val.crop.crop_size=48", "img_norm=minus_one_to_one",
        "img_norm.to_bgr=true", "model=tsm_r50", "model.backbone=mobilenet_v2", "model.partial_bn=true", _INIT,
        "model.init_std=0.01", "loss.label_smoothing=0.2", "optimizer=rmsprop", "optimizer.lr=3e-6",
        "optimizer.momentum=0.9", "optimizer.paramwise.rule=tsm", "lr=one_cycle", "lr.pct_start=0.4", "log.interval=1",
        "eval.by_epoch=false", "eval.interval=4", "eval.topk=1", "checkpoint.by_epoch=false", "checkpoint.interval=2",
        "checkpoint.save_optimizer=false",
    ],
    "flow": [
        "experiment=tsn_flow_k400", "data.train.ann_file={media}/flow/train.txt",
        "data.val.ann_file={media}/flow/val.txt", "data.batch_size=2", "epochs=5", "seed=3",
        "pipeline.train.sample.segments=2", "pipeline.train.resize.scale=[40,40]", "pipeline.val.sample.segments=2",
        "pipeline.val.resize.scale=[-1,48]", "transform@pipeline.val.crop=ten_crop", "pipeline.val.crop.crop_size=40",
        "model.backbone=shufflenet_v2_x0_5", "model.weights.path=null", _INIT, "model.init_std=0.1",
        "model.norm_eval=true", "grad.clip.max_norm=3", "optimizer.lr=0.4", "lr.step=[1,2]", "lr.gamma=0.3",
        "lr.warmup=constant", "lr.warmup_iters=1", "eval.interval=1", "eval.topk=1", "checkpoint.interval=2",
    ],
    "multi_label": [
        "data=video_list", "data.train.ann_file={media}/videos/train.json", "data.val.ann_file={media}/videos/val.json",
        "data.on_error=skip", "data.max_bad_fraction=0.2", "data.batch_size=4", "epochs=3", "seed=4", "loss=bce",
        "eval=multi_label", "eval.view_reduction=max_prob", "eval.save_view_logits=true",
        "pipeline.train.sample.clip_len=4", "pipeline.train.sample.frame_interval=1",
        "pipeline.train.sample.frame_uniform=true", "pipeline.train.resize.scale=[32,32]",
        "pipeline.val.sample.clip_len=4", "pipeline.val.sample.num_clips=2", "pipeline.val.sample.test_positions=ends",
        "pipeline.val.resize.scale=[32,32]", "pipeline.val.resize.keep_ratio=false", "pipeline.val.crop.crop_size=32",
        "model=timesformer_divst", "model.num_frames=4", "model.img_size=32", "model.patch_size=8", "model.width=16",
        "model.depth=2", "model.heads=2", "optimizer=adam", "optimizer.amsgrad=true", "optimizer.lr=0.005",
        "optimizer.paramwise.custom_keys={{head: {{lr_mult: 2, decay_mult: 0}}}}", "optimizer.weight_decay=0.01",
        "lr=chain", "lr.phases.warmup={{shape: linear, end: 1, every_step: true}}",
        "lr.phases.fall={{shape: cosine, begin: 1, min_lr_ratio: 0.1}}", "log.by_epoch=true", "log.ignore_last=false",
    ],
    "ema_accumulate_clip": [
        *_MOTION, "data.batch_size=3", "epochs=5", "seed=5", "data.train.indices=14", "blending=mixup_cutmix",
        "blending.probability=0.8", "model.norm=group", "model.dropout=0.2", "grad=clip", "grad.clip.max_norm=1.5",
        "grad.accumulate=2", "ema=average", "ema.decay=0.8", "optimizer=nadam", "lr=flat_cosine", "lr.by_epoch=false",
        "lr.start_percent=0.5", "lr.min_lr=1e-5", "lr.warmup=exp", "lr.warmup_iters=4", "log.reset_flag=true",
        "log.interval=3", "eval.save_best=loss", "eval.rule=greater", "eval.patience=3", "checkpoint=all",
    ],
    "ten_clips_three_crops": [
        "data=folder", "data.root={media}/videos", "~pipeline.train.crop", "~pipeline.train.resize",
        "data.batch_size=5", "epochs=2", "seed=6", "data.on_error=skip", "data.max_bad_fraction=0.2",
        "data.eval_batch_size=1", "data.train.drop_last=true", "pipeline.train.sample.clip_len=5",
        "pipeline.train.sample.clip_seconds=0.6", "+transform@pipeline.train.place=random_crop",
        "pipeline.train.place.size=40", "+transform@pipeline.train.color=color_jitter", "pipeline.train.color.hue=0",
        "pipeline.val.sample.clip_len=5", "pipeline.val.sample.num_clips=10", "pipeline.val.resize.scale=[-1,40]",
        "transform@pipeline.val.crop=three_crop", "pipeline.val.crop.crop_size=40", "pipeline.lazy=false",
        "eval.view_reduction=mean_logit", "eval.max_views_per_forward=16", "eval.topk=[1,2]", "model=x3d_s",
        "model.width_factor=0.25", "model.depth_factor=1", "optimizer=adagrad", "lr=cosine_restart",
        "lr.by_epoch=false", "lr.periods=[2,2]", "lr.restart_weights=[1,0.5]", "lr.min_lr_ratio=0.1", "log.interval=1",
        "checkpoint=never", "checkpoint.save_last=true",
    ],
    "two_processes": [
        *_MOTION, "dist.nproc=2", "diff_rank_seed=true", "data.batch_size=2", "data.train.indices=15", "epochs=2",
        "seed=7", "blending=mixup", "model.dropout=0.2", "grad.accumulate=2", "grad.clip.max_value=0.5",
        "optimizer=sgd", "optimizer.lr=0.01", "lr=cyclic", "lr.target_ratio=[5,0.1]", "log.interval=1",
        "checkpoint.interval=1",
    ],
}  # fmt: skip


def overrides_of(name: str, media: Path, more: Sequence[str] = ()) -> list[str]:
    """Return the overrides of the run ``name`` on the media in ``media``, followed by ``more``."""
    return [override.format(media=media) for override in [*_COMMON, *RUNS[name]]] + list(more)


def execute(name: str, folder: Path, media: Path, more: Sequence[str] = ()) -> dict[str, Any]:
    """Train the run ``name`` into ``folder`` and return what is recorded of it."""
    import vexp
    import vexp.train

    vexp.train.run(vexp.compose(overrides_of(name, media, more)), folder)
    return run_record(folder)


def check(name: str, folder: Path, media: Path, more: Sequence[str] = ()) -> tuple[Allowed, str | None]:
    """Train the run ``name``; return what its recording allows on this machine and the first difference beyond that."""
    fingerprint, recorded = read_recording(RECORDINGS / f"{name}.json")
    allowed = allowed_between(fingerprint, take_fingerprint(media))
    return allowed, first_difference(recorded, execute(name, folder, media, more), allowed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the output of runs and their processes, and the figures, which take longer than the training."""
    from matplotlib.figure import Figure

    def savefig(figure: Figure, path: Any, **options: Any) -> None:
        Path(path).write_bytes(b"not rendered")

    streams = (sys.stdout, sys.stderr)
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with mock.patch.object(Figure, "savefig", savefig), open(os.devnull, "w") as devnull:
            for number, stream in enumerate(streams, start=1):
                stream.flush()
                os.dup2(devnull.fileno(), number)
            yield
    finally:
        for number, stream, copy in zip((1, 2), streams, kept, strict=True):
            stream.flush()
            os.dup2(copy, number)
            os.close(copy)


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    names = [a for a in arguments if "=" not in a and not a.startswith("--")] or list(RUNS)
    more = [a for a in arguments if "=" in a]
    failed = False
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        parent = Path(temporary)
        media = make_media(parent / "media")
        os.environ["VEXP_CACHE"] = str(parent / "cache")
        if "--record-folder" in arguments:
            with _quiet():
                kept = record_folder(names[0], parent)
            print(f"{kept}: recorded")
            return 0
        for name in names:
            begin = time.perf_counter()
            difference, folder = None, parent / name
            with _quiet():
                if "--record" in arguments:
                    path, outcome = RECORDINGS / f"{name}.json", "recorded"
                    write_recording(path, take_fingerprint(media), execute(name, folder, media, more))
                else:
                    allowed, difference = check(name, folder, media, more)
                    outcome = (
                        allowed.name if difference is None else f"DIFFERENT: {difference} (allowed: {allowed.name})"
                    )
            failed |= difference is not None
            print(f"{name:22} {time.perf_counter() - begin:5.1f} s  {outcome}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
