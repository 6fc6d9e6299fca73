"""Runs that train adapters, a probe or all weights: resumed to the bit, and usable by every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.huggingface import publish, tiny_model
from support.run_files import assert_same_weights, read_checkpoint

from vexp import compose, train
from vexp.cli import convert, evaluate, export
from vexp.core.errors import ConfigError
from vexp.model import build_model
from vexp.model.adapters.merge import ADAPTER_KEY

pytestmark = pytest.mark.integration

RUN = [
    "data.train_clips=1", "data.val_clips=1", "data.batch_size=2", "data.num_workers=0", "device=cpu",
    "backend.threads=1", "log=text", "log.plots=false", "log.interval=1", "max_steps=4", "eval=never",
    "checkpoint=all", "checkpoint.by_epoch=false", "lr.by_epoch=false",
]  # fmt: skip
TIMESFORMER = [
    "model=timesformer_divst", "model.num_frames=8", "model.img_size=64", "model.patch_size=32", "model.width=16",
    "model.depth=2", "model.heads=2",
]  # fmt: skip
MODES = {
    "full": ["optimizer.paramwise.norm_decay_mult=0"],
    "lora": ["model.lora.rank=2", "model.lora.dropout=0.1", "ema=average"],
    "probe": ["model.probe=attentive", "model.probe_depth=2", "model.probe_heads=2", "model.freeze=[encoder]"],
}
#: Few blocks of the other transformers, for clips of 8 frames of 64x64 pixels.
OWN = {
    "videomae_s": ["model.num_frames=8", "model.img_size=64", "model.depth=2"],
    "mvitv2_s": ["model.num_frames=8", "model.img_size=64", "model.depth=4", "model.downsample=[1,2,3]"],
    "swin_t": ["model.depths=[1,1,2,1]"],
    "uniformer_s": ["model.depths=[1,1,1,1]"],
    "uniformerv2_b16": ["model.img_size=64", "model.depth=2", "model.global_blocks=1"],
}
HUGGING_FACE = ("videomae", "vjepa2", "vivit", "timesformer", "videoprism_vision_model")


def check_resume(options: list[str], folder: Path) -> dict[str, Any]:
    """Train, train again from the checkpoint in the middle, compare to the bit; return the last checkpoint."""
    train.run(compose([*RUN, *options]), folder / "whole")
    train.run(compose([*RUN, *options, f"resume={folder}/whole/checkpoints/step_2.pth"]), folder / "rest")
    assert_same_weights(folder / "whole", folder / "rest")
    return read_checkpoint(folder / "whole")


@pytest.mark.parametrize("mode", MODES)
def test_run_of_transformer_resumes_to_the_bit(mode: str, tmp_path: Path) -> None:
    saved = check_resume([*TIMESFORMER, *MODES[mode]], tmp_path)
    groups = saved["optimizer"]["param_groups"]
    trained = {name for group in groups for name in group["param_names"]}
    prefixes = {"full": ("",), "lora": ("head.fc.",), "probe": ("probe.",)}[mode]
    adapters = {name for name in saved["model"] if ADAPTER_KEY.fullmatch(name)}
    assert bool(adapters) == (mode == "lora")
    assert trained == adapters | {name for name in saved["model"] if name.startswith(prefixes)}
    assert len(saved["optimizer"]["state"]) == len(trained)
    count = sum(saved["model"][name].numel() for name in trained)
    assert f"({count:,} trained)" in (tmp_path / "whole" / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", OWN)
def test_run_of_other_transformer_resumes_to_the_bit(name: str, mode: str, tmp_path: Path) -> None:
    saved = check_resume([f"model={name}", *OWN[name], *MODES[mode]], tmp_path)
    assert any(ADAPTER_KEY.fullmatch(key) for key in saved["model"]) == (mode == "lora")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        pytest.param(kind, mode, marks=[] if (kind, mode) == ("vjepa2", "lora") else pytest.mark.slow)
        for kind in HUGGING_FACE
        for mode in MODES
    ],
)
def test_run_of_hugging_face_model_resumes_to_the_bit(kind: str, mode: str, tmp_path: Path) -> None:
    folder = publish(tiny_model(kind), tmp_path / "model")
    decay = ["optimizer.paramwise.layer_decay=0.75"]
    saved = check_resume(["model=hf", f"model.name={folder}", *MODES[mode], *decay], tmp_path)
    groups = saved["optimizer"]["param_groups"]
    trained = [name for group in groups for name in group["param_names"]]
    base = {"videoprism_vision_model": ".vision_model."}.get(kind, f".{kind}.")
    encoder = [name for name in trained if base in name and not ADAPTER_KEY.fullmatch(name)]
    assert bool(encoder) == (mode == "full")
    assert any("pooler" in name for name in trained) == (kind == "vjepa2" and mode != "probe")


def test_run_with_adapters_is_used_by_every_command(tmp_path: Path) -> None:
    options = [*TIMESFORMER, "model.lora.rank=2", "model.lora.dora=true", "model.lora.targets=[*.qkv]",
               "optimizer.lr=0.1"]  # fmt: skip
    train.run(compose([*RUN, *options, "eval=every_epoch", "eval.by_epoch=false", "eval.interval=4"]), tmp_path / "run")
    run, saved = f"run={tmp_path}/run", read_checkpoint(tmp_path / "run")

    evaluate.main([run, "checkpoint=last", f"out={tmp_path}/eval"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    report = json.loads((tmp_path / "eval" / "report.json").read_text())
    loss = next(row["loss"] for row in rows if row["mode"] == "val")
    assert report["metrics"]["loss"] == loss

    adapted, clips = _model([*options], saved["model"]), torch.randn(2, 3, 8, 64, 64)
    logits = adapted(clips)
    convert.main([f"{tmp_path}/run/checkpoints/last.pth", f"{tmp_path}/merged.pth"])
    merged = torch.load(tmp_path / "merged.pth")["model"]
    torch.testing.assert_close(_model(TIMESFORMER, merged)(clips), logits, atol=1e-5, rtol=1e-5)

    export.main([run, "format=safetensors", f"out={tmp_path}/merged.safetensors"])
    for name in ("merged.safetensors", "merged.pth"):
        evaluate.main([f"run={tmp_path}/{name}", f"out={tmp_path}/of_{name}"])
        report = json.loads((tmp_path / f"of_{name}" / "report.json").read_text())
        assert report["metrics"]["loss"] == pytest.approx(loss, abs=1e-5)

    export.main([run, "format=adapter"])
    config = json.loads((tmp_path / "run" / "export" / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["modules_to_save"]) == ("LORA", 2, ["head.fc"])

    # init_from: the new run has the merged weights, and new adapters whose effect is zero
    more = ["optimizer.lr=0", "optimizer.weight_decay=0", f"init_from={tmp_path}/run/checkpoints/last.pth"]
    train.run(compose([*RUN, *options, *more]), tmp_path / "next")
    torch.testing.assert_close(
        _model(options, read_checkpoint(tmp_path / "next")["model"])(clips), logits, atol=1e-5, rtol=1e-5
    )


def test_dora_of_a_layer_of_zeros_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"temporal\.fc") as caught:
        train.run(compose([*RUN, *TIMESFORMER, "model.lora.rank=2", "model.lora.dora=true"]), tmp_path)
    assert caught.value.key == "model.lora.dora"


def _model(options: list[str], state: dict[str, torch.Tensor]) -> torch.nn.Module:
    model = build_model(compose(options).model, 8, pretrained=False)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft uses the library's former name
@pytest.mark.parametrize("kind", HUGGING_FACE)
def test_peft_reads_the_adapters_of_a_model_of_transformers(kind: str, tmp_path: Path) -> None:
    """The adapters of ``model=hf`` belong to the library's model, without vexp."""
    from peft import PeftModel
    from support.huggingface import library_logits

    folder = publish(tiny_model(kind, num_classes=8), tmp_path / "model")
    options = ["model=hf", f"model.name={folder}", "model.lora.rank=2"]
    train.run(compose([*RUN, *options, "optimizer.lr=0.1"]), tmp_path / "run")
    export.main([f"run={tmp_path}/run", "checkpoint=last", "format=adapter", f"out={tmp_path}/adapter"])
    ours, clips = _model(options, read_checkpoint(tmp_path / "run")["model"]), torch.randn(2, 3, 4, 32, 32)
    theirs = PeftModel.from_pretrained(tiny_model(kind, num_classes=8), tmp_path / "adapter").eval()
    torch.testing.assert_close(library_logits(theirs.base_model.model, clips), ours(clips), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [MODES["lora"], [*MODES["probe"], "data.cache_features=true"]], ids=["lora", "probe"]
)
def test_two_processes_train_as_one(options: list[str], tmp_path: Path, motion_cache: Path) -> None:
    fixed = [
        *TIMESFORMER,
        "pipeline.train=${pipeline.val}",
        "ema.decay=null",
        "model.lora.dropout=0",
        "model.drop_path=0",
    ]
    train.run(compose([*RUN, *options, *fixed]), tmp_path / "one")
    shutil.rmtree(motion_cache / "features", ignore_errors=True)
    train.run(compose([*RUN, *options, *fixed, "dist.nproc=2", "data.batch_size=1"]), tmp_path / "two")
    one, two = (read_checkpoint(tmp_path / name)["model"] for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-4, rtol=1e-4)
