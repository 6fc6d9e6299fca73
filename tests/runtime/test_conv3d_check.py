"""The check of 3D convolutions of device=mps, on the CPU with right and wrong kernels; the tests had no Mac."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model import build_model
from vexp.runtime import backend, conv3d_check, device
from vexp.runtime.amp import Amp
from vexp.runtime.backend import Backend
from vexp.runtime.conv3d_check import CONVOLUTIONS, LAYOUTS, conv3d_errors, force_layout
from vexp.runtime.distributed import World
from vexp.tools.doctor import devices
from vexp.tools.doctor.check_result import OK, WARNING

CPU, MPS = torch.device("cpu"), torch.device("mps")
FLOAT32 = {torch.float32: 1e-3}
SMALL = CONVOLUTIONS[:2]
BOTH = ("channels_last_3d", "contiguous")
CONV3D = F.conv3d


def is_last(tensor: Tensor) -> bool:
    return not tensor.is_contiguous()


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone(memory_format=torch.preserve_format)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.roll(1, dims=-1) * 2


def faulty(wrong: Callable[[Tensor], bool], change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A conv3d whose output is changed for inputs that are ``wrong``; the reference, float64, is right."""

    def conv3d(x: Tensor, weight: Tensor, **options: object) -> Tensor:
        output = CONV3D(x, weight, **options)  # type: ignore[arg-type]
        return change(output) if x.dtype != torch.float64 and wrong(x) else output

    return conv3d


def test_convolutions_are_those_of_tiny3d_and_r3d_18() -> None:
    with torch.device("meta"):
        models = [build_model(name, 5) for name in ("tiny3d", "r3d_18")]
    found = {
        (module.in_channels, module.out_channels, module.kernel_size, module.stride)
        for model in models
        for module in model.modules()
        if isinstance(module, nn.Conv3d)
    }
    assert found == set(CONVOLUTIONS)


def test_cpu_has_no_error_in_either_layout() -> None:
    errors = conv3d_errors(CPU, tolerances=FLOAT32, convolutions=CONVOLUTIONS[:18])
    assert errors == dict.fromkeys(LAYOUTS, 0.0)  # the sums are exact in float32


@pytest.mark.slow
def test_cpu_has_no_error_with_the_channels_of_r3d_18() -> None:
    assert max(conv3d_errors(CPU, tolerances=FLOAT32).values()) < 0.01


@pytest.mark.parametrize(
    ("wrong", "change", "right"),
    [
        (lambda x: not is_last(x), lambda y: y * 1.01, ["channels_last_3d"]),  # pytorch issue 197114
        (is_last, lambda y: y.flip(2), ["contiguous"]),  # pytorch pull request 141780
        (lambda x: True, lambda y: y * 1.01, []),
        (lambda x: not is_last(x), lambda y: y * float("nan"), ["channels_last_3d"]),
        (is_last, WrongGradient.apply, ["contiguous"]),  # only the backward pass is wrong
        (lambda x: x.shape[1] == 24, lambda y: y * 1.01, []),  # one shape of several
        (lambda x: x.dtype == torch.bfloat16, lambda y: y * 1.1, []),  # one type of several
    ],
)  # fmt: skip
def test_wrong_kernel_is_found(
    wrong: Callable[[Tensor], bool],
    change: Callable[[Tensor], Tensor],
    right: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(F, "conv3d", faulty(wrong, change))
    tolerances = {torch.float32: 1e-3, torch.bfloat16: 3e-2}
    errors = conv3d_errors(CPU, tolerances=tolerances, convolutions=SMALL)
    assert [name for name, error in errors.items() if error <= 1] == right


def test_type_that_the_device_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def conv3d(x: Tensor, weight: Tensor, **options: object) -> Tensor:
        if x.dtype == torch.bfloat16:
            raise TypeError("BFloat16 is not supported on MPS")
        return CONV3D(x, weight, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "conv3d", conv3d)
    assert max(conv3d_errors(CPU, tolerances={torch.bfloat16: 1.0} | FLOAT32, convolutions=SMALL).values()) < 0.01


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Simulate a Mac whose convolutions are right in some layouts."""

    def simulate(*right: str) -> None:
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        for module in (device, conv3d_check):
            monkeypatch.setattr(module, "right_layouts", lambda _: right)

    return simulate


def test_mps_is_refused_without_an_apple_gpu_and_if_convolutions_are_wrong(mac: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match="no Apple GPU") as error:
        device.pick_device("mps")
    assert error.value.key == "device"
    mac()
    with pytest.raises(ConfigError, match="197114"):
        device.pick_device("mps")
    mac(*BOTH)
    assert device.pick_device("mps") == MPS


def test_auto_prefers_cuda_and_does_not_choose_mps(mac: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    mac(*BOTH)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.pick_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device.pick_device("auto") == torch.device("cuda")
    assert device.pick_device("auto", World(0, 2, 0)) == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("right", "chosen", "used"),
    [
        (BOTH, None, True),
        (BOTH, False, False),
        (BOTH, True, True),
        (BOTH[:1], None, True),
        (BOTH[:1], True, True),
        (BOTH[:1], False, None),  # refused
        (BOTH[1:], None, False),
        (BOTH[1:], False, False),
        (BOTH[1:], True, None),
    ],
)
def test_layout_of_mps_is_one_that_is_right(
    right: tuple[str, ...], chosen: bool | None, used: bool | None, mac: Callable[..., None]
) -> None:
    mac(*right)
    options = Backend(channels_last=chosen)
    if used is None:
        with pytest.raises(ConfigError, match="wrong results") as error:
            options.channels_last_on(MPS)
        assert (error.value.key, error.value.value) == ("backend.channels_last", chosen)
    else:
        assert options.channels_last_on(MPS) == used


@pytest.mark.parametrize("layout", BOTH)
def test_prepare_converts_the_input_of_every_convolution_if_one_layout_is_right(
    layout: str, mac: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mac(layout)
    monkeypatch.setattr(nn.Module, "to", lambda self, *_: self)  # there is no such device here
    model = Backend().prepare(build_model("tiny3d", 5), MPS)
    assert "pytorch issue 197114" in caplog.text
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(
                lambda conv, inputs, _: seen.append((inputs[0].is_contiguous(memory_format=LAYOUTS[layout]), conv))
            )
    model(torch.rand(2, 3, 4, 32, 32))
    assert len(seen) == sum(isinstance(module, nn.Conv3d) for module in model.modules())
    assert all(converted for converted, _ in seen)


def test_forced_layout_changes_no_result() -> None:
    torch.manual_seed(0)
    model, clips = build_model("tiny3d", 5).eval(), torch.rand(2, 3, 4, 32, 32)
    expected = model(clips)
    force_layout(model, torch.channels_last_3d)
    torch.testing.assert_close(model(clips), expected)
    assert backend.logger.name == "vexp.runtime.backend"


def test_loss_scaling_on_mps_needs_torch_2_8(monkeypatch: pytest.MonkeyPatch) -> None:
    version = type(torch.__version__)
    monkeypatch.setattr(torch, "__version__", version("2.7.1"))
    with pytest.raises(ConfigError, match=r"torch 2\.8"):
        Amp(dtype="fp16").scaler(MPS)
    assert not Amp(dtype="bf16").scaler(MPS).is_enabled()
    monkeypatch.setattr(torch, "__version__", version("2.8.0"))
    assert Amp(dtype="fp16").scaler(MPS).is_enabled()


@pytest.mark.parametrize(
    ("right", "status", "text"),
    [
        (BOTH, OK, "equal those of the CPU"),
        (BOTH[:1], OK, "channels_last_3d, which is enforced"),
        ((), WARNING, "refused"),
    ],
)
def test_doctor_describes_the_gpu_of_a_mac(
    right: tuple[str, ...], status: str, text: str, mac: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mac(*right)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _, result = devices.torch_and_devices()
    assert (result.name, result.status) == ("mps", status)
    assert text in result.text
