"""C3D: eight 3x3x3 convolutions and three fully connected layers."""

from __future__ import annotations

from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.architectures.blocks import classifier, conv3d, init_convolutions

FEATURES = 4096
#: Channels of each convolution; a max pooling follows each group with the same number.
CONVS = {"1a": 64, "2a": 128, "3a": 256, "3b": 256, "4a": 512, "4b": 512, "5a": 512, "5b": 512}


class C3dBackbone(nn.Module):
    """Backbone of ``c3d``: float (N, 3, 16, 112, 112) to (N, 4096)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        channels = 3
        for name, width in CONVS.items():
            self.add_module(f"conv{name}", conv3d(channels, width, (3, 3, 3), bias=True))
            channels = width
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool2, self.pool3, self.pool4 = nn.MaxPool3d(2), nn.MaxPool3d(2), nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6, self.fc7 = nn.Linear(channels * 1 * 4 * 4, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.dropout = nn.Dropout(dropout)
        init_convolutions(self)
        for layer in (self.fc6, self.fc7):
            nn.init.normal_(layer.weight, std=0.005)
            nn.init.zeros_(layer.bias)

    def forward(self, clips: Tensor) -> Tensor:
        if clips.shape[2:] != (16, 112, 112):
            raise UserError(
                f"C3D requires clips of 16 frames of 112x112 pixels, got {clips.shape[2]} frames of "
                f"{clips.shape[4]}x{clips.shape[3]}; set the clip_len of the sampler and the size of the crop"
            )
        x = clips
        for group in "12345":
            for name in (name for name in CONVS if name[0] == group):
                x = getattr(self, f"conv{name}")(x).relu()
            x = getattr(self, f"pool{group}")(x)
        features: Tensor = self.fc7(self.dropout(self.fc6(x.flatten(1)).relu())).relu()
        return features


def c3d(num_classes: int, *, dropout: float, init_std: float) -> nn.Module:
    """Build C3D (Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, figure 3).

    ======== ========================
    input    (N, 3, 16, 112, 112)
    conv1a   (N, 64, 16, 112, 112)
    pool1    (N, 64, 16, 56, 56)
    conv2a   (N, 128, 16, 56, 56)
    pool2    (N, 128, 8, 28, 28)
    conv3b   (N, 256, 8, 28, 28)
    pool3    (N, 256, 4, 14, 14)
    conv4b   (N, 512, 4, 14, 14)
    pool4    (N, 512, 2, 7, 7)
    conv5b   (N, 512, 2, 7, 7)
    pool5    (N, 512, 1, 4, 4)
    fc6      (N, 4096)
    fc7      (N, 4096)
    ======== ========================
    """
    return classifier(C3dBackbone(dropout), FEATURES, num_classes, dropout=dropout, init_std=init_std)
