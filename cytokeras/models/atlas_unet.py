"""The segmentation network: texture and atlas paths, joined in one expansive path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import keras

from cytokeras.errors import UserError
from cytokeras.models._pretrained import PretrainedModel
from cytokeras.models.conv_blocks import (
    batch_normalization,
    convolution,
    make_layers,
    reject_unknown_arguments,
    rescale_grey,
    run_steps,
    with_input_shape,
)
from cytokeras.models.field_geometry import (
    AtlasGrid,
    FieldGeometry,
    PoolStep,
    Step,
    crop_between,
    flatten_steps,
)
from cytokeras.models.texture_encoder import (
    DEFAULT_WIDTHS,
    atlas_blocks,
    check_input_shape,
    check_widths,
    decoder_blocks,
    first_block_of,
    patch_size,
    texture_blocks,
)


@keras.saving.register_keras_serializable(package="cytokeras")
class AtlasUNet(PretrainedModel, keras.Model):
    """Segments cytoarchitectonic areas from the texture of a patch and a probabilistic atlas.

    The extended U-Net of Spitzer et al. (ISBI 2017): 10 blocks of valid convolutions; the second contracting
    path reads the atlas, and its maps are appended to the joint expansive path as those of the texture path
    are. The sources state the parameter count without atlas, the receptive field and the output grid; the
    layer list that gives all of them is ours. The atlas path can be switched off: see ``without_atlas``.

    Inputs: ``{"image"}`` (B, height, width, 1) grey, 0 black … 255 white, uint8 or float32 (rescaled inside,
    255 to -1 and 0 to +1), and, unless ``atlas_channels`` is 0, ``{"atlas"}`` (B, *atlas_field.shape,
    atlas_channels) float32 probabilities 0 … 1 on the grid ``atlas_field``.
    Output: (B, h, w, num_classes) float32 probabilities; cell (r, c) is centred on the input pixel
    ``field.offset + field.stride * (r, c)``.

    Args:
        num_classes: Number of classes, background included. 13 areas and 3 others in Spitzer et al. 2018.
        input_shape: (height, width, channels) of a patch in pixels. Valid sizes at 2 µm are 2025 + 128 k from
            1513 on; at 8 µm 510 + 32 k, at 16 µm 258 + 16 k. ``field.valid_size`` gives them.
        atlas_channels: Number of atlas probability maps; 0 builds the network without atlas path.
        pixel_size_um: Size of a pixel in µm, from which the first block follows.
        first_stride: Stride of the first convolution. Defaults to the one for the pixel size.
        first_pool: Whether block 1 ends in a pool. Defaults to the one for the pixel size.
        widths: Channels of blocks 1 to 6; the expansive path mirrors them.
        weight_decay: L2 factor on all kernels, gamma and beta (not stated in the paper for this network).
        class_names: Names of the classes in the order of the output channels.
        name: Name of the model.

    Raises:
        UserError: The patch size is not valid (the message names the nearest ones), or an argument is outside
            its range.
        TypeError: An argument is unknown.

    Example:
        >>> unet = AtlasUNet(num_classes=16, input_shape=(258, 258, 1), pixel_size_um=16.0, atlas_channels=13)
        >>> unet.output_shape
        (None, 68, 68, 16)

    Reference:
        Spitzer, Amunts, Harmeling, Dickscheid. Parcellation of visual cortex on high-resolution histological
        brain sections using convolutional neural networks. ISBI 2017, arXiv 1705.10545.
    """

    def __init__(
        self,
        num_classes: int = 16,
        input_shape: Sequence[int] = (2025, 2025, 1),
        atlas_channels: int = 13,
        *,
        pixel_size_um: float = 2.0,
        first_stride: int | None = None,
        first_pool: bool | None = None,
        widths: Sequence[int] = DEFAULT_WIDTHS,
        weight_decay: float = 0.0,
        class_names: Sequence[str] | None = None,
        name: str = "atlas_unet",
        **unknown: Any,
    ) -> None:
        reject_unknown_arguments(unknown, type(self))
        if num_classes < 2 or atlas_channels < 0:
            raise UserError(
                "AtlasUNet needs at least 2 classes and no negative number of atlas channels. "
                f"Received: num_classes={num_classes}, atlas_channels={atlas_channels}"
            )
        if class_names is not None and len(class_names) != num_classes:
            raise UserError(f"class_names must name all {num_classes} classes. Received: {len(class_names)} names")
        widths = check_widths(widths)
        stride, pool = first_block_of(pixel_size_um, first_stride, first_pool)
        paths = _Paths(widths, stride, pool)
        field = FieldGeometry(flatten_steps(paths.texture + paths.decoder), float(pixel_size_um), exact=True)
        shape = check_input_shape(input_shape, field, "AtlasUNet")
        atlas_grid = paths.atlas_grid(shape) if atlas_channels else None

        # === Layers ===
        steps = flatten_steps(paths.texture + paths.decoder + (paths.atlas if atlas_channels else []))
        layers = make_layers(steps, weight_decay)
        layers["rescale_grey"] = rescale_grey()
        layers |= _joining_layers(paths, bool(atlas_channels))
        layers["output_conv"] = convolution("output_conv", num_classes, 1, 1, weight_decay)
        layers["output_norm"] = batch_normalization("output_norm", weight_decay)
        layers["probabilities"] = keras.layers.Softmax(name="probabilities", dtype="float32")

        # === Functional graph ===
        inputs = {"image": keras.Input(shape, dtype="float32", name="image")}
        if atlas_grid is not None:
            atlas_shape = (*atlas_grid.shape, int(atlas_channels))
            inputs["atlas"] = keras.Input(atlas_shape, dtype="float32", name="atlas")
        outputs = _connect(paths, layers, inputs["image"], inputs.get("atlas"))
        super().__init__(inputs=inputs, outputs=outputs, name=name)

        # === Config ===
        self.dtype_policy = keras.config.dtype_policy()
        self.field = field
        self.atlas_field = atlas_grid
        self.pixel_size_um = float(pixel_size_um)
        self.num_classes = int(num_classes)
        self.atlas_channels = int(atlas_channels)
        self.class_names = None if class_names is None else tuple(class_names)
        self._arguments = {
            "num_classes": int(num_classes),
            "input_shape": shape,
            "atlas_channels": int(atlas_channels),
            "pixel_size_um": float(pixel_size_um),
            "first_stride": stride,
            "first_pool": pool,
            "widths": widths,
            "weight_decay": float(weight_decay),
            "class_names": self.class_names,
        }

    @classmethod
    def input_shape_for(cls, pixel_size_um: float) -> tuple[int, int, int]:
        """Patches as wide as those of the paper: 2025 px at 2 µm, 510 at 8 µm, 258 at 16 µm."""
        side = patch_size(pixel_size_um, 252)
        return side, side, 1

    def without_atlas(self) -> keras.Model:
        """This network with the atlas path switched off, for phase 1 of Spitzer et al. 2018, section 3.

        The maps of the atlas path are zeros and it is not computed. All layers are shared: training either
        model trains both, and phase 2 goes on with this network from where phase 1 ended. Save this network,
        not the result.

        Returns:
            A model of ``{"image"}`` to the same output, with the attributes ``field``, ``pixel_size_um``,
            ``num_classes`` and ``class_names`` of this network and ``atlas_field`` None. A network built with
            ``atlas_channels=0`` returns itself.
        """
        if not self.atlas_channels:
            return self
        config = self._arguments
        paths = _Paths(config["widths"], config["first_stride"], config["first_pool"])
        image = keras.Input(config["input_shape"], dtype="float32", name="image")
        probabilities = _connect(paths, {layer.name: layer for layer in self.layers}, image, None, with_zeros=True)
        model = keras.Model({"image": image}, probabilities, name=f"{self.name}_without_atlas")
        model.field, model.atlas_field, model.pixel_size_um = self.field, None, self.pixel_size_um
        model.num_classes, model.atlas_channels, model.class_names = self.num_classes, 0, self.class_names
        return model

    def atlas_field_of(self, input_shape: Sequence[int]) -> AtlasGrid | None:
        """The grid on which the network built for patches of another size reads the atlas; None without atlas path."""
        if not self.atlas_channels:
            return None
        config = self._arguments
        return _Paths(config["widths"], config["first_stride"], config["first_pool"]).atlas_grid(input_shape)

    def split_after_block1(self, with_atlas: bool) -> tuple[keras.Model, keras.Model, FieldGeometry]:
        """Block 1 of the texture path and the rest of the network, sharing their layers with this one.

        Block 1 alone works at the image's resolution, and its maps are by far the largest: computed in strips they need
        not exist as a whole.

        Returns:
            A model of ``{"image"}`` to the map that enters block 2, a model of ``{"texture"}`` (that map), and
            ``{"atlas"}`` where asked for, to the probabilities, and the geometry of the first.
        """
        config = self._arguments
        paths = _Paths(config["widths"], config["first_stride"], config["first_pool"])
        layers = {layer.name: layer for layer in self.layers}
        image = keras.Input(config["input_shape"], dtype="float32", name="image")
        stem = keras.Model({"image": image}, run_steps(paths.texture[0], layers["rescale_grey"](image), layers))
        texture = keras.Input(stem.output_shape[1:], dtype="float32", name="texture")
        inputs = {"texture": texture}
        if with_atlas and self.atlas_channels:
            inputs["atlas"] = keras.Input((*self.atlas_field.shape, self.atlas_channels), dtype="float32", name="atlas")
        zeros = not with_atlas and bool(self.atlas_channels)
        outputs = _connect(paths, layers, None, inputs.get("atlas"), with_zeros=zeros, texture=texture)
        return stem, keras.Model(inputs, outputs), FieldGeometry(tuple(paths.texture[0]), self.pixel_size_um)

    def with_input_shape(self, input_shape: Sequence[int]) -> AtlasUNet:
        """A network for patches of another size with a copy of these weights.

        Raises:
            UserError: The size is not valid; the message names the nearest valid ones.
        """
        return with_input_shape(self, input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as JSON values."""
        config = {key: list(value) if isinstance(value, tuple) else value for key, value in self._arguments.items()}
        return {**config, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> AtlasUNet:
        """Build the network from the result of ``get_config``."""
        return cls(**config)


class _Paths:
    """Layer lists of the three paths and what their geometry says about joining them."""

    def __init__(self, widths: Sequence[int], first_stride: int, first_pool: bool) -> None:
        self.texture = texture_blocks(widths, first_stride, first_pool)
        self.atlas = atlas_blocks(widths)
        self.decoder = decoder_blocks(widths)

    def skip_crops(self) -> dict[int, int]:
        """Cells to cut from either side of a contracting block's map before it joins its decoder block."""
        crops = {}
        for number, skip_block in zip(range(7, 11), range(5, 1, -1), strict=True):
            upstream = [*flatten_steps(self.texture), *flatten_steps(self.decoder[: number - 7])]
            joint = [*upstream, self.decoder[number - 7][0]]
            skip = [step for step in flatten_steps(self.texture[:skip_block]) if not _ends_block(step, skip_block)]
            crops[skip_block] = crop_between(skip, joint)
        return crops

    def atlas_grid(self, input_shape: Sequence[int]) -> AtlasGrid:
        """The atlas grid whose first convolution ends on the grid that enters block 2 of the texture path."""
        texture = FieldGeometry(tuple(self.texture[0]), 1.0)
        atlas = FieldGeometry(tuple(self.atlas[0]), 1.0)
        rows, columns = (texture.output_size(side) + int(atlas.receptive_field) for side in input_shape[:2])
        offset = Fraction(texture.offset) - Fraction(texture.stride) * Fraction(atlas.offset)
        whole = int(offset) if offset.denominator == 1 else float(offset)
        return AtlasGrid(rows, texture.stride, whole, None if rows == columns else columns)


def _ends_block(step: Step, block: int) -> bool:
    return isinstance(step, PoolStep) and step.name == f"texture_block{block}_pool"


def _joining_layers(paths: _Paths, with_atlas: bool) -> dict[str, keras.Layer]:
    """Crops and concatenations."""
    joining: list[keras.Layer] = []
    for block, crop in paths.skip_crops().items():
        joining += [
            keras.layers.Cropping2D(crop, name=f"{path}_block{block}_crop")
            for path in (("texture", "atlas") if with_atlas else ("texture",))
        ]
        joining.append(keras.layers.Concatenate(name=f"decoder_block{12 - block}_concat"))
    if with_atlas:
        joining.append(keras.layers.Concatenate(name="bottom_concat"))
    return {layer.name: layer for layer in joining}


def _contract(blocks: Sequence[Sequence[Step]], x: Any, layers: Mapping[str, keras.Layer]) -> dict[int, Any]:
    """Maps of blocks 2 to 6, each before its pool, from the map that enters block 2."""
    maps = {}
    for number, block in enumerate(blocks, start=2):
        maps[number] = x = run_steps([step for step in block if not isinstance(step, PoolStep)], x, layers)
        x = run_steps([step for step in block if isinstance(step, PoolStep)], x, layers)
    return maps


def _connect(
    paths: _Paths,
    layers: Mapping[str, keras.Layer],
    image: Any,
    atlas: Any,
    with_zeros: bool = False,
    texture: Any = None,
) -> Any:
    """The graph from the inputs to the probabilities.

    ``with_zeros`` puts zeros in the place of the atlas maps; ``texture``, the map that enters block 2, takes the place
    of the image.
    """
    if texture is None:
        texture = run_steps(paths.texture[0], layers["rescale_grey"](image), layers)
    texture = _contract(paths.texture[1:], texture, layers)
    skips = {block: [layers[f"texture_block{block}_crop"](texture[block])] for block in range(2, 6)}
    bottom = [texture[6]]
    if atlas is not None:
        prior = _contract(paths.atlas[1:], run_steps(paths.atlas[0], atlas, layers), layers)
        bottom.append(prior[6])
        for block, maps in skips.items():
            maps.append(layers[f"atlas_block{block}_crop"](prior[block]))
    elif with_zeros:
        # Both paths have the same number of channels in blocks 2 to 6.
        bottom.append(keras.ops.zeros_like(texture[6]))
        for maps in skips.values():
            maps.append(keras.ops.zeros_like(maps[0]))
    x = layers["bottom_concat"](bottom) if len(bottom) > 1 else bottom[0]
    for number, (up, *convs) in enumerate(paths.decoder, start=7):
        x = run_steps([up], x, layers)
        x = layers[f"decoder_block{number}_concat"]([x, *skips[12 - number]])
        x = run_steps(convs, x, layers)
    return layers["probabilities"](layers["output_norm"](layers["output_conv"](x)))
