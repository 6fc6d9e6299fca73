"""Pipelines: invalid transforms, order of the views, frames read once, lazy geometry equal to eager."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.data.transforms.crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import DenseSampleFrames, SampleFrames
from vexp.data.transforms.pipeline import Pipeline, make_clips
from vexp.data.transforms.resample import render
from vexp.data.transforms.resize import Flip, Resize

SAMPLE = SampleFrames(clip_len=2)
VIDEO = np.random.RandomState(0).randint(0, 256, (30, 12, 18, 3), np.uint8)  # (T, H, W, 3)


@dataclass
class FakeReader:
    """30 frames of noise, 18x12, that notes what it is asked for."""

    num_frames: int = 30
    width: int = 18
    height: int = 12
    asked: list = field(default_factory=list)

    def frames(self, indices):
        self.asked.append(list(indices))
        return VIDEO[indices]


@dataclass
class Brighten:
    """A pixel step of one's own, with a random number."""

    most: int = 40
    drawn: list = field(default_factory=list)

    def apply(self, frames, rng):
        self.drawn.append(int(rng.integers(1, self.most)))
        return (frames // 2 + self.drawn[-1]).astype(np.uint8)


@dataclass
class Spy:
    """A geometry step that changes nothing and notes a random number."""

    drawn: list = field(default_factory=list)

    def plan(self, views, rng):
        self.drawn.append(float(rng.random()))
        return views


def run(*steps, lazy=True, seed=0, reader=None):
    named = {f"step{i}": step for i, step in enumerate(steps)}
    return make_clips(reader or FakeReader(), named, np.random.default_rng(seed), lazy=lazy)


# ---- the option ----


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ({"crop": CenterCrop(crop_size=4)}, r"train\.crop: the first transform must be a sampler .*, got crop"),
        ({"flip": Flip(), "sample": SAMPLE}, r"train\.flip: the first transform must be a sampler"),
        ({"a": SAMPLE, "b": SAMPLE}, r"train\.b: only the first transform may be a sampler .*, got a, b"),
        ({"a": SAMPLE, "b": 3}, r"train\.b: int has no plan and no apply method"),
        ({"a": SAMPLE, "b": {"scale": 2}}, r"train\.b: dict has no plan and no apply"),
    ],
)
def test_pipeline_invalid_transforms_raise(steps, text):
    with pytest.raises(ValueError, match="^" + text):
        Pipeline(train=steps)
    with pytest.raises(ValueError, match="^" + text.replace("train", "test")):
        Pipeline(test=steps)


def test_pipeline_valid_transforms_are_accepted():
    steps = {"sample": DenseSampleFrames(clip_len=2), "crop": CenterCrop(crop_size=4), "mine": Brighten()}
    assert Pipeline(train=steps).train == steps
    assert Pipeline().train == {}


def test_pipeline_of_returns_transforms_of_split():
    pipeline = Pipeline(train={"a": SAMPLE}, val={"b": SAMPLE})
    assert [list(pipeline.of(split)) for split in ("train", "val", "test")] == [["a"], ["b"], ["b"]]
    pipeline.test = {"c": SAMPLE}
    assert list(pipeline.of("test")) == ["c"]


# ---- views ----


@pytest.mark.parametrize("lazy", [True, False])
def test_make_clips_views_are_in_crop_major_order(lazy):
    sampler = SampleFrames(clip_len=3, num_clips=2, test_mode=True)
    clips = run(sampler, ThreeCrop(crop_size=12), lazy=lazy)
    numbers = sampler.indices(30, np.random.default_rng(0))
    assert clips.frames.shape == (6, 3, 12, 12, 3)  # (V, T, H, W, 3)
    assert clips.frames.dtype == np.uint8
    expected = [VIDEO[clip][:, :, x : x + 12] for x in (0, 6, 3) for clip in numbers]  # left, right, middle
    np.testing.assert_array_equal(clips.frames, expected)
    assert clips.mirrored.tolist() == [False] * 6


@pytest.mark.parametrize(
    ("steps", "views", "mirrored"),
    [
        ([], 1, [False]),
        ([ThreeCrop(crop_size=12)], 3, [False] * 3),
        ([TenCrop(crop_size=4)], 10, [False, True] * 5),  # each crop, then its mirror image
        ([Flip(flip_ratio=1.0)], 1, [True]),
        ([Flip(flip_ratio=1.0), TenCrop(crop_size=4)], 10, [True, False] * 5),
        ([TenCrop(crop_size=4), Flip(flip_ratio=1.0)], 10, [True, False] * 5),
        ([Flip(flip_ratio=1.0), Flip(flip_ratio=1.0)], 1, [False]),  # mirrored twice
        ([Flip(flip_ratio=1.0), Brighten(), Flip(flip_ratio=1.0)], 1, [False]),  # also where pixels are made between
        ([ThreeCrop(crop_size=12), TenCrop(crop_size=4)], 30, [False, True] * 15),
    ],
)
@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("lazy", [True, False])
def test_make_clips_number_of_views_and_mirrored(steps, views, mirrored, clips, lazy):
    made = run(SampleFrames(clip_len=2, num_clips=clips), *steps, lazy=lazy)
    assert len(made.frames) == views * clips
    assert made.mirrored.dtype == np.bool_
    assert made.mirrored.tolist() == [flag for flag in mirrored for _ in range(clips)]


def test_make_clips_clips_have_their_frames_in_order():
    sampler = SampleFrames(clip_len=8, frame_interval=5, num_clips=3)  # 40 frames of 30: each clip begins again
    made = run(sampler, seed=4)
    np.testing.assert_array_equal(made.frames, VIDEO[sampler.indices(30, np.random.default_rng(4))])


@pytest.mark.parametrize("lazy", [True, False])
def test_make_clips_shared_frames_are_read_once(lazy):
    reader = FakeReader()
    sampler = SampleFrames(clip_len=8, frame_interval=3, num_clips=4, test_mode=True)
    run(sampler, Resize(scale=[6, 6], keep_ratio=False), ThreeCrop(crop_size=6), Brighten(), lazy=lazy, reader=reader)
    numbers = sampler.indices(30, np.random.default_rng(0))
    assert reader.asked == [sorted(set(numbers.ravel().tolist()))]  # one call: distinct, in order
    assert len(reader.asked[0]) < numbers.size


# ---- composed against step by step ----

CROPS_AND_FLIPS = [
    [RandomCrop(size=10), Flip()],
    [Flip(), RandomCrop(size=[9, 11]), CenterCrop(crop_size=7), Flip()],
    [RandomResizedCrop(), Flip()],
    [MultiScaleCrop(input_size=8, scales=[1.0, 0.8], random_crop=True), Flip()],
    [Flip(), TenCrop(crop_size=6)],
    [ThreeCrop(crop_size=12), Flip(), TenCrop(crop_size=5)],
    [Flip(), Brighten(), RandomCrop(size=8), Brighten(), Flip()],  # pixel steps anywhere
    [RandomResizedCrop(), Resize(scale=[8, 8], keep_ratio=False), Flip()],  # one resize is the same one resample
    [Resize(scale=[-1, 10]), RandomCrop(size=8), Flip()],
]


@pytest.mark.parametrize("steps", CROPS_AND_FLIPS)
def test_make_clips_lazy_equals_eager(steps):
    for seed in range(12):
        lazy, eager = (
            run(SampleFrames(clip_len=3, num_clips=2), *steps, lazy=lazy, seed=seed) for lazy in (True, False)
        )
        np.testing.assert_array_equal(lazy.frames, eager.frames)
        np.testing.assert_array_equal(lazy.mirrored, eager.mirrored)


def test_make_clips_lazy_and_eager_draw_same_random_numbers():
    for seed in range(5):
        drawn = []
        for lazy in (True, False):
            rng, spy = np.random.default_rng(seed), Spy()
            steps = [
                SampleFrames(clip_len=4, num_clips=2), RandomResizedCrop(), spy, Resize(scale=[9, 9], keep_ratio=False),
                Flip(), spy, ThreeCrop(crop_size=9), RandomCrop(size=5), spy,
            ]  # fmt: skip
            make_clips(FakeReader(), {str(i): step for i, step in enumerate(steps)}, rng, lazy=lazy)
            drawn.append((spy.drawn, rng.random()))
        assert drawn[0] == drawn[1]
        assert len(drawn[0][0]) == 3


@pytest.mark.parametrize("lazy", [True, False])
def test_frame_transform_gets_frames_of_earlier_transforms(lazy):
    class Recorded(Brighten):
        def apply(self, frames, rng):
            self.seen = frames.copy()
            return Brighten.apply(self, frames, rng)

    step = Recorded()
    sampler = SampleFrames(clip_len=2, test_mode=True)
    made = run(sampler, CenterCrop(crop_size=10), step, Flip(flip_ratio=1.0), CenterCrop(crop_size=6), lazy=lazy)
    source = VIDEO[sampler.indices(30, np.random.default_rng(0))[0]]
    np.testing.assert_array_equal(step.seen, source[:, 1:11, 4:14])  # uint8 (T, H, W, 3)
    brightened = (source // 2 + step.drawn[0]).astype(np.uint8)
    np.testing.assert_array_equal(made.frames[0], brightened[:, 3:9, 6:12][:, :, ::-1])


def test_transform_that_does_not_fit_frames_raises():
    with pytest.raises(UserError, match=r"RandomCrop: size=20 is 20x20 .* frames are 18x12 at this transform"):
        run(SAMPLE, RandomCrop(size=20))


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize(
    "steps",
    [
        [],
        [RandomCrop(size=8), Flip(flip_ratio=1.0)],
        [Flip(flip_ratio=1.0), RandomCrop(size=8), Flip(flip_ratio=1.0), CenterCrop(crop_size=[6, 4])],
        [Resize(scale=[36, 24]), ThreeCrop(crop_size=24), Flip(flip_ratio=1.0)],
        [Resize(scale=[9, 6]), Brighten(most=2), CenterCrop(crop_size=4)],  # a pixel step in between
    ],
)
def test_make_clips_frame_indices_and_crops_reproduce_views(steps, lazy):
    """Cut out of the video's frames, resampled and mirrored as they say, the pixels of the sample come out."""
    named = {"sample": SampleFrames(clip_len=3, frame_interval=2, num_clips=2)} | {
        str(place): step for place, step in enumerate(steps)
    }
    made = make_clips(FakeReader(), named, np.random.default_rng(3), lazy=lazy)
    assert made.frame_indices.shape == (2, 3)
    views = made.frames
    for crop, view in enumerate(made.crops):
        for clip, numbers in enumerate(made.frame_indices):
            seen = render(VIDEO[numbers], view)
            if any(isinstance(step, Brighten) for step in steps):
                seen = seen // 2 + 1
            apart = np.abs(views[crop * 2 + clip].astype(int) - seen)
            # resized before the cut, or the box sampled: a crop's edge pixels mix with other neighbors
            assert np.median(apart) <= (1 if any(isinstance(step, Resize) for step in steps) else 0)
