"""The self-supervised network: how far apart two patches lie along the cortex, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from cytokeras._auxiliary_tasks import CONTRAST, PLACE_TASKS, check_auxiliary, outputs_of
from cytokeras.errors import UserError
from cytokeras.models._pretrained import PretrainedModel
from cytokeras.models.conv_blocks import reject_unknown_arguments, with_input_shape
from cytokeras.models.field_geometry import FieldGeometry, flatten_steps
from cytokeras.models.texture_encoder import (
    DEFAULT_WIDTHS,
    build_texture_encoder,
    check_input_shape,
    check_widths,
    first_block_of,
    patch_size,
    texture_blocks,
)


@keras.saving.register_keras_serializable(package="cytokeras")
class SiameseDistanceNet(PretrainedModel, keras.Model):
    """Predicts the distance of two patches along the cortex and the place of each on the inflated surface.

    Both patches go through one texture encoder (the contracting path of ``AtlasUNet`` and a linear dense
    layer of 32 units), which gives the features f. The predicted distance is ``output_scale_mm * ||f(a) -
    f(b)||²`` (eq. 1) and the predicted coordinates are ``output_scale_mm * d(f)`` with a linear dense layer d
    (eq. 2) that both patches share. Its texture layers have the names of those in ``AtlasUNet``, so that
    ``transfer_weights`` can start a segmentation network from them.

    Inputs: ``{"patch_a", "patch_b"}``, each (B, height, width, 1) grey, 0 black … 255 white, uint8 or
    float32; the network rescales inside (255 to -1, 0 to +1).
    Outputs, float32 under every dtype policy: ``{"distance"}`` (B,) mm along the surface, ``{"coordinates_a",
    "coordinates_b"}`` (B, 3) mm on the inflated surface, x mirrored for the right hemisphere. Auxiliary tasks add
    ``{"curvature_a", "curvature_b"}`` (B,) 1/mm, ``{"obliqueness_a", "obliqueness_b"}`` (B,) degrees and
    ``{"contrast"}`` (B, 2, feature_dim), the features of both patches.

    Args:
        input_shape: (height, width, channels) of a patch in pixels. 1019 at 2 µm (Spitzer et al. 2018), 258
            at 8 µm, 132 at 16 µm. Any size from 1005 to 1132 px (at 2 µm) ends in a single cell; features of
            larger ones are averaged over the cells.
        pixel_size_um: Size of a pixel in µm, from which the first block follows.
        first_stride: Stride of the first convolution. Defaults to the one for the pixel size.
        first_pool: Whether block 1 ends in a pool. Defaults to the one for the pixel size.
        widths: Channels of blocks 1 to 6.
        feature_dim: Length of the feature vector.
        coordinate_dim: Number of predicted coordinates.
        weight_decay: L2 factor (lambda of eq. 3) on kernels, gamma and beta, not on the dense layers.
        output_scale_mm: Millimetres of one unit of the two outputs. With 1 the features themselves have to
            reach distances of some 100 mm (not stated in the paper).
        auxiliary: Further tasks that share the features, any of ``"curvature"`` (of the cortex at the place of the
            patch) and ``"obliqueness"`` (of the cut through it), each with a linear dense layer for both patches,
            and ``"contrast"``, which adds no weights. Proposed in the discussion of the paper, the contrast apart;
            off in its experiments. ``siamese_losses`` and ``pair_dataset`` take the same names.
        name: Name of the model.

    Raises:
        UserError: The patch size is too small, an argument is outside its range, or a task is unknown.
        TypeError: An argument is unknown.

    Example:
        >>> net = SiameseDistanceNet(input_shape=(132, 132, 1), pixel_size_um=16.0)
        >>> patches = np.full((2, 132, 132, 1), 255, np.uint8)
        >>> net({"patch_a": patches, "patch_b": patches})["coordinates_a"].shape
        TensorShape([2, 3])

    Reference:
        Spitzer, Kiwitz, Amunts, Harmeling, Dickscheid. Improving Cytoarchitectonic Segmentation of Human
        Brain Areas with Self-supervised Siamese Networks. MICCAI 2018.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1019, 1019, 1),
        *,
        pixel_size_um: float = 2.0,
        first_stride: int | None = None,
        first_pool: bool | None = None,
        widths: Sequence[int] = DEFAULT_WIDTHS,
        feature_dim: int = 32,
        coordinate_dim: int = 3,
        weight_decay: float = 0.001,
        output_scale_mm: float = 1.0,
        auxiliary: Iterable[str] = (),
        name: str = "siamese_distance_net",
        **unknown: Any,
    ) -> None:
        reject_unknown_arguments(unknown, type(self))
        if not output_scale_mm > 0:
            raise UserError(f"output_scale_mm must be positive. Received: output_scale_mm={output_scale_mm}")
        auxiliary = check_auxiliary(auxiliary)
        widths = check_widths(widths)
        stride, pool = first_block_of(pixel_size_um, first_stride, first_pool)
        blocks = texture_blocks(widths, stride, pool)
        field = FieldGeometry(flatten_steps(blocks), float(pixel_size_um))
        shape = check_input_shape(input_shape, field, "SiameseDistanceNet")

        # === Layers ===
        encoder = build_texture_encoder(blocks, shape, feature_dim, weight_decay, "texture_encoder")
        coordinate_head = keras.layers.Dense(coordinate_dim, name="coordinate_head", dtype="float32")
        to_distance = SquaredFeatureDistance(output_scale_mm, name="distance", dtype="float32")
        to_mm_a = keras.layers.Rescaling(output_scale_mm, name="coordinates_a", dtype="float32")
        to_mm_b = keras.layers.Rescaling(output_scale_mm, name="coordinates_b", dtype="float32")

        # === Functional graph ===
        patch_a = keras.Input(shape, dtype="float32", name="patch_a")
        patch_b = keras.Input(shape, dtype="float32", name="patch_b")
        features_a, features_b = encoder(patch_a), encoder(patch_b)
        outputs = {
            "distance": to_distance([features_a, features_b]),
            "coordinates_a": to_mm_a(coordinate_head(features_a)),
            "coordinates_b": to_mm_b(coordinate_head(features_b)),
        }
        for task in auxiliary:
            outputs |= _auxiliary_outputs(task, features_a, features_b)
        super().__init__(inputs={"patch_a": patch_a, "patch_b": patch_b}, outputs=outputs, name=name)

        # === Config ===
        self.dtype_policy = keras.config.dtype_policy()
        self.field = field
        self.pixel_size_um = float(pixel_size_um)
        self.auxiliary = auxiliary
        self._arguments = {
            "input_shape": shape,
            "pixel_size_um": float(pixel_size_um),
            "first_stride": stride,
            "first_pool": pool,
            "widths": widths,
            "feature_dim": int(feature_dim),
            "coordinate_dim": int(coordinate_dim),
            "weight_decay": float(weight_decay),
            "output_scale_mm": float(output_scale_mm),
            "auxiliary": auxiliary,
        }

    @property
    def encoder(self) -> keras.Model:
        """The texture encoder: patches (B, height, width, 1) to features (B, feature_dim) float32."""
        return self.get_layer("texture_encoder")

    @classmethod
    def input_shape_for(cls, pixel_size_um: float) -> tuple[int, int, int]:
        """Patches as wide as those of the paper: 1019 px at 2 µm, 258 at 8 µm, 132 at 16 µm."""
        stride, _ = first_block_of(pixel_size_um, None, None)
        side = patch_size(pixel_size_um, 126) + stride // 2  # of the paper's 1019 px two are left over
        return side, side, 1

    def embed(self, patches: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Features of patches.

        Squared distances between features, times ``output_scale_mm``, are the predicted distances along the
        cortex.

        Args:
            patches: (N, height, width, 1) or (N, height, width) grey, 0 black … 255 white, of the network's
                patch size.
            batch_size: Patches that are worked on at once.

        Returns:
            (N, feature_dim) float32.

        Raises:
            UserError: The patches have another size.
        """
        expected = tuple(self._arguments["input_shape"])
        shape = np.shape(patches)
        if shape[1:] != expected and (*shape[1:], 1) != expected:
            raise UserError(f"patches must be (N, {', '.join(map(str, expected))}). Received: patches.shape={shape}")
        if shape[0] == 0:
            return np.zeros((0, self._arguments["feature_dim"]), np.float32)
        patches = np.reshape(patches, (-1, *expected))
        return np.asarray(self.encoder.predict(patches, batch_size=batch_size, verbose=0))

    def with_input_shape(self, input_shape: Sequence[int]) -> SiameseDistanceNet:
        """A network for patches of another size with a copy of these weights.

        Raises:
            UserError: The size is not valid.
        """
        return with_input_shape(self, input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as JSON values."""
        config = {key: list(value) if isinstance(value, tuple) else value for key, value in self._arguments.items()}
        return {**config, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SiameseDistanceNet:
        """Build the network from the result of ``get_config``."""
        return cls(**config)


def _auxiliary_outputs(task: str, features_a: Any, features_b: Any) -> dict[str, Any]:
    """Outputs of one task from the features (B, D) of both patches."""
    if task == CONTRAST:
        both = keras.layers.Concatenate(name=f"{task}_features", dtype="float32")([features_a, features_b])
        return {task: keras.layers.Reshape((2, -1), name=task, dtype="float32")(both)}
    head = keras.layers.Dense(1, name=f"{task}_head", dtype="float32")
    outputs = {}
    for output, features in zip(outputs_of(task), (features_a, features_b), strict=True):
        to_unit = keras.layers.Rescaling(PLACE_TASKS[task].scale, name=f"{output}_unit", dtype="float32")
        outputs[output] = keras.layers.Reshape((), name=output, dtype="float32")(to_unit(head(features)))
    return outputs


@keras.saving.register_keras_serializable(package="cytokeras")
class SquaredFeatureDistance(keras.layers.Layer):
    """``scale_mm * ||f_a - f_b||²`` of two feature batches (B, D), Spitzer et al. 2018, eq. 1; returns (B,) mm."""

    def __init__(self, scale_mm: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_mm = float(scale_mm)

    def call(self, features: Sequence[Any]) -> Any:
        """Distances (B,) of the two tensors (B, D) in ``features``."""
        first, second = features
        return self.scale_mm * keras.ops.sum(keras.ops.square(first - second), axis=-1)

    def compute_output_shape(self, input_shape: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        """Shape of the distances."""
        return (input_shape[0][0],)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scale_mm": self.scale_mm}
