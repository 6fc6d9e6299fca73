"""The named models: sizes against published ones, and one definition of each in Python and in YAML."""

from __future__ import annotations

import pytest
import yaml
from support.paths import ROOT
from support.small_models import one_of_each_family
from support.tables import default_lane_has

from vexp import compose
from vexp.config.options import options
from vexp.model import build_model, zoo
from vexp.model.flops import measure
from vexp.model.registry import LOCALIZERS, REGISTRY, TORCHVISION

OPTIONS = ROOT / "conf" / "model"
#: The smaller models of their families are measured without ``-m slow``, and the first of each in the default lane.
LARGE = (
    "swin3d_s", "swin3d_b", "x3d_l", "videomae_l", "videomae_g", "mvitv2_b", "mvitv2_l", "swin_s", "swin_b", "swin_l",
    "uniformer_b", "uniformerv2_l14", "uniformerv2_l14_336", "slowfast_r101", "slowfast_r101_r50",
)  # fmt: skip
PUBLISHED = [name for name, model in REGISTRY.items() if model.published is not None]
MEASURED = [
    *one_of_each_family([name for name in PUBLISHED if name not in LARGE]),
    *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED if name in LARGE),
]


@pytest.mark.parametrize("name", MEASURED)
def test_measure_registered_model_equals_published_size(name: str) -> None:
    """Parameters within 1 %, multiply-accumulates within 3 %, on the meta device."""
    model = REGISTRY[name]
    assert model.published is not None
    parameters, macs = model.published.differences(
        measure(model.option(), model.published_clip, model.published.classes)
    )
    assert abs(parameters) < 0.01, f"{parameters:+.2%} parameters"
    assert abs(macs) < 0.03, f"{macs:+.2%} multiply-accumulates"


def test_registry_torchvision_size_equals_weights_meta() -> None:
    from torchvision.models import get_model_weights

    checked = 0
    for name, model in REGISTRY.items():
        if model.published is not None and model.published.source == TORCHVISION:
            meta = get_model_weights(name).DEFAULT.meta
            assert model.published.gmacs == pytest.approx(meta["_ops"], abs=1e-3), name
            assert model.published.parameters == pytest.approx(meta["num_params"] / 1e6, abs=1e-3), name
            checked += 1
    assert checked == 9


def test_registry_has_every_model_and_yaml_file() -> None:
    assert set(REGISTRY) == {
        "tiny3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s",
        "swin3d_b", "tsn_r50", "tsm_r50", "slowonly_r50", "slowfast_r50", "i3d_r50", "i3d_nl_r50", "c3d",
        "r2plus1d_r34", "ircsn_r50", "ipcsn_r152", "x3d_s", "x3d_m", "x3d_l", "timesformer_divst",
        "videomae_s", "videomae_b", "videomae_l", "videomae_g", "mvitv2_s", "mvitv2_s_maskfeat", "mvitv2_b", "mvitv2_l",
        "swin_t", "swin_s", "swin_b", "swin_l", "uniformer_s", "uniformer_b", "uniformerv2_b16", "uniformerv2_l14",
        "uniformerv2_l14_336", "tsn", "tsm", "tsm_nl_r50", "omni_r50", "tin_r50", "tanet_r50", "trn_r50", "tpn_tsm_r50",
        "tpn_slowonly_r50", "posec3d", "posec3d_c3d",
        "c2d_r50", "slowonly_nl_r50", "slowfast_r101", "slowfast_r101_r50",
        "tiny3d_boxes", "slowonly_r50_ava", "slowfast_r50_ava",
        "i3d_r50_heavy", "timesformer_jointst", "timesformer_spaceonly",
    }  # fmt: skip
    assert {path.stem for path in OPTIONS.glob("*.yaml")} == {*REGISTRY, *LOCALIZERS, "hf"}  # any model of a library


@pytest.mark.parametrize("name", REGISTRY)
def test_registry_option_equals_yaml(name: str) -> None:
    """Read without Hydra, which takes a third of a second for each."""
    content = yaml.safe_load((OPTIONS / f"{name}.yaml").read_text())
    schema = content.pop("defaults")[0].removeprefix("/schema/model/").removesuffix("@_here_")
    assert options()["model"][schema](**content) == REGISTRY[name].option()


@pytest.mark.parametrize("name", LOCALIZERS)
def test_registry_localizer_equals_yaml(name: str) -> None:
    content = yaml.safe_load((OPTIONS / f"{name}.yaml").read_text())
    schema = content.pop("defaults")[0].removeprefix("/schema/model/").removesuffix("@_here_")
    sizes = {key: int(value.rstrip("}").split(",")[1]) for key, value in content.items() if isinstance(value, str)}
    assert options()["model"][schema](**content | sizes) == LOCALIZERS[name].option()


def test_compose_model_override_changes_registry_option() -> None:
    option = compose(["model=ipcsn_r152", "model.dropout=0.1"]).model
    assert option == zoo.Csn(depth=152, interaction="preserved", dropout=0.1)


def test_build_model_unknown_name_suggests_others() -> None:
    with pytest.raises(ValueError, match=r"model=tsm_r5O: is not a known model; did you mean .*tsm_r50"):
        build_model("tsm_r5O", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    default_lane_has(
        6,
        [
            (["model=slowonly_r50", "model.depth=34"], "model.depth=34: must be one of 50, 101, 152"),
            (["model=slowfast_r50", "model.alpha=3"], "slow_stride=8: must be a multiple of alpha=3"),
            (["model=slowfast_r50", "model.fusion_kernel=4"], "fusion_kernel=4: must be odd"),
            (["model=slowfast_r50", "model.beta_inverse=7"], "beta_inverse=7: must divide"),
            (["model=i3d_r50", "model.non_local=gauss"], "must be one of embedded_gaussian, dot_product, gaussian"),
            (["model=timesformer_divst", "model.img_size=100"], "img_size=100: must be a multiple of patch_size=16"),
            (["model=timesformer_divst", "model.heads=7"], "width=768: must be a multiple of heads=7"),
            (
                ["model=timesformer_divst", "model.attention_type=time"],
                "must be one of divided_space_time, joint_space_time",
            ),
            (["model=slowfast_r50", "model.fast_depth=34"], "model.fast_depth=34: must be one of 50, 101, 152"),
            (["model=videomae_b", "model.num_frames=15"], "num_frames=15: must be a multiple of tubelet_size=2"),
            (
                ["model=mvitv2_s", "model.downsample=[3,1]"],
                "downsample=.*must be increasing numbers of blocks from 1 to 15",
            ),
            (["model=mvitv2_s", "model.depth=12"], "must be increasing numbers of blocks from 1 to 11"),
            (["model=swin_t", "model.heads=[3,6]"], "heads=.*must have 4 numbers, one for each stage of depths"),
            (
                ["model=uniformer_s", "model.depths=[3,4]"],
                "depths=.*must be 4 numbers of at least 1, one for each stage",
            ),
            (["model=uniformer_s", "model.head_width=48"], "widths=.*the last two must be multiples of head_width=48"),
            (["model=uniformerv2_b16", "model.img_size=100"], "img_size=100: must be a multiple of patch_size=16"),
            (["model=uniformerv2_b16", "model.heads=7"], "width=768: must be a multiple of heads=7"),
            (["model=uniformerv2_b16", "model.global_blocks=13"], "global_blocks=13: must be at most depth=12"),
            (["model=tsn", "model.backbone=timm/"], "backbone=timm/: must be a name of torchvision, or timm/NAME"),
            (["model=swin_t", "model.heads=[5,6,12,24]"], "heads=.*must divide the channels of their stages, 96"),
        ],
    ),
)
def test_compose_invalid_model_option_raises(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose(words)
