"""Transforms of the data pipeline: temporal samplers, resizes, crops, flips and color changes, without torch."""

from vexp.data.transforms.crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import DenseSampleFrames, SampleFrames, SegmentFrames, UntrimmedSampleFrames
from vexp.data.transforms.photometric import ColorJitter
from vexp.data.transforms.rand_augment import RandAugment, TrivialAugment
from vexp.data.transforms.random_erasing import RandomErasing
from vexp.data.transforms.resize import Flip, RandomRescale, Resize
from vexp.data.transforms.uniform_sampling import UniformSample, UniformSampleFrames

__all__ = [
    "CenterCrop", "ColorJitter", "DenseSampleFrames", "Flip", "MultiScaleCrop", "RandAugment",
    "RandomCrop", "RandomErasing", "RandomRescale", "RandomResizedCrop", "Resize", "SampleFrames", "SegmentFrames",
    "TenCrop", "ThreeCrop", "TrivialAugment", "UniformSample", "UniformSampleFrames", "UntrimmedSampleFrames",
]  # fmt: skip
