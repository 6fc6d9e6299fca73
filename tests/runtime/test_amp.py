"""Mixed precision: dtype of autocast, scaling of the loss, and invalid options."""

import pytest
import torch

from vexp.runtime.amp import Amp

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("dtype", "product", "scaled"),
    [
        ("fp32", torch.float32, False),
        ("bf16", torch.bfloat16, False),  # has the range of fp32, so gradients do not underflow
        ("fp16", torch.float16, True),
    ],
)
def test_amp_dtype_of_product_and_loss_scaling(dtype, product, scaled):
    amp = Amp(dtype=dtype)
    a = torch.ones(4, 4)
    with amp.autocast(CPU):
        assert (a @ a).dtype == product
    assert (a @ a).dtype == torch.float32  # outside of autocast
    scaler = amp.scaler(CPU)
    assert scaler.is_enabled() == scaled
    assert float(scaler.scale(torch.tensor(2.0))) == (2.0 * 2**16 if scaled else 2.0)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_scaler_without_fp16_leaves_step_unchanged(dtype):
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    scaler = Amp(dtype=dtype).scaler(CPU)
    scaler.scale(parameter.sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert parameter.tolist() == [0.5]
    assert (scaler.get_scale(), scaler.state_dict()) == (1.0, {})


def test_scaler_with_fixed_loss_scale_skips_overflow():
    scaler = Amp(dtype="fp16", loss_scale=512.0).scaler(CPU)
    assert scaler.get_scale() == 512.0
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    scaler.scale((parameter * float("inf")).sum()).backward()  # an overflow: the step is skipped
    scaler.step(optimizer)
    scaler.update()
    assert parameter.tolist() == [1.0]
    assert scaler.get_scale() == 256.0
    scaler.update(512.0)  # as the training step does, so that the scale is fixed
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"dtype": "bf16", "loss_scale": 512.0}, "loss_scale=512.0: only dtype=fp16 scales"),
        ({"loss_scale": 1.0}, "loss_scale=1.0: only dtype=fp16 scales"),
        ({"dtype": "fp16", "loss_scale": 0.0}, "loss_scale=0.0: must be > 0"),
        ({"dtype": "float16"}, "dtype=float16: must be one of fp32, bf16, fp16"),
    ],
)
def test_amp_rejects_invalid_options(values, text):
    with pytest.raises(ValueError, match=text):
        Amp(**values)


@pytest.mark.parametrize(("frames", "kernel"), [(2, (3, 1, 1)), (2, (3, 3, 3)), (3, (5, 1, 1))])
def test_backward_of_short_clips_in_bfloat16_is_repeatable(frames: int, kernel: tuple[int, int, int]) -> None:
    """In oneDNN the gradient of the weights contains uninitialized memory, here made NaN (torch 2.15)."""
    device, amp = torch.device("cpu"), Amp(dtype="bf16")
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(16, 16, kernel, padding=tuple(size // 2 for size in kernel), bias=False)
    clips = torch.randn(2, 16, frames, 4, 4)
    gradients = []
    for precision in (amp, amp, amp, Amp()):
        conv.zero_grad()
        with precision.autocast(device):
            loss = conv(clips).float().square().mean()
        dirty = [torch.full((1 << power,), float("nan")) for power in (10, 12, 14, 16, 18) for _ in range(24)]
        del dirty
        with precision.backward(device, conv):
            loss.backward()
        assert conv.weight.grad is not None
        gradients.append(conv.weight.grad.clone())
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])
    torch.testing.assert_close(gradients[0], gradients[3], atol=2e-3, rtol=0.05)
    assert torch.backends.mkldnn.enabled


def test_backward_leaves_onednn_on_where_it_is_right() -> None:
    device, padded, patches = torch.device("cpu"), torch.nn.Conv3d(1, 1, 3, padding=1), torch.nn.Conv3d(1, 1, 2)
    for amp, model, enabled in (
        (Amp(dtype="bf16"), padded, False),
        (Amp(dtype="bf16"), patches, True),
        (Amp(), padded, True),
    ):
        with amp.backward(device, model):
            assert torch.backends.mkldnn.enabled is enabled
