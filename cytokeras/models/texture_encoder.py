"""The layer lists of the networks: contracting paths (texture and atlas), expansive path, texture encoder
model.

The lists reproduce every number that is stated about the extended U-Net of Spitzer et al. (ISBI 2017) and
used again in Spitzer et al. (MICCAI 2018): 10 blocks, 1,479,728 weights, a receptive field of 1481 px, and
output at 16 µm.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from cytokeras.errors import UserError
from cytokeras.models.conv_blocks import make_layers, rescale_grey, run_steps
from cytokeras.models.field_geometry import ConvStep, FieldGeometry, PoolStep, Step, UpStep, flatten_steps

DEFAULT_WIDTHS = (16, 32, 64, 64, 128, 128)
OUTPUT_GRID_UM = 16.0  # Spitzer et al., ISBI 2017: one output pixel for 8 input pixels of 2 µm
_COARSEST_GRID_UM = 20.0  # the coarsest resolution at which every BigBrain section is public

# (shrinkage from the image to the grid that enters block 2) -> (stride of the first convolution, first pool)
_FIRST_BLOCKS = {8: (4, True), 4: (2, True), 2: (1, True), 1: (1, False)}


def first_block_of(pixel_size_um: float, first_stride: int | None, first_pool: bool | None) -> tuple[int, bool]:
    """Fill in what is not given of the first block so that the grid entering block 2 is 16 to 20 µm.

    Only the first block knows the pixel size: stride 4 and a pool at 2 µm (Spitzer et al., ISBI 2017), 2 and
    a pool at 4 µm, 1 and a pool at 8 µm, 1 and no pool at 16 to 20 µm (coarser pixels: not stated in the
    paper).

    Raises:
        UserError: The pixel size is none of these and stride and pool are not both given.
    """
    if not pixel_size_um > 0:
        raise UserError(f"pixel_size_um must be positive. Received: pixel_size_um={pixel_size_um}")
    if first_stride is not None and (int(first_stride) != first_stride or not 1 <= first_stride <= 5):
        # Beyond the kernel of 5 the first convolution would skip pixels.
        raise UserError(f"first_stride must be a whole number from 1 to 5. Received: first_stride={first_stride}")
    if first_stride is not None and first_pool is not None:
        return int(first_stride), bool(first_pool)
    for shrinkage, (stride, pool) in _FIRST_BLOCKS.items():
        if OUTPUT_GRID_UM <= pixel_size_um * shrinkage <= _COARSEST_GRID_UM:
            return (
                stride if first_stride is None else int(first_stride),
                pool if first_pool is None else bool(first_pool),
            )
    raise UserError(
        "pixel_size_um must be 2 to 2.5, 4 to 5, 8 to 10 or 16 to 20; for others "
        f"resample the images or give first_stride and first_pool. Received: pixel_size_um={pixel_size_um}"
    )


def patch_size(pixel_size_um: float, cells: int) -> int:
    """Side in pixels of the smallest patch of which ``cells`` cells enter block 2 and none of its pixels is left over.

    The paper's patches give 252 (2025 px at 2 µm) and 126 (1019 px) at every pixel size: 510 and 258 px at 8 µm.
    """
    stride, pool = first_block_of(pixel_size_um, None, None)
    after_first_convolution = (2 if pool else 1) * cells + 2
    return (after_first_convolution - 1) * stride + 5


def texture_blocks(widths: Sequence[int], first_stride: int, first_pool: bool) -> list[list[Step]]:
    """Blocks 1 to 6 of the texture path; a pool, where there is one, ends its block."""
    first: list[Step] = [
        ConvStep("texture_block1_conv1", widths[0], kernel=5, stride=first_stride),
        ConvStep("texture_block1_conv2", widths[0], kernel=3),
    ]
    if first_pool:
        first.append(PoolStep("texture_block1_pool"))
    return [first, *_deeper_blocks("texture", widths)]


def atlas_blocks(widths: Sequence[int]) -> list[list[Step]]:
    """Blocks 1 to 6 of the atlas path: one 5 x 5 convolution without a pool, then the blocks of the texture path."""
    return [[ConvStep("atlas_block1_conv1", widths[0], kernel=5)], *_deeper_blocks("atlas", widths)]


def decoder_blocks(widths: Sequence[int]) -> list[list[Step]]:
    """Blocks 7 to 10, the expansive path; each begins with its up-layer."""
    blocks: list[list[Step]] = []
    for number, width in zip(range(7, 11), reversed(widths[1:5]), strict=True):
        name = f"decoder_block{number}"
        blocks.append(
            [
                UpStep(f"{name}_up", width),
                ConvStep(f"{name}_conv1", width, kernel=3),
                ConvStep(f"{name}_conv2", width, kernel=3),
            ]
        )
    return blocks


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return the six channel counts of blocks 1 to 6 as a tuple.

    Raises:
        UserError: They are not six positive whole numbers.
    """
    if len(widths) != 6 or any(int(width) != width or width < 1 for width in widths):
        raise UserError(f"widths must be six positive channel counts, one a block. Received: widths={widths}")
    return tuple(int(width) for width in widths)


def check_input_shape(input_shape: Sequence[int], field: FieldGeometry, what: str) -> tuple[int, int, int]:
    """Return ``input_shape`` as (height, width, channels), checked against the geometry of the network.

    Raises:
        UserError: It is not three whole numbers, or a side has a length that the network cannot work with;
            the message names the nearest valid sizes.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or any(side is None or int(side) != side or side < 1 for side in shape):
        raise UserError(f"{what}: input_shape must be (height, width, channels). Received: input_shape={input_shape}")
    height, width, channels = (int(side) for side in shape)
    field.check_input_size(height, what)
    field.check_input_size(width, what)
    return height, width, channels


def build_texture_encoder(
    blocks: Sequence[Sequence[Step]],
    input_shape: Sequence[int],
    feature_dim: int,
    weight_decay: float,
    name: str,
) -> keras.Model:
    """The texture path followed by a linear dense layer of ``feature_dim`` units.

    Spitzer et al. 2018, section 2: the contracting path of the segmentation network on 1019 px patches and a
    32-unit dense layer. Maps larger than 1 x 1 are averaged before the dense layer (not stated in the paper).

    Args:
        blocks: Layer list from ``texture_blocks``.
        input_shape: (height, width, channels) of a patch, grey values 0 … 255.
        feature_dim: Length of the feature vector.
        weight_decay: L2 factor on kernels, gamma and beta; not on the dense layer (eq. 3).
        name: Name of the model.

    Returns:
        A model of patches (B, height, width, channels) to features (B, feature_dim), float32 under every
        dtype policy.
    """
    steps = flatten_steps(blocks)
    layers = make_layers(steps, weight_decay)
    patch = keras.Input(input_shape, dtype="float32", name="patch")
    texture_map = run_steps(steps, rescale_grey()(patch), layers)
    pooled = keras.layers.GlobalAveragePooling2D(name="texture_average", dtype="float32")(texture_map)
    features = keras.layers.Dense(feature_dim, name="features", dtype="float32")(pooled)
    return keras.Model(patch, features, name=name)


def _deeper_blocks(path: str, widths: Sequence[int]) -> list[list[Step]]:
    blocks: list[list[Step]] = []
    for number in range(2, 7):
        name = f"{path}_block{number}"
        block: list[Step] = [
            ConvStep(f"{name}_conv1", widths[number - 1], kernel=3),
            ConvStep(f"{name}_conv2", widths[number - 1], kernel=3),
        ]
        if number < 6:
            block.append(PoolStep(f"{name}_pool"))
        blocks.append(block)
    return blocks
