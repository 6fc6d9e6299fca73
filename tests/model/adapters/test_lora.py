"""LoRA: which layers get adapters, what is trained, and that merged equal unmerged outputs."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from vexp import compose
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.core.errors import ConfigError
from vexp.model import build_model
from vexp.model.adapters.config import Lora
from vexp.model.adapters.lora import adapted_layers, merge_adapters, save_adapters
from vexp.model.adapters.merge import merge_tensors
from vexp.model.config import Model, Tiny3d, TorchvisionVideo
from vexp.model.meta import meta_model
from vexp.model.zoo_frames import Tsm
from vexp.model.zoo_transformers import TimeSformer

TIMESFORMER = {"num_frames": 2, "img_size": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}


def timesformer(**options: object) -> TimeSformer:
    return TimeSformer(**TIMESFORMER, **options)  # type: ignore[arg-type]


def trained_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def randomized(model: nn.Module) -> nn.Module:
    """Give the matrices B, which start as 0, and the magnitudes values."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def test_adapters_and_classifier_are_all_that_trains() -> None:
    model = build_model(timesformer(lora=Lora(rank=2, targets=["*.qkv"])), 5)
    layers = [f"backbone.blocks.{i}.{part}.qkv" for i in (0, 1) for part in ("temporal", "spatial")]
    assert list(adapted_layers(model)) == layers
    adapters = {f"{layer}.lora_{part}.default.weight" for layer in layers for part in "AB"}
    assert trained_names(model) == adapters | {"head.fc.weight", "head.fc.bias"}


def test_no_targets_adapt_every_linear_layer_but_the_classifier() -> None:
    model = meta_model(timesformer(lora=Lora(rank=2)), 5)
    linear = [path for path, layer in meta_model(timesformer(), 5).named_modules() if isinstance(layer, nn.Linear)]
    assert list(adapted_layers(model)) == [path for path in linear if path != "head.fc"]


def test_new_adapters_change_no_output() -> None:
    torch.manual_seed(0)
    plain = build_model(timesformer(), 5).eval()
    torch.manual_seed(0)
    adapted = build_model(timesformer(lora=Lora(rank=2)), 5).eval()
    clips = torch.randn(2, 3, 2, 16, 16)
    assert torch.equal(adapted(clips), plain(clips))


@pytest.mark.parametrize(
    ("option", "clip"),
    [
        (timesformer(lora=Lora(rank=4, alpha=3)), (2, 16, 16)),
        (timesformer(lora=Lora(rank=4, rslora=True, dropout=0.5)), (2, 16, 16)),
        (timesformer(lora=Lora(rank=4, dora=True)), (2, 16, 16)),
        (Tiny3d(width=8, lora=Lora(rank=4, targets=["*"])), (4, 32, 32)),
        (Tiny3d(width=8, lora=Lora(rank=4, targets=["stage[12]"], dora=True)), (4, 32, 32)),
        (Tsm(backbone="resnet18", lora=Lora(rank=4, targets=["*.conv2"])), (2, 32, 32)),
    ],
    ids=["lora", "rslora", "dora", "conv3d", "conv3d_dora", "conv2d"],
)
def test_merged_equals_unmerged(option: Model, clip: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = randomized(build_model(option, 5))
    clips = torch.randn(2, 3, *clip)
    plain = build_model(replace(option, lora=Lora()), 5).eval()
    merged = merge_tensors(model.state_dict(), option.lora)
    assert list(merged) == list(plain.state_dict())
    plain.load_state_dict(merged)
    with torch.no_grad():
        expected = model(clips)
        torch.testing.assert_close(plain(clips), expected, atol=1e-5, rtol=1e-5)
        merge_adapters(model, option.lora)
        assert torch.equal(model(clips), plain(clips))
    assert not adapted_layers(model)


@pytest.mark.parametrize(
    ("option", "key", "fragments"),
    [
        (timesformer(lora=Lora(rank=2, targets=["*.qvk"])), "model.lora.targets", ["'*.qvk'", "did you mean *.qkv"]),
        (timesformer(lora=Lora(rank=2, targets=["*.norm"])), "model.lora.targets", ["no linear layer", "'*.norm'"]),
        (timesformer(lora=Lora(rank=2, targets=["head"])), "model.lora.targets", ["head.fc", "trained itself"]),
        (Tiny3d(lora=Lora(rank=2)), "model.lora.targets", ["no linear layer except its head"]),
        (TorchvisionVideo(name="swin3d_t", lora=Lora(rank=2, targets=["*.qkv"])), "model.lora.targets", ["qkv"]),
        (timesformer(lora=Lora(rank=2), freeze=["backbone"]), "model.freeze", ["all adapters"]),
        (timesformer(lora=Lora(rank=2), freeze=["*"]), "model.freeze", ["nothing is left to train"]),
        (
            Tsm(backbone="resnet18", lora=Lora(rank=2, targets=["backbone.layer1.*.conv1"])),
            "model.lora.targets",
            ["shifted"],
        ),
        (Tsm(backbone="mobilenet_v2", lora=Lora(rank=2, targets=["*.conv.1.0"])), "model.lora.targets", ["grouped"]),
    ],
)
def test_adapters_that_cannot_train_are_refused(option: Model, key: str, fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        meta_model(option, 5)
    assert caught.value.key == key
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


def test_layers_whose_weights_the_parent_reads_have_no_adapter() -> None:
    """The Swin of torchvision passes the weights of qkv and proj to a function, so an adapter would have no effect."""
    model = meta_model(TorchvisionVideo(name="swin3d_t", lora=Lora(rank=2)), 5)
    assert {path.rpartition(".")[2] for path in adapted_layers(model)} == {"0", "3", "reduction"}


@pytest.mark.parametrize("options", [{}, {"dora": True}, {"rslora": True}], ids=["lora", "dora", "rslora"])
def test_peft_reads_saved_adapters(options: dict[str, bool], tmp_path: Path) -> None:
    from peft import PeftModel

    torch.manual_seed(0)
    base = build_model(timesformer(), 5).eval()
    option = timesformer(lora=Lora(rank=4, alpha=3, **options))
    adapted = build_model(timesformer(), 5)
    adapted.load_state_dict(base.state_dict())
    option.set_trained_parts(adapted, 5)
    nn.init.normal_(randomized(adapted).head.fc.weight)  # the classifier is saved, too
    assert save_adapters(adapted, tmp_path / "adapter", 5) == ["adapter_config.json", "adapter_model.safetensors"]
    clips = torch.randn(2, 3, 2, 16, 16)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(loaded(clips), adapted(clips), atol=1e-6, rtol=1e-6)


def test_copy_of_model_has_its_own_adapters() -> None:
    model = build_model(timesformer(lora=Lora(rank=2)), 5)
    average = copy.deepcopy(model)
    randomized(model)
    clips = torch.randn(2, 3, 2, 16, 16)
    assert not torch.allclose(average.eval()(clips), model(clips))


def test_check_inputs_without_peft_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else found(name, *rest))
    check_inputs(compose([]), Provenance())
    with pytest.raises(ConfigError, match=r"'vexp\[peft\]'") as info:
        check_inputs(compose(["model.lora.rank=2"]), Provenance())
    assert (info.value.key, info.value.value) == ("model.lora.rank", 2)
