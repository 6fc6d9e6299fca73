"""Transforms of skeletons: the part of the frame around the persons, and the heat maps of their joints (PoseC3D).

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022, with the rules of mmaction2. Crops, resizes and
flips are those of videos: a view maps joints as it maps pixels. A joint at (0, 0), or with a coordinate that is no
number, is missing; it is never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.transforms.heat_map_layout import HeatMapLayout
from vexp.data.transforms.view import View, shared_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

Joints: TypeAlias = "NDArray[np.float32]"  # (persons, frames, joints, 3): x and y in pixels, confidence

#: The limbs of COCO's 17 joints, as mmaction2 draws them.
COCO_LIMBS = [
    [0, 1], [0, 2], [1, 3], [2, 4], [0, 5], [5, 7], [7, 9], [0, 6], [6, 8], [8, 10], [5, 11], [11, 13], [13, 15],
    [6, 12], [12, 14], [14, 16], [11, 12],
]  # fmt: skip
_VISIBLE = 1e-4  # joints of less confidence are not drawn
_COLORS = ((40, 80, 160), (170, 70, 40), (40, 130, 70))  # of the persons in a drawing


def _hw_ratio_rule(value: Any) -> str | None:
    values = value if isinstance(value, list | tuple) and len(value) == 2 else [value]
    if value is None or all(
        isinstance(each, int | float) and not isinstance(each, bool) and each > 0 for each in values
    ):
        return None
    return "must be a positive number, [lowest,highest], or null"


def _limbs_rule(value: Any) -> str | None:
    pairs = [each for each in value if isinstance(each, list | tuple) and len(each) == 2]
    whole = all(type(joint) is int and joint >= 0 for pair in pairs for joint in pair)
    return None if len(pairs) == len(value) > 0 and whole else "must be pairs of joints, [[0,1],[0,2],...]"


@dataclass(kw_only=True, slots=True)
class PoseCompact(ValidatedConfig):
    """Crop to the joints of all persons in all sampled frames, with a margin.

    The smallest box around the joints is extended by ``padding`` of its width and height in total, then to
    ``hw_ratio``. A box that is less than ``threshold`` pixels wide or high is not used: the frame stays as it is.
    """

    padding: float = option(0.25, "Margin as a fraction of the width and height of the box.", ge=0)
    threshold: int = option(10, "Least width and height of the box around the joints.", unit="pixels", ge=2)
    hw_ratio: Any = option(
        None,
        "Height / width of the crop, or its limits; null for that of the box.",
        accepts="float, list of 2 float, or null",
        check=_hw_ratio_rule,
    )
    allow_imgpad: bool = option(True, "Let the crop reach beyond the frame; false: cut it at the border of the frame.")

    def compact(self, views: Sequence[View], joints: Joints) -> list[View]:
        """Return the part of each view around the joints, (persons, frames, joints, 3) in source pixels."""
        return [self._compacted(view, joints) for view in views]

    def _compacted(self, view: View, joints: Joints) -> View:
        # As in mmaction2, a coordinate of 0 is missing, whatever the other one is.
        points = np.nan_to_num(joints[..., :2])
        known = np.where(points == 0, np.nan, view.map_points(points)).reshape(-1, 2)
        if np.isnan(known).all(axis=0).any():
            return view
        low, high = np.nanmin(known, axis=0), np.nanmax(known, axis=0)
        if (high - low < self.threshold).any():
            return view
        center, half = (low + high) / 2, (high - low) / 2 * (1 + self.padding)
        if self.hw_ratio is not None:
            least, most = self.hw_ratio if isinstance(self.hw_ratio, list | tuple) else [self.hw_ratio] * 2
            half[1] = max(least * half[0], half[1])
            half[0] = max(half[1] / most, half[0])
        low, high = center - half, center + half
        if not self.allow_imgpad:
            low, high = np.maximum(low, 0), np.minimum(high, view.size)
        left, top, right, bottom = (int(edge) for edge in (*low, *high))
        return view.framed(left, top, right - left, bottom - top) if right > left and bottom > top else view


@dataclass(kw_only=True, slots=True)
class GeneratePoseTarget(ValidatedConfig):
    """Draw a heat map of each joint, each limb, or both: float32 (T, H, W, C), the input of the model.

    The map of a joint is ``score * exp(-d^2 / (2 sigma^2))`` of the distance d of a pixel from it, within a square of 3
    sigma, and the map of a limb that of the distance from the line between two joints, with the lower of their scores.
    Of several persons, the highest value counts. The heat maps are drawn on the device.

    Differences to mmaction2: missing joints are not drawn without ``use_score`` either, and joints and limbs together
    have separate maps, as in 0.x (1.x draws the limbs over the joints).
    """

    sigma: float = option(0.6, "Standard deviation of the Gaussian.", unit="pixels", gt=0)
    use_score: bool = option(True, "Multiply by the confidence of the joints.")
    with_kp: bool = option(True, "Draw joints.")
    with_limb: bool = option(False, "Draw limbs.")
    joints: int = option(17, "Joints of a person.", unit="joints", ge=1)
    skeletons: list[Any] = option(
        COCO_LIMBS, "Limbs: pairs of joints.", accepts="list of pairs of int", check=_limbs_rule
    )
    left_kp: list[int] = option(
        [1, 3, 5, 7, 9, 11, 13, 15], "Left joints, which a mirrored view exchanges with those of right_kp.", ge=0
    )
    right_kp: list[int] = option([2, 4, 6, 8, 10, 12, 14, 16], "Right joints, in the order of left_kp.", ge=0)
    double: bool = option(False, "Add the mirror image of each view, for the test.")
    mirror_maps: bool = option(
        True,
        "With double, mirror the heat maps (mmaction2 1.x); false: the joints (0.x), which differs by a pixel.",
    )
    scaling: float = option(1.0, "Factor on the size of the heat maps.", gt=0)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if not self.with_kp and not self.with_limb:
            raise ConfigError("is false, and so is with_limb: nothing is drawn; set one of them to true", key="with_kp")
        if len(self.left_kp) != len(self.right_kp):
            rule = f"must have as many joints as left_kp, {len(self.left_kp)}"
            raise ConfigError(rule, key="right_kp", value=self.right_kp)
        limbs = [joint for pair in self.skeletons for joint in pair] if self.with_limb else []
        for key, used in (("left_kp", self.left_kp), ("right_kp", self.right_kp), ("skeletons", limbs)):
            if any(joint >= self.joints for joint in used):
                raise ConfigError(f"must name joints in 0..{self.joints - 1}", key=key, value=getattr(self, key))

    @property
    def mirrors(self) -> str:
        """As ``SpatialTransform.mirrors``."""
        return "some views" if self.double else ""

    @property
    def channels(self) -> int:
        """Number of heat maps."""
        return self.joints * self.with_kp + len(self.skeletons) * self.with_limb

    @property
    def mirrored_joints(self) -> list[int]:
        """The joint that each becomes in a mirror image."""
        return _exchanged(range(self.joints), self.left_kp, self.right_kp)

    @property
    def mirrored_channels(self) -> list[int]:
        """The heat map that each becomes in a mirror image: limbs by their joints."""
        order = self.mirrored_joints
        limbs = [frozenset(pair) for pair in self.skeletons]
        mirrored = [frozenset(order[joint] for joint in pair) for pair in limbs] if self.with_limb else []
        of_limbs = [limbs.index(pair) if pair in limbs else place for place, pair in enumerate(mirrored)]
        first = self.joints * self.with_kp
        return order * self.with_kp + [first + place for place in of_limbs]

    def prepare(
        self, joints: Joints, views: Sequence[View], positions: NDArray[np.int64]
    ) -> tuple[Joints, HeatMapLayout, tuple[View, ...]]:
        """Map joints to views, for the heat maps that ``HeatMapLayout`` draws.

        Args:
            joints: Of the distinct frames, (persons, frames, joints, 3), in source pixels.
            views: The crops, of equal size.
            positions: The frames of each clip, int64 (clips, clip_len).

        Returns:
            The joints in pixels of each view, (views, persons, frames, joints, 3), the layout, and the views.

        Raises:
            UserError: If the persons have another number of joints.
        """
        if joints.shape[2] != self.joints:
            raise UserError(
                f"has {joints.shape[2]} joints, but joints={self.joints} of GeneratePoseTarget; set data.joints"
            )
        shown = [*views, *(view.flipped() for view in views if self.double)]
        mapped = [self._mapped(joints, view) for view in (views if self.mirror_maps else shown)]
        width, height = (int(side * self.scaling + 0.5) for side in shared_size(views))
        result = np.stack(mapped)
        clips, clip_len = positions.shape
        layout = HeatMapLayout(
            shape=result.shape,
            size=(width, height),
            crops=len(shown),
            clips=clips,
            clip_len=clip_len,
            sigma=self.sigma,
            with_kp=self.with_kp,
            limbs=tuple(map(tuple, self.skeletons)) if self.with_limb else (),
            mirrored_channels=tuple(self.mirrored_channels),
        )
        return result, layout, tuple(shown)

    def _mapped(self, joints: Joints, view: View) -> Joints:
        """Return the joints in pixels of the heat maps; those that are not drawn have the score 0."""
        scores = _scores(joints if self.use_score else np.where([True, True, False], joints, 1).astype(np.float32))
        present = np.asarray(scores.any(axis=(1, 2)))
        if not present.any():
            present[:1] = True  # no empty axis
        mapped = view.map_points(np.nan_to_num(joints[..., :2])) * self.scaling
        result = np.concatenate([mapped, scores[..., None]], axis=3, dtype=np.float32)[present]
        return result[:, :, self.mirrored_joints] if view.is_mirror_image else result


def _exchanged(values: Sequence[int], left: Sequence[int], right: Sequence[int]) -> list[int]:
    order = list(values)
    for a, b in zip(left, right, strict=True):
        order[a], order[b] = b, a
    return order


def draw_joints(joints: Joints, view: View) -> NDArray[np.uint8]:
    """Draw the joints and COCO's limbs of skeletons as a view shows them, for people to look at.

    Returns:
        The drawings of (persons, frames, joints, 3), uint8 (frames, height, width, 3) RGB.
    """
    import cv2

    width, height = view.size
    images = np.full((joints.shape[1], height, width, 3), 255, np.uint8)
    radius = max(1, round(max(view.size) / 160))
    limbs = COCO_LIMBS if joints.shape[2] == 17 else []
    places = np.clip(view.map_points(np.nan_to_num(joints[..., :2])), -1e4, 1e4).round().astype(int)
    shown = _scores(joints) > 0
    for person, frame in np.ndindex(joints.shape[:2]):
        color, image, at, seen = (
            _COLORS[person % 3],
            images[frame],
            places[person, frame].tolist(),
            shown[person, frame],
        )
        for a, b in limbs:
            if seen[a] and seen[b]:
                cv2.line(image, at[a], at[b], color, radius, cv2.LINE_AA)
        for joint in np.flatnonzero(seen):
            cv2.circle(image, at[joint], radius + 1, color, cv2.FILLED, cv2.LINE_AA)
    return images


def _scores(joints: Joints) -> NDArray[np.float32]:
    """Return the confidence of joints, 0 for those that are missing or not drawn."""
    missing = np.isnan(joints).any(axis=3) | (joints[..., :2] == 0).all(axis=3)
    return np.where(missing | (joints[..., 2] < _VISIBLE), 0, joints[..., 2])
