"""MONAI's sliding-window inferer on the texture network of `AtlasUNet`, written in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np


def monai_ways(unet: Any, size: int) -> dict[str, tuple[Any, float, float]]:
    """Give MONAI's inferer on a section of ``size`` px a side, where it is installed.

    It wants outputs that cover their window, so the layers have zero padding and the overlap is blended.
    """
    try:
        import torch
        from monai.inferers import SlidingWindowInferer
    except ImportError as error:
        print(f"MONAI left out: {error}")
        return {}
    network = _torch_unet(unet).eval().to(memory_format=torch.channels_last)
    roi, overlap = 2048, 0.25  # the overlap is MONAI's default
    image = torch.rand(1, 1, size, size)
    inferer = SlidingWindowInferer((roi, roi), 1, overlap, mode="gaussian")

    def run() -> None:
        with torch.inference_mode():
            inferer(image, network)

    starts = 1 + -(-(size - roi) // int(roi * (1 - overlap)))
    macs = _same_padding_macs(unet) * (starts * roi / size) ** 2
    return {f"MONAI (PyTorch, zero padding), {roi} px, overlap {overlap:g}": (run, float(size**2), macs)}


def _same_padding_macs(unet: Any) -> float:
    """Multiply-adds a pixel without any halo: what each layer does for its own share of the section."""
    import keras

    total = 0.0
    scale = {1: 16, 2: 64, 3: 256, 4: 1024, 5: 4096, 6: 16384, 7: 4096, 8: 1024, 9: 256, 10: 64}
    for layer in unet.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            block = 10 if layer.name == "output_conv" else int(layer.name.split("block")[1].split("_")[0])
            pixels = scale[block] * (4 if layer.name.endswith("_up") else 1)
            total += float(np.prod(layer.kernel.shape)) / pixels
    return total


def _torch_unet(unet: Any) -> Any:
    """The texture network of ``unet`` in PyTorch, weights included, with zero padding in the place of crops."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, layer: Any, up: bool) -> None:
            super().__init__()
            kernel = np.transpose(layer.get_weights()[0], (3, 2, 0, 1))
            inputs, outputs = kernel.shape[:2] if up else kernel.shape[1::-1]
            size, stride = kernel.shape[2], layer.strides[0]
            kind = nn.ConvTranspose2d if up else nn.Conv2d
            padding = {} if up else {"padding": size // 2}
            self.convolution = kind(inputs, outputs, size, stride, bias=False, **padding)
            self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
            with torch.no_grad():
                self.convolution.weight.copy_(torch.from_numpy(kernel.copy()))

        def forward(self, x: Any) -> Any:
            return torch.relu(self.norm(self.convolution(x)))

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(
                nn.Sequential(*(Block(unet.get_layer(f"texture_block{n}_conv{k}"), False) for k in (1, 2)))
                for n in range(1, 7)
            )
            self.up = nn.ModuleList(Block(unet.get_layer(f"decoder_block{n}_up"), True) for n in range(7, 11))
            self.join = nn.ModuleList(
                nn.Sequential(*(Block(unet.get_layer(f"decoder_block{n}_conv{k}"), False) for k in (1, 2)))
                for n in range(7, 11)
            )
            self.out = nn.Conv2d(32, unet.num_classes, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for number, block in enumerate(self.down):
                x = block(x)
                skips.append(x)
                x = torch.nn.functional.max_pool2d(x, 2) if number < 5 else x
            for up, join, skip in zip(self.up, self.join, skips[4:0:-1], strict=True):
                x = join(torch.cat([up(x), skip], dim=1))
            return torch.softmax(self.out(x), dim=1)

    return UNet()
