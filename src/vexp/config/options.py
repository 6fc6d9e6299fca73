"""The table of all built-in options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

#: Groups each of whose options has its own class, which OmegaConf checks the values against.
OPEN_GROUPS = ("data", "model", "loss", "optimizer", "lr_policy")

#: Group -> name of the option -> MODULE:CLASS of its dataclass, where the class is defined.
_PLACES = {
    "data": {
        "motion": "vexp.data.sources.config:Motion",
        "video_list": "vexp.data.sources.config:VideoList",
        "raw_frames": "vexp.data.sources.config:RawFrames",
        "folder": "vexp.data.sources.config:Folder",
        "skeleton": "vexp.data.sources.skeletons:Skeleton",
        "motion_skeleton": "vexp.data.sources.motion_skeleton:MotionSkeleton",
        "ava": "vexp.data.sources.boxes:Ava",
        "motion_boxes": "vexp.data.sources.boxes:MotionBoxes",
        "activitynet": "vexp.data.sources.segments_config:ActivityNet",
        "motion_segments": "vexp.data.sources.segments_config:MotionSegments",
    },
    "transform": {
        "sample_frames": "vexp.data.transforms.frame_sampling:SampleFrames",
        "dense_sample_frames": "vexp.data.transforms.frame_sampling:DenseSampleFrames",
        "segment_frames": "vexp.data.transforms.frame_sampling:SegmentFrames",
        "untrimmed_sample_frames": "vexp.data.transforms.frame_sampling:UntrimmedSampleFrames",
        "sample_key_frames": "vexp.data.transforms.key_frames:SampleKeyFrames",
        "uniform_sample": "vexp.data.transforms.uniform_sampling:UniformSample",
        "uniform_sample_frames": "vexp.data.transforms.uniform_sampling:UniformSampleFrames",
        "resize": "vexp.data.transforms.resize:Resize",
        "random_rescale": "vexp.data.transforms.resize:RandomRescale",
        "random_short_side_scale": "vexp.data.transforms.resize:RandomRescale",
        "random_resized_crop": "vexp.data.transforms.crops:RandomResizedCrop",
        "random_crop": "vexp.data.transforms.crops:RandomCrop",
        "center_crop": "vexp.data.transforms.crops:CenterCrop",
        "three_crop": "vexp.data.transforms.crops:ThreeCrop",
        "ten_crop": "vexp.data.transforms.crops:TenCrop",
        "multi_scale_crop": "vexp.data.transforms.crops:MultiScaleCrop",
        "flip": "vexp.data.transforms.resize:Flip",
        "pose_compact": "vexp.data.transforms.pose:PoseCompact",
        "generate_pose_target": "vexp.data.transforms.pose:GeneratePoseTarget",
        "color_jitter": "vexp.data.transforms.photometric:ColorJitter",
        "rand_augment": "vexp.data.transforms.rand_augment:RandAugment",
        "rand_augment_torchvision": "vexp.data.transforms.rand_augment:RandAugment",
        "trivial_augment": "vexp.data.transforms.rand_augment:TrivialAugment",
        "random_erasing": "vexp.data.transforms.random_erasing:RandomErasing",
    },
    "model": {
        "tiny3d": "vexp.model.config:Tiny3d",
        "torchvision": "vexp.model.config:TorchvisionVideo",
        "tsn": "vexp.model.zoo_frames:Tsn",
        "tsm": "vexp.model.zoo_frames:Tsm",
        "tpn_tsm": "vexp.model.zoo_frames:TsmTpn",
        "tin": "vexp.model.zoo_frames:Tin",
        "tanet": "vexp.model.zoo_frames:TaNet",
        "trn": "vexp.model.zoo_frames:Trn",
        "c2d": "vexp.model.zoo:C2d",
        "slowonly": "vexp.model.zoo:SlowOnly",
        "omni": "vexp.model.zoo:Omni",
        "tpn_slowonly": "vexp.model.zoo:SlowOnlyTpn",
        "slowfast": "vexp.model.zoo:SlowFast",
        "tiny3d_boxes": "vexp.model.roi:Tiny3dRoi",
        "slowonly_ava": "vexp.model.roi:SlowOnlyRoi",
        "slowfast_ava": "vexp.model.roi:SlowFastRoi",
        "i3d": "vexp.model.zoo:I3d",
        "c3d": "vexp.model.zoo:C3d",
        "r2plus1d": "vexp.model.zoo:R2plus1d",
        "csn": "vexp.model.zoo:Csn",
        "x3d": "vexp.model.zoo:X3d",
        "posec3d": "vexp.model.zoo_pose:PoseSlowOnly",
        "posec3d_c3d": "vexp.model.zoo_pose:C3dLight",
        "timesformer": "vexp.model.zoo_transformers:TimeSformer",
        "videomae": "vexp.model.zoo_transformers:VideoMae",
        "mvitv2": "vexp.model.zoo_transformers:MViTv2",
        "video_swin": "vexp.model.zoo_transformers:VideoSwin",
        "uniformer": "vexp.model.zoo_transformers:UniFormer",
        "uniformerv2": "vexp.model.zoo_transformers:UniFormerV2",
        "hf": "vexp.model.huggingface:HuggingFace",
        "bmn": "vexp.model.localizers:Bmn",
        "actionformer": "vexp.model.localizers:ActionFormer",
    },
    "loss": {
        "cross_entropy": "vexp.model.loss:CrossEntropy",
        "bce": "vexp.model.loss:Bce",
        "focal": "vexp.model.loss:Focal",
        "bmn": "vexp.model.localizers:BmnLoss",
        "actionformer": "vexp.model.localizers:ActionFormerLoss",
    },
    "optimizer": {
        "sgd": "vexp.optim.optimizers:SGD",
        "adam": "vexp.optim.optimizers:Adam",
        "adamw": "vexp.optim.optimizers:AdamW",
        "adadelta": "vexp.optim.optimizers_extra:Adadelta",
        "adafactor": "vexp.optim.optimizers_extra:Adafactor",
        "adagrad": "vexp.optim.optimizers_extra:Adagrad",
        "adamax": "vexp.optim.optimizers_extra:Adamax",
        "asgd": "vexp.optim.optimizers_extra:ASGD",
        "nadam": "vexp.optim.optimizers_extra:NAdam",
        "radam": "vexp.optim.optimizers_extra:RAdam",
        "rmsprop": "vexp.optim.optimizers_extra:RMSprop",
        "rprop": "vexp.optim.optimizers_extra:Rprop",
    },
    "lr_policy": {
        "fixed": "vexp.optim.lr_policy.policies:Fixed",
        "step": "vexp.optim.lr_policy.policies:Step",
        "cosine": "vexp.optim.lr_policy.policies:Cosine",
        "cosine_restart": "vexp.optim.lr_policy.policies:CosineRestart",
        "exp": "vexp.optim.lr_policy.policies:Exp",
        "poly": "vexp.optim.lr_policy.policies:Poly",
        "inv": "vexp.optim.lr_policy.policies:Inv",
        "linear": "vexp.optim.lr_policy.policies:Linear",
        "flat_cosine": "vexp.optim.lr_policy.policies:FlatCosine",
        "cyclic": "vexp.optim.lr_policy.cyclic:Cyclic",
        "one_cycle": "vexp.optim.lr_policy.cyclic:OneCycle",
        "chain": "vexp.optim.lr_policy.chain:Chain",
    },
}


class Options(Mapping[str, type[Any]]):
    """Name of an option -> its dataclass, which is imported when it is looked up: only if the option is chosen.

    Attributes:
        places: Name of an option -> MODULE:CLASS.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self.places = places

    def __getitem__(self, name: str) -> type[Any]:
        module, _, cls = self.places[name].partition(":")
        return cast(type[Any], getattr(import_module(module), cls))

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def options() -> dict[str, Options]:
    """Return the built-in options: group -> name of the option -> dataclass."""
    return {group: Options(places) for group, places in _PLACES.items()}
