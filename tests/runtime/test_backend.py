"""How torch runs a net: switches in both directions, results that do not depend on them."""

import shutil

import pytest
import torch

from vexp.model import build_model
from vexp.runtime.backend import Backend


def switches():
    return (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.get_num_threads())


@pytest.fixture(autouse=True)
def _put_back():
    yield
    Backend().set_switches()


@pytest.mark.parametrize(
    ("tf32", "matmul", "conv"), [("none", "highest", False), ("conv", "highest", True), ("all", "high", True)]
)
def test_every_switch_is_set_in_both_directions(tf32, matmul, conv):
    Backend().set_switches()
    default = switches()
    Backend(tf32=tf32, threads=3).set_switches()
    assert switches() == (matmul, conv, 3)
    Backend().set_switches()
    assert switches() == default


def outputs(backend, clips):
    torch.manual_seed(0)
    net = backend.prepare(build_model("tiny3d", 5), torch.device("cpu")).eval()
    with torch.no_grad():
        return net, net(clips)


def test_channels_last_changes_the_memory_order_and_nothing_else():
    clips = torch.rand(2, 3, 4, 32, 32)
    plain, expected = outputs(Backend(), clips)
    net, found = outputs(Backend(channels_last=True), clips.contiguous(memory_format=torch.channels_last_3d))
    convolution = next(module for module in net.modules() if isinstance(module, torch.nn.Conv3d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, expected)
    assert net.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.filterwarnings("ignore")  # torch's own, from within its compiler
def test_compiled_nets_give_the_same_and_keep_their_names():
    clips = torch.rand(2, 3, 4, 32, 32)
    plain, expected = outputs(Backend(), clips)
    net, found = outputs(Backend(compile=True), clips)
    torch.testing.assert_close(found, expected)
    assert net.state_dict().keys() == plain.state_dict().keys()
