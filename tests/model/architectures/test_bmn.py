"""BMN against recorded results of mmaction2 0.24.1: keys, logits, targets, losses, proposals."""

import json
import math
import zlib

import numpy as np
import pytest
import torch
from support.paths import GOLDEN_DIR

from vexp.evaluation.temporal import soft_nms
from vexp.model.architectures.bmn import BmnOutput, boundary_candidates, boundary_labels, sample_mask
from vexp.model.localizers import Bmn as BmnOption
from vexp.model.localizers import BmnLoss
from vexp.model.segment_losses import SegmentTargets, balanced_log_loss
from vexp.model.weights.config import Weights

GOLDEN = json.loads((GOLDEN_DIR / "bmn.json").read_text())
SMALL = GOLDEN["small"]
#: Losses that differ on purpose with ``limit_ratio``: there are more segments of high than of medium or low IoU.
RATIO_ABOVE_ONE = {"random 2", "random 3"}


def cases(kind):
    return [pytest.param(case, id=case["name"]) for case in GOLDEN["cases"] if case["kind"] == kind]


def executed(case):
    names = {"np": np}
    exec(case["recipe"], names)
    return names


def small_option(**values):
    sizes = {"feature_dim": 8, "length": 12, "num_samples": 4, "hidden_1d": 16, "hidden_2d": 8, "hidden_3d": 12}
    return BmnOption(**sizes | values)


@pytest.fixture(scope="module")
def small():
    """The net with the weights of the recording."""
    model = small_option().build(1)
    for key, tensor in model.state_dict().items():
        rng = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
        shape = tuple(tensor.shape)
        values = rng.standard_normal(shape) * (0.1 if tensor.ndim <= 1 else math.sqrt(1 / np.prod(shape[1:])))
        tensor.copy_(torch.from_numpy(values))
    return model.eval()


def features(shape, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


@pytest.mark.parametrize("recorded", [SMALL, GOLDEN["published"]], ids=lambda recorded: recorded["name"])
def test_bmn_keys_and_shapes_equal_mmaction2(recorded):
    model = (small_option() if recorded is SMALL else BmnOption(length=4)).build_architecture(1)
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert shapes == {key: shape for key, shape in recorded["keys"].items() if key != "sample_mask"}
    count = sum(math.prod(shape) for shape in shapes.values())
    assert count == recorded["parameters_without_sample_mask"]


def test_bmn_outputs_equal_mmaction2(small):
    with torch.no_grad():
        output = small(features(SMALL["input"]))
    assert output.confidence.flatten()[:32].tolist() == pytest.approx(SMALL["logits"], abs=1e-6)
    assert float(output.confidence.norm()) == pytest.approx(SMALL["logits_norm"], rel=1e-6)
    assert output.start[0].tolist() == pytest.approx(SMALL["start"], abs=1e-6)
    assert output.end[0].tolist() == pytest.approx(SMALL["end"], abs=1e-6)


def test_bmn_adapt_leaves_out_the_mask_of_mmaction2(small):
    saved = {**small.state_dict(), "sample_mask": small.sample_mask}
    assert small_option().adapt(saved, small).keys() == small.state_dict().keys()


def test_bmn_starts_from_a_checkpoint_of_mmaction2(small, tmp_path):
    content = {
        "meta": {"mmaction_version": "0.24.1"},
        "state_dict": {**small.state_dict(), "sample_mask": torch.ones(1)},
    }
    torch.save(content, tmp_path / "bmn.pth")
    model = small_option(weights=Weights(path=str(tmp_path / "bmn.pth"))).build(1)
    for key, tensor in small.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor), key


@pytest.mark.parametrize("case", cases("BMN sample_mask"))
def test_sample_mask_equals_mmaction2(case):
    sizes = (case["temporal_dim"], case["boundary_ratio"], case["num_samples"], case["num_samples_per_bin"])
    assert sample_mask(*sizes).flatten().tolist() == pytest.approx(case["out"]["mask"], abs=1e-6)


@pytest.mark.parametrize("case", [case for case in cases("BMN labels") if "error" not in case.values[0]])
def test_boundary_labels_equal_mmaction2(case):
    truth = [torch.from_numpy(segments) for segments in executed(case)["gt"]]
    labels = zip(*(boundary_labels(segments, case["temporal_dim"]) for segments in truth), strict=True)
    for part, expected in zip(labels, case["out"], strict=True):
        assert torch.stack(part).flatten().tolist() == pytest.approx(np.ravel(expected).tolist(), abs=1e-6)


def test_boundary_labels_of_a_video_without_segments_are_zero():
    """The original raises ValueError."""
    iou, start, end = boundary_labels(torch.zeros(0, 2), 5)
    assert iou.shape == (5, 5)
    assert not any(part.any() for part in (iou, start, end))


@pytest.mark.parametrize("case", cases("binary_logistic_regression_loss"))
def test_balanced_log_loss_equals_mmaction2(case):
    names = executed(case)
    score, label = (torch.from_numpy(np.asarray(names[key])).float() for key in ("score", "label"))
    assert float(balanced_log_loss(score, label)) == pytest.approx(case["out"], rel=1e-6)


@pytest.mark.parametrize("limit_ratio", [False, True])
@pytest.mark.parametrize("case", cases("BMNLoss"))
def test_bmn_loss_equals_mmaction2(case, limit_ratio):
    names = executed(case)
    bm, start, end, gt_start, gt_end, iou = (
        torch.from_numpy(np.array(names[key])).float() for key in ("bm", "start", "end", "gt_start", "gt_end", "iou")
    )
    torch.manual_seed(case["torch_seed"])
    draws = torch.rand(2, *iou.shape)
    loss = BmnLoss(limit_ratio=limit_ratio).build()
    losses = loss.from_labels(BmnOutput(bm, start, end), iou, gt_start, gt_end, draws)
    expected = case["out"]
    assert float(losses["loss_boundary"]) == pytest.approx(expected["tem"], rel=1e-6)
    assert float(losses["loss_classification"]) == pytest.approx(expected["pem_cls"], rel=1e-6)
    differs = limit_ratio and case["name"] in RATIO_ABOVE_ONE
    assert (float(losses["loss_regression"]) == pytest.approx(expected["pem_reg"], rel=1e-5)) != differs
    assert (float(losses["loss"]) == pytest.approx(expected["loss"], rel=1e-6)) != differs


def test_bmn_loss_of_recorded_batch_equals_mmaction2(small):
    recorded = SMALL["train"]
    truth = [torch.tensor(segments, dtype=torch.float64) * 12 for segments in recorded["gt_bbox"]]
    output = small(features(recorded["input"], recorded["input_seed"]))
    iou, start, end = map(torch.stack, zip(*(boundary_labels(part / 12, 12) for part in truth), strict=True))
    torch.manual_seed(recorded["torch_seed"])
    losses = BmnLoss().build().from_labels(output, iou, start, end, torch.rand(2, 2, 12, 12))
    names = {"loss": "loss", "tem_loss": "loss_boundary", "pem_reg_loss": "loss_regression",
             "pem_cls_loss": "loss_classification"}  # fmt: skip
    for theirs, ours in names.items():
        assert float(losses[ours].detach()) == pytest.approx(recorded[theirs], rel=1e-5), ours


def test_bmn_loss_without_segments_is_finite(small):
    """The original divides 0 by 0."""
    losses = BmnLoss().build()(small(features((1, 8, 12))), SegmentTargets([torch.zeros(0, 2)], [torch.zeros(0)]))
    assert all(bool(value.isfinite()) for value in losses.values())


def test_boundary_candidates_after_soft_nms_equal_mmaction2(small):
    recorded = SMALL["proposals"]
    with torch.no_grad():
        segments, scores = boundary_candidates(small(features(SMALL["input"])), last_bin=False)[0]
    chosen, decayed = soft_nms(segments.numpy() / 12, scores.numpy(), alpha=0.4, low=0.5, high=0.9, max_segments=20)
    seconds = chosen * 40.0 * (1000 // 16 * 16) / 1000
    assert np.column_stack((decayed, seconds)).ravel() == pytest.approx(np.ravel(recorded["first"]), abs=1e-6)


def test_boundary_candidates_reach_the_end_of_the_video():
    """The original proposes no segment that ends in the last bin."""
    end = torch.tensor([[0.1, 0.1, 0.9]])
    output = BmnOutput(torch.ones(1, 2, 3, 3), torch.tensor([[0.9, 0.1, 0.1]]), end)
    (segments, scores), (theirs, _) = (boundary_candidates(output, last_bin=last)[0] for last in (True, False))
    assert theirs[:, 1].max() == 2
    best = segments[scores.argmax()]
    assert best.tolist() in ([0.0, 2.0], [0.0, 3.0])
    assert segments[:, 1].max() == 3


def test_boundary_candidates_of_constant_scores_have_later_ends():
    segments, _ = boundary_candidates(BmnOutput(torch.ones(1, 2, 4, 4), torch.ones(1, 4), torch.ones(1, 4)))[0]
    assert (segments[:, 1] > segments[:, 0]).all()
    assert len(segments) == 4 * 5 / 2 - 1  # every pair but 0..1 apart from the first end, which is not inner
