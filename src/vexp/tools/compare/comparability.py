"""Whether the metrics of two runs were measured on the same data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from vexp.tools.compare.columns import below
from vexp.tools.compare.runs import DONE, Run

#: Data keys that change neither the validation videos nor the meaning of their labels. Features are the input of a
#: model, as the frames that a pipeline makes.
_NOT_SPLIT_KEYS = (
    *("data.train", "data.test", "data.batch_size", "data.eval_batch_size", "data.num_workers", "data.mp_context"),
    *("data.decoding_backend", "data.exact_color", "data.strict", "data.on_error", "data.max_bad_fraction"),
    *("data.sample_timeout", "data.default_epochs", "data.directional", "data.flip_label_map", "data.cache_dir"),
    *("data.cache", "data.cache_size", "data.cache_short_side"),
    *("data.train_clips", "data.train_videos", "data.val.from_split", "data.val.hold_out"),
    *("data.features", "data.feature_dim", "data.length", "data.crop", "data.stride", "data.window", "data.assign_iou"),
)
_METRIC_KEYS = ("eval.tious", "eval.rounding", "eval.empty_frames")  # metrics of one name mean something else
_HOLD_OUT_KEYS = ("data.train.ann_file", "data.train.data_prefix", "data.val.from_split", "data.val.hold_out")


def protocol(run: Run, over: Collection[str] = ()) -> dict[str, str]:
    """Return the known properties of the data that the metrics of a run were measured on.

    Keys of ``over``, which differ between repetitions (folds), are left out.
    """
    properties = {
        key: value
        for key, value in run.config.items()
        if (_affects_split(key, run) or key in _METRIC_KEYS) and key not in over
    }
    if run.classes:
        properties["classes"] = f"{len(run.classes)} classes ({', '.join(run.classes)})"
    for name in {"videos", "key_frames"} & run.report.keys():
        scored = run.report[name]
        total = run.report.get(f"{name}_of_split", scored)
        properties["videos"] = f"{scored} of {total} {name.replace('_', ' ')} scored"
    return properties


def _affects_split(key: str, run: Run) -> bool:
    if below(key, _HOLD_OUT_KEYS):
        return any(run.config.get(f"data.val.{name}", "null") != "null" for name in ("hold_out", "from_split"))
    return key.startswith("data.") and not below(key, _NOT_SPLIT_KEYS)


def flags(runs: Sequence[Run], protocols: Sequence[dict[str, str]], metric: str) -> list[list[str]]:
    """Return, for each run, its differences from most finished runs, which make its metrics incomparable.

    Only runs with the metric count: those of other tasks, of which there may be more, have other data.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    done = [(run, p) for run, p in zip(runs, protocols, strict=True) if run.status == DONE]
    counted = [p for run, p in done if metric in run.series]
    most = "most runs" if len(counted) in (0, len(done)) else f"most runs with {metric}"
    for p in counted or [p for _, p in done] or protocols:
        for name, value in p.items():
            counts[name][value] += 1
    common = {name: values.most_common(1)[0][0] for name, values in counts.items()}
    return [
        [_difference(name, value, common[name], most) for name, value in p.items() if value != common.get(name, value)]
        for p in protocols
    ]


def _difference(name: str, value: str, common: str, most: str) -> str:
    if name == "classes":
        classes, usual = value.partition(" (")[0], common.partition(" (")[0]
        if classes == usual:
            return f"{classes} with different names or in a different order"
        return f"{classes}, but {most} have {usual.removesuffix(' classes')}"
    return f"{value if name == 'videos' else f'{name}={value}'}, but {common} in {most}"
