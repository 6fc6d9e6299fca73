"""Backend options of torch: switches, and results that do not depend on them."""

import shutil

import pytest
import torch

from vexp.model import build_model
from vexp.runtime.backend import Backend


def switches():
    return (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.get_num_threads())


@pytest.fixture(autouse=True)
def _reset_switches():
    yield
    Backend().set_switches()


@pytest.mark.parametrize(
    ("tf32", "matmul", "conv"), [("none", "highest", False), ("conv", "highest", True), ("all", "high", True)]
)
def test_set_switches_sets_and_resets_every_switch(tf32, matmul, conv):
    Backend().set_switches()
    default = switches()
    Backend(tf32=tf32, threads=3).set_switches()
    assert switches() == (matmul, conv, 3)
    Backend().set_switches()
    assert switches() == default


def outputs(backend, clips):
    torch.manual_seed(0)
    model = backend.prepare(build_model("tiny3d", 5), torch.device("cpu")).eval()
    with torch.no_grad():
        return model, model(clips)


def test_channels_last_changes_memory_format_only():
    clips = torch.rand(2, 3, 4, 32, 32)
    reference, expected = outputs(Backend(), clips)
    model, actual = outputs(Backend(channels_last=True), clips.contiguous(memory_format=torch.channels_last_3d))
    convolution = next(module for module in model.modules() if isinstance(module, torch.nn.Conv3d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(actual, expected)
    assert model.state_dict().keys() == reference.state_dict().keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.filterwarnings("ignore")  # warnings of torch's compiler
def test_compiled_model_gives_equal_outputs_and_state_names():
    clips = torch.rand(2, 3, 4, 32, 32)
    reference, expected = outputs(Backend(), clips)
    model, actual = outputs(Backend(compile=True), clips)
    torch.testing.assert_close(actual, expected)
    assert model.state_dict().keys() == reference.state_dict().keys()
