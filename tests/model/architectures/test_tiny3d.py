"""The small (2+1)D model: sizes, gradients, and what its options promise."""

from __future__ import annotations

import pytest
import torch

from vexp.model.architectures.tiny3d import Tiny3d

NORMS = ("batch", "group")


def tiny3d(norm: str = "batch", *, dropout: float = 0.0) -> Tiny3d:
    torch.manual_seed(0)
    return Tiny3d(8, width=24, norm=norm, dropout=dropout)


@pytest.mark.parametrize("norm", NORMS)
def test_tiny3d_has_quarter_of_a_million_parameters(norm: str) -> None:
    assert 200_000 < sum(parameter.numel() for parameter in tiny3d(norm).parameters()) < 350_000


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [
        (8, 64, 64),  # the usual input
        (1, 64, 64),  # one frame
        (1, 32, 32),  # the smallest clip
        (3, 17, 31),  # nothing divides
        (9, 48, 40),  # oblong
    ],
)
def test_tiny3d_any_clip_gives_logits(norm: str, frames: int, height: int, width: int) -> None:
    model = tiny3d(norm)
    clip = torch.randn(1, 3, frames, height, width)
    for mode in (True, False):  # in training, too: batch norm needs more than one value a channel
        logits = model.train(mode)(clip)
        assert logits.shape == (1, 8)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


def test_tiny3d_stages_have_documented_shapes() -> None:
    model, shapes = tiny3d(), []
    for stage in (model.stem, model.stage1, model.stage2, model.stage3):
        stage.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    model(torch.randn(2, 3, 8, 64, 64))
    assert shapes == [(2, 24, 8, 32, 32), (2, 24, 8, 16, 16), (2, 48, 4, 8, 8), (2, 96, 2, 4, 4)]


@pytest.mark.parametrize("norm", NORMS)
def test_tiny3d_every_parameter_gets_gradient(norm: str) -> None:
    model = tiny3d(norm)
    logits = model(torch.randn(4, 3, 8, 32, 32))
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    silent = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


def test_tiny3d_frame_order_changes_logits() -> None:
    model = tiny3d().eval()
    clip = torch.randn(2, 3, 8, 64, 64)
    assert not torch.allclose(model(clip), model(clip.flip(2)), atol=1e-3)


def test_tiny3d_group_norm_is_independent_of_batch() -> None:
    clips = torch.randn(4, 3, 4, 32, 32)
    for norm, alone in (("group", True), ("batch", False)):
        model = tiny3d(norm).train()
        same = torch.allclose(model(clips)[:1], model(clips[:1]), atol=1e-4)
        assert same is alone


def test_tiny3d_memory_format_of_input_does_not_change_logits() -> None:
    model = tiny3d().eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(model(clips), model(clips.contiguous(memory_format=torch.channels_last_3d)))


def test_tiny3d_dropout_applies_in_training_only() -> None:
    model, clips = tiny3d("group", dropout=0.5), torch.randn(2, 3, 4, 32, 32)
    model.train()
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    assert torch.equal(model(clips), model(clips))


@pytest.mark.parametrize(
    ("norm", "width"),
    [
        ("layer", 24),  # no such norm
        ("group", 20),  # not a whole number of groups
    ],
)
def test_tiny3d_impossible_norm_raises(norm: str, width: int) -> None:
    with pytest.raises(ValueError, match=f"norm={norm}|width={width}"):
        Tiny3d(8, width=width, norm=norm, dropout=0.0)
