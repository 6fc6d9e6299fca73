"""convert, predict, features, export: from a trained run to files, as the command line makes them."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.archives import write_zip
from support.file_server import serving
from support.tables import default_lane_has

from vexp import checkpoint, compose, train
from vexp.__main__ import main
from vexp.data.sources import unlabeled
from vexp.inference import export as exporting
from vexp.inference.checkpoint import find_checkpoint
from vexp.inference.predictor import load_predictor
from vexp.model import build_model


def run_command(*arguments: str) -> None:
    """Run ``vexp ARGUMENTS``, which must succeed."""
    assert main(arguments) == 0


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the error message of ``vexp ARGUMENTS``, which must fail."""
    assert main(arguments) == 2
    return capsys.readouterr().err.strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, whose validation pipeline sees three clips of a video."""
    folder = tmp_path_factory.mktemp("run")
    overrides = [
        "data.train_clips=1", "data.val_clips=2", "data.batch_size=8", "data.num_workers=0", "model.width=8",
        "max_steps=2", "log=text", "device=cpu", "pipeline.val.sample.num_clips=3",
    ]  # fmt: skip
    train.run(compose(overrides), folder, overrides=overrides)
    return folder


@pytest.fixture(scope="module")
def videos(run: Path, motion_cache: Path) -> Path:
    """The folder of the validation videos of ``run``."""
    return (
        next(path.parent for path in motion_cache.rglob("val.txt") if len(path.read_text().splitlines()) == 16) / "val"
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_predict_equals_scores_of_evaluation(run: Path, videos: Path, tmp_path: Path) -> None:
    run_command("predict", f"run={run}", f"input={videos}", f"out={tmp_path}", "topk=5", "data.num_workers=0")
    evaluated = {Path(row["path"]).name: row for row in rows(run / "eval" / "predictions.csv")}
    predicted = rows(tmp_path / "predictions.csv")
    assert len(predicted) == len(evaluated) == 16
    for row in predicted:
        same = evaluated[Path(row["path"]).name]
        for rank in range(1, 6):
            assert row[f"class_{rank}"] == same[f"class_{rank}"]
            assert float(row[f"score_{rank}"]) == pytest.approx(float(same[f"score_{rank}"]), abs=2e-6)
    about = json.loads((tmp_path / "predictions.json").read_text())
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    assert (about["step"], about["pipeline"], len(about["videos"])) == (best["step"], "val", 16)
    assert (tmp_path / "contact_sheet.png").stat().st_size > 10_000


@pytest.mark.slow
def test_predict_reads_archives_and_servers(
    run: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEXP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in" / "b").mkdir(parents=True)
    first, second = sorted(videos.glob("*.mp4"))[:2]
    shutil.copy(first, tmp_path / "in" / "a.mp4")
    shutil.copy(second, tmp_path / "in" / "b" / "b.mp4")
    clips = write_zip(tmp_path / "clips.zip", tmp_path / "in")

    def scores(place: object, *words: str) -> dict[str, list[str]]:
        out = f"out={tmp_path}/out"
        run_command("predict", f"run={run}", f"input={place}", out, "data.num_workers=0", *words)
        return {row["path"]: list(row.values())[1:] for row in rows(tmp_path / "out" / "predictions.csv")}

    expected = scores(tmp_path / "in", "window=0.5")
    assert list(expected) == ["a.mp4", "b/b.mp4"]
    one = {"b.mp4": scores(tmp_path / "in" / "b" / "b.mp4")["b.mp4"]}
    with serving(tmp_path) as server:
        assert scores(clips, "window=0.5") == expected
        assert scores(f"{server.url}/in", "window=0.5") == expected
        for place in (f"zip://b::{clips}", f"{server.url}/clips.zip/b/b.mp4"):
            assert scores(place) == one


def test_predict_unreadable_file_is_reported_beside_others(
    run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read does not take the others with it."""
    good = next(videos.rglob("*.mp4"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(good.read_bytes())
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")
    (tmp_path / "in" / "._c.mp4").write_bytes(b"what macOS leaves")
    (tmp_path / "in" / "notes.txt").write_text("no video either")
    run_command("predict", f"run={run}", f"input={tmp_path}/in", f"out={tmp_path}/out", "data.num_workers=0")
    found = rows(tmp_path / "out" / "predictions.csv")
    assert [(row["path"], bool(row["class_1"]), bool(row["error"])) for row in found] == [
        ("a.mp4", True, False), ("b.mp4", False, True),
    ]  # fmt: skip
    assert "not read" in capsys.readouterr().out
    error = refusal(capsys, "predict", f"run={run}", f"input={tmp_path}/in/b.mp4", f"out={tmp_path}/out")
    assert "no video could be read" in error


@pytest.mark.parametrize(
    ("duration", "length", "stride", "wanted"),
    [
        (10, 4, 3, [(0, 4), (3, 7), (6, 10)]),  # fits
        (10, 4, 4, [(0, 4), (4, 8), (6, 10)]),  # the last one ends with the video
        (4, 4, 4, [(0, 4)]),
        (3, 4, 4, [(0, 3)]),  # shorter than a window
        (0.9, 0.3, 0.3, [(0, 0.3), (0.3, 0.6), (0.6, 0.9)]),  # rounding makes no fourth
    ],
)
def test_windows_cover_the_video(
    duration: float, length: float, stride: float, wanted: list[tuple[float, float]]
) -> None:
    found = unlabeled.windows(duration, length, stride)
    assert np.allclose(found, wanted)


@pytest.mark.integration
def test_predict_window_equals_video_of_its_own(run: Path, videos: Path, tmp_path: Path) -> None:
    video = next(videos.rglob("*.mp4"))
    run_command("predict", f"run={run}", f"input={video}", f"out={tmp_path}", "window=0.5", "stride=0.25", "topk=8")
    (found,) = json.loads((tmp_path / "predictions.json").read_text())["videos"]
    pieces = unlabeled.split_into_windows(video, video.name, window=0.5, stride=0.25)
    times = [(window["start"], window["end"]) for window in found["windows"]]
    assert len(pieces) > 2
    assert np.allclose(times, [piece.window for piece in pieces], atol=1e-3)
    data = compose([]).data
    source = unlabeled.UnlabeledVideos([unlabeled.VideoWindow(video, "whole"), *pieces], ["a"], data)
    with source.open(0) as whole, source.open(2) as reader:
        first = round(0.25 * whole.fps)  # type: ignore[attr-defined]
        assert 0 < reader.num_frames < whole.num_frames
        assert np.array_equal(reader.frames([0, 1]), whole.frames([first, first + 1]))
    mean: dict[str, float] = {}
    for window in found["windows"]:
        for one in window["top"]:
            mean[one["class"]] = mean.get(one["class"], 0) + one["score"] / len(pieces)
    assert {one["class"]: one["score"] for one in found["top"]} == pytest.approx(mean, abs=1e-6)
    assert len(rows(tmp_path / "predictions.csv")) == 1 + len(pieces)


@pytest.mark.integration
def test_features_are_input_of_classifier(run: Path, videos: Path, tmp_path: Path) -> None:
    """The classifier over the features gives the mean logits of a video."""
    run_command("features", f"run={run}", f"input={videos}", f"out={tmp_path}", "data.num_workers=0")
    features, index = np.load(tmp_path / "features.npy"), rows(tmp_path / "index.csv")
    assert (features.shape, features.dtype) == ((16, 32), np.float32)
    assert [row["row"] for row in index] == [str(number) for number in range(16)]
    run_command(
        "predict", f"run={run}", f"input={videos}", f"out={tmp_path}", "topk=1", "eval.view_reduction=mean_logit"
    )
    state = checkpoint.load(run / "checkpoints" / "best.pth")["model"]
    logits = torch.from_numpy(features) @ state["head.weight"].T + state["head.bias"]
    scores = logits.softmax(1).amax(1).tolist()
    assert scores == pytest.approx([float(row["score_1"]) for row in rows(tmp_path / "predictions.csv")], abs=2e-6)


def test_features_index_lists_windows_and_unreadable_files(run: Path, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(next(videos.rglob("*.mp4")).read_bytes())
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")
    run_command("features", f"run={run}", f"input={tmp_path}/in", f"out={tmp_path}", "window=0.5", "data.num_workers=0")
    index = rows(tmp_path / "index.csv")
    assert (index[0]["row"], index[0]["start"], index[0]["end"]) == ("0", "0.000", "0.500")
    assert (index[-1]["path"], index[-1]["row"], bool(index[-1]["error"])) == ("b.mp4", "", True)
    assert len(np.load(tmp_path / "features.npy")) == len(index) - 1


@pytest.mark.integration
@pytest.mark.parametrize("form", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_export_file_returns_same_logits(form: str, run: Path, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    file = tmp_path / f"model{exporting.FORMATS[form]}"
    run_command("export", f"run={run}", f"format={form}", f"out={file}")
    contract = json.loads((tmp_path / f"{file.name}.json").read_text())
    assert contract["input"]["shape"] == ["any", 3, 8, 64, 64]
    assert contract["input"]["mean"] == [123.675, 116.28, 103.53]
    assert contract["preprocessing"]["steps"]["sample"]["num_clips"] == 3
    assert len(contract["classes"]) == 8
    state = checkpoint.load(run / "checkpoints" / "best.pth")
    trained = load_predictor(compose(["model.width=8", "device=cpu"]), file, state)
    clips = torch.randn(2, 3, 8, 64, 64)
    runner = exporting.load_exported(file, form)
    with torch.no_grad():
        torch.testing.assert_close(runner(clips), trained.model(clips), rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, f"{file.name}.json"]


@pytest.mark.integration
def test_export_with_other_logits_is_removed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "load_exported", lambda path, form: lambda clips: torch.ones(len(clips), 8))
    error = refusal(capsys, "export", f"run={run}", "format=torch", f"out={tmp_path}/m.pt2")
    assert "exported logits differ" in error
    assert not list(tmp_path.iterdir())


def test_export_rejects_input_size_that_depends_on_video(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "export", f"run={run}", "format=torch", "~pipeline.val.crop")
    assert "the size of a clip depends on the video" in error


def test_convert_checkpoint_is_accepted_like_a_run(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of classes, the mean and the std come from the file of another program."""
    torch.manual_seed(0)
    norm = "img_norm_cfg = dict(mean=[1, 2, 3], std=[4, 5, 6], to_bgr=True)"
    names = ("a", "b", "c", "d", "e", "f", "g")
    content = {"state_dict": build_model("tiny3d", 7).state_dict(), "meta": {"config": norm, "CLASSES": names}}
    torch.save(content, tmp_path / "in.pth")
    run_command("convert", f"{tmp_path}/in.pth", f"{tmp_path}/out.pth", "model=tiny3d", "device=cpu")
    assert "82 of 82 tensors match" in capsys.readouterr().out
    written = checkpoint.load(tmp_path / "out.pth")
    assert written["config"]["img_norm"] == {
        "mean": [1, 2, 3],
        "std": [4, 5, 6],
        "to_bgr": True,
        "adjust_magnitude": False,
    }
    assert written["classes"] == list(names)
    video = next(videos.rglob("*.mp4"))
    run_command("predict", f"run={tmp_path}/out.pth", f"input={video}", f"out={tmp_path}/predicted", "topk=1")
    assert rows(tmp_path / "predicted" / "predictions.csv")[0]["class_1"] in names


def test_convert_reads_class_count_from_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build_model("tiny3d", 7).state_dict(), tmp_path / "in.pth")
    run_command("convert", f"{tmp_path}/in.pth", f"{tmp_path}/out.pth", "model=tiny3d", "device=cpu")
    assert checkpoint.load(tmp_path / "out.pth")["classes"] == [str(number) for number in range(7)]
    run_command("convert", f"{tmp_path}/in.pth", f"{tmp_path}/five.pth", "model=tiny3d", "num_classes=5")
    assert "head.weight (7 x 96 in the file, 5 x 96 here)" in capsys.readouterr().out


def test_convert_without_model_keeps_tensor_names(tmp_path: Path) -> None:
    torch.save({"model_state": {"s1.weight": torch.ones(2)}}, tmp_path / "in.pth")
    run_command("convert", f"{tmp_path}/in.pth", f"{tmp_path}/out.pth")
    assert list(checkpoint.load(tmp_path / "out.pth")["model"]) == ["s1.weight"]


#: arguments -> what the message says
REFUSED: list[tuple[list[str], str]] = [
    (["predict"], "run: must be given: a run folder or a checkpoint"),
    (["predict", "run={run}"], "input: must be given: a video or a folder of videos"),
    (["predict", "run={run}", "input={video}", "out=/dev/null/x"], "/dev/null/x: files cannot be written there"),
    (["features", "run={run}", "input={video}", "out=/dev/null/x"], "/dev/null/x: files cannot be written there"),
    (["evaluate", "run={run}", "out=/dev/null/x"], "/dev/null/x: files cannot be written there"),
    (["export", "run={run}", "format=torch", "out=/dev/null/x/net.pt2"], "/dev/null/x: files cannot be written there"),
    (["predict", "run={run}", "input=nowhere"], "nowhere: no such file or folder"),
    (["predict", "run={run}", "input={empty}"], "contains no video"),
    (["predict", "run={run}", "input=nowhere.zip/a.mp4"], "input=nowhere.zip/a.mp4: no such archive"),
    (["predict", "run={run}", "input=https://me:word@host/a.mp4"], "input=https://***@host/a.mp4: has a password"),
    (["predict", "run=nowhere", "input=x"], "no such run folder or checkpoint"),
    (["predict", "run={run}", "input=x", "topk=0"], "topk=0: must be >= 1"),
    (["predict", "run={run}", "input=x", "window=-1"], "window=-1.0: must be >= 0.01"),
    (
        ["predict", "run={run}", "input=x", "stride=1"],
        "stride=1.0: is the distance between windows .*give window=SECONDS",
    ),
    (["features", "run={run}", "input=x", "split=tset"], "split=tset: must be one of val, test .*did you mean test?"),
    (["export", "run={run}", "format=onx"], "format=onx: must be one of onnx, torch .*did you mean onnx?"),
    (["export"], "run: must be given"),
    (["convert", "x"], "name the weights and the file to write"),
    (["convert", "x.pth", "out.pth"], "IN=x.pth: no such checkpoint or run folder"),
    (["convert", "open-mmlab://a", "out.pth"], "model names are not supported"),
    (["convert", "{run}", "out"], "the file to write must end in .pth"),
    (["convert", "{run}", "out.pth", "pipeline=clip_16x4_112"], "needs model="),
    (["convert", "{run}", "out.pth", "model=r3d_18"], "does not belong to this model"),
]


@pytest.mark.parametrize(("arguments", "message"), default_lane_has(2, REFUSED))
def test_command_with_invalid_arguments_prints_one_error(
    arguments: list[str], message: str, run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = [word.format(run=run, empty=tmp_path, video=videos) for word in arguments]
    error = refusal(capsys, name, *rest)
    assert error.startswith("vexp: error: ")
    expected, _, hint = message.partition(" .*")
    assert expected in error
    assert hint in error


def test_find_checkpoint_rejects_missing_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "last.pth").touch()
    assert find_checkpoint(tmp_path, None) == folder / "last.pth"
    (folder / "best.json").touch()
    assert "checkpoint=last uses the last one" in refusal(capsys, "predict", f"run={tmp_path}", "input=x")
    assert find_checkpoint(tmp_path, "last") == folder / "last.pth"


def test_invalid_arguments_are_refused_before_torch_import() -> None:
    names = ["predict", "features", "export", "convert"]
    code = f"import sys\nfrom vexp.__main__ import main\nassert [main([n, 'y']) for n in {names}] == [2] * 4\n"
    code += "print(sorted({'torch', 'cv2', 'av', 'matplotlib'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_features_of_other_kinds_of_classifier() -> None:
    """A convolution over positions (S3D), a linear layer on every frame (TSN): the mean is what logits come from."""
    from torch import nn

    from vexp.core.errors import UserError
    from vexp.model.features import features

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 5)

        def forward(self, clips: torch.Tensor) -> Any:  # the mean colour of each frame, folded into the batch
            frames = clips.mean((3, 4)).transpose(1, 2).flatten(0, 1)
            return self.head(frames).unflatten(0, (len(clips), -1)).mean(1)

    clips = torch.randn(2, 3, 4, 8, 8)
    torch.testing.assert_close(features(Frames(), 5)(clips), clips.mean((2, 3, 4)))
    torch.testing.assert_close(features(nn.Sequential(nn.Conv3d(3, 5, 1)), 5)(clips), clips.mean((2, 3, 4)))
    with pytest.raises(UserError, match="has no linear layer or convolution with 6 outputs"):
        features(Frames(), 6)
