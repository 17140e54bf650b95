"""Networks that MONAI lacks, for a bundle's ``network_def``."""

from __future__ import annotations

import math

from monai.networks.nets.vit import ViT
from torch import Tensor, nn

_STAGES = (
    # kernel, stride of the first block, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""EfficientNet-B0 (Tan and Le 2019, table 1)."""

_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_EPSILON, _MOMENTUM = 1e-3, 0.01


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite (Liu 2020, tensorflow/tpu): no squeeze and excitation, ReLU6, stem and head not scaled.

    Small, quick on CPUs, and every step of it is in ONNX. Takes (N, ``in_channels``, H, W), gives logits
    (N, ``num_classes``). Pads as TensorFlow does ("SAME") where H and W are multiples of 32, so that weights
    trained there fit.

    Args:
        in_channels: planes of an image.
        num_classes: logits.
        width: factor on the channels of the stages; 1.0 for Lite0 and Lite1, 1.1 for Lite2.
        depth: factor on the blocks of a stage; 1.0 for Lite0, 1.1 for Lite1, 1.2 for Lite2.
        dropout: share of features that is left out before the classifier, in training.
        drop_path: share of images that skip the last residual block, in training; earlier ones less, in proportion.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = _ConvNormAct(in_channels, _STEM_CHANNELS, 3, stride=2)
        layout = _layout(width, depth)
        channels, number, count = _STEM_CHANNELS, 0, sum(repeats for *_, repeats in layout)
        stages = []
        for kernel, stride, expansion, wider, repeats in layout:
            blocks = []
            for index in range(repeats):
                skipped = drop_path * number / count
                blocks.append(_InvertedResidual(channels, wider, kernel, 1 if index else stride, expansion, skipped))
                channels, number = wider, number + 1
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = _ConvNormAct(channels, _HEAD_CHANNELS, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(_HEAD_CHANNELS, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of images (N, C, H, W)."""
        features = self.pool(self.head(self.stages(self.stem(images)))).flatten(1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman 2015) with batch normalisation and, for its dense layers, an average over space.

    Takes (N, ``in_channels``, H, W) with H and W of at least 32, gives logits (N, ``num_classes``).

    Args:
        in_channels: planes of an image.
        num_classes: logits.
        width: factor on the channels of every layer.
        dropout: share of features that is left out before the classifier, in training.
    """

    def __init__(self, in_channels: int, num_classes: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for wider, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(convolutions):
                outputs = max(1, round(wider * width))
                layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
                channels = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.dropout(self.pool(self.features(images)).flatten(1)))
        return logits


class VisionTransformer(ViT):
    """MONAI's ViT (Dosovitskiy et al. 2021) as a classifier: logits (N, ``num_classes``) and nothing else.

    Args:
        in_channels: planes of an image.
        num_classes: logits.
        image_side: of the square images, in pixels.
        patch_side: of the squares that become tokens, in pixels.
        hidden_size: length of a token; the layers between are four times as wide.
        layers: transformer blocks.
        heads: attention heads; they divide ``hidden_size``.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_side: int,
        patch_side: int = 16,
        hidden_size: int = 192,
        layers: int = 12,
        heads: int = 3,
    ) -> None:
        super().__init__(
            in_channels,
            (image_side, image_side),
            (patch_side, patch_side),
            hidden_size=hidden_size,
            mlp_dim=4 * hidden_size,
            num_layers=layers,
            num_heads=heads,
            classification=True,
            num_classes=num_classes,
            spatial_dims=2,
            post_activation="none",
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = ViT.forward(self, images)[0]
        return logits


class _ConvNormAct(nn.Sequential):
    """A convolution padded as TensorFlow's SAME for even sides, batch normalisation and, unless linear, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        # With stride 2 an even side needs one pixel less at the start than at the end.
        uneven = [nn.ZeroPad2d((kernel // 2 - 1, kernel // 2, kernel // 2 - 1, kernel // 2))] if stride == 2 else []
        padding = 0 if uneven else kernel // 2
        super().__init__(
            *uneven,
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=_MOMENTUM),
            *([] if linear else [nn.ReLU6()]),
        )


class _InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow again (Sandler et al. 2018); added to the input where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop_path: float) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = [_ConvNormAct(inputs, wide, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            _ConvNormAct(wide, wide, kernel, stride, groups=wide),
            _ConvNormAct(wide, outputs, 1, linear=True),
        )
        self._residual = stride == 1 and inputs == outputs
        self._drop_path = drop_path

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, outputs, H / stride, W / stride)."""
        changed: Tensor = self.layers(features)
        if not self._residual:
            return changed
        if self.training and self._drop_path:
            kept = changed.new_empty(len(changed), 1, 1, 1).bernoulli_(1 - self._drop_path)
            changed = changed * kept / (1 - self._drop_path)
        return changed + features


def _layout(width: float, depth: float) -> list[tuple[int, int, int, int, int]]:
    last = len(_STAGES) - 1
    return [
        (
            kernel,
            stride,
            expansion,
            _rounded(channels * width),
            repeats if at in (0, last) else math.ceil(repeats * depth),
        )
        for at, (kernel, stride, expansion, channels, repeats) in enumerate(_STAGES)
    ]


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not less than nine tenths."""
    multiple = max(8, int(channels + 4) // 8 * 8)
    return multiple if multiple >= 0.9 * channels else multiple + 8
