"""Whether the numbers of two runs were measured on the same thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from vexp.tools.compare.columns import below
from vexp.tools.compare.runs import DONE, Run

#: Keys of the data that do not decide which validation videos there are, nor what their labels mean.
_NOT_THE_SPLIT = (
    *("data.train", "data.test", "data.batch_size", "data.eval_batch_size", "data.num_workers", "data.mp_context"),
    *("data.decoding_backend", "data.exact_color", "data.strict", "data.on_error", "data.max_bad_fraction"),
    *("data.sample_timeout", "data.default_epochs", "data.directional", "data.flip_label_map", "data.cache_dir"),
    *("data.train_clips", "data.val.from_split", "data.val.hold_out"),
)
_HELD_OUT = ("data.train.ann_file", "data.train.data_prefix", "data.val.from_split", "data.val.hold_out")


def protocol(run: Run, over: Collection[str] = ()) -> dict[str, str]:
    """What a metric of this run is measured on, by name. What is not known is left out, and so are the keys of
    ``over``, along which runs are repeated (folds)."""
    found = {key: value for key, value in run.config.items() if _of_the_split(key, run) and key not in over}
    if run.classes:
        found["classes"] = f"{len(run.classes)} classes ({', '.join(run.classes)})"
    if "videos" in run.report:
        videos = run.report["videos"]
        found["videos"] = f"{videos} of {run.report.get('videos_of_split', videos)} videos scored"
    return found


def _of_the_split(key: str, run: Run) -> bool:
    if below(key, _HELD_OUT):
        held_out = run.config.get("data.val.hold_out", "null") != "null"
        return held_out or run.config.get("data.val.from_split", "null") != "null"
    return key.startswith("data.") and not below(key, _NOT_THE_SPLIT)


def flags(runs: Sequence[Run], protocols: Sequence[dict[str, str]]) -> list[list[str]]:
    """For each run what it does not share with most of the finished ones: its metrics are not comparable."""
    common = _commonest([p for run, p in zip(runs, protocols, strict=True) if run.status == DONE] or protocols)
    return [
        [_difference(name, value, common[name]) for name, value in p.items() if value != common.get(name, value)]
        for p in protocols
    ]


def _commonest(protocols: Sequence[dict[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for p in protocols for name in p)
    return {name: Counter(p[name] for p in protocols if name in p).most_common(1)[0][0] for name in names}


def _difference(name: str, value: str, common: str) -> str:
    if name == "classes":
        ours, most = value.partition(" (")[0], common.partition(" (")[0]
        return (
            f"{ours}, most runs have {most.removesuffix(' classes')}"
            if ours != most
            else f"{ours} with other names or another order"
        )
    return f"{value}, in most runs {common}" if name == "videos" else f"{name}={value}, in most runs {common}"


def other_versions(runs: Sequence[Run]) -> list[str | None]:
    """For each run the statement that another vexp made it than most; None where that is not so or not known."""
    counts = Counter(run.version for run in runs if run.version)
    most = counts.most_common(1)[0][0] if counts else None
    return [
        f"made with vexp {run.version}, most with {most}: metrics may not be comparable"
        if run.version and run.version != most
        else None
        for run in runs
    ]
