"""Normalization of frames, against a NumPy reference."""

import numpy as np
import pytest
import torch

from vexp.data.batch.normalize import ImgNorm


def reference(frames, options):
    """(N, T, H, W, 3) RGB -> (N, 3, T, H, W) in double precision, step by step."""
    values = frames.astype(np.float64)
    if options.to_bgr:
        values = values[..., ::-1]
    values = (values - np.array(options.mean)) / np.array(options.std)
    return np.moveaxis(values, -1, 1)


def all_grey_levels():
    """Every level in every channel, and different ones in the three channels of a pixel: uint8 (2, 3, 16, 16, 3)."""
    return np.stack([np.arange(1536).reshape(2, 3, 16, 16) + shift for shift in (0, 85, 170)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "options",
    [
        ImgNorm(),
        ImgNorm(to_bgr=True),
        ImgNorm(mean=[104.0, 117.0, 128.0], std=[1.0, 1.0, 1.0], to_bgr=True),  # C3D's, in BGR order
        ImgNorm(mean=[127.5] * 3, std=[127.5] * 3),
        ImgNorm(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]),
        ImgNorm(mean=[0.0, 0.0, 0.0], std=[255.0, 2.0, 0.5]),
    ],
)
def test_apply_returns_normalized_channels_first(options):
    frames = all_grey_levels()
    out = options.apply(torch.from_numpy(frames))
    assert (out.dtype, out.shape) == (torch.float32, (2, 3, 3, 16, 16))  # (N, C, T, H, W)
    np.testing.assert_allclose(out.numpy(), reference(frames, options), rtol=1e-5, atol=1e-5)


def pixel(options, rgb):
    """One pixel through ``options``."""
    return options.apply(torch.tensor(rgb, dtype=torch.uint8).view(1, 1, 1, 1, 3)).flatten().tolist()


@pytest.mark.parametrize(
    ("values", "out"),
    [
        ({}, [10, 20, 40]),  # RGB stays RGB
        ({"to_bgr": True}, [40, 20, 10]),
        ({"mean": [1.0, 2.0, 3.0]}, [9, 18, 37]),
        ({"mean": [1.0, 2.0, 3.0], "to_bgr": True}, [39, 18, 7]),  # the mean is in BGR order then
        ({"std": [1.0, 2.0, 4.0], "to_bgr": True}, [40, 10, 2.5]),
        ({"mean": [10.0, 0.0, 0.0], "std": [2.0, 4.0, 8.0]}, [0, 5, 5]),  # first minus mean, then over std
    ],
)
def test_apply_to_bgr_swaps_channels(values, out):
    assert pixel(ImgNorm(**{"mean": [0.0] * 3, "std": [1.0] * 3} | values), [10, 20, 40]) == out


def test_defaults_are_mmaction2_values():
    black = pixel(ImgNorm(), [0, 0, 0])
    assert black == pytest.approx([-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375], rel=1e-6)


def test_apply_does_not_change_frames():
    frames = torch.from_numpy(all_grey_levels())
    before = frames.clone()
    ImgNorm(to_bgr=True).apply(frames)
    assert torch.equal(frames, before)


@pytest.mark.parametrize("to_bgr", [False, True])
def test_apply_channels_last_keeps_memory_order(to_bgr):
    frames = torch.zeros((2, 3, 4, 5, 3), dtype=torch.uint8)
    norm = ImgNorm(to_bgr=to_bgr)
    assert norm.apply(frames).is_contiguous()
    assert norm.apply(frames, channels_last=True).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"std": [1.0, 0.0, 1.0]}, r"std=\[1.0,0.0,1.0\]: must be > 0"),
        ({"mean": [1.0]}, r"mean=\[1.0\]: must have 3 values \(RGB\) or 2 \(flow: x, y\), got 1"),
        ({"std": [1.0, 1.0]}, r"std=\[1.0,1.0\] must have as many values"),
        ({"mean": [1.0, 1.0], "std": [1.0, 1.0], "to_bgr": True}, "to_bgr=true: optical flow has no colors"),
        ({"adjust_magnitude": True}, "adjust_magnitude=true: is for optical flow"),
    ],
)
def test_img_norm_rejects_invalid_values(values, text):
    with pytest.raises(ValueError, match=text):
        ImgNorm(**values)


@pytest.mark.parametrize(
    "options",
    [
        ImgNorm(),
        ImgNorm(to_bgr=True, mean=[104.0, 117.0, 128.0], std=[1.0, 2.0, 3.0]),  # swapped back after mean and std
        ImgNorm(mean=[128.0, 128.0], std=[128.0, 128.0], adjust_magnitude=True),  # flow, made longer by a resize
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_undo_inverts_apply(options, channels_last):
    frames = torch.from_numpy(all_grey_levels()[..., : len(options.mean)].copy())
    scale = torch.tensor([[2.0, 0.5], [1.0, 3.0]]) if len(options.mean) == 2 else None
    net = options.apply(frames, scale, channels_last=channels_last)
    assert torch.equal(options.undo(net, scale), frames)
