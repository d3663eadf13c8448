"""Wide residual networks for small images."""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from ..errors import OutskirtsError

__all__ = ["WideResNet", "wide_resnet"]


class Block(nn.Module):
    """Two convolutions, each after its normalisation; where the width changes, the shortcut is normalised, too."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.bn1(x).relu()
        straight = x if self.shortcut is None else self.shortcut(active)
        return straight + self.conv2(self.bn2(self.conv1(active)).relu())


class WideResNet(nn.Module):
    """Stem of 16 channels, three groups of blocks, global average: 64 · `width` features.

    Arguments:
        depth: Number of layers, 4 more than a multiple of 6.
        width: Channels as a multiple of 16.
        channels: Channels of the images.

    References:
        | Wide Residual Networks (Zagoruyko and Komodakis, 2016)
        | https://arxiv.org/abs/1605.07146

    >>> import torch
    >>> WideResNet(10, 2)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 128])
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, depth: int = 28, width: int = 10, channels: int = 3) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise OutskirtsError(f"A wide ResNet has a depth of 10, 16, 22, 28, 34, 40, …, not {depth}.")
        if width < 1:
            raise OutskirtsError(f"A wide ResNet has a width of 1 or more, not {width}.")
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        inputs, blocks = 16, (depth - 4) // 6
        for number in (1, 2, 3):
            outputs, stride = 8 * 2**number * width, 1 if number == 1 else 2
            group = [Block(outputs if place else inputs, outputs, 1 if place else stride) for place in range(blocks)]
            self.add_module(f"layer{number}", nn.Sequential(*group))
            inputs = outputs
        self.bn1 = nn.BatchNorm2d(inputs)
        self.dim = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return adaptive_avg_pool2d(self.bn1(maps).relu(), 1).flatten(1)


def wide_resnet(name: str, channels: int) -> WideResNet | None:
    """The network of a name such as ``wrn28-10-cifar``, of depth 28 and width 10; None if it is no such name."""
    match = re.fullmatch(r"wrn(\d{1,4})-(\d{1,3})-cifar", name)
    return WideResNet(int(match[1]), int(match[2]), channels) if match else None
