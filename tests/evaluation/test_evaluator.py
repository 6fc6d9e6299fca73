"""Scores of a split: one row per video, reduced over its views, and a model that is left unchanged."""

import numpy as np
import pytest
import torch
from torch import nn

from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.batch.normalize import ImgNorm
from vexp.evaluation.config import Eval
from vexp.evaluation.evaluator import Evaluator, predict_batches
from vexp.evaluation.predictions import measure
from vexp.evaluation.view_forward import ViewForward
from vexp.evaluation.view_reduction import reduce_views
from vexp.runtime.amp import Amp

PLAIN = ImgNorm(mean=[0.0] * 3, std=[1.0] * 3)
WEIGHT = np.array([[1.0, -1.0, 0.5, 0.0], [0.3, 0.2, -0.7, 1.1], [-0.4, 0.9, 0.1, -1.0]]) / 40  # (3, classes)


class ColorModel(nn.Module):
    """A model of the mean color of a clip; it records the sizes of its batches and the modes of its modules."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm3d(3, affine=False)
        self.drop = nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.tensor(WEIGHT, dtype=torch.float32))
        self.sizes, self.modes = [], set()

    def forward(self, x):
        self.sizes.append(len(x))
        self.modes |= {module.training for module in self.modules()}
        return (self.drop(self.norm(x)).mean((2, 3, 4))[:, :, None] * self.weight).sum(1)


def video_set(videos=7, views=3):
    """Return uint8 frames (n, V, T, H, W, 3) and labels (n,)."""
    random = np.random.RandomState(0)
    tint = random.randint(0, 200, (videos, views, 1, 1, 1, 3))
    return (tint + random.randint(0, 56, (videos, views, 2, 4, 4, 3))).astype(np.uint8), random.randint(0, 4, videos)


def make_batches(frames, labels, size):
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        ids = torch.arange(len(labels))[part] + 100
        yield Batch.of_views(torch.from_numpy(frames[part]), torch.from_numpy(labels[part]), ids)


def evaluator(*, criterion=None, img_norm=PLAIN, amp=None, **options):
    options = Eval(**options)
    forward = ViewForward(
        img_norm=img_norm, amp=amp or Amp(), device=torch.device("cpu"), max_views=options.max_views_per_forward
    )
    return Evaluator(criterion=criterion or nn.CrossEntropyLoss(), forward=forward, options=options)


def run(model, batches, **settings):
    chosen = evaluator(**settings)
    return chosen.predictions(score(chosen, model, batches))


def score(chosen, model, batches):
    return predict_batches(model, batches, lambda model, batch: chosen.scores(model, batch, "video {}".format))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_predictions_of_several_processes_equal_one_process(world_size):
    """Batches are distributed in turn, and a process may have none; loss and logits are also equal to the bit."""
    frames, labels = video_set()
    model, batches = ColorModel(), list(make_batches(frames, labels, 2))
    one = run(model, batches, save_view_logits=True)
    several = evaluator(save_view_logits=True)
    parts = [part for rank in range(world_size) for part in score(several, model, batches[rank::world_size])]
    predictions = several.predictions(parts)
    for name in ("ids", "labels", "scores", "view_logits"):
        np.testing.assert_array_equal(getattr(predictions, name), getattr(one, name))
    assert (predictions.loss, predictions.views) == (one.loss, one.views)
    with pytest.raises(AssertionError, match="scored twice"):
        several.predictions([*parts, parts[0]])


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def reference_logits(frames):
    """Return (n, V, classes) in double precision; batch norm in eval mode divides by sqrt(1 + eps)."""
    return frames.astype(float).mean((2, 3, 4)) / np.sqrt(1 + 1e-5) @ WEIGHT


REDUCTIONS = {
    "mean_prob": lambda logits: softmax(logits).mean(1),
    "mean_logit": lambda logits: softmax(logits.mean(1)),
    "max_prob": lambda logits: softmax(logits).max(1),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("views", [1, 3])
def test_scores_and_loss_match_numpy(reduction, views):
    frames, labels = video_set(views=views)
    predictions = run(ColorModel(), make_batches(frames, labels, 4), view_reduction=reduction)  # batches of 4 and 3
    logits = reference_logits(frames)
    np.testing.assert_allclose(predictions.scores, REDUCTIONS[reduction](logits), rtol=2e-5)
    assert (predictions.scores.dtype, predictions.scores.shape) == (np.float64, (7, 4))
    assert predictions.view_logits is None
    assert predictions.ids.tolist() == list(range(100, 107))
    assert predictions.labels.tolist() == labels.tolist()
    assert predictions.views == views
    expected = -np.log(softmax(logits.mean(1))[np.arange(7), labels]).mean()  # of the view-averaged logits
    assert predictions.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reduce_views_of_equal_views_returns_one_view(reduction):
    logits = np.random.RandomState(0).randn(5, 1, 4).astype(np.float32)
    three = reduce_views(logits.repeat(3, axis=1), reduction, multi_label=False)
    np.testing.assert_allclose(three, softmax(logits[:, 0].astype(float)), rtol=1e-12)
    three = reduce_views(logits.repeat(3, axis=1), reduction, multi_label=True)
    np.testing.assert_allclose(three, 1 / (1 + np.exp(-logits[:, 0].astype(float))), rtol=1e-12)


def test_reduce_views_of_large_logits_does_not_overflow():
    logits = np.array([[[1e4, -1e4, 0.0]]], np.float32)
    assert reduce_views(logits, "mean_prob", multi_label=True).tolist() == [[1.0, 0.0, 0.5]]
    assert reduce_views(logits, "mean_prob", multi_label=False).tolist() == [[1.0, 0.0, 0.0]]


def test_scores_are_equal_for_every_batch_size():
    frames, labels = video_set()
    one = run(ColorModel(), make_batches(frames, labels, 1))
    for size in (2, 4, 7, 50):
        other = run(ColorModel(), make_batches(frames, labels, size))
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.loss == other.loss


@pytest.mark.parametrize(
    ("max_views", "sizes"),
    [
        (None, [12, 9]),  # whole batches: 4 videos of 3 views, then 3
        (100, [12, 9]),
        (12, [12, 9]),
        (5, [5, 5, 2, 5, 4]),  # across videos
        (2, [2] * 6 + [2] * 4 + [1]),  # fewer than one video has
        (1, [1] * 21),
    ],
)
def test_scores_are_equal_for_every_max_views_per_forward(max_views, sizes):
    frames, labels = video_set()
    reference = run(ColorModel(), make_batches(frames, labels, 4))
    model = ColorModel()
    parts = run(model, make_batches(frames, labels, 4), max_views_per_forward=max_views)
    assert model.sizes == sizes
    np.testing.assert_array_equal(parts.scores, reference.scores)
    assert parts.loss == reference.loss


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


@pytest.mark.parametrize("training", [True, False])
def test_score_restores_training_mode_of_modules(training):
    model = ColorModel().train(training)
    model.norm.eval()  # frozen by the user
    before, weights = modes(model), {k: v.clone() for k, v in model.state_dict().items()}
    run(model, make_batches(*video_set(), 4))
    assert model.modes == {False}  # every module was in eval mode
    assert modes(model) == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name  # also the statistics of batch norm


def test_score_restores_training_mode_after_error():
    def failing_batches():
        yield next(make_batches(*video_set(), 4))
        raise UserError("video 5.mp4: truncated")

    model = ColorModel().train()
    model.drop.eval()
    before = modes(model)
    with pytest.raises(UserError, match="truncated"):
        run(model, failing_batches())
    assert modes(model) == before


def test_model_can_be_trained_after_evaluation():
    frames, labels = video_set()
    model = ColorModel()
    run(model, make_batches(frames, labels, 4))
    loss = nn.functional.cross_entropy(model(PLAIN.apply(torch.from_numpy(frames[:, 0]))), torch.from_numpy(labels))
    loss.backward()
    assert (model.weight.grad != 0).all()


def test_loss_includes_label_smoothing():
    frames, labels = video_set()
    plain, smooth = (
        run(ColorModel(), make_batches(frames, labels, 4), criterion=nn.CrossEntropyLoss(label_smoothing=s))
        for s in (0.0, 0.5)
    )
    log_prob = np.log(softmax(reference_logits(frames).mean(1)))
    assert smooth.loss == pytest.approx(0.5 * plain.loss - 0.5 * log_prob.mean(), rel=1e-5)
    np.testing.assert_array_equal(plain.scores, smooth.scores)


def test_frames_are_normalized():
    frames, labels = video_set()
    model = ColorModel()
    predictions = run(
        model, make_batches(frames, labels, 4), img_norm=ImgNorm(to_bgr=True), view_reduction="mean_logit"
    )
    values = (frames[..., ::-1] - np.array(ImgNorm().mean)) / np.array(ImgNorm().std)
    np.testing.assert_allclose(predictions.scores, softmax(reference_logits(values).mean(1)), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["top1_acc", "top5_acc", "mean_class_accuracy", "loss"]),
        ({"metrics": ["mean_class_accuracy"]}, ["mean_class_accuracy", "loss"]),
        (
            {"metrics": ["mean_class_accuracy", "top_k_accuracy"], "topk": [2]},
            ["mean_class_accuracy", "top2_acc", "loss"],
        ),
        ({"metrics": []}, ["loss"]),
    ],
)
def test_measure_returns_results_of_options(options, names):
    frames, labels = video_set()
    predictions = run(ColorModel(), make_batches(frames, labels, 4))
    results = measure(predictions, Eval(**options))
    assert list(results) == Eval(**options).results() == names
    assert results["loss"] == predictions.loss
    order = np.argsort(-predictions.scores, axis=1)
    for k in (1, 2, 5):
        if f"top{k}_acc" in results:
            within = [label in row[:k] for row, label in zip(order, labels, strict=True)]
            assert results[f"top{k}_acc"] == np.mean(within)
    if "mean_class_accuracy" in results:
        each = [(order[labels == c, 0] == c).mean() for c in set(labels)]
        assert results["mean_class_accuracy"] == pytest.approx(np.mean(each))


# ---- several labels per video ----


@pytest.mark.parametrize("reduction", ["mean_prob", "mean_logit", "max_prob"])
def test_multi_label_scores_are_sigmoids_with_bce_loss(reduction):
    frames, _ = video_set()
    labels = (np.random.RandomState(1).rand(7, 4) < 0.5).astype(np.float32)
    predictions = run(
        ColorModel(), make_batches(frames, labels, 4), criterion=nn.BCEWithLogitsLoss(), view_reduction=reduction,
        metrics=["mean_average_precision"],
    )  # fmt: skip
    logits = reference_logits(frames)
    sigmoid = 1 / (1 + np.exp(-logits))
    expected = {
        "mean_prob": sigmoid.mean(1), "mean_logit": 1 / (1 + np.exp(-logits.mean(1))), "max_prob": sigmoid.max(1),
    }[reduction]  # fmt: skip
    np.testing.assert_allclose(predictions.scores, expected, rtol=2e-5)
    np.testing.assert_array_equal(predictions.labels, labels)
    mean = logits.mean(1)
    assert predictions.loss == pytest.approx(np.mean(np.log1p(np.exp(mean)) - labels * mean), rel=1e-5)
    assert predictions.multi_label
    assert list(measure(predictions, Eval(metrics=["mean_average_precision"]))) == ["mean_average_precision", "loss"]


# ---- memory ----


class LimitedModel(ColorModel):
    """A model that raises OutOfMemoryError for more than ``fits`` views."""

    def __init__(self, fits):
        super().__init__()
        self.fits, self.tried = fits, []

    def forward(self, x):
        self.tried.append(len(x))
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def test_view_forward_halves_the_views_once_when_out_of_memory(caplog):
    frames, labels = video_set()
    reference = run(ColorModel(), make_batches(frames, labels, 4))
    halving = evaluator()
    model = LimitedModel(fits=5)
    for _ in range(2):  # the second evaluation starts with the size that fitted
        predictions = halving.predictions(score(halving, model, make_batches(frames, labels, 4)))
        np.testing.assert_array_equal(predictions.scores, reference.scores)
        assert predictions.loss == reference.loss
    assert model.tried[:2] == [12, 6]
    assert set(model.tried[2:]) == {3}
    assert len(model.tried) == 2 + 2 * 7
    (message,) = caplog.messages
    assert message.startswith("12 views in one forward pass do not fit")
    assert "eval.max_views_per_forward=3" in message


def test_single_view_out_of_memory_raises_user_error():
    model = LimitedModel(fits=0).train()
    with pytest.raises(UserError, match=r"a single view of 2 x 4 x 4 \(frames x height x width\) does not fit"):
        run(model, make_batches(*video_set(), 4))
    assert model.training


def test_other_runtime_error_of_model_is_raised_unchanged():
    class FailingModel(ColorModel):
        def forward(self, x):
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(FailingModel(), make_batches(*video_set(), 4))


# ---- scores that are not finite, and saved logits ----


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("dtype", "hint"), [("bf16", "not finite: the weights"), ("fp16", "fp16 overflowed")])
def test_nonfinite_scores_raise_user_error(value, dtype, hint):
    class DivergedModel(ColorModel):
        def forward(self, x):
            logits = super().forward(x).clone()
            logits[4, 2] = value  # the second view of the second video
            return logits

    with pytest.raises(UserError, match=f"the scores of video 101 are not finite.*{hint}|101 are {hint}"):
        run(DivergedModel(), make_batches(*video_set(), 4), amp=Amp(dtype=dtype))


def test_measure_without_positive_labels_raises():
    frames, _ = video_set()
    options = {"metrics": ["mean_average_precision"]}
    predictions = run(
        ColorModel(), make_batches(frames, np.zeros((7, 4), np.float32), 4), criterion=nn.BCEWithLogitsLoss(), **options
    )
    with pytest.raises(UserError, match="evaluation: labels: no sample has a label"):
        measure(predictions, Eval(**options))


def test_save_view_logits_keeps_logits_of_views():
    frames, labels = video_set()
    predictions = run(ColorModel(), make_batches(frames, labels, 4), save_view_logits=True)
    np.testing.assert_allclose(predictions.view_logits, reference_logits(frames), rtol=1e-4, atol=1e-4)
    assert (predictions.view_logits.dtype, predictions.view_logits.shape) == (np.float32, (7, 3, 4))


def test_evaluation_of_averaged_weights_restores_both_models():
    from vexp.optim.ema import Ema

    frames, labels = video_set()
    model = ColorModel().train()
    model.norm.eval()
    average = Ema(decay=0.5).build(model)
    with torch.no_grad():
        model.weight.mul_(-1)
    before = modes(model), modes(average)
    np.testing.assert_array_equal(
        run(average.module, make_batches(frames, labels, 4)).scores,
        run(ColorModel(), make_batches(frames, labels, 4)).scores,
    )
    assert (modes(model), modes(average)) == before
