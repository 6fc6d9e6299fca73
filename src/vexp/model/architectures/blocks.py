"""Building blocks of the 3D models. Shapes are (N, C, T, H, W); kernels and strides are (time, height, width)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

Triple = tuple[int, int, int]


def conv3d(
    in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1), groups: int = 1, bias: bool = False
) -> nn.Conv3d:
    """Build a 3D convolution with padding kernel // 2, so that only the stride changes the size."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias)


def sequential(**layers: nn.Module) -> nn.Sequential:
    """Build a sequence of named modules."""
    return nn.Sequential(OrderedDict(layers))


def conv_norm_act(conv: nn.Module, channels: int, *, eps: float = 1e-5, act: bool = True) -> nn.Sequential:
    """Build ``conv``, batch norm and ReLU as a sequence of modules named ``conv``, ``bn`` and ``relu``."""
    relu = {"relu": nn.ReLU(inplace=True)} if act else {}
    return sequential(conv=conv, bn=nn.BatchNorm3d(channels, eps=eps), **relu)


def conv2plus1d(in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> nn.Sequential:
    """Build a 3D convolution factorized into a spatial and a temporal one (Tran et al., CVPR 2018, section 3.5).

    The channels between the two preserve the number of weights of a t x d x d kernel:
    ``floor(t * d^2 * in * out / (d^2 * in + t * out))``. As in the released models, t is 3 in this formula for kernels
    of any length, including the 1x1x1 convolutions of the shortcuts.
    """
    length, height, width = kernel
    area, t = height * width, 3
    mid_channels = t * area * in_channels * out_channels // (area * in_channels + t * out_channels)
    return sequential(
        conv_s=conv3d(in_channels, mid_channels, (1, height, width), (1, *stride[1:])),
        bn_s=nn.BatchNorm3d(mid_channels),
        relu=nn.ReLU(inplace=True),
        conv_t=conv3d(mid_channels, out_channels, (length, 1, 1), (stride[0], 1, 1)),
    )


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: scales every channel by a gate computed from the channel means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(channels, squeezed, 1)
        self.fc2 = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(self.fc1(x.mean(dim=(2, 3, 4), keepdim=True)).relu())
        return x * gate.sigmoid()


class NonLocal(nn.Module):
    """A non-local block with a shortcut (Wang et al., "Non-local Neural Networks", CVPR 2018).

    ``y_i = W(sum_j f(x_i, x_j) g(x_j))``, where the sum is over the T x H/2 x W/2 positions after a max pooling.

    ``mode`` is the pairwise function f: ``embedded_gaussian`` is softmax(theta(x_i) . phi(x_j)), ``dot_product`` is
    theta(x_i) . phi(x_j) divided by the number of positions, ``gaussian`` is softmax(x_i . x_j) without theta and phi.
    Input and output have ``channels`` channels; the block uses half as many internally. With ``scale``, the products
    of embedded_gaussian are divided by the square root of this number, as in the Transformer.
    """

    def __init__(self, channels: int, mode: str, *, scale: bool = False) -> None:
        super().__init__()
        inner = channels // 2
        self.mode = mode
        self.scale = inner**-0.5 if scale and mode == "embedded_gaussian" else None
        pool = nn.MaxPool3d((1, 2, 2))
        self.g = nn.Sequential(nn.Conv3d(channels, inner, 1), pool)
        embedded = mode != "gaussian"
        self.theta: nn.Module = nn.Conv3d(channels, inner, 1) if embedded else nn.Identity()
        self.phi: nn.Module = nn.Sequential(nn.Conv3d(channels, inner, 1), pool) if embedded else pool
        self.out = sequential(conv=nn.Conv3d(inner, channels, 1, bias=False), bn=nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.theta(x).flatten(2).transpose(1, 2)  # (N, THW, C')
        weights = queries @ self.phi(x).flatten(2)  # (N, THW, THW/4)
        weights = weights if self.scale is None else weights * self.scale
        weights = weights / weights.shape[-1] if self.mode == "dot_product" else weights.softmax(dim=-1)
        values = weights @ self.g(x).flatten(2).transpose(1, 2)  # (N, THW, C/2)
        y: Tensor = self.out(values.transpose(1, 2).unflatten(2, x.shape[2:]))
        return x + y

    def zero_init_last_bn(self) -> None:
        """Zero-initialize the last batch norm, so that the block starts as the identity."""
        nn.init.zeros_(self.out.bn.weight)  # type: ignore[union-attr, arg-type]


class Head(nn.Module):
    """Global average pooling, dropout and a linear classifier: (N, C, ...) to (N, num_classes).

    ``init_std`` is the standard deviation of the classifier's initial weights (normal distribution; the bias is 0).
    """

    def __init__(self, channels: int, num_classes: int, *, dropout: float, init_std: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        nn.init.normal_(self.fc.weight, std=init_std)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(global_average_pool(x) if x.ndim > 2 else x))
        return logits


def init_convolutions(module: nn.Module) -> None:
    """Apply Kaiming initialization with fan-out to all 3D convolutions (He et al., ICCV 2015); biases are set to 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def classifier(backbone: nn.Module, channels: int, num_classes: int, *, dropout: float, init_std: float) -> nn.Module:
    """Combine a backbone and a ``Head`` into a model: float (N, 3, T, H, W) to logits (N, num_classes)."""
    return sequential(backbone=backbone, head=Head(channels, num_classes, dropout=dropout, init_std=init_std))


def global_average_pool(features: Tensor) -> Tensor:
    """Average (N, C, T, H, W) over time and space to (N, C)."""
    return features.flatten(2).mean(2)
