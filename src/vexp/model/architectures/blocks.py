"""What several 3D nets are built from. Shapes are (N, C, T, H, W); kernels and strides are (time, height, width)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

Triple = tuple[int, int, int]


def conv3d(
    in_channels: int,
    out_channels: int,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    *,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv3d:
    """A 3D convolution padded so that only its stride changes the size."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias)


def conv_norm_act(conv: nn.Module, channels: int, *, eps: float = 1e-5, act: bool = True) -> nn.Sequential:
    """``conv``, batch norm of its ``channels``, ReLU; parts are named ``conv``, ``bn``, ``relu``."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, bn=nn.BatchNorm3d(channels, eps=eps))
    if act:
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def conv2plus1d(in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> nn.Sequential:
    """A 3D convolution taken apart into a spatial and a temporal one (Tran et al., CVPR 2018, section 3.5).

    The width between the two gives a t x d x d kernel as many weights as the 3D convolution had:
    ``floor(t * d^2 * in * out / (d^2 * in + t * out))``. As in the released nets t is 3 there for kernels of any
    length, so that the shortcuts' 1 x 1 x 1 convolutions are taken apart, too.
    """
    length, height, width = kernel
    area, t = height * width, 3
    between = t * area * in_channels * out_channels // (area * in_channels + t * out_channels)
    return nn.Sequential(
        OrderedDict(
            conv_s=conv3d(in_channels, between, (1, height, width), (1, *stride[1:])),
            bn_s=nn.BatchNorm3d(between),
            relu=nn.ReLU(inplace=True),
            conv_t=conv3d(between, out_channels, (length, 1, 1), (stride[0], 1, 1)),
        )
    )


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from all channels' means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(channels, squeezed, 1)
        self.fc2 = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(self.fc1(x.mean(dim=(2, 3, 4), keepdim=True)).relu())
        return x * gate.sigmoid()


class NonLocal(nn.Module):
    """Adds to every position what it finds at all others (Wang et al., "Non-local Neural Networks", CVPR 2018).

    ``y_i = W(sum_j f(x_i, x_j) g(x_j))``, the sum over the T x H/2 x W/2 positions left by a max pooling.

    Args:
        channels: of input and output; the block works on half as many.
        mode: f is ``embedded_gaussian`` softmax(theta(x_i) . phi(x_j)), ``dot_product`` theta(x_i) . phi(x_j) divided
            by the number of positions, or ``gaussian`` softmax(x_i . x_j), which has no theta and no phi.
    """

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        inner = channels // 2
        self.mode = mode
        pool = nn.MaxPool3d((1, 2, 2))
        self.g = nn.Sequential(nn.Conv3d(channels, inner, 1), pool)
        embedded = mode != "gaussian"
        self.theta: nn.Module = nn.Conv3d(channels, inner, 1) if embedded else nn.Identity()
        self.phi: nn.Module = nn.Sequential(nn.Conv3d(channels, inner, 1), pool) if embedded else pool
        self.out = nn.Sequential(
            OrderedDict(conv=nn.Conv3d(inner, channels, 1, bias=False), bn=nn.BatchNorm3d(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        queries = self.theta(x).flatten(2).transpose(1, 2)  # (N, THW, C')
        weights = queries @ self.phi(x).flatten(2)  # (N, THW, THW/4)
        weights = weights / weights.shape[-1] if self.mode == "dot_product" else weights.softmax(dim=-1)
        values = weights @ self.g(x).flatten(2).transpose(1, 2)  # (N, THW, C/2)
        y: Tensor = self.out(values.transpose(1, 2).unflatten(2, x.shape[2:]))
        return x + y

    def silence(self) -> None:
        """Start as the identity, so that it can be put into a trained net."""
        nn.init.zeros_(self.out.bn.weight)  # type: ignore[union-attr, arg-type]


class Head(nn.Module):
    """Averages over time and space, drops features, classifies: (N, C, ...) to (N, num_classes).

    Args:
        channels: C.
        dropout: probability with which an averaged feature is dropped in training.
        init_std: standard deviation of the classifier's first weights (normal, bias 0).
    """

    def __init__(self, channels: int, num_classes: int, *, dropout: float, init_std: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        nn.init.normal_(self.fc.weight, std=init_std)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(pooled(x) if x.ndim > 2 else x))
        return logits


def init_convolutions(module: nn.Module) -> None:
    """He initialisation by fan out, as the ResNets (He et al., ICCV 2015); biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def classifier(backbone: nn.Module, head: nn.Module) -> nn.Sequential:
    """A net of a ``backbone`` and a ``head``: float (N, 3, T, H, W) to logits (N, num_classes)."""
    return nn.Sequential(OrderedDict(backbone=backbone, head=head))


def pooled(features: Tensor) -> Tensor:
    """(N, C, T, H, W) averaged to (N, C)."""
    return features.flatten(2).mean(2)
