"""The named models: their options, the input they are trained on, and their published size."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from vexp.core.errors import ConfigError
from vexp.model import zoo
from vexp.model.config import Model, Tiny3d, TorchvisionVideo

#: (C, T, H, W)
Clip = tuple[int, int, int, int]

IMAGES = "mmaction2, torchvision://resnet50"
MMACTION2 = "mmaction2 1.2 model zoo"
SLOWFAST = "PySlowFast model zoo"
TORCHVISION = "torchvision weights"


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Size of a model.

    Attributes:
        parameters: Number of parameters.
        macs: Multiply-accumulate operations of convolutions, linear layers and attention; norms and activations are not
            counted.
    """

    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The published size of a model for one clip.

    mmaction2's numbers for 3D models are for the 256 pixels of its test pipelines (its tables name the 224 of training)
    and include norm layers, which adds 0.5 % to 1 %.

    Attributes:
        parameters: Parameters in millions.
        gmacs: Multiply-accumulate operations in 10^9, called GFLOPs in papers.
        source: Where the numbers were published.
        side: Height and width of the frames in pixels, if different from ``RegisteredModel.clip``.
        classes: Number of classes.
    """

    parameters: float
    gmacs: float
    source: str
    side: int | None = None
    classes: int = 400

    def differences(self, ours: ModelSize) -> tuple[float, float]:
        """Return the relative differences of the parameters and of the multiply-accumulates to the published ones."""
        return ours.parameters / 1e6 / self.parameters - 1, ours.macs / 1e9 / self.gmacs - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """A named model.

    Attributes:
        option: Builds its option, equal to conf/model/NAME.yaml.
        clip: The input it is trained on, (C, T, H, W).
        paper: The paper that introduced it.
        weights: Sources of pretrained weights.
        published: Its published size, if any.
    """

    option: Callable[[], Model]
    clip: Clip
    paper: str
    weights: str = "mmaction2"
    published: Published | None = None

    @property
    def published_clip(self) -> Clip:
        """The input (C, T, H, W) of the published numbers."""
        channels, frames, height, width = self.clip
        if self.published is not None and self.published.side is not None:
            height = width = self.published.side
        return channels, frames, height, width


def _torchvision(name: str, frames: int, side: int, paper: str, parameters: float, gmacs: float) -> RegisteredModel:
    return RegisteredModel(
        option=lambda: TorchvisionVideo(name=name),
        clip=(3, frames, side, side),
        paper=paper,
        weights=f"torchvision://{name}",
        published=Published(parameters=parameters, gmacs=gmacs, source=TORCHVISION),
    )


REGISTRY: dict[str, RegisteredModel] = {
    "tiny3d": RegisteredModel(
        option=Tiny3d, clip=(3, 8, 64, 64), paper="vexp's own, after Tran et al. 2018", weights=""
    ),
    "tsn_r50": RegisteredModel(
        option=zoo.Tsn,
        clip=(3, 25, 224, 224),
        paper="Wang et al., ECCV 2016",
        weights=IMAGES,
        published=Published(parameters=24.33, gmacs=102.7, source=MMACTION2),
    ),
    "tsm_r50": RegisteredModel(
        option=zoo.Tsm,
        clip=(3, 8, 224, 224),
        paper="Lin et al., ICCV 2019",
        weights=IMAGES,
        published=Published(parameters=24.3, gmacs=33, source="the paper, table 2"),
    ),
    "slowonly_r50": RegisteredModel(
        option=zoo.SlowOnly,
        clip=(3, 8, 224, 224),
        paper="Feichtenhofer et al., ICCV 2019",
        weights=IMAGES,
        published=Published(parameters=32.45, gmacs=54.75, source=MMACTION2, side=256),
    ),
    "slowfast_r50": RegisteredModel(
        option=zoo.SlowFast,
        clip=(3, 32, 224, 224),
        paper="Feichtenhofer et al., ICCV 2019",
        published=Published(parameters=34.5, gmacs=36.3, source=MMACTION2, side=256),
    ),
    "i3d_r50": RegisteredModel(
        option=zoo.I3d,
        clip=(3, 32, 224, 224),
        paper="Carreira & Zisserman, CVPR 2017",
        weights=IMAGES,
        published=Published(parameters=28.0, gmacs=43.5, source=MMACTION2, side=256),
    ),
    "i3d_nl_r50": RegisteredModel(
        option=lambda: zoo.I3d(non_local="embedded_gaussian"),
        clip=(3, 32, 224, 224),
        paper="Wang et al., CVPR 2018",
        weights=IMAGES,
        published=Published(parameters=35.4, gmacs=59.3, source=MMACTION2, side=256),
    ),
    "c3d": RegisteredModel(
        option=zoo.C3d,
        clip=(3, 16, 112, 112),
        paper="Tran et al., ICCV 2015",
        published=Published(parameters=78.4, gmacs=38.5, source=MMACTION2, classes=101),
    ),
    "r2plus1d_r34": RegisteredModel(
        option=zoo.R2plus1d,
        clip=(3, 8, 224, 224),
        paper="Tran et al., CVPR 2018",
        published=Published(parameters=63.8, gmacs=53.1, source=MMACTION2, side=256),
    ),
    "ircsn_r50": RegisteredModel(
        option=zoo.Csn,
        clip=(3, 32, 224, 224),
        paper="Tran et al., ICCV 2019",
        published=Published(parameters=13.13, gmacs=55.90, source=MMACTION2, side=256),
    ),
    "ipcsn_r152": RegisteredModel(
        option=lambda: zoo.Csn(depth=152, interaction="preserved"),
        clip=(3, 32, 224, 224),
        paper="Tran et al., ICCV 2019",
        published=Published(parameters=33.02, gmacs=109.9, source=MMACTION2, side=256),
    ),
    "x3d_s": RegisteredModel(
        option=zoo.X3d,
        clip=(3, 13, 160, 160),
        paper="Feichtenhofer, CVPR 2020",
        published=Published(parameters=3.8, gmacs=1.96, source=SLOWFAST),
    ),
    "x3d_m": RegisteredModel(
        option=zoo.X3d,
        clip=(3, 16, 224, 224),
        paper="Feichtenhofer, CVPR 2020",
        published=Published(parameters=3.8, gmacs=4.73, source=SLOWFAST),
    ),
    "x3d_l": RegisteredModel(
        option=lambda: zoo.X3d(depth_factor=5.0),
        clip=(3, 16, 312, 312),
        paper="Feichtenhofer, CVPR 2020",
        published=Published(parameters=6.2, gmacs=18.37, source=SLOWFAST),
    ),
    "timesformer_divst": RegisteredModel(
        option=zoo.TimeSformer,
        clip=(3, 8, 224, 224),
        paper="Bertasius et al., ICML 2021",
        weights="mmaction2, torchvision://vit_b_16",
        published=Published(parameters=121.4, gmacs=196, source="the paper (0.59 T for 3 views)"),
    ),
    "r3d_18": _torchvision("r3d_18", 16, 112, "Tran et al., CVPR 2018", 33.371, 40.697),
    "mc3_18": _torchvision("mc3_18", 16, 112, "Tran et al., CVPR 2018", 11.695, 43.343),
    "r2plus1d_18": _torchvision("r2plus1d_18", 16, 112, "Tran et al., CVPR 2018", 31.505, 40.519),
    "s3d": _torchvision("s3d", 16, 224, "Xie et al., ECCV 2018", 8.320, 17.979),
    "mvit_v1_b": _torchvision("mvit_v1_b", 16, 224, "Fan et al., ICCV 2021", 36.611, 70.599),
    "mvit_v2_s": _torchvision("mvit_v2_s", 16, 224, "Li et al., CVPR 2022", 34.538, 64.224),
    "swin3d_t": _torchvision("swin3d_t", 16, 224, "Liu et al., CVPR 2022", 28.158, 43.882),
    "swin3d_s": _torchvision("swin3d_s", 16, 224, "Liu et al., CVPR 2022", 49.817, 82.841),
    "swin3d_b": _torchvision("swin3d_b", 16, 224, "Liu et al., CVPR 2022", 88.049, 140.667),
}


def named_option(name: str) -> Model:
    """Return the option of a named model.

    Raises:
        ConfigError: If there is no model of that name.
    """
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; the models are {', '.join(REGISTRY)}"
        raise ConfigError("is not a known model", key="model", value=name, hint=hint)
    return REGISTRY[name].option()
