"""Batches: the views do not depend on how they are sent, pixels are stored once, flow has its scale."""

import json

import numpy as np
import pytest
import torch
from support.paths import GOLDEN_DIR

from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch, Collate, Sample
from vexp.data.batch.normalize import ImgNorm
from vexp.data.sources.base import ArrayReader
from vexp.data.transforms.crops import CenterCrop, TenCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import SampleFrames, UntrimmedSampleFrames
from vexp.data.transforms.pipeline import make_clips
from vexp.data.transforms.resize import Flip, Resize

GOLDEN = json.loads((GOLDEN_DIR / "flow.json").read_text())


def video(frames, height, width, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (frames, height, width, channels), np.uint8)


def sample(frames, *steps, lazy=True, number=0):
    named = {str(i): step for i, step in enumerate(steps)}
    clips = make_clips(ArrayReader(frames), named, np.random.default_rng(0), lazy=lazy)
    return Sample(clips, torch.tensor(number % 3), number)


TEST_VIEWS = [
    [SampleFrames(clip_len=4, frame_interval=2, num_clips=3, test_mode=True), Resize(scale=[-1, 12]), crop]
    for crop in (ThreeCrop(crop_size=12), TenCrop(crop_size=8), CenterCrop(crop_size=8))
]


@pytest.mark.parametrize("steps", TEST_VIEWS)
def test_batch_lazy_views_equal_eager_views(steps):
    # Videos of any length and shape in one batch: only the views must be alike.
    videos = [video(30, 20, 30), video(9, 24, 18), video(3, 12, 12), video(40, 16, 40)]
    lazy = [sample(frames, *steps, number=i) for i, frames in enumerate(videos)]
    eager = [sample(frames, *steps, lazy=False, number=i) for i, frames in enumerate(videos)]
    batch = Collate()(lazy)
    expected = np.stack([one.frames for one in eager])
    np.testing.assert_array_equal(batch.frames, expected)
    np.testing.assert_array_equal(Collate()(eager).frames, expected)
    assert (len(batch), batch.views) == (4, expected.shape[1])
    assert batch.labels.tolist() == [0, 1, 2, 0]
    assert batch.ids.tolist() == [0, 1, 2, 3]
    flat = expected.reshape(-1, *expected.shape[2:])
    for start, stop in ((0, 1), (2, 5), (0, len(flat)), (len(flat) - 4, len(flat)), (3, 2 * batch.views + 1)):
        np.testing.assert_array_equal(batch.build(start, stop), flat[start:stop])
    moved = batch.to(torch.device("cpu"))
    np.testing.assert_array_equal(moved.frames, expected)


def test_collate_ten_clips_of_three_crops_sends_distinct_frames():
    # 300 frames of 340x256, the protocol of SlowFast: what goes to the device is a quarter of its uint8 views.
    steps = [
        SampleFrames(clip_len=16, frame_interval=4, num_clips=10, test_mode=True),
        Resize(scale=[-1, 256]),
        ThreeCrop(crop_size=256),
    ]
    frames = np.zeros((300, 256, 340, 3), np.uint8)
    made = sample(frames, *steps)
    numbers = steps[0].indices(300, np.random.default_rng(0))
    assert made.clips.layout.num_bytes == len(np.unique(numbers)) * 256 * 340 * 3 == 23_500_800
    assert made.clips.layout.views * np.prod(made.clips.layout.view_shape) == 94_371_840


def test_batch_training_clips_are_not_copied():
    steps = [SampleFrames(clip_len=4), CenterCrop(crop_size=8), Flip(flip_ratio=1.0)]
    batch = Collate()([sample(video(9, 12, 12, seed=i), *steps, number=i) for i in range(3)])
    assert batch.frames.data_ptr() == batch.pixels.data_ptr()
    assert batch.frames.shape == (3, 1, 4, 8, 8, 3)
    np.testing.assert_array_equal(batch.frames[1], sample(video(9, 12, 12, seed=1), *steps).frames)


def test_of_views_returns_batch_of_views():
    frames = torch.from_numpy(video(2 * 3 * 4, 5, 6).reshape(2, 3, 4, 5, 6, 3))
    batch = Batch.of_views(frames, torch.tensor([1, 0]), torch.tensor([7, 8]))
    assert torch.equal(batch.frames, frames)
    assert torch.equal(batch.build(2, 5), frames.flatten(0, 1)[2:5])


def test_collate_different_views_raises():
    sampler = UntrimmedSampleFrames(clip_len=2, clip_interval=4)
    samples = [sample(video(length, 6, 6), sampler, number=i) for i, length in enumerate((8, 8, 12))]
    assert Collate()(samples[:2]).frames.shape == (2, 2, 2, 6, 6, 3)
    with pytest.raises(UserError, match=r"samples 0 and 2 .* 2 x 2 x 6 x 6 x 3 and 3 x 2 x 6 x 6 x 3"):
        Collate()(samples)


# ---- flow ----

FLOW = ImgNorm(mean=[128.0, 128.0], std=[128.0, 128.0])


@pytest.mark.parametrize("adjust", [False, True])
def test_img_norm_flow_equals_mmaction2(adjust):
    frames = np.array(GOLDEN["inputs"], np.uint8)  # (T, H, W, 2)
    norm = ImgNorm(mean=GOLDEN["mean"], std=GOLDEN["std"], adjust_magnitude=adjust)
    batch = Collate()([sample(frames, SampleFrames(clip_len=len(frames)))])
    batch.scale[:] = torch.tensor(GOLDEN["scale_factor"])
    expected = np.array(GOLDEN["outputs"])
    if adjust:  # by the width's factor for x, the height's for y: mmaction2's rule, not part of the record
        expected = expected * GOLDEN["scale_factor"]
    out = norm.prepare_input(batch)
    assert out.shape == (1, 2, len(frames), *frames.shape[1:3])  # (N, C, T, H, W)
    np.testing.assert_allclose(out[0], np.moveaxis(expected, -1, 0), rtol=1e-6)


@pytest.mark.parametrize("lazy", [True, False])
def test_collate_flow_scale_is_product_of_resizes(lazy):
    steps = [
        SampleFrames(clip_len=2, num_clips=2, test_mode=True), Resize(scale=[40, 30], keep_ratio=False),
        CenterCrop(crop_size=[20, 10]), Resize(scale=[10, 20], keep_ratio=False), Flip(flip_ratio=1.0),
    ]  # fmt: skip
    batch = Collate()([sample(video(9, 10, 20, channels=2), *steps, lazy=lazy)])
    # width 20 -> 40, then 20 -> 10; height 10 -> 30, then 10 -> 20
    np.testing.assert_allclose(batch.scale, [[1.0, 6.0]] * 2)
    plain, adjusted = (
        FLOW.prepare_input(batch),
        ImgNorm(mean=FLOW.mean, std=FLOW.std, adjust_magnitude=True).prepare_input(batch),
    )
    torch.testing.assert_close(adjusted, plain * torch.tensor([1.0, 6.0]).view(1, 2, 1, 1, 1))


def test_collate_rgb_has_no_scale():
    assert Collate()([sample(video(4, 8, 8), SampleFrames(clip_len=2), Resize(scale=0.5))]).scale is None


@pytest.mark.parametrize(("norm", "channels"), [(FLOW, 3), (ImgNorm(), 2)])
def test_img_norm_rejects_other_number_of_channels(norm, channels):
    batch = Collate()([sample(video(4, 8, 8, channels=channels), SampleFrames(clip_len=2))])
    with pytest.raises(UserError, match=rf"the frames have {channels} channels"):
        norm.prepare_input(batch)


def test_prepare_input_range_equals_slice_of_all_views():
    steps = TEST_VIEWS[0]
    batch = Collate()([sample(video(30, 20, 30), *steps), sample(video(9, 24, 18), *steps)])
    whole = ImgNorm().prepare_input(batch)
    assert whole.shape == (18, 3, 4, 12, 12)
    assert torch.equal(ImgNorm().prepare_input(batch, 7, 12), whole[7:12])


@pytest.mark.gpu
def test_batch_from_pinned_memory_is_complete_on_the_gpu():
    """The copy has a stream of its own, and the memory is not reused while a kernel reads it."""
    device = torch.device("cuda", 0)
    for number in range(20):
        frames = torch.randint(0, 256, (2, 1, 8, 64, 64, 3), dtype=torch.uint8)
        labels = torch.full((2,), number)
        batch = Batch.of_views(frames, labels, torch.arange(2)).pin_memory().to(device)
        assert torch.equal(batch.frames.cpu(), frames)
        assert torch.equal(batch.labels.cpu(), labels)
        torch.randn(2048, 2048, device=device) @ torch.randn(2048, 2048, device=device)  # the next copy overlaps
