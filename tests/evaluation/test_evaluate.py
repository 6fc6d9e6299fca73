"""Scores of a split: every video once, views reduced as promised, the model left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from vexp.data.dataset import Batch
from vexp.data.img_norm import ImgNorm
from vexp.errors import UserError
from vexp.evaluation.evaluate import measure, predict, reduce_views
from vexp.evaluation.options import Eval
from vexp.optim.amp import Amp

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
        yield Batch(torch.from_numpy(frames[part]), torch.from_numpy(labels[part]), ids)


def run(model, batches, *, criterion=None, **options):
    return predict(
        model, batches, criterion=criterion or nn.CrossEntropyLoss(), img_norm=PLAIN, amp=Amp(),
        options=Eval(**options), device=torch.device("cpu"),
    )  # fmt: skip


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
    assert (made.scores.dtype, made.scores.shape) == (np.float32, (7, 4))
    assert made.ids.tolist() == list(range(100, 107))
    assert made.labels.tolist() == labels.tolist()
    assert made.views == views
    expected = -np.log(softmax(logits.mean(1))[np.arange(7), labels]).mean()  # of the view-averaged logits
    assert made.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_views_that_agree_are_one_view(reduction):
    logits = torch.randn(5, 1, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reduce_views(logits.expand(-1, 3, -1), reduction), logits[:, 0].softmax(-1))


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
    made = predict(
        model, in_batches(frames, labels, 4), criterion=nn.CrossEntropyLoss(), img_norm=ImgNorm(to_bgr=True),
        amp=Amp(), options=Eval(view_reduction="mean_logit"), device=torch.device("cpu"),
    )  # fmt: skip
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
