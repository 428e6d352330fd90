"""The two networks in plain PyTorch, as a user of PyTorch would write them: the peer of the training benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _training_inputs import (
    ALPHA,
    AREAS,
    CLASSES,
    CLIPPED_TO,
    MOMENTUM,
    OUTPUT_SCALE_MM,
    UNLABELLED,
    WEIGHT_DECAY,
    Task,
    draw_weight,
)
from torch import Tensor, nn
from torch.nn import functional as F

# Keras' values: its momentum 0.95 is the share of the old statistics, PyTorch's that of the new.
_NORM = {"eps": 1e-3, "momentum": 0.05}


def block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A valid convolution, batch normalization, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, **_NORM), nn.ReLU(inplace=True))


def up(inputs: int, outputs: int) -> nn.Sequential:
    """A transposed convolution of 2 x 2, batch normalization, ReLU."""
    convolution = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, **_NORM), nn.ReLU(inplace=True))


class Contracting(nn.Module):
    """Blocks 1 to 6 of the texture path or of the atlas path; gives the maps of blocks 2 to 6."""

    def __init__(self, path: str, channels: int, widths: Sequence[int], stride: int, pool: bool) -> None:
        super().__init__()
        self.path, self.pool = path, pool
        layers = {f"{path}_block1_conv1": block(channels, widths[0], 5, stride)}
        if path == "texture":
            layers[f"{path}_block1_conv2"] = block(widths[0], widths[0], 3)
        for number in range(2, 7):
            before, width = widths[number - 2], widths[number - 1]
            layers[f"{path}_block{number}_conv1"] = block(before, width, 3)
            layers[f"{path}_block{number}_conv2"] = block(width, width, 3)
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for name, layer in self.layers.items():
            if name.endswith("conv1") and (len(maps) > 0 or (self.pool and "_block2_" in name)):
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = layer(x)
            if name.endswith("conv2") and "_block1_" not in name:
                maps.append(x)
        return maps


class Siamese(nn.Module):
    """Distance and places of two patches."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        fine = task.pixel_size_um == 2.0
        self.encoder = Contracting("texture", 1, task.widths, 4 if fine else 1, fine)
        self.features = nn.Linear(task.widths[-1], 32)
        self.coordinate_head = nn.Linear(32, 3)

    def forward(self, patch_a: Tensor, patch_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b = (self.features(self.encoder(grey(patch))[-1].mean(dim=(2, 3))) for patch in (patch_a, patch_b))
        distance = (a - b).square().sum(dim=1)
        outputs = distance, self.coordinate_head(a), self.coordinate_head(b)
        return tuple(OUTPUT_SCALE_MM * value for value in outputs)


class UNet(nn.Module):
    """Logits of the classes from texture and atlas."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        widths = task.widths
        fine = task.pixel_size_um == 2.0
        self.texture = Contracting("texture", 1, widths, 4 if fine else 1, fine)
        self.atlas = Contracting("atlas", AREAS, widths, 1, False)
        decoder, inputs = {}, 2 * widths[5]
        for number, width in zip(range(7, 11), widths[4:0:-1], strict=True):
            name = f"decoder_block{number}"
            decoder[f"{name}_up"] = up(inputs, width)
            decoder[f"{name}_conv1"] = block(3 * width, width, 3)
            decoder[f"{name}_conv2"] = block(width, width, 3)
            inputs = width
        self.decoder = nn.ModuleDict(decoder)
        self.output_conv = nn.Sequential(nn.Conv2d(inputs, CLASSES, 1, bias=False), nn.BatchNorm2d(CLASSES, **_NORM))

    def forward(self, image: Tensor, atlas: Tensor) -> Tensor:
        texture, prior = self.texture(grey(image)), self.atlas(atlas)
        x = torch.cat([texture[4], prior[4]], dim=1)
        for name, layer in self.decoder.items():
            if name.endswith("conv1"):
                skip = 10 - int(name.removeprefix("decoder_block").split("_")[0])
                x = torch.cat([x, cropped(texture[skip], x), cropped(prior[skip], x)], dim=1)
            x = layer(x)
        return self.output_conv(x)


def grey(image: Tensor) -> Tensor:
    """255 to -1, 0 to +1."""
    return image.float() * (-2.0 / 255.0) + 1.0


def cropped(x: Tensor, like: Tensor) -> Tensor:
    """The middle of a map, as large as another."""
    margin = (x.shape[2] - like.shape[2]) // 2
    return x[:, :, margin : x.shape[2] - margin, margin : x.shape[3] - margin]


def build(task: Task) -> nn.Module:
    """The network with the common initial weights."""
    network = Siamese(task) if task.network == "siamese" else UNet(task)
    for name, module in network.named_modules():
        # "encoder.layers.texture_block1_conv1.0" is the convolution of the layer of that name
        layer = name.removesuffix(".0").split(".")[-1]
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            shape = [module.weight.shape[axis] for axis in (2, 3, 1, 0)]
            _fill(module.weight, draw_weight(layer, "kernel", shape).transpose(3, 2, 0, 1))
        elif isinstance(module, nn.Linear):
            _fill(module.weight, draw_weight(layer, "kernel", module.weight.shape[::-1]).T)
            nn.init.zeros_(module.bias)
    return network


def training_step(task: Task, *, channels_last: bool = False) -> Callable[[Any, Any], float]:
    """A function of inputs and targets that does one step and gives the loss, L2 term included."""
    network = build(task).train()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    dense = ("features", "coordinate_head")  # eq. 3 leaves them out
    decayed = [p for name, p in network.named_parameters() if not name.startswith(dense)]
    decay = WEIGHT_DECAY if task.network == "siamese" else 0.0
    optimizer = torch.optim.SGD(network.parameters(), task.learning_rate, MOMENTUM, nesterov=True)
    loss_of = _siamese_loss if task.network == "siamese" else _unet_loss

    def step(inputs: Any, targets: Any) -> float:
        optimizer.zero_grad()
        loss = loss_of(network, inputs, targets)
        if decay:
            loss = loss + decay * sum(p.square().sum() for p in decayed)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIPPED_TO)
        optimizer.step()
        return float(loss.detach())

    return step


def _siamese_loss(network: nn.Module, inputs: Any, targets: Any) -> Tensor:
    distance, *places = network(_nchw(inputs["patch_a"]), _nchw(inputs["patch_b"]))
    loss = (distance - torch.from_numpy(targets["distance"])).abs().mean()
    for place, name in zip(places, ("coordinates_a", "coordinates_b"), strict=True):
        loss = loss + ALPHA * (place - torch.from_numpy(targets[name])).abs().sum(dim=1).mean()
    return loss / OUTPUT_SCALE_MM


def _unet_loss(network: nn.Module, inputs: Any, targets: Any) -> Tensor:
    logits = network(_nchw(inputs["image"]), _nchw(inputs["atlas"]))
    return F.cross_entropy(logits, torch.from_numpy(targets).long(), ignore_index=UNLABELLED)


def _nchw(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def _fill(parameter: nn.Parameter, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
