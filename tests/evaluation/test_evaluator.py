"""Scores of a split: every video once, views reduced as promised, the model left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.batch.normalize import ImgNorm
from vexp.evaluation.config import Eval
from vexp.evaluation.evaluator import Evaluator
from vexp.evaluation.predictions import measure
from vexp.evaluation.view_forward import ViewForward
from vexp.evaluation.view_reduction import reduce_views
from vexp.runtime.amp import Amp

PLAIN = ImgNorm(mean=[0.0] * 3, std=[1.0] * 3)
WEIGHT = np.array([[1.0, -1.0, 0.5, 0.0], [0.3, 0.2, -0.7, 1.1], [-0.4, 0.9, 0.1, -1.0]]) / 40  # (3, classes)


class Net(nn.Module):
    """Logits of a video's mean colour; notes the sizes of its batches and the modes it was in."""

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
    """uint8 frames (n, V, T, H, W, 3) and labels (n,)."""
    random = np.random.RandomState(0)
    tint = random.randint(0, 200, (videos, views, 1, 1, 1, 3))
    return (tint + random.randint(0, 56, (videos, views, 2, 4, 4, 3))).astype(np.uint8), random.randint(0, 4, videos)


def in_batches(frames, labels, size):
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
    return chosen.predictions([chosen.score(model, batches, name="video {}".format)])


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_predictions_of_several_processes_equal_those_of_one(world_size):
    """Batches dealt out in turn, one process perhaps without any; to the bit, the loss and the kept logits included."""
    frames, labels = video_set()
    net, batches = Net(), list(in_batches(frames, labels, 2))
    one = run(net, batches, save_view_logits=True)
    several = evaluator(save_view_logits=True)
    parts = [several.score(net, batches[rank::world_size], name=str) for rank in range(world_size)]
    made = several.predictions(parts)
    for name in ("ids", "labels", "scores", "view_logits"):
        np.testing.assert_array_equal(getattr(made, name), getattr(one, name))
    assert (made.loss, made.views) == (one.loss, one.views)
    with pytest.raises(AssertionError, match="scored twice"):
        several.predictions([*parts, parts[0]])


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def reference_logits(frames):
    """(n, V, classes) in double precision; batch norm in eval mode divides by sqrt(1 + eps)."""
    return frames.astype(float).mean((2, 3, 4)) / np.sqrt(1 + 1e-5) @ WEIGHT


REDUCTIONS = {
    "mean_prob": lambda logits: softmax(logits).mean(1),
    "mean_logit": lambda logits: softmax(logits.mean(1)),
    "max_prob": lambda logits: softmax(logits).max(1),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("views", [1, 3])
def test_scores_and_loss_against_numpy(reduction, views):
    frames, labels = video_set(views=views)
    made = run(Net(), in_batches(frames, labels, 4), view_reduction=reduction)  # 4 and a ragged 3
    logits = reference_logits(frames)
    np.testing.assert_allclose(made.scores, REDUCTIONS[reduction](logits), rtol=2e-5)
    assert (made.scores.dtype, made.scores.shape) == (np.float64, (7, 4))
    assert made.view_logits is None
    assert made.ids.tolist() == list(range(100, 107))
    assert made.labels.tolist() == labels.tolist()
    assert made.views == views
    expected = -np.log(softmax(logits.mean(1))[np.arange(7), labels]).mean()  # of the view-averaged logits
    assert made.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_views_that_agree_are_one_view(reduction):
    logits = np.random.RandomState(0).randn(5, 1, 4).astype(np.float32)
    three = reduce_views(logits.repeat(3, axis=1), reduction, multi_label=False)
    np.testing.assert_allclose(three, softmax(logits[:, 0].astype(float)), rtol=1e-12)
    three = reduce_views(logits.repeat(3, axis=1), reduction, multi_label=True)
    np.testing.assert_allclose(three, 1 / (1 + np.exp(-logits[:, 0].astype(float))), rtol=1e-12)


def test_probabilities_of_huge_logits_do_not_overflow():
    logits = np.array([[[1e4, -1e4, 0.0]]], np.float32)
    assert reduce_views(logits, "mean_prob", multi_label=True).tolist() == [[1.0, 0.0, 0.5]]
    assert reduce_views(logits, "mean_prob", multi_label=False).tolist() == [[1.0, 0.0, 0.0]]


def test_the_batch_size_changes_nothing():
    frames, labels = video_set()
    one = run(Net(), in_batches(frames, labels, 1))
    for size in (2, 4, 7, 50):
        other = run(Net(), in_batches(frames, labels, size))
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.loss == other.loss


@pytest.mark.parametrize(
    ("max_views", "sizes"),
    [
        (None, [12, 9]),  # a whole batch: 4 videos of 3 views, then 3
        (100, [12, 9]),
        (12, [12, 9]),
        (5, [5, 5, 2, 5, 4]),  # across videos
        (2, [2] * 6 + [2] * 4 + [1]),  # fewer than one video has
        (1, [1] * 21),
    ],
)
def test_views_in_parts_give_the_same_scores(max_views, sizes):
    frames, labels = video_set()
    whole = run(Net(), in_batches(frames, labels, 4))
    net = Net()
    parts = run(net, in_batches(frames, labels, 4), max_views_per_forward=max_views)
    assert net.sizes == sizes
    np.testing.assert_array_equal(parts.scores, whole.scores)
    assert parts.loss == whole.loss


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


@pytest.mark.parametrize("training", [True, False])
def test_every_module_is_left_in_the_mode_it_was_in(training):
    model = Net().train(training)
    model.norm.eval()  # frozen by the user
    before, weights = modes(model), {k: v.clone() for k, v in model.state_dict().items()}
    run(model, in_batches(*video_set(), 4))
    assert model.modes == {False}  # all of it was in eval mode
    assert modes(model) == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name  # batch norm's statistics, too


def test_a_fault_on_the_way_leaves_the_modes_too():
    def broken():
        yield next(in_batches(*video_set(), 4))
        raise UserError("video 5.mp4: truncated")

    model = Net().train()
    model.drop.eval()
    before = modes(model)
    with pytest.raises(UserError, match="truncated"):
        run(model, broken())
    assert modes(model) == before


def test_training_goes_on_after_an_evaluation():
    frames, labels = video_set()
    model = Net()
    run(model, in_batches(frames, labels, 4))
    loss = nn.functional.cross_entropy(model(PLAIN.apply(torch.from_numpy(frames[:, 0]))), torch.from_numpy(labels))
    loss.backward()
    assert model.weight.grad.abs().sum() > 0


def test_label_smoothing_is_in_the_loss():
    frames, labels = video_set()
    plain, smooth = (
        run(Net(), in_batches(frames, labels, 4), criterion=nn.CrossEntropyLoss(label_smoothing=s)) for s in (0.0, 0.5)
    )
    log_prob = np.log(softmax(reference_logits(frames).mean(1)))
    assert smooth.loss == pytest.approx(0.5 * plain.loss - 0.5 * log_prob.mean(), rel=1e-5)
    np.testing.assert_array_equal(plain.scores, smooth.scores)


def test_frames_are_normalised():
    frames, labels = video_set()
    model = Net()
    made = run(model, in_batches(frames, labels, 4), img_norm=ImgNorm(to_bgr=True), view_reduction="mean_logit")
    values = (frames[..., ::-1] - np.array(ImgNorm().mean)) / np.array(ImgNorm().std)
    np.testing.assert_allclose(made.scores, softmax(reference_logits(values).mean(1)), rtol=1e-4)


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
def test_the_results_are_those_that_the_options_promise(options, names):
    frames, labels = video_set()
    made = run(Net(), in_batches(frames, labels, 4))
    results = measure(made, Eval(**options))
    assert list(results) == Eval(**options).results() == names
    assert results["loss"] == made.loss
    order = np.argsort(-made.scores, axis=1)
    for k in (1, 2, 5):
        if f"top{k}_acc" in results:
            within = [label in row[:k] for row, label in zip(order, labels, strict=True)]
            assert results[f"top{k}_acc"] == np.mean(within)
    if "mean_class_accuracy" in results:
        each = [(order[labels == c, 0] == c).mean() for c in set(labels)]
        assert results["mean_class_accuracy"] == pytest.approx(np.mean(each))


# ---- several labels a video ----


@pytest.mark.parametrize("reduction", ["mean_prob", "mean_logit", "max_prob"])
def test_multi_label_scores_are_sigmoids_and_the_loss_is_that_of_bce(reduction):
    frames, _ = video_set()
    labels = (np.random.RandomState(1).rand(7, 4) < 0.5).astype(np.float32)
    made = run(
        Net(), in_batches(frames, labels, 4), criterion=nn.BCEWithLogitsLoss(), view_reduction=reduction,
        metrics=["mean_average_precision"],
    )  # fmt: skip
    logits = reference_logits(frames)
    sigmoid = 1 / (1 + np.exp(-logits))
    expected = {
        "mean_prob": sigmoid.mean(1), "mean_logit": 1 / (1 + np.exp(-logits.mean(1))), "max_prob": sigmoid.max(1),
    }[reduction]  # fmt: skip
    np.testing.assert_allclose(made.scores, expected, rtol=2e-5)
    np.testing.assert_array_equal(made.labels, labels)
    mean = logits.mean(1)
    assert made.loss == pytest.approx(np.mean(np.log1p(np.exp(mean)) - labels * mean), rel=1e-5)
    assert made.multi_label
    assert list(measure(made, Eval(metrics=["mean_average_precision"]))) == ["mean_average_precision", "loss"]


# ---- memory ----


class Hungry(Net):
    """Runs out of memory with more than ``fits`` views."""

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
    whole = run(Net(), in_batches(frames, labels, 4))
    halving = evaluator()
    net = Hungry(fits=5)
    for _ in range(2):  # the second evaluation of the run begins with what fitted
        made = halving.predictions([halving.score(net, in_batches(frames, labels, 4), name=str)])
        np.testing.assert_array_equal(made.scores, whole.scores)
        assert made.loss == whole.loss
    assert net.tried[:2] == [12, 6]
    assert set(net.tried[2:]) == {3}
    assert len(net.tried) == 2 + 2 * 7
    (message,) = caplog.messages
    assert message.startswith("12 views in one forward pass do not fit")
    assert "eval.max_views_per_forward=3" in message


def test_a_single_view_that_does_not_fit_is_said():
    net = Hungry(fits=0).train()
    with pytest.raises(UserError, match=r"a single view of 2 x 4 x 4 \(frames x height x width\) does not fit"):
        run(net, in_batches(*video_set(), 4))
    assert net.training


def test_another_fault_of_the_net_is_not_taken_for_a_lack_of_memory():
    class Broken(Net):
        def forward(self, x):
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(Broken(), in_batches(*video_set(), 4))


# ---- what is not finite, and what is kept ----


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("dtype", "hint"), [("bf16", "not finite: the weights"), ("fp16", "fp16 overflowed")])
def test_bug_scores_that_are_not_finite_were_ranked(value, dtype, hint):
    class Diverged(Net):
        def forward(self, x):
            logits = super().forward(x).clone()
            logits[4, 2] = value  # the second view of the second video
            return logits

    with pytest.raises(UserError, match=f"the scores of video 101 are not finite.*{hint}|101 are {hint}"):
        run(Diverged(), in_batches(*video_set(), 4), amp=Amp(dtype=dtype))


def test_labels_without_a_positive_have_no_map():
    frames, _ = video_set()
    options = {"metrics": ["mean_average_precision"]}
    made = run(Net(), in_batches(frames, np.zeros((7, 4), np.float32), 4), criterion=nn.BCEWithLogitsLoss(), **options)
    with pytest.raises(UserError, match="evaluation: labels: no sample has a label"):
        measure(made, Eval(**options))


def test_view_logits_are_kept_when_asked_for():
    frames, labels = video_set()
    made = run(Net(), in_batches(frames, labels, 4), save_view_logits=True)
    np.testing.assert_allclose(made.view_logits, reference_logits(frames), rtol=1e-4, atol=1e-4)
    assert (made.view_logits.dtype, made.view_logits.shape) == (np.float32, (7, 3, 4))


def test_an_evaluation_of_averaged_weights_leaves_both_nets_as_they_were():
    from vexp.optim.ema import Ema

    frames, labels = video_set()
    model = Net().train()
    model.norm.eval()
    average = Ema(decay=0.5).build(model)
    with torch.no_grad():
        model.weight.mul_(-1)
    before = modes(model), modes(average)
    np.testing.assert_array_equal(
        run(average.module, in_batches(frames, labels, 4)).scores, run(Net(), in_batches(frames, labels, 4)).scores
    )
    assert (modes(model), modes(average)) == before
