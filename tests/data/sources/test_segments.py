"""Features and annotations of temporal localization: times, formats, and broken inputs with their messages."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import GOLDEN_DIR
from support.segments import CHANNELS, DURATION, write_segment_data

from vexp.core.errors import UserError
from vexp.data.annotations.segments import VideoSegments, read_segments
from vexp.data.batch.segments import SegmentSample
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.segments import (
    FeatureSequence,
    FeatureTimes,
    SegmentSource,
    collect_classes,
    open_features,
    read_features,
)
from vexp.data.sources.segments_config import ActivityNet
from vexp.data.sources.splits import Split, TrainSplit
from vexp.task.localization import SegmentDataset

CASES = json.loads((GOLDEN_DIR / "bmn.json").read_text())["cases"]


def recorded(kind: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in CASES if case["kind"] == kind]


# ---- mmaction2 ----


@pytest.mark.parametrize("case", recorded("GenerateLocalizationLabels"))
def test_positions_of_segments_equal_mmaction2(case: dict[str, Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {"np": np}
    exec(case["recipe"], names)
    info = names["info"]
    info["annotations"] = [{"label": "a", **row} for row in info["annotations"]]
    (tmp_path / "a.json").write_text(json.dumps({"v": info}))
    videos = read_segments(tmp_path / "a.json")
    np.save(tmp_path / "v.npy", np.zeros((100, 4), np.float32))
    source = SegmentSource(
        videos, ["a"], open_features(tmp_path), FeatureTimes(), length=None, crop=None, feature_dim=4, origin=""
    )
    dataset: ClipDataset = SegmentDataset(source, {}, seed=0, lazy=True)
    (positions,) = SegmentSample.collate([dataset[(0, 0)]]).positions()
    expected = np.array(case["out"]["gt_bbox"], float).reshape(-1, 2)
    assert (positions / 100).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", recorded("LoadLocalizationFeature"))
def test_csv_features_equal_mmaction2(case: dict[str, Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(case["recipe"], names)
    rows = [["f0", "f1"], *names["rows"]]
    (tmp_path / "v.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    values = read_features(tmp_path / "v.csv")
    assert values.dtype == np.float32
    assert values.T.tolist() == case["out"]["raw_feature"]


def test_csv_of_one_row_has_two_dimensions(tmp_path: Path) -> None:
    """The original reads one dimension and raises IndexError."""
    (tmp_path / "v.csv").write_text("f0,f1\n1,2\n")
    assert read_features(tmp_path / "v.csv").tolist() == [[1, 2]]


# ---- times ----


def test_rescaled_features_are_interpolated_at_the_centers() -> None:
    sequence = FeatureSequence(np.array([[0.0], [1], [2], [3]], np.float32), 1.0, 0.5)
    half = sequence.rescaled(2)
    assert half.values[:, 0].tolist() == [0.5, 2.5]
    assert (half.origin, half.step) == (1.0, 1.0)
    assert sequence.rescaled(8).values[:, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert sequence.rescaled(4) is sequence


def test_rescale_equals_torch() -> None:
    import torch

    values = np.random.default_rng(0).normal(size=(37, 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(values.T[None].copy()), size=100, mode="linear")[0].T
    assert FeatureSequence(values, 0.0, 1.0).rescaled(100).values == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("times", "video", "expected"),
    [
        (FeatureTimes(), VideoSegments(duration=10, covered=10), (0.0, 1.0)),
        (FeatureTimes(), VideoSegments(duration=10, covered=8), (0.0, 0.8)),  # mmaction2's whole windows
        (FeatureTimes(stride=4, window=16, fps=4), VideoSegments(), (1.5, 1.0)),  # centers at 2, 3, ...
        (FeatureTimes(stride=4), VideoSegments(fps=8), (0.0, 0.5)),
    ],
)
def test_times_of_features(times: FeatureTimes, video: VideoSegments, expected: tuple[float, float]) -> None:
    sequence = times.sequence(np.zeros((10, 2), np.float32), video)
    assert (sequence.origin, sequence.step) == pytest.approx(expected)


def write_output(folder: Path, rows: list[str]) -> Path:
    """Write what ``vexp features window=2 stride=1`` writes for a video of 5 seconds."""
    folder.mkdir()
    np.save(folder / "features.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
    (folder / "index.csv").write_text("row,path,start,end,error\n" + "".join(f"{row}\n" for row in rows))
    return folder


def test_features_of_vexp_features_have_the_times_of_their_windows(tmp_path: Path) -> None:
    rows = [f"{row},sub/v.mp4,{row}.000,{row + 2}.000," for row in range(4)] + [",w.mp4,,,damaged"]
    folder = open_features(write_output(tmp_path / "out", rows))
    sequence = folder.load("v", VideoSegments(), FeatureTimes())
    assert sequence.values.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (sequence.origin, sequence.step) == (0.5, 1.0)  # centers at 1, 2, 3 and 4 seconds
    with pytest.raises(UserError, match="vexp features could not read it: damaged"):
        folder.load("w", VideoSegments(), FeatureTimes())


def test_classes_that_are_numbers_are_in_their_order() -> None:
    rows = [(0.0, 1.0, label, 0.0) for label in ("10", "9", "2")]
    assert collect_classes({"v": VideoSegments(rows)}) == ["2", "9", "10"]


# ---- broken inputs ----

Change = Callable[[Path, dict[str, Any]], None]


def features(name: str, values: Any) -> Change:
    return lambda folder, _: np.save(folder / "features" / f"{name}.npy", values)


def annotation(key: str, value: Any) -> Change:
    """Change an entry of the first training video."""
    return lambda _, database: database["train_0"].update({key: value})


def segment(*span: Any, label: Any = "run") -> Change:
    return annotation("annotations", [{"segment": list(span), "label": label}])


def text(name: str, content: str) -> Change:
    def change(folder: Path, _: dict[str, Any]) -> None:
        (folder / "features" / "train_0.npy").unlink()
        (folder / "features" / name).write_text(content)

    return change


def nothing(folder: Path, database: dict[str, Any]) -> None:
    pass


def no_segments(folder: Path, database: dict[str, Any]) -> None:
    for video in database.values():
        video["annotations"] = []


NAN = np.full((32, CHANNELS), np.nan, np.float32)
BROKEN: dict[str, tuple[Change, dict[str, Any], str]] = {
    "missing features": (
        lambda f, _: (f / "features" / "train_0.npy").unlink(), {}, "1 of 6 videos .* no features: train_0",
    ),
    "no folder": (nothing, {"features": "/nowhere"}, "no such folder"),
    "NaN": (features("train_0", NAN), {}, r"train_0.npy: feature 0 is not finite"),
    "infinity": (features("train_0", np.where(np.isnan(NAN), np.inf, 0)), {}, "not finite"),
    "one dimension": (features("train_0", np.zeros(32)), {}, r"shape \(T, C\), got float64 \(32,\)"),
    "three dimensions": (features("train_0", np.zeros((1, 32, 8))), {}, r"got float64 \(1, 32, 8\)"),
    "no features at all": (features("train_0", np.zeros((0, 8))), {}, r"got float64 \(0, 8\)"),
    "words": (features("train_0", np.array([["a"]])), {}, "must be numbers"),
    "other channels": (features("train_0", np.zeros((32, 5))), {}, "have 5 channels, not data.feature_dim=8"),
    "transposed": (features("train_0", np.zeros((8, 32))), {}, "have 32 channels"),
    "a pickle": (features("train_0", np.array([{"a": 1}], object)), {}, r"train_0.npy: is not an array of numbers"),
    "no npy": (text("train_0.npy", "hello"), {}, "is not an array of numbers"),
    "empty npy": (text("train_0.npy", ""), {}, "is not an array of numbers"),
    "csv of words": (text("train_0.csv", "a,b\nx,y\n"), {}, "is not a table of numbers"),
    "csv of unequal rows": (text("train_0.csv", "a,b\n1,2\n1\n"), {}, "is not a table of numbers"),
    "wrong stride": (nothing, {"stride": 16.0, "fps": 4.0}, "cover 128.0 s .* but its duration is 16.0 s"),
    "stride without fps": (nothing, {"stride": 2.0}, "no frame rate"),
    "no duration": (annotation("duration", None), {}, "duration must be a number of seconds"),
    "unknown duration": (lambda _, d: d["train_0"].pop("duration"), {}, "no duration"),
    "negative start": (segment(-1, 4), {}, r"video train_0: segment 0: starts at -1 s, before the video"),
    "end before start": (segment(6, 4), {}, "ends at 4 s, before its start at 6 s"),
    "NaN time": (segment(float("nan"), 4), {}, "must be finite numbers"),
    "no segment": (segment(1), {}, r"must have a segment \[start, end\]"),
    "text time": (segment("1", "2"), {}, r"must have a segment \[start, end\]"),
    "no label": (segment(1, 4, label=""), {}, "has no label"),
    "label of another type": (segment(1, 4, label=["run"]), {}, "its label must be a name"),
    "frames instead of seconds": (
        annotation("annotations", [{"segment": [100 * k, 100 * k + 50], "label": "run"} for k in (1, 2, 3)]), {},
        "starts at 100 s, but the video has 16 s; are the times frames instead of seconds",
    ),
    "annotations of another type": (annotation("annotations", 3), {}, "must be a mapping with a list of annotations"),
    "no segments": (no_segments, {}, "none of its 6 videos has a segment"),
    "no subset": (nothing, {"subsets": {"train": "fit"}}, "has no subset fit; it has training, validation"),
    "unknown split": (nothing, {"subsets": {"training": "training"}}, "has no split training"),
    "crop of a fixed length": (nothing, {"length": 16, "crop": 8}, "needs data.length=null"),
    "window without stride": (nothing, {"window": 16.0}, "needs stride"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input_is_a_named_error(name: str, tmp_path: Path) -> None:
    change, options, pattern = BROKEN[name]
    folder = write_segment_data(tmp_path / "data")
    path = folder / "annotations.json"
    database = json.loads(path.read_text())["database"]
    change(folder, database)
    path.write_text(json.dumps({"database": database}))
    values = {"features": str(folder / "features"), "feature_dim": CHANNELS} | options
    with pytest.raises(UserError, match=pattern):
        _load_first(path, values)


def _load_first(path: Path, values: dict[str, Any]) -> None:
    data = ActivityNet(train=TrainSplit(ann_file=str(path)), val=Split(ann_file=str(path)), **values)
    data.check_files()
    source = data.source("train")
    assert isinstance(source, SegmentSource)
    source.load(0)


def test_label_that_training_lacks_is_a_named_error(tmp_path: Path) -> None:
    folder = write_segment_data(tmp_path / "data")
    path = folder / "annotations.json"
    database = json.loads(path.read_text())["database"]
    database["val_0"]["annotations"][0]["label"] = "swim"
    path.write_text(json.dumps({"database": database}))
    data = ActivityNet(
        train=TrainSplit(ann_file=str(path)), val=Split(ann_file=str(path)), features=str(folder / "features")
    )
    with pytest.raises(UserError, match="has labels that are no class: swim"):
        data.source("val")


@pytest.mark.parametrize(
    ("rows", "pattern"),
    [
        (["0,v.mp4,,,"], "has whole videos; run vexp features with window=SECONDS"),
        (["0,v.mp4,x,2.0,"], r"index.csv:2: is not a row of vexp features"),
        (["9,v.mp4,0.0,2.0,"], "but index.csv names row 9"),
    ],
)
def test_broken_output_of_vexp_features_is_a_named_error(rows: list[str], pattern: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=pattern):
        open_features(write_output(tmp_path / "out", rows))


def test_missing_features_are_skipped_and_recorded(tmp_path: Path) -> None:
    folder = write_segment_data(tmp_path / "data")
    (folder / "features" / "train_0.npy").unlink()
    path = str(folder / "annotations.json")
    values = {"features": str(folder / "features"), "feature_dim": CHANNELS, "on_error": "skip"}
    source = ActivityNet(train=TrainSplit(ann_file=path), **values).source("train")
    assert source is not None
    outcome = SegmentDataset(source, {}, seed=0, lazy=True, on_bad="leave_out")[(0, 0)]
    assert "has no train_0.npy" in outcome.bad[0].message


def test_videos_without_segments_are_kept_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(write_segment_data(tmp_path / "data") / "annotations.json")
    data = ActivityNet(
        train=TrainSplit(ann_file=path), val=Split(ann_file=path), features=str(tmp_path / "data" / "features")
    )
    with caplog.at_level(logging.WARNING):
        source = data.source("val")
    assert source is not None
    assert len(source) == 4
    assert "1 of 4 videos have no segment" in caplog.text


def test_segments_that_end_after_the_video_are_cut_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_segment_data(tmp_path / "data")
    path = folder / "annotations.json"
    database = json.loads(path.read_text())["database"]
    database["train_0"]["annotations"][0]["segment"][1] = DURATION + 0.4
    path.write_text(json.dumps({"database": database}))
    source = ActivityNet(train=TrainSplit(ann_file=str(path)), features=str(folder / "features")).source("train")
    assert isinstance(source, SegmentSource)
    assert source.truth(0)[0][0, 1] == DURATION
    assert "1 segments end after their video" in caplog.text
