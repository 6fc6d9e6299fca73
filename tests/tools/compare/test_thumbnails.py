"""Best and worst videos of the best run."""

import base64
import csv
import json

import pytest
from support.run_folders import CLASSES, make_run
from support.segments import data_overrides, write_segment_data

from vexp import compose, train
from vexp.cli import compare as command
from vexp.config.instantiate import to_dict
from vexp.data.sources.subsets import select_samples
from vexp.experiment.run_dir import write_settings
from vexp.tools.compare import thumbnails
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import find_runs, read_run, read_runs
from vexp.tools.compare.thumbnails import Thumbnails, videos_of

DATA = ["data.train_clips=2", "data.val_clips=1"]
#: Score of the true class of each of the eight videos; None: it is not among the listed classes.
SCORES = [0.9, 0.2, None, 0.5, 0.8, 0.1, 0.7, 0.3]


def write_predictions(run, paths, scores=SCORES):
    header = ["id", "path", "label", "predicted", "correct", "class_1", "score_1", "class_2", "score_2"]
    rows = []
    for i, (path, score) in enumerate(zip(paths, scores, strict=True)):
        label, other = CLASSES[i], CLASSES[(i + 1) % 8]
        known = 0.0 if score is None else score
        pairs = sorted([(1 - known, other), (known, label)], reverse=True)
        pairs = [(1.0, other), (0.0, CLASSES[(i + 2) % 8])] if score is None else pairs
        (first, predicted), (second, next_one) = pairs
        rows.append([i, path, label, predicted, int(predicted == label), predicted, first, next_one, second])
    rows.append([9, "unreadable.mp4", "", "unscored", "", "", "", "", ""])
    with (run / "eval" / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return run


@pytest.fixture(scope="module")
def source(motion_cache):
    data = compose(DATA).data
    data.prepare()
    return select_samples(data, "val")


@pytest.fixture
def run(tmp_path, source):
    """A run with predictions for the videos of the embedded set."""
    folder = make_run(tmp_path / "s" / "a", [*DATA, "seed=0"], scores=[0.5])
    return write_predictions(folder, [source.name(i) for i in range(8)])


def test_videos_are_ordered_by_score_of_true_class(run):
    found = videos_of(read_run(run, "a"))
    assert [video["id"] for video in found["best"]] == [0, 4, 6, 3]
    assert [video["id"] for video in found["worst"]] == [2, 5, 1, 7]
    assert [video["is_listed"] for video in found["worst"]] == [False, True, True, True]
    assert [len(video["frames"]) for video in found["best"] + found["worst"]] == [3] * 8
    import simplejpeg

    kind, _, encoded = found["best"][0]["frames"][1].partition(";base64,")
    image = simplejpeg.decode_jpeg(base64.b64decode(encoded))
    assert kind == "data:image/jpeg"
    assert image.shape[1] == 160 or image.shape[0] == 120
    assert found["note"] == ""


def test_videos_that_cannot_be_opened_are_named(run, source):
    from pathlib import Path

    missing = Path(source.name(0))
    rows = (run / "eval" / "predictions.csv").read_text().replace(source.name(4), "elsewhere.mp4")
    (run / "eval" / "predictions.csv").write_text(rows)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("motion_seed: 0", "motion_seed: 12345"))
    found = videos_of(read_run(run, "a"))["best"]
    assert [video["frames"] for video in found] == [[]] * 4
    assert missing.name in found[0]["path"]
    assert all(video["missing"] for video in found)
    (run / "config.yaml").write_text(config)
    found = videos_of(read_run(run, "a"))["best"]
    assert found[1]["missing"] == "the data of the config do not list this video at its place"
    assert len(found[0]["frames"]) == 3
    (run / "config.yaml").write_text(config.replace("type: motion", "_target_: os.system"))
    found = videos_of(read_run(run, "a"))["best"]
    assert found[0]["missing"].startswith("the data of the run cannot be listed: ")


def test_images_have_a_limit(run, monkeypatch):
    monkeypatch.setattr(thumbnails, "_LIMIT", 20_000)
    found = videos_of(read_run(run, "a"))
    sizes = [sum(map(len, video["frames"])) for video in found["best"] + found["worst"]]
    assert 0 < sum(sizes) <= 20_000
    assert 0 in sizes
    assert found["worst"][-1]["missing"].startswith("left out: the images of the page")


def test_damaged_predictions_are_noted(run):
    (run / "eval" / "predictions.csv").write_text("id,path,label,predicted,score_1,class_1\nx,y,z,z,nine,z\n")
    assert videos_of(read_run(run, "a"))["note"].startswith("the predictions cannot be read: ")
    (run / "eval" / "predictions.csv").unlink()
    assert videos_of(read_run(run, "a"))["note"].startswith("no predictions with scores")


def test_thumbnails_are_decoded_once(run, monkeypatch):
    decoded, original = [], thumbnails.videos_of
    monkeypatch.setattr(thumbnails, "videos_of", lambda one: decoded.append(one.name) or original(one))
    shown, runs = Thumbnails(), [run.parent]
    for changed in (False, False, True):
        if changed:
            with (run / "eval" / "predictions.csv").open("a") as file:
                file.write("\n")
        comparison = Comparison(read_runs(find_runs(runs))[0], Compare())
        assert len(shown.of(comparison)["best"]) == 4
    assert len(decoded) == 2
    (run / "result.json").unlink()
    assert shown.of(Comparison(read_runs(find_runs(runs))[0], Compare())) is None  # no finished run


def test_videos_of_localization_are_ordered_by_overlap(tmp_path):
    """The score is the mean tIoU of the annotated segments with the best of the same class among the ten predicted."""
    folder = write_segment_data(tmp_path / "data")
    run, config = make_run(tmp_path / "s" / "a"), compose(data_overrides(folder))
    (run / "eval" / "predictions.csv").unlink(missing_ok=True)
    write_settings(run, to_dict(config, types=True), [])
    source = select_samples(config.data, "val")
    results = {}
    for index in range(len(source)):
        segments, labels = source.truth(index)
        shifted = segments + 0.1 * index * (segments[:, 1:] - segments[:, :1])  # later by a tenth of its length
        results[source.name(index)] = [
            {"segment": segment, "score": 0.5, "label": source.classes[label]}
            for segment, label in zip(shifted.tolist(), labels, strict=True)
        ]
    path = run / "eval" / "proposals.json"
    path.write_text(json.dumps({"version": "", "results": results, "external_data": {}}))
    found = videos_of(read_run(run, "a"))
    shown = sorted(found["best"] + found["worst"], key=lambda video: video["id"])
    for video in shown:
        shift = 0.1 * video["id"]
        assert video["score"] == pytest.approx((1 - shift) / (1 + shift), abs=0.02)
        assert video["frames"][0].startswith("data:image/svg+xml;base64,")
    assert found["best"][0]["id"] == 0
    count = len(source.truth(0)[0])
    assert found["best"][0]["detail"] == f"{count} of {count} with a tIoU of 0.5 or more"
    results[source.name(0)] = [row | {"label": "another"} for row in results[source.name(0)]]
    path.write_text(json.dumps({"version": "", "results": results, "external_data": {}}))
    assert videos_of(read_run(run, "a"))["worst"][0]["score"] == 0
    path.write_text("{")
    assert videos_of(read_run(run, "a"))["note"].startswith("the predictions cannot be read: ")


TASKS = {
    "recognition": (["model.width=8", "data.train_clips=2", "data.val_clips=1"], "val/top1_acc", 4),
    "localization": (["data=motion_segments"], "val/auc", 6),
    "detection": (["data=motion_boxes"], "val/mAP@0.5IOU", 6),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_compare_runs_of_each_task(task, tmp_path, tiny, capsys):
    """Trained runs of two seeds: their metrics, and the videos of the better one."""
    overrides, metric, count = TASKS[task]
    common = ["max_steps=2", "epochs=null", "data.num_workers=0", "data.batch_size=4", "device=cpu", "log=text"]
    for seed in (0, 1):
        words = [*overrides, *common, f"seed={seed}"]
        train.run(compose(words), tmp_path / "runs" / str(seed), overrides=words)
    assert command.main([str(tmp_path / "runs"), f"metric={metric}", f"out={tmp_path / 'out'}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert found["metric"] == metric
    assert found["settings"][0]["results"][metric]["n"] == 2
    runs, _ = read_runs(find_runs([tmp_path / "runs"]))
    videos = Thumbnails().of(Comparison(runs, Compare(metric=metric)))
    assert len(videos["best"]) == count
    images = 1 if task == "localization" else 3
    assert all(len(video["frames"]) == images for video in videos["best"] + videos["worst"])
    assert videos["note"] == ""
    assert ("tIoU" in videos["measure"]) == (task == "localization")
