"""The detection models: mmaction2's keys and logits, its regions and losses, and boxes of several clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.ava_cases import FILE, cases, names
from support.recorded_models import clip_of, filled

from vexp.model import build_model, roi
from vexp.model.architectures.roi import align, pool_over_time, whole_frames
from vexp.model.loss import Bce, Focal

OPTIONS = {
    "slowonly_r50": roi.SlowOnlyRoi(),
    "slowonly_nl_r50": roi.SlowOnlyRoi(non_local="embedded_gaussian", non_local_scale=True),
    "slowfast_r50": roi.SlowFastRoi(),
    "slowfast_r50_8x8": roi.SlowFastRoi(alpha=4, slow_stride=4, fusion_kernel=7),
    "slowfast_temporal_max_r50": roi.SlowFastRoi(alpha=4, slow_stride=4, fusion_kernel=7, temporal_pool="max"),
}
_UNUSED = 2048 + 1, 2304 + 1  # parameters of mmaction2's output 0, which no box is trained on


@pytest.mark.parametrize("name", OPTIONS)
def test_adapt_mmaction2_checkpoint_matches_every_tensor(name: str) -> None:
    recorded, option = FILE["nets"][name], OPTIONS[name]
    with torch.device("meta"):
        model = option.build_architecture(80)
        theirs = option.adapt({key: torch.empty(shape) for key, shape in recorded["keys"].items()}, model)
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in model.state_dict().items()}
    ours = sum(parameter.numel() for parameter in model.parameters())
    assert recorded["parameters"] - ours in _UNUSED


@pytest.mark.parametrize(
    "name",
    ["slowonly_r50", *(pytest.param(n, marks=pytest.mark.slow) for n in ("slowfast_r50", "slowfast_temporal_max_r50"))],
)
def test_model_with_mmaction2_weights_equals_recorded_logits(name: str) -> None:
    recorded, option = FILE["nets"][name], OPTIONS[name]
    with torch.device("meta"):
        model = option.build_architecture(80).eval()
    theirs = {key: filled(key, shape) for key, shape in recorded["keys"].items()}
    model.load_state_dict(option.adapt(theirs, model), assign=True)
    with torch.no_grad():
        logits = model(clip_of(recorded["input"]), torch.tensor(recorded["rois"], dtype=torch.float32))
    expected = torch.tensor(recorded["box_logits"])
    assert logits.shape == (len(recorded["rois"]), 80)
    assert (logits[:, :7] - expected[:, 1:]).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("case", cases("losses", "SingleRoIExtractor3D"), ids=lambda case: case["name"])
def test_align_equals_recorded_regions(case: dict) -> None:
    given, options = names(case), case["kw"]
    if "aligned" in options or "sampling_ratio" in options:
        pytest.skip("published configs use the defaults")
    pathways = [torch.tensor(values, dtype=torch.float32) for values in given["feats"]]
    pooled = pool_over_time(pathways, {"avg": "mean"}.get(options.get("temporal_pool_mode", "avg"), "max"))
    boxes = torch.tensor(given["rois"], dtype=torch.float32)
    regions = align(pooled, boxes, options["output_size"], 1 / options.get("featmap_stride", 16))
    assert list(regions[:, :, None].shape) == case["out"]["shape"]
    expected = torch.tensor(case["out"]["values"])
    assert torch.allclose(regions.flatten()[: len(expected)], expected, atol=2e-6)


@pytest.mark.parametrize("case", cases("losses", "BBoxHeadAVA.loss"), ids=lambda case: case["name"])
def test_loss_of_boxes_equals_recorded(case: dict) -> None:
    given, options = names(case), case["kw"]
    if options.get("multilabel") is False:
        pytest.skip("boxes have several labels")
    score, labels = (torch.tensor(given[name], dtype=torch.float32)[:, 1:] for name in ("score", "labels"))
    loss = Focal(alpha=options.get("focal_alpha", 1.0), gamma=options.get("focal_gamma", 0.0)).build()
    rows = labels.any(1)
    assert float(loss(score[rows], labels[rows])) == pytest.approx(case["out"]["loss_action_cls"], rel=1e-6)
    if "focal_alpha" not in options:
        assert float(Bce().build()(score[rows], labels[rows])) == pytest.approx(float(loss(score[rows], labels[rows])))


def test_model_boxes_of_several_clips_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    model = build_model("tiny3d_boxes", 5).eval()
    clips = torch.randn(3, 3, 4, 48, 64)
    boxes = torch.tensor([[2, 0, 0, 30, 40], [0, 5, 5, 60, 44], [2, 10, 3, 20, 20], [1, 0, 0, 64, 48]]).float()
    with torch.no_grad():
        together = model(clips, boxes)
        alone = [model(clips[int(row[0])][None], torch.cat([torch.zeros(1), row[1:]])[None])[0] for row in boxes]
        assert model(clips, boxes[:0]).shape == (0, 5)
        assert torch.equal(model(clips), model(clips, whole_frames(clips)))
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_backward_small_model_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    model = build_model("tiny3d_boxes", 3).train()
    boxes = torch.tensor(np.array([[0, 0, 0, 40, 40], [1, 8, 8, 30, 30]]), dtype=torch.float32)
    model(torch.randn(2, 3, 4, 48, 48), boxes).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
