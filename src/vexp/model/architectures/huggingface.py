"""Video classifiers of the transformers library, built from their configuration.

The classes are those of the installed library that ``AutoModelForVideoClassification`` knows; code of a model's
repository is never run. All of them take videos as float (N, T, C, H, W), by an argument whose name differs.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torchvision.ops import StochasticDepth
from transformers import AutoModelForVideoClassification, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

from vexp.core.errors import ConfigError, UserError, did_you_mean
from vexp.model.repeated_blocks import transformer_blocks
from vexp.model.weights.key_mapping import Rules

logger = logging.getLogger(__name__)

#: Attention of torch and of installed packages. For other names, transformers downloads code from the hub.
ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_ATTENTION_KEY = "attn_implementation"
#: Part that a classifier does not compute, by ``model_type``. Its parameters would never have a gradient.
_UNUSED = {"vjepa2": ("vjepa2", "predictor")}
#: Key of the stochastic depth rate of the architectures that have it.
_DROP_PATH = "drop_path_rate"
#: Dropout at the end of every residual branch of a block, by ``model_type``, for those that have no stochastic depth.
_BRANCH_ENDS = {
    "videomae": ("attention.output.dropout", "output.dropout"),
    "vivit": ("dropout",),  # of both branches
    "videoprism_vision_model": ("dropout",),
}
#: Keys of earlier versions of the library, which published files have, by ``model_type``. The library itself converts
#: them in ``from_pretrained``, and back in ``save_pretrained``.
_RENAMED: dict[str, Rules] = {
    "videomae": ((r"\.q_bias$", ".query.bias"), (r"\.v_bias$", ".value.bias")),
    "vivit": (
        (r"(^|\.)encoder\.layer\.", r"\1layers."),
        (r"\.attention\.attention\.query\.", ".attention.q_proj."),
        (r"\.attention\.attention\.key\.", ".attention.k_proj."),
        (r"\.attention\.attention\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
    ),
}


class VideoClassifier(nn.Module):
    """A classifier of transformers with the input and the output of vexp's models.

    Attributes:
        model: The library's model; the keys of the state dict are its keys after ``model.``.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    @property
    def head_paths(self) -> list[str]:
        """Paths of the modules after the encoder: norm, pooler and classifier."""
        names = [name for name, _ in self.model.named_children()]
        return [f"model.{name}" for name in names if name != self.model.base_model_prefix]

    def forward(self, clips: Tensor) -> Tensor:
        """Map float (N, C, T, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.model(**self._videos(clips)).logits
        return logits.flatten(1)  # VideoPrism's are (N, 1, num_classes)

    def tokens(self, clips: Tensor) -> Tensor:
        """Return the tokens of the encoder, (N, L, D), for a probe."""
        options = {"skip_predictor": True} if self.model.config.model_type == "vjepa2" else {}
        tokens: Tensor = self.model.base_model(**self._videos(clips), **options).last_hidden_state
        return tokens

    def _videos(self, clips: Tensor) -> dict[str, Tensor]:
        return {self.model.main_input_name: clips.transpose(1, 2)}  # (N, T, C, H, W)


def video_classifier(
    architecture: Mapping[str, Any], values: Mapping[str, Any], num_classes: int, *, drop_path: float | None = None
) -> VideoClassifier:
    """Build a classifier in float32 with random weights.

    Args:
        architecture: The configuration of the library, as in config.json.
        values: Those that replace some of the configuration (``model.config``).
        num_classes: Number of outputs.
        drop_path: Stochastic depth rate of the last block, increasing linearly from 0; None for that of the
            configuration.

    Raises:
        ConfigError: As for ``library_config``, or if the library cannot build the model.
    """
    config = library_config(architecture, values, num_classes)
    if drop_path is not None and hasattr(config, _DROP_PATH):
        vars(config)[_DROP_PATH] = drop_path  # TimeSformer's configuration takes integers only
    # A config.json may name float16; without dtype, the parameters would have it.
    settings = {"dtype": torch.float32, "trust_remote_code": False}
    if _ATTENTION_KEY in values:
        settings[_ATTENTION_KEY] = values[_ATTENTION_KEY]
    from_config: Callable[..., PreTrainedModel] = AutoModelForVideoClassification.from_config
    try:
        with library_messages():
            model = from_config(config, **settings)
    except (ValueError, ImportError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"transformers cannot build the model: {_first_line(error)}", key="model.config") from None
    if config.model_type in _UNUSED:
        parent, part = _UNUSED[config.model_type]
        setattr(model.get_submodule(parent), part, None)
    classifier = VideoClassifier(model)
    if drop_path and not hasattr(config, _DROP_PATH):
        _add_stochastic_depth(classifier, config.model_type, drop_path)
    return classifier


def _add_stochastic_depth(classifier: VideoClassifier, kind: str, rate: float) -> None:
    """Drop residual branches per sample (Huang et al. 2016), after the dropout at their ends; in place."""
    if kind not in _BRANCH_ENDS:
        raise ConfigError(f"is not known for the architecture {kind}", key="model.drop_path", value=rate)
    blocks = transformer_blocks(classifier)
    for index, block in enumerate(blocks):
        for end in _BRANCH_ENDS[kind]:
            path = f"{block}.{end}"
            depth = StochasticDepth(rate * index / max(1, len(blocks) - 1), mode="row")
            classifier.set_submodule(path, nn.Sequential(classifier.get_submodule(path), depth))


def library_config(architecture: Mapping[str, Any], values: Mapping[str, Any], num_classes: int) -> PreTrainedConfig:
    """Return the library's configuration of a classifier.

    Raises:
        ConfigError: If the architecture is not a video classifier, or ``values`` has a key or value that it refuses.
    """
    kind = str(architecture.get("model_type"))
    if kind not in CLASSIFIERS:
        known, version = ", ".join(CLASSIFIERS), transformers.__version__
        rule = f"{kind} is not an architecture of a video classifier in transformers {version}, which has {known}"
        raise ConfigError(rule, key="model.name")
    cls: Any = CONFIG_MAPPING[kind]
    _check_values(values, cls)
    stated = {
        key: value for key, value in {**architecture, **values}.items() if key not in ("model_type", _ATTENTION_KEY)
    }
    try:
        with library_messages():
            config: PreTrainedConfig = cls(**stated, num_labels=num_classes)
    except Exception as error:  # the checks of the library raise errors of several kinds
        raise ConfigError(f"{cls.__name__} refuses a value: {_first_line(error)}", key="model.config") from None
    return config


def _check_values(values: Mapping[str, Any], cls: type[PreTrainedConfig]) -> None:
    """Check the keys of ``model.config``; the library would ignore one that it does not know."""
    names, common = ({field.name for field in dataclasses.fields(each)} for each in (cls, PreTrainedConfig))
    known = [*sorted(names - common), _ATTENTION_KEY]
    for key, value in values.items():
        if key == _ATTENTION_KEY and value not in ATTENTION:
            rule = f"must be one of {', '.join(ATTENTION)}; transformers would download other code and run it"
            raise ConfigError(rule, key=f"model.config.{key}", value=value)
        if key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(
                f"{cls.__name__} of transformers has no such value", key=f"model.config.{key}", value=value,
                hint=f"{hint}\n  values: {', '.join(known)}",
            )  # fmt: skip


def rename_published(tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Rename the keys of a published file to those of a ``VideoClassifier``; keys of its own are left unchanged.

    Files of an encoder without classifier (V-JEPA 2's, VideoPrism's) have no prefix before the encoder's keys. A key
    that the model does not have is left unchanged.

    Raises:
        UserError: If a file has a tensor under its present and its earlier key.
    """
    assert isinstance(model, VideoClassifier)
    library, keys, renamed = model.model, model.state_dict().keys(), {}
    for key, tensor in tensors.items():
        new = key
        if key not in keys:
            for pattern, replacement in _RENAMED.get(library.config.model_type, ()):
                new = re.sub(pattern, replacement, new)
            candidates = (new, f"model.{new}", f"model.{library.base_model_prefix}.{new}")
            new = next((candidate for candidate in candidates if candidate in keys), key)
        if new in renamed:
            raise UserError(f"the file has two tensors for {new}: one of them is {key}")
        renamed[new] = tensor
    return renamed


@contextmanager
def library_messages() -> Iterator[None]:
    """Send the warnings of transformers to vexp's log instead of its own handler."""
    library, forward = logging.getLogger("transformers"), _Forward(logging.WARNING)
    handlers, library.handlers = library.handlers, [forward]
    try:
        yield
    finally:
        library.handlers = handlers


class _Forward(logging.Handler):
    """Logs the records of another library as vexp's."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.log(record.levelno, f"transformers: {record.getMessage()}")


def _first_line(error: Exception) -> str:
    """Return the message of an error in one line, without the addresses that it refers to."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[.!]) Please|https?://", text)[0][:300].rstrip()
