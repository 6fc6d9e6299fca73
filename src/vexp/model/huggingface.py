"""``model=hf``: the video classifiers of the transformers library, by a name of the Hugging Face Hub or from a folder.

The option reads only JSON files and imports neither torch nor transformers, which take seconds. What it reads when a
run is composed is saved with the run (``model.architecture``, ``model.input``): a run is resumed and used without the
folder and without the hub.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vexp.core.documents import read_json
from vexp.core.errors import ConfigError, UserError, did_you_mean, missing_package, raise_all
from vexp.core.fields import REQUIRED, option
from vexp.model.clip_input import ClipInput, check_norm, check_pipeline
from vexp.model.config import Model
from vexp.model.weights import hf_folder, hub
from vexp.model.weights.metadata import pixel_statistics, video_processor

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vexp.data.batch.normalize import ImgNorm
    from vexp.data.transforms.pipeline import Pipeline

_CONFIG = hf_folder.CONFIG
#: Files with the processing of the model's input, the one for videos first; the last holds that for videos as a part.
#: Keys of config.json that do not describe the architecture: the file, the classes, the data type, outputs, and code.
_NOT_ARCHITECTURE = frozenset({
    "architectures", "attn_implementation", "auto_map", "dtype", "finetuning_task", "gradient_checkpointing",
    "id2label", "label2id", "num_labels", "output_attentions", "output_hidden_states", "problem_type", "pruned_heads",
    "quantization_config", "return_dict", "task_specific_params", "torch_dtype", "torchscript", "transformers_version",
    "use_return_dict",
})  # fmt: skip
#: A name like a path, which the hub does not allow.
_PATH = re.compile(r"[.~/\\]|[^/]*/[^/]*/|[A-Za-z]:")


class _Family(NamedTuple):
    """Where a configuration states the size of a clip, as (key, the library's default), and how it was trained."""

    frames: tuple[str, int]
    size: tuple[str, int]
    frame_interval: int = 4  # of the models trained on Kinetics-400
    rotary: bool = False  # the positions allow clips of any multiple of a tubelet's frames


#: By ``model_type``: VideoMAE (Tong et al. 2022), V-JEPA 2 (Assran et al. 2025), ViViT (Arnab et al. 2021), TimeSformer
#: (Bertasius et al. 2021), VideoPrism (Zhao et al. 2024).
_FAMILIES = {
    "videomae": _Family(("num_frames", 16), ("image_size", 224)),
    "vjepa2": _Family(("frames_per_clip", 64), ("crop_size", 256), rotary=True),
    "vivit": _Family(("num_frames", 32), ("image_size", 224), frame_interval=2),
    "timesformer": _Family(("num_frames", 8), ("image_size", 224), frame_interval=32),
    "videoprism_vision_model": _Family(("num_frames", 16), ("image_size", 288)),
}
_OTHER = _Family(("num_frames", 16), ("image_size", 224))


@dataclass(kw_only=True, slots=True)
class HuggingFace(Model):
    """A video classifier of transformers by its name or folder (``vexp.model.architectures.huggingface``)."""

    name: str = option(
        REQUIRED, "Model on the Hugging Face Hub (ORG/NAME), or folder with config.json and model.safetensors."
    )
    revision: str | None = option(
        None, "Branch, tag or commit on the hub; null: its main branch. The commit that it stands for is saved."
    )
    pretrained: bool = option(True, "Load the published weights, unless weights.path or init_from names others.")
    config: dict[str, Any] = option(
        {}, "Values that replace those of config.json: {hidden_dropout_prob: 0.1, attn_implementation: sdpa}.",
        accepts="dict of values by name",
    )  # fmt: skip
    drop_path: float | None = option(
        None, "Stochastic depth rate of the last block, increasing linearly from 0; null: that of config.json.",
        ge=0, lt=1,
    )  # fmt: skip
    check_input: bool = option(True, "Refuse clips and an img_norm other than those that the model was trained with.")
    input: ClipInput = option(ClipInput, "Clips that the model was trained with; null: as its files state.")
    architecture: dict[str, Any] | None = option(
        None, "Configuration of the library; null: that of config.json, with which it is saved.",
        accepts="dict or null",
    )  # fmt: skip

    @classmethod
    def from_files(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``architecture``, ``input`` and ``revision``, read from the files of the model where null.

        Raises:
            ConfigError: If a file is missing or cannot be read.
        """
        architecture, processor, filled = values.get("architecture"), {}, {}
        if architecture is None:
            files = _ModelFiles.find(str(values["name"]), values.get("revision"))
            architecture, processor = files.architecture(), files.processor()
            filled = {"architecture": architecture, "revision": files.commit}
        stated = _clip_input({**architecture, **(values.get("config") or {})}, processor)
        given = {key: value for key, value in (values.get("input") or {}).items() if value is not None}
        return {**filled, "input": {field.name: None for field in fields(ClipInput)} | stated | given}

    def build_architecture(self, num_classes: int) -> nn.Module:
        """Build the library's model from its configuration, with random weights.

        Raises:
            ConfigError: If transformers is missing, has no such video classifier, or refuses a value.
        """
        self._require_library()
        from vexp.model.architectures.huggingface import video_classifier

        architecture = self.architecture
        if architecture is None:  # the option was not composed but created in Python
            architecture = _ModelFiles.find(self.name, self.revision).architecture()
        return video_classifier(_architecture(architecture), self.config, num_classes, drop_path=self.drop_path)

    def check_library(self) -> None:
        """Check that transformers is installed, has the architecture, and accepts the values of ``config``.

        Raises:
            ConfigError: If it is not, or does not.
        """
        self._require_library()
        from vexp.model.architectures.huggingface import library_config

        assert self.architecture is not None
        library_config(_architecture(self.architecture), self.config, num_classes=2)

    def check_clips(self, pipeline: Pipeline, img_norm: ImgNorm) -> None:
        """Check that the clips of a run have the frames and the size that the model takes, and its mean and std.

        Raises:
            ConfigError: If they have not, with the overrides that give them.
        """
        if not self.check_input or self.architecture is None:
            return
        settings = {**self.architecture, **self.config}
        takes = ClipInput(**_clip_size(settings))
        multiple = _tubelet_frames(settings) if _family(settings).rotary else None
        frames = self.input.frames  # given by the user, or as the architecture states
        if frames is not None and (frames % multiple if multiple else frames != takes.frames):
            allowed = (
                f"a multiple of {multiple}" if multiple else f"{takes.frames}, for which it has position embeddings"
            )
            rule = f"{self.name} takes clips of another number of frames: {allowed}"
            raise ConfigError(rule, key="model.input.frames", value=frames)
        errors = list(check_pipeline(pipeline, takes, self.name, any_multiple_of=multiple))
        if self.pretrained:
            errors += check_norm(img_norm, self.input, self.name)
        raise_all(errors)

    def weights_source(self) -> tuple[str, str] | None:
        """Return the published weights, unless ``weights.path`` names others or ``pretrained`` is false."""
        if self.weights.path is not None or not self.pretrained:
            return Model.weights_source(self)
        folder = Path(self.name).expanduser()
        if folder.is_dir():
            return "model.name", str(folder)
        return "model.name", str(hub.HubName(self.name, self.revision))

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Rename the keys of published files, of any version of transformers, to those of ``model``."""
        from vexp.model.architectures.huggingface import rename_published

        return rename_published(tensors, model)

    def _require_library(self) -> None:
        if importlib.util.find_spec("transformers") is None:
            raise ConfigError(missing_package("hf"), key="model", value="hf")


class _ModelFiles(NamedTuple):
    """The JSON files of a model: in a folder of the user, or at a commit in the cache of the hub."""

    name: str
    folder: Path
    commit: str | None  # None for a folder of the user

    @classmethod
    def find(cls, name: str, revision: str | None) -> _ModelFiles:
        """Find config.json of a model; download it if necessary.

        Raises:
            ConfigError: If there is no such file.
        """
        folder = Path(name).expanduser()
        if folder.is_dir():
            if not (folder / _CONFIG).is_file():
                raise ConfigError(f"the folder has no {_CONFIG}, so it holds no model of transformers", **_at(name))
            return cls(name, folder, None)
        if _PATH.match(name):
            raise ConfigError("there is no such folder", **_at(name))
        source = str(hub.HubName(name, revision))
        if (problem := hub.problem(source)) is not None:
            raise ConfigError(f"no such folder here, and as a name on the hub it {problem}", **_at(name))
        if folder.parent != Path() and folder.parent.is_dir() and not hub.is_cached(hub.parse(source), _CONFIG):
            beside = (path.name for path in folder.parent.iterdir())
            hint = did_you_mean(folder.name, beside, shown=lambda near: str(folder.parent / near))
            raise ConfigError(f"there is no such folder in {folder.parent}", **_at(name), hint=hint)
        try:
            path = hub.download(hub.parse(source), _CONFIG)
        except UserError as error:
            raise ConfigError(str(error), **_at(name)) from None
        return cls(name, path.parent, hub.commit_of(path, _CONFIG))

    def architecture(self) -> dict[str, Any]:
        """Read the architecture from config.json.

        Raises:
            ConfigError: If it is no description of a model.
        """
        try:
            content = read_json(self.folder / _CONFIG, {"model_type": str})
        except UserError as error:
            raise ConfigError(str(error), **_at(self.name)) from None
        return _architecture(content)

    def processor(self) -> dict[str, Any]:
        """Read the file that describes the processing of the input; empty if there is none, or it is unreadable."""
        for file in hf_folder.PROCESSORS:
            try:
                path = self.folder / file
                if self.commit is not None:
                    path = hub.download(hub.HubName(self.name, self.commit), file)
                content = read_json(path, dict)
            except (FileNotFoundError, UserError):
                continue
            found = video_processor(content)
            if "image_mean" in found or "rescale_factor" in found:
                return dict(found)
        return {}


def _architecture(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of config.json that describe the architecture; keys that begin with _ do not."""
    return {key: value for key, value in content.items() if key not in _NOT_ARCHITECTURE and not key.startswith("_")}


def _at(name: str) -> dict[str, str]:
    return {"key": "name", "value": name}


def _family(settings: Mapping[str, Any]) -> _Family:
    return _FAMILIES.get(str(settings.get("model_type")), _OTHER)


def _clip_size(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``frames``, ``width`` and ``height`` of the clips for which an architecture has positions."""
    family = _family(settings)
    frames, size = (settings.get(key, default) for key, default in (family.frames, family.size))
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    return {"frames": int(frames), "width": int(width), "height": int(height)}


def _tubelet_frames(settings: Mapping[str, Any]) -> int:
    tubelet = settings.get("tubelet_size", 2)
    return int(tubelet[0] if isinstance(tubelet, list | tuple) else tubelet)


def _clip_input(settings: Mapping[str, Any], processor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of ``ClipInput`` that an architecture and a processor state."""
    stated = _clip_size(settings)
    side = min(stated["width"], stated["height"])
    size, crop = _side(processor.get("size")), _side(processor.get("crop_size"))
    short_side = round(side * size / crop) if size and crop and size >= crop else side
    stated |= {"short_side": short_side, "frame_interval": _family(settings).frame_interval}
    statistics = pixel_statistics(processor)
    return stated if statistics is None else stated | {"mean": statistics[0], "std": statistics[1]}


def _side(value: Any) -> int | None:
    """Return the short side of a size of a processor: 224, {shortest_edge: 224} or {height: 224, width: 224}."""
    sides = list(value.values()) if isinstance(value, dict) else [value]
    sides = [side for side in sides if isinstance(side, int) and side > 0]
    return min(sides) if sides else None
