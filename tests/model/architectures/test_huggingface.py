"""Video classifiers of transformers in vexp: their logits, keys, weights and configuration."""

from __future__ import annotations

import json
import logging

import pytest

pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file
from support.huggingface import TINY, library_logits, publish, tiny_config, tiny_model

from vexp.core.errors import ConfigError, UserError
from vexp.model import build_model
from vexp.model.architectures.huggingface import VideoClassifier, library_config
from vexp.model.features import features
from vexp.model.huggingface import HuggingFace
from vexp.model.meta import meta_model
from vexp.model.repeated_blocks import transformer_blocks
from vexp.optim.layer_decay import layer_indices

CLIPS = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
CLASSES = 5


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of each architecture, and the model in it."""
    root = tmp_path_factory.mktemp("published")
    models = {kind: tiny_model(kind, num_classes=CLASSES) for kind in TINY}
    return {kind: (publish(model, root / kind), model) for kind, model in models.items()}


def load(folder, num_classes=CLASSES, **options):
    """The model of a folder, in eval mode, and the report of its load."""
    option = HuggingFace(name=str(folder), **options)
    model = build_model(option, num_classes, pretrained=False)
    (report,) = option.initialize_weights(model)
    return model.eval(), report


@pytest.mark.parametrize("kind", TINY)
def test_published_folder_gives_the_logits_of_the_library(published, kind) -> None:
    folder, model = published[kind]
    ours, report = load(folder)
    with torch.no_grad():
        logits = ours(CLIPS)
    assert logits.shape == (2, CLASSES)
    torch.testing.assert_close(logits, library_logits(model, CLIPS), rtol=0, atol=1e-5)
    assert report.reinitialized == report.reshaped == []
    assert all(".predictor." in key for key in report.ignored)
    assert len(report.matched) + len(report.ignored) == len(model.state_dict())


@pytest.mark.parametrize("kind", TINY)
def test_shards_give_the_logits_of_one_file(published, kind, tmp_path) -> None:
    model = published[kind][1]
    publish(model, tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    ours, report = load(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(CLIPS), library_logits(model, CLIPS), rtol=0, atol=1e-5)
    assert report.reinitialized == []


@pytest.mark.parametrize("kind", TINY)
def test_every_parameter_has_a_gradient(published, kind) -> None:
    model = load(published[kind][0])[0].train()
    model(CLIPS).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("kind", TINY)
def test_other_number_of_classes_replaces_the_classifier_only(published, kind, caplog) -> None:
    model, report = load(published[kind][0], num_classes=3)
    assert report.reinitialized == ["model.classifier.weight", "model.classifier.bias"]
    assert report.warnings() == []
    assert model(CLIPS).shape == (2, 3)


@pytest.mark.parametrize("kind", TINY)
def test_features_are_the_input_of_the_classifier(published, kind) -> None:
    model = load(published[kind][0])[0]
    with torch.no_grad():
        inputs = features(model, CLASSES)(CLIPS)
        assert inputs.shape == (2, 24)
        torch.testing.assert_close(model.model.classifier(inputs), model(CLIPS))


@pytest.mark.parametrize("kind", TINY)
def test_meta_model_has_the_parameters_of_the_model(published, kind) -> None:
    option = HuggingFace(name=str(published[kind][0]))
    shapes = {name: tensor.shape for name, tensor in meta_model(option, CLASSES).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in load(published[kind][0])[0].state_dict().items()}


@pytest.mark.parametrize(
    ("kind", "head"), [("videomae", "fc_norm"), ("vivit", "vivit.layernorm"), ("timesformer", "timesformer.layernorm"),
                   ("vjepa2", "pooler"), ("videoprism_vision_model", "head")],
)  # fmt: skip
def test_layer_decay_counts_the_blocks_of_the_encoder(published, kind, head) -> None:
    model = load(published[kind][0])[0]
    blocks = 3 if kind == "videoprism_vision_model" else 2
    assert len(transformer_blocks(model)) == blocks
    indices, last = layer_indices(model)
    assert last == blocks + 1
    for number, block in enumerate(transformer_blocks(model), 1):
        assert {index for name, index in indices.items() if name.startswith(f"{block}.")} == {number}
    assert {index for name, index in indices.items() if name.startswith(f"model.{head}.")} == {last}
    assert indices["model.classifier.weight"] == last
    assert {index for name, index in indices.items() if ".patch_embeddings." in name} == {0}


def test_videomae_without_query_and_value_biases_is_reported(published, tmp_path, caplog) -> None:
    folder, model = published["videomae"]
    publish(model, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    missing = [key for key in tensors if key.endswith(("q_bias", "v_bias"))]
    assert len(missing) == 4  # 2 layers; the file has the names of earlier versions
    save_file({key: value for key, value in tensors.items() if key not in missing}, tmp_path / "model.safetensors")
    report = load(tmp_path)[1]
    assert {key.partition("attention.attention.")[2] for key in report.reinitialized} == {"query.bias", "value.bias"}
    assert any("4 tensors outside the classifier are not in the file" in text for text in caplog.messages)


@pytest.mark.parametrize("kind", ["videomae", "vivit"])
def test_present_and_earlier_keys_load_alike(published, kind, tmp_path) -> None:
    model = published[kind][1]
    publish(model, tmp_path)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    ours, report = load(tmp_path)
    assert report.reinitialized == report.ignored == []
    with torch.no_grad():
        torch.testing.assert_close(ours(CLIPS), library_logits(model, CLIPS), rtol=0, atol=1e-5)


def test_encoder_without_classifier_is_found_below_its_prefix(published, tmp_path) -> None:
    folder = publish(published["vjepa2"][1].vjepa2, tmp_path)
    report = load(folder)[1]
    assert all(key.startswith(("model.pooler.", "model.classifier.")) for key in report.reinitialized)
    assert all(key.startswith("predictor.") for key in report.ignored)
    assert sum(key.startswith("model.vjepa2.") for key in report.matched) == len(report.matched)


def test_half_precision_file_and_config_give_a_float32_model(published, tmp_path) -> None:
    model = tiny_model("videomae", num_classes=CLASSES).half()
    folder = publish(model, tmp_path)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    ours = load(folder)[0]
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(ours(CLIPS), library_logits(model.float(), CLIPS), rtol=0, atol=1e-5)


def test_tensor_under_two_keys_is_refused(published, tmp_path) -> None:
    folder, model = published["videomae"]
    publish(model, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    key = next(key for key in tensors if key.endswith("q_bias"))
    tensors[key.replace("q_bias", "query.bias")] = tensors[key].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"two tensors for model\.videomae"):
        load(tmp_path)


def test_values_of_the_library_change_the_model() -> None:
    architecture = {"model_type": "timesformer", **tiny_config("timesformer")}
    config = library_config(architecture, {"attention_type": "space_only", "num_hidden_layers": 3}, 7)
    assert (config.attention_type, config.num_hidden_layers, config.num_labels) == ("space_only", 3, 7)


@pytest.mark.parametrize("kind", TINY)
def test_drop_path_drops_whole_branches_of_a_sample(published, kind) -> None:
    folder = published[kind][0]
    plain, dropping = load(folder)[0], load(folder, drop_path=0.9)[0]
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(dropping(CLIPS), plain(CLIPS), rtol=0, atol=0)  # in eval mode
    first, last = (transformer_blocks(dropping)[index] for index in (0, -1))
    hidden = torch.randn(64, 5, 24, generator=torch.Generator().manual_seed(0))
    kept = {}
    for path in (first, last):
        block = dropping.get_submodule(path).train()
        if kind == "timesformer":
            block.attention_type = "space_only"
        elif kind == "vjepa2":
            hidden = hidden[:, :4]
        outputs = block(hidden)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        kept[path] = (outputs != hidden).flatten(1).any(dim=1).float().mean().item()
    assert kept[first] == 1.0
    assert 0.0 < kept[last] < 0.5  # a sample is unchanged if both branches are dropped: 0.81 of them


@pytest.mark.parametrize(
    ("values", "key", "rule"),
    [
        ({"drop_path": 0.1}, "model.config.drop_path", "has no such value"),
        ({"hidden_dropot_prob": 0.1}, "model.config.hidden_dropot_prob", "has no such value"),
        ({"num_labels": 3}, "model.config.num_labels", "has no such value"),
        ({"dtype": "float16"}, "model.config.dtype", "has no such value"),
        ({"hidden_size": "wide"}, "model.config", "expected int, got str"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "model.config.attn_implementation", "must be one of"),
    ],
)
def test_value_that_the_library_does_not_have_is_refused(values, key, rule) -> None:
    with pytest.raises(ConfigError) as raised:
        library_config({"model_type": "videomae", **tiny_config("videomae")}, values, 2)
    assert raised.value.key == key
    assert rule in raised.value.rule


def test_attention_is_chosen_by_name(published) -> None:
    folder = str(published["videomae"][0])
    models = [load(folder, config={"attn_implementation": name})[0] for name in ("eager", "sdpa")]
    assert [model.model.config._attn_implementation for model in models] == ["eager", "sdpa"]
    torch.testing.assert_close(models[0](CLIPS), models[1](CLIPS), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="does not support an attention implementation"):
        load(published["timesformer"][0], config={"attn_implementation": "sdpa"})


@pytest.mark.parametrize("kind", ["vit", "videoprism", "bert", "no_such_model"])
def test_architecture_that_is_no_video_classifier_is_refused(kind) -> None:
    with pytest.raises(ConfigError) as raised:
        library_config({"model_type": kind}, {}, 2)
    assert raised.value.key == "model.name"
    assert "videomae" in raised.value.rule


def test_code_of_a_repository_is_not_used(published, tmp_path) -> None:
    folder = publish(published["videomae"][1], tmp_path)
    content = json.loads((folder / "config.json").read_text())
    content |= {"auto_map": {"AutoModelForVideoClassification": "evil.Model"}, "attn_implementation": "a/kernel"}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "evil.py").write_text("raise SystemExit('code of the repository was run')")
    assert type(load(folder)[0]) is VideoClassifier


def test_messages_of_the_library_go_to_the_log(caplog, capfd) -> None:
    from vexp.model.architectures.huggingface import library_messages

    with library_messages():
        logging.getLogger("transformers.modeling_utils").warning("an unusual value")
    assert "transformers: an unusual value" in caplog.messages
    assert capfd.readouterr() == ("", "")
