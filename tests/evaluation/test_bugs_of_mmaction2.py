"""The thirteen bugs of mmaction2's localization and detection (docs/explanation/task_metrics.md), one test each."""

import json
import math

import numpy as np
import pytest
import torch

from vexp.__main__ import main
from vexp.core.errors import UserError
from vexp.data.annotations.ava import read_key_frames
from vexp.data.batch.segments import SegmentSample
from vexp.data.sources.segments import read_features
from vexp.evaluation.boxes import match_boxes
from vexp.evaluation.config import Eval
from vexp.evaluation.detections import Detections
from vexp.evaluation.temporal import average_precision, average_recall
from vexp.model.architectures.bmn import BmnOutput, boundary_candidates


def rows(*values):
    """Detections of rows (group, start, end, score), or (group, x1, y1, x2, y2, score); all of class 0."""
    table = np.array(values, np.float64).reshape(len(values), -1)
    return Detections(table[:, 0].astype(np.int64), table[:, 1:-1], np.zeros(len(table), np.int64), table[:, -1])


TRUTH = rows((0, 0, 10, 0), (1, 5, 15, 0))


def test_1_save_best_ar_an_is_ar_at_100():
    """It raised KeyError."""
    assert Eval(metrics=["AR@AN"], save_best="AR@AN").best_metric("localization") == "AR@100"


def test_2_auc_does_not_need_names_that_numpy_has_removed(monkeypatch):
    """np.trapz and np.NAN are gone in numpy 2."""
    for name in ("trapz", "NAN"):
        monkeypatch.delattr(np, name, raising=False)
    assert average_recall(TRUTH, TRUTH).auc > 90


def test_3_names_that_agree_from_the_third_letter_are_different_videos(tmp_path, monkeypatch):
    """The first two letters were cut off, whatever they were."""
    monkeypatch.chdir(tmp_path)
    entry = {"duration": 20.0, "annotations": [{"segment": [0, 10], "label": "a"}]}
    (tmp_path / "truth.json").write_text(json.dumps({"database": {"ab_x": entry, "cd_x": entry}}))
    found = {"ab_x": [{"segment": [0, 10], "label": "a", "score": 0.9}], "cd_x": []}
    (tmp_path / "found.json").write_text(json.dumps({"results": found}))
    assert main(["score", "truth=truth.json", "answers=found.json", "resamples=0", "out=out"]) == 0
    assert json.loads((tmp_path / "out" / "score.json").read_text())["metrics"]["mAP@0.5"] == pytest.approx(0.5)


def test_4_videos_without_proposals_count():
    """One gave KeyError or IndexError, none at all a division by zero, and BMN could not stack them."""
    assert average_recall(TRUTH, rows((0, 0, 10, 0.9))).at(100) == 0.5
    nothing = Detections(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0))
    assert average_recall(TRUTH, nothing).at(100) == 0
    segments, scores = boundary_candidates(BmnOutput(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3), torch.zeros(1, 3)))[0]
    assert segments.shape == (len(scores), 2)


def test_5_ar_at_a_number_is_that_number_for_any_largest_number():
    """AR@100 was the last of 100 columns, whatever number of proposals it stood for."""
    good = [(video, *TRUTH.extent[video], 0.5) for video in (0, 1)]
    bad = [(video, 50 + i, 51 + i, 0.9 - i / 100) for video in (0, 1) for i in range(3)]
    proposals = rows(*bad, *good)  # the true one is the fourth of each video
    for largest in (4, 8, 100):
        curve = average_recall(TRUTH, proposals, max_proposals=largest)
        assert (curve.at(3), curve.at(4)) == (0, 1), largest


def test_6_scores_are_not_rounded_before_ranking():
    """AVA's were written with three decimals."""
    truth = rows((0, 0, 0, 1, 1, 0))
    found = rows((0, 0.5, 0.5, 1, 1, 0.90001), (0, 0, 0, 1, 1, 0.90002))
    assert match_boxes(truth, found, num_classes=1).average_precision()[0, 0] == 1


def test_7_detections_in_frames_without_annotations_are_ignored_by_default():
    """0.x counted them, 1.x does not, and neither printed it."""
    truth, found = rows((0, 0, 0, 1, 1, 0)), rows((1, 0, 0, 1, 1, 0.9), (0, 0, 0, 1, 1, 0.8))
    values = [
        match_boxes(truth, found, num_classes=1, count_empty_frames=count).average_precision()[0, 0]
        for count in (False, True)
    ]
    assert values == [1, 0.5]


def test_8_measuring_boxes_writes_no_file_into_the_working_directory(tmp_path, monkeypatch):
    """AVA_<second>_result.csv was written there, by two jobs of one second at once."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (tmp_path / "truth.csv").write_text("a,902,0.1,0.1,0.5,0.5,1,0\n")
    (tmp_path / "found.csv").write_text("a,902,0.1,0.1,0.5,0.5,1,0.9\n")
    assert main(["score", f"truth={tmp_path / 'truth.csv'}", f"answers={tmp_path / 'found.csv'}", "resamples=0"]) == 0
    assert list((tmp_path / "empty").iterdir()) == []


def test_9_batches_of_any_size_are_evaluated():
    """Both tasks took one video at a time; tests/task/test_localization.py compares the results."""
    one = SegmentSample(
        torch.ones(2, 3), torch.zeros(1, 2).double(), torch.zeros(1, dtype=torch.int64), 0, 0.0, 1.0, 3.0
    )
    two = SegmentSample(
        torch.ones(2, 5), torch.zeros(0, 2).double(), torch.zeros(0, dtype=torch.int64), 1, 0.0, 1.0, 5.0
    )
    batch = SegmentSample.collate([one, two])
    assert batch.features.shape == (2, 2, 5)
    assert batch.valid.sum(1).tolist() == [3, 5]
    assert batch.features[0, :, 3:].abs().sum() == 0
    assert [len(part) for part in batch.positions()] == [1, 0]


def test_10_bmn_proposes_segments_that_end_with_the_video():
    """The last end was that of the last but one position."""
    output = BmnOutput(torch.ones(1, 2, 4, 4), torch.ones(1, 4), torch.ones(1, 4))
    assert boundary_candidates(output)[0][0].max() == 4
    assert boundary_candidates(output, last_bin=False)[0][0].max() == 3


def test_11_of_equal_scores_the_earlier_row_ranks_first():
    """The order was that of a reversed sort which is not stable."""
    wrong = [(0, 50 + i, 51 + i, 0.5) for i in range(30)]
    right = (0, 0, 10, 0.5)
    truth = rows((0, 0, 10, 0))
    for place in (0, 7, 30):
        found = rows(*wrong[:place], right, *wrong[place:])
        assert average_precision(truth, found, num_classes=1, thresholds=[0.5]) == pytest.approx(1 / (place + 1))


def test_12_excluded_key_frames_are_a_set(tmp_path):
    """They were searched in a list for every box."""
    (tmp_path / "excluded.csv").write_text("".join(f"v{i},{900 + i}\n" for i in range(2000)))
    excluded = read_key_frames(tmp_path / "excluded.csv")
    assert isinstance(excluded, set)
    assert len(excluded) == 2000


def test_13_a_pickle_is_not_read(tmp_path):
    """Proposals were pickles, which can run code."""
    np.save(tmp_path / "v.npy", np.array([{"a": math.pi}], object))
    with pytest.raises(UserError, match="is not an array of numbers"):
        read_features(tmp_path / "v.npy")
