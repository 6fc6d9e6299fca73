"""The named models: their options, the input they are trained on, and their published size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vexp.core.errors import ConfigError, did_you_mean
from vexp.model import localizers, roi, zoo, zoo_frames, zoo_pose, zoo_transformers
from vexp.model.config import Model, Tiny3d, TorchvisionVideo

#: Shape of an input: (C, T, H, W), or (C, T) of features.
Clip = tuple[int, ...]

IMAGES = "mmaction2, torchvision://resnet50"
IMAGE_MODELS = "mmaction2, torchvision://NAME, timm://NAME"
MMACTION2 = "mmaction2 1.2 model zoo"
SLOWFAST = "PySlowFast model zoo"
TORCHVISION = "torchvision weights"
MVIT_WEIGHTS = "mmaction2, PySlowFast"


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Size of a model. Norms and activations are not counted as operations."""

    parameters: int
    macs: int  # multiply-accumulate operations of convolutions, linear layers and attention


@dataclass(frozen=True, slots=True)
class Published:
    """The published size of a model for one clip.

    mmaction2's numbers for 3D models are for the 256 pixels of its test pipelines (its tables name the 224 of training)
    and include norm layers, which adds 0.5 % to 1 %.
    """

    parameters: float  # in millions
    gmacs: float  # multiply-accumulate operations in 10^9, called GFLOPs in papers
    source: str
    side: int | None = None  # of the frames in pixels, if different from ``RegisteredModel.side``
    classes: int = 400

    def differences(self, ours: ModelSize) -> tuple[float, float]:
        """Return the relative differences of the parameters and of the multiply-accumulates to the published ones."""
        return ours.parameters / 1e6 / self.parameters - 1, ours.macs / 1e9 / self.gmacs - 1


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A named model; ``option`` builds its option, equal to conf/model/NAME.yaml."""

    option: Callable[[], Model]
    frames: int  # of the clips that it is trained on, or number of features
    side: int | None  # height and width of these frames, in pixels; None for features
    paper: str
    published: Published | None = None
    weights: str = "mmaction2"  # sources of pretrained weights

    @property
    def clip(self) -> Clip:
        """The input that it is trained on."""
        return self._input(self.side)

    @property
    def published_clip(self) -> Clip:
        """The input of the published numbers."""
        return self._input((self.published.side if self.published is not None else None) or self.side)

    def _input(self, side: int | None) -> Clip:
        option = self.option()
        if isinstance(option, localizers.Localizer):
            return option.feature_dim, self.frames
        assert side is not None  # of models of clips
        return option.channels, self.frames, side, side


def _torchvision(name: str, side: int, paper: str, parameters: float, gmacs: float) -> RegisteredModel:
    published = Published(parameters, gmacs, TORCHVISION)
    option = partial(TorchvisionVideo, name=name)
    return RegisteredModel(option, 16, side, paper, published, f"torchvision://{name}")


def _videomae(parameters: float, gmacs: float, **values: Any) -> RegisteredModel:
    published = Published(parameters, gmacs, "the paper, for Kinetics-400")
    option = partial(zoo_transformers.VideoMae, **values)
    weights = "VideoMAE, VideoMAE V2, transformers, mmaction2"
    return RegisteredModel(option, 16, 224, "Tong et al., NeurIPS 2022", published, weights)


def _swin(parameters: float, gmacs: float, image: str, **values: Any) -> RegisteredModel:
    published = Published(parameters, gmacs, "the paper, for Kinetics-400")
    weights = "mmaction2, Video Swin" + (f", torchvision://swin3d_{image}, torchvision://swin_{image}" if image else "")
    option = partial(zoo_transformers.VideoSwin, **values)
    return RegisteredModel(option, 32, 224, "Liu et al., CVPR 2022", published, weights)


REGISTRY: dict[str, RegisteredModel] = {
    "tiny3d": RegisteredModel(Tiny3d, 8, 64, "vexp's own, after Tran et al. 2018", weights=""),
    "tsn_r50": RegisteredModel(
        zoo_frames.Tsn, 25, 224, "Wang et al., ECCV 2016", Published(24.33, 102.7, MMACTION2), IMAGES),
    "tsn": RegisteredModel(zoo_frames.Tsn, 25, 224, "Wang et al., ECCV 2016", weights=IMAGE_MODELS),
    "tsm_r50": RegisteredModel(
        zoo_frames.Tsm, 8, 224, "Lin et al., ICCV 2019", Published(24.3, 33, "the paper, table 2"), IMAGES),
    "tsm": RegisteredModel(zoo_frames.Tsm, 8, 224, "Lin et al., ICCV 2019", weights=IMAGE_MODELS),
    "tsm_nl_r50": RegisteredModel(
        partial(zoo_frames.Tsm, non_local="embedded_gaussian"), 8, 224, "Wang et al., CVPR 2018",
        Published(31.68, 61.3, MMACTION2), IMAGES),
    "tin_r50": RegisteredModel(zoo_frames.Tin, 8, 224, "Shao et al., AAAI 2020", weights=IMAGES),
    "tanet_r50": RegisteredModel(
        zoo_frames.TaNet, 8, 224, "Liu et al., ICCV 2021", Published(25.6, 43.0, MMACTION2, 256), IMAGES),
    "trn_r50": RegisteredModel(
        zoo_frames.Trn, 8, 224, "Zhou et al., ECCV 2018", Published(26.64, 42.94, MMACTION2, 256, 174), IMAGES),
    "tpn_tsm_r50": RegisteredModel(zoo_frames.TsmTpn, 8, 224, "Yang et al., CVPR 2020", weights=IMAGES),
    "c2d_r50": RegisteredModel(zoo.C2d, 8, 224, "Wang et al., CVPR 2018", Published(24.3, 19, MMACTION2), IMAGES),
    "slowonly_r50": RegisteredModel(
        zoo.SlowOnly, 8, 224, "Feichtenhofer et al., ICCV 2019", Published(32.45, 54.75, MMACTION2, 256), IMAGES),
    "slowonly_nl_r50": RegisteredModel(
        partial(zoo.SlowOnly, non_local="embedded_gaussian", non_local_scale=True), 8, 224, "Wang et al., CVPR 2018",
        Published(39.81, 96.66, MMACTION2, 256), IMAGES),
    "omni_r50": RegisteredModel(zoo.Omni, 8, 224, "Duan et al., ECCV 2020", weights=IMAGES),
    "tpn_slowonly_r50": RegisteredModel(zoo.SlowOnlyTpn, 8, 224, "Yang et al., CVPR 2020", weights=IMAGES),
    "slowfast_r50": RegisteredModel(
        zoo.SlowFast, 32, 224, "Feichtenhofer et al., ICCV 2019", Published(34.5, 36.3, MMACTION2, 256)),
    "tiny3d_boxes": RegisteredModel(roi.Tiny3dRoi, 8, 64, "vexp's own, after Tran et al. 2018", weights="tiny3d"),
    "slowonly_r50_ava": RegisteredModel(
        roi.SlowOnlyRoi, 8, 256, "Feichtenhofer et al., ICCV 2019", weights=IMAGES),
    "slowfast_r50_ava": RegisteredModel(roi.SlowFastRoi, 32, 256, "Feichtenhofer et al., ICCV 2019"),
    "slowfast_r101": RegisteredModel(
        partial(zoo.SlowFast, depth=101, alpha=4, slow_stride=4, fusion_kernel=7), 32, 224,
        "Feichtenhofer et al., ICCV 2019", Published(62.9, 126, MMACTION2, 256)),
    "slowfast_r101_r50": RegisteredModel(
        partial(zoo.SlowFast, depth=101, fast_depth=50), 32, 224, "Feichtenhofer et al., ICCV 2019",
        Published(62.4, 64.9, MMACTION2, 256)),
    "i3d_r50": RegisteredModel(
        zoo.I3d, 32, 224, "Carreira & Zisserman, CVPR 2017", Published(28.0, 43.5, MMACTION2, 256), IMAGES),
    "i3d_r50_heavy": RegisteredModel(
        partial(zoo.I3d, inflate="all", conv1_stride_t=1, pool1_stride_t=1), 32, 224,
        "Carreira & Zisserman, CVPR 2017", Published(33.0, 166.3, MMACTION2, 256), IMAGES),
    "i3d_nl_r50": RegisteredModel(
        partial(zoo.I3d, non_local="embedded_gaussian"), 32, 224, "Wang et al., CVPR 2018",
        Published(35.4, 59.3, MMACTION2, 256), IMAGES),
    "c3d": RegisteredModel(zoo.C3d, 16, 112, "Tran et al., ICCV 2015", Published(78.4, 38.5, MMACTION2, classes=101)),
    "r2plus1d_r34": RegisteredModel(
        zoo.R2plus1d, 8, 224, "Tran et al., CVPR 2018", Published(63.8, 53.1, MMACTION2, 256)),
    "ircsn_r50": RegisteredModel(zoo.Csn, 32, 224, "Tran et al., ICCV 2019", Published(13.13, 55.90, MMACTION2, 256)),
    "ipcsn_r152": RegisteredModel(
        partial(zoo.Csn, depth=152, interaction="preserved"), 32, 224, "Tran et al., ICCV 2019",
        Published(33.02, 109.9, MMACTION2, 256)),
    "posec3d": RegisteredModel(
        partial(zoo_pose.PoseSlowOnly, channels=17), 48, 56, "Duan et al., CVPR 2022", weights=MMACTION2),
    "posec3d_c3d": RegisteredModel(
        partial(zoo_pose.C3dLight, channels=17), 48, 56, "Duan et al., CVPR 2022", weights=""),
    "x3d_s": RegisteredModel(zoo.X3d, 13, 160, "Feichtenhofer, CVPR 2020", Published(3.8, 1.96, SLOWFAST)),
    "x3d_m": RegisteredModel(zoo.X3d, 16, 224, "Feichtenhofer, CVPR 2020", Published(3.8, 4.73, SLOWFAST)),
    "x3d_l": RegisteredModel(
        partial(zoo.X3d, depth_factor=5.0), 16, 312, "Feichtenhofer, CVPR 2020", Published(6.2, 18.37, SLOWFAST)),
    "timesformer_divst": RegisteredModel(
        zoo_transformers.TimeSformer, 8, 224, "Bertasius et al., ICML 2021",
        Published(121.4, 196, "the paper (0.59 T for 3 views)"), "mmaction2, torchvision://vit_b_16"),
    "timesformer_jointst": RegisteredModel(
        partial(zoo_transformers.TimeSformer, attention_type="joint_space_time"), 8, 224, "Bertasius et al., ICML 2021",
        Published(86.11, 180, MMACTION2), "mmaction2, torchvision://vit_b_16"),
    "timesformer_spaceonly": RegisteredModel(
        partial(zoo_transformers.TimeSformer, attention_type="space_only"), 8, 224, "Bertasius et al., ICML 2021",
        Published(86.11, 141, MMACTION2), "mmaction2, torchvision://vit_b_16"),
    "videomae_s": _videomae(22, 57, width=384, heads=6),
    "videomae_b": _videomae(87, 180),
    "videomae_l": _videomae(305, 597, width=1024, depth=24, heads=16),
    "videomae_g": RegisteredModel(
        partial(
            zoo_transformers.VideoMae, patch_size=14, width=1408, depth=40, heads=16, mlp_ratio=4.3636, drop_path=0.25),
        16, 224, "Wang et al., CVPR 2023", Published(1013, 2544, "the paper (38.16 T for 15 views)"), "VideoMAE V2"),
    "mvitv2_s": RegisteredModel(
        zoo_transformers.MViTv2, 16, 224, "Li et al., CVPR 2022", Published(34.5, 64, MMACTION2), MVIT_WEIGHTS),
    "mvitv2_s_maskfeat": RegisteredModel(
        partial(zoo_transformers.MViTv2, expand_in_attention=False, drop_path=0.1, dropout=0.0, init_std=2e-5), 16, 224,
        "Wei et al., CVPR 2022", Published(36.4, 71, MMACTION2)),
    "mvitv2_b": RegisteredModel(
        partial(zoo_transformers.MViTv2, num_frames=32, depth=24, downsample=[2, 5, 21], drop_path=0.3), 32, 224,
        "Li et al., CVPR 2022", Published(51.2, 225, MMACTION2), MVIT_WEIGHTS),
    "mvitv2_l": RegisteredModel(
        partial(zoo_transformers.MViTv2, num_frames=40, img_size=312, width=144, depth=48, heads=2,
                downsample=[2, 8, 44], drop_path=0.75),
        40, 312, "Li et al., CVPR 2022", Published(213, 2828, MMACTION2), MVIT_WEIGHTS),
    "swin_t": _swin(28.2, 88, "t"),
    "swin_s": _swin(49.8, 166, "s", depths=[2, 2, 18, 2], drop_path=0.2),
    "swin_b": _swin(88.1, 282, "b", width=128, depths=[2, 2, 18, 2], heads=[4, 8, 16, 32], drop_path=0.3),
    "swin_l": _swin(197.0, 604, "", width=192, depths=[2, 2, 18, 2], heads=[6, 12, 24, 48], drop_path=0.4),
    "uniformer_s": RegisteredModel(
        zoo_transformers.UniFormer, 16, 224, "Li et al., ICLR 2022", Published(21.4, 41.8, MMACTION2, 224)),
    "uniformer_b": RegisteredModel(
        partial(zoo_transformers.UniFormer, depths=[5, 8, 20, 7], drop_path=0.3), 16, 224, "Li et al., ICLR 2022",
        Published(49.8, 96.7, MMACTION2, 224)),
    "uniformerv2_b16": RegisteredModel(
        zoo_transformers.UniFormerV2, 8, 224, "Li et al., ICCV 2023",
        Published(115, 150, "the paper (1.8 T for 12 views)"), "mmaction2, CLIP"),
    "uniformerv2_l14": RegisteredModel(
        partial(zoo_transformers.UniFormerV2, patch_size=14, width=1024, depth=24, heads=16), 8, 224,
        "Li et al., ICCV 2023", Published(354, 667, "the paper (8.0 T for 12 views)"), "mmaction2, CLIP"),
    "uniformerv2_l14_336": RegisteredModel(
        partial(zoo_transformers.UniFormerV2, img_size=336, patch_size=14, width=1024, depth=24, heads=16), 32, 336,
        "Li et al., ICCV 2023", Published(354, 6267, "the paper (37.6 T for 6 views)"), "mmaction2, CLIP"),
    "r3d_18": _torchvision("r3d_18", 112, "Tran et al., CVPR 2018", 33.371, 40.697),
    "mc3_18": _torchvision("mc3_18", 112, "Tran et al., CVPR 2018", 11.695, 43.343),
    "r2plus1d_18": _torchvision("r2plus1d_18", 112, "Tran et al., CVPR 2018", 31.505, 40.519),
    "s3d": _torchvision("s3d", 224, "Xie et al., ECCV 2018", 8.320, 17.979),
    "mvit_v1_b": _torchvision("mvit_v1_b", 224, "Fan et al., ICCV 2021", 36.611, 70.599),
    "mvit_v2_s": _torchvision("mvit_v2_s", 224, "Li et al., CVPR 2022", 34.538, 64.224),
    "swin3d_t": _torchvision("swin3d_t", 224, "Liu et al., CVPR 2022", 28.158, 43.882),
    "swin3d_s": _torchvision("swin3d_s", 224, "Liu et al., CVPR 2022", 49.817, 82.841),
    "swin3d_b": _torchvision("swin3d_b", 224, "Liu et al., CVPR 2022", 88.049, 140.667),
}  # fmt: skip


#: Models of features instead of clips: name -> option, as conf/model/NAME.yaml with the default size of the features.
LOCALIZERS: dict[str, RegisteredModel] = {
    "bmn": RegisteredModel(localizers.Bmn, 100, None, "Lin et al., ICCV 2019"),
    "actionformer": RegisteredModel(localizers.ActionFormer, 2304, None, "Zhang et al., ECCV 2022", weights=""),
    "actionformer_tiny": RegisteredModel(
        partial(
            localizers.ActionFormer, width=64, window=9, stem_blocks=1, levels=4, head_layers=2, drop_path=0.0,
            max_segments=50),
        80, None, "vexp's own, after Zhang et al. 2022", weights=""),
}  # fmt: skip


def named_option(name: str) -> Model:
    """Return the option of a named model; raise ConfigError if there is no model of that name."""
    known = REGISTRY | LOCALIZERS
    if name not in known:
        hint = did_you_mean(name, known, count=3) or f"; the models are {', '.join(known)}"
        raise ConfigError("is not a known model", key="model", value=name, hint=hint)
    return known[name].option()
