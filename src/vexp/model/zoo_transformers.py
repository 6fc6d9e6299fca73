"""Options of the ``model`` group for published video transformers, one class per family.

The defaults are the released models of the size that ``vexp.model.registry`` names first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.family import Family, check_multiple, drop_path_option, dropout_option, init_std_option
from vexp.model.weights import key_mapping, key_mapping_transformers
from vexp.model.weights.key_mapping import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

_STAGES = 4  # of UniFormer


def _per_stage(values: list[int]) -> str | None:
    valid = len(values) == _STAGES and all(value > 0 for value in values)
    return None if valid else f"must be {_STAGES} numbers of at least 1, one for each stage"


@dataclass(kw_only=True, slots=True)
class TimeSformer(Family):
    """TimeSformer: a transformer of frames and time (``vexp.model.architectures.timesformer``)."""

    architecture: ClassVar[str] = "timesformer.timesformer"
    key_rules: ClassVar[Rules] = (
        *key_mapping.CLASSIFIER,
        *key_mapping_transformers.TIMESFORMER,
        *key_mapping_transformers.VIT,
    )

    num_frames: int = option(8, "Frames of each clip, as sampled.", unit="frames", ge=1)
    img_size: int = option(224, "Height and width of the frames, a multiple of patch_size.", unit="pixels", ge=1)
    patch_size: int = option(16, "Height and width of the patches.", unit="pixels", ge=1)
    width: int = option(768, "Embedding dimension.", unit="channels", ge=1)
    depth: int = option(12, "Number of transformer blocks.", unit="blocks", ge=1)
    heads: int = option(12, "Attention heads of each block, a divisor of width.", unit="heads", ge=1)
    attention_type: str = option(
        "divided_space_time",
        "Attention along time, then within a frame (divided_space_time), over all patches of the clip "
        "(joint_space_time), or within a frame alone (space_only).",
        choices=("divided_space_time", "joint_space_time", "space_only"),
    )
    drop_path: float = drop_path_option(0.1)
    dropout: float = dropout_option(0.0)
    init_std: float = init_std_option(0.02)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        check_multiple(self, "img_size", "patch_size")
        check_multiple(self, "width", "heads")

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of mmaction2, and image weights of a ViT, to the keys of ``model``."""
        if self.attention_type == "divided_space_time":
            return Family.adapt(self, tensors, model)
        layers = key_mapping.rename_keys(tensors, key_mapping_transformers.MMACTION_VIT_LAYERS)
        return key_mapping.rename_keys(Family.adapt(self, layers, model), key_mapping_transformers.UNDIVIDED)


@dataclass(kw_only=True, slots=True)
class VideoMae(Family):
    """The ViT of VideoMAE and VideoMAE V2, as fine-tuned (``vexp.model.architectures.vit_videomae``)."""

    architecture: ClassVar[str] = "vit_videomae.videomae"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping_transformers.VIDEOMAE)

    num_frames: int = option(16, "Frames of each clip, as sampled, a multiple of tubelet_size.", unit="frames", ge=1)
    img_size: int = option(
        224,
        "Height and width that the position encodings are made for, a multiple of patch_size; for frames of another "
        "size they are resized.",
        unit="pixels", ge=1,
    )  # fmt: skip
    patch_size: int = option(16, "Height and width of the patches.", unit="pixels", ge=1)
    tubelet_size: int = option(2, "Length of the patches.", unit="frames", ge=1)
    width: int = option(768, "Embedding dimension.", unit="channels", ge=1)
    depth: int = option(12, "Number of transformer blocks.", unit="blocks", ge=1)
    heads: int = option(12, "Attention heads of each block, a divisor of width.", unit="heads", ge=1)
    mlp_ratio: float = option(
        4.0, "Ratio of the hidden to the outer channels of the MLP; their product is rounded.", gt=0
    )
    drop_path: float = drop_path_option(0.1)
    dropout: float = dropout_option(0.0)
    init_std: float = init_std_option(2e-5)  # 0.02, scaled by init_scale=0.001 in the released code

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        check_multiple(self, "num_frames", "tubelet_size")
        check_multiple(self, "img_size", "patch_size")
        check_multiple(self, "width", "heads")

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of VideoMAE, VideoMAE V2, mmaction2 and transformers to the keys of ``model``."""
        joined = key_mapping_transformers.convert_projections(Family.adapt(self, tensors, model), model)
        return key_mapping_transformers.drop_constant_positions(joined)


@dataclass(kw_only=True, slots=True)
class MViTv2(Family):
    """MViTv2: a transformer with pooling attention (``vexp.model.architectures.mvit``)."""

    architecture: ClassVar[str] = "mvit.mvitv2"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping_transformers.MVIT)

    num_frames: int = option(
        16, "Frames that the tables of relative positions are made for; for other clips they are resized.",
        unit="frames", ge=2,
    )  # fmt: skip
    img_size: int = option(
        224, "Height and width that the tables of relative positions are made for; for other clips they are resized.",
        unit="pixels", ge=32,
    )  # fmt: skip
    width: int = option(96, "Channels of the first block, a multiple of heads.", unit="channels", ge=1)
    depth: int = option(16, "Number of transformer blocks.", unit="blocks", ge=2)
    heads: int = option(1, "Attention heads of the first block.", unit="heads", ge=1)
    downsample: list[int] = option(
        [1, 3, 14], "Blocks, counted from 0, that halve height and width and double the heads.", ge=1
    )
    expand_in_attention: bool = option(
        True,
        "Double the channels in the attention of these blocks; false for the MLP of the blocks before them, as in MViT "
        "and in the models of MaskFeat.",
    )
    drop_path: float = drop_path_option(0.2)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.02)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        check_multiple(self, "width", "heads")
        if sorted(set(self.downsample)) != self.downsample or any(block >= self.depth for block in self.downsample):
            rule = f"must be increasing numbers of blocks from 1 to {self.depth - 1} (depth={self.depth})"
            raise ConfigError(rule, key="downsample", value=self.downsample)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of mmaction2, PySlowFast and torchvision to the keys and table sizes of ``model``."""
        return key_mapping_transformers.adapt_mvit(Family.adapt(self, tensors, model), model)


@dataclass(kw_only=True, slots=True)
class VideoSwin(Family):
    """Video Swin Transformer: attention within shifted windows (``vexp.model.architectures.video_swin``)."""

    architecture: ClassVar[str] = "video_swin.video_swin"
    key_rules: ClassVar[Rules] = (*key_mapping.CLASSIFIER, *key_mapping_transformers.SWIN)

    width: int = option(96, "Channels of the first stage.", unit="channels", ge=1)
    depths: list[int] = option([2, 2, 6, 2], "Blocks of each stage.", unit="blocks", ge=1)
    heads: list[int] = option([3, 6, 12, 24], "Attention heads of each stage, divisors of its channels.", ge=1)
    window: list[int] = option(
        [8, 7, 7], "Length, height and width of the windows, in patches of 2 frames x 4 x 4 pixels.", ge=1, length=3
    )
    drop_path: float = drop_path_option(0.1)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if not self.depths or sum(self.depths) < 2:
            raise ConfigError("must have at least two blocks", key="depths", value=self.depths)
        if len(self.heads) != len(self.depths):
            rule = f"must have {len(self.depths)} numbers, one for each stage of depths"
            raise ConfigError(rule, key="heads", value=self.heads)
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.heads)):
            rule = f"must divide the channels of their stages, {self.width} and twice as many in each further stage"
            raise ConfigError(rule, key="heads", value=self.heads)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of mmaction2 and torchvision, and image weights, to the keys and shapes of ``model``."""
        tensors = key_mapping_transformers.rename_swin_images(tensors)
        return key_mapping_transformers.adapt_swin(Family.adapt(self, tensors, model), model)


@dataclass(kw_only=True, slots=True)
class UniFormer(Family):
    """UniFormer: convolutions in shallow, attention in deep stages (``vexp.model.architectures.uniformer``)."""

    architecture: ClassVar[str] = "uniformer.uniformer"
    key_rules: ClassVar[Rules] = key_mapping_transformers.UNIFORMER

    depths: list[int] = option([3, 4, 8, 3], "Blocks of each of the four stages.", unit="blocks", check=_per_stage)
    widths: list[int] = option(
        [64, 128, 320, 512], "Channels of each of the four stages.", unit="channels", check=_per_stage
    )
    head_width: int = option(
        64, "Channels of each attention head, a divisor of the last two widths.", unit="channels", ge=1
    )
    drop_path: float = drop_path_option(0.1)
    dropout: float = dropout_option(0.0)
    init_std: float = init_std_option(0.02)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if any(width % self.head_width for width in self.widths[2:]):
            rule = f"the last two must be multiples of head_width={self.head_width}"
            raise ConfigError(rule, key="widths", value=self.widths)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of the authors and of mmaction2, and UniFormer's image weights.

        A 2D kernel becomes the middle of the 3D kernel, which is 0 elsewhere, as in the authors' code.
        """
        return key_mapping.inflate(key_mapping.rename_keys(tensors, self.key_rules), model, center=True)


@dataclass(kw_only=True, slots=True)
class UniFormerV2(Family):
    """UniFormerV2: CLIP's image transformer with global blocks (``vexp.model.architectures.uniformerv2``)."""

    architecture: ClassVar[str] = "uniformerv2.uniformerv2"
    key_rules: ClassVar[Rules] = key_mapping_transformers.UNIFORMER_V2

    img_size: int = option(224, "Height and width of the frames, a multiple of patch_size.", unit="pixels", ge=1)
    patch_size: int = option(16, "Height and width of the patches.", unit="pixels", ge=1)
    width: int = option(768, "Embedding dimension.", unit="channels", ge=1)
    depth: int = option(12, "Number of transformer blocks.", unit="blocks", ge=1)
    heads: int = option(12, "Attention heads of each block, a divisor of width.", unit="heads", ge=1)
    global_blocks: int = option(
        4, "Number of global blocks, one after each of the last transformer blocks.", unit="blocks", ge=1
    )
    temporal_downsample: bool = option(
        False, "Halve the number of frames by patches of 3 frames with a stride of 2, as for Something-Something."
    )
    mlp_dropout: float = option(0.5, "Dropout probability in the MLP of the global blocks.", ge=0, lt=1)
    drop_path: float = drop_path_option(0.0)
    global_drop_path: float = option(
        0.0, "Stochastic depth rate of the last global block, decreasing linearly toward the first.", ge=0, lt=1
    )
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.02)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        check_multiple(self, "img_size", "patch_size")
        check_multiple(self, "width", "heads")
        if self.global_blocks > self.depth:
            raise ConfigError(f"must be at most depth={self.depth}", key="global_blocks", value=self.global_blocks)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of the authors and of mmaction2, and CLIP's weights of OpenAI, OpenCLIP, HF and timm."""
        image, others = key_mapping_transformers.image_tower(tensors)
        renamed = key_mapping.rename_keys(image, self.key_rules)
        joined = key_mapping_transformers.convert_projections(renamed, model)
        return {**key_mapping.inflate(joined, model, center=True), **others}
