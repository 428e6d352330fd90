"""Batches of image, atlas and label patches with every class equally likely at the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cytokeras.errors import UserError
from cytokeras.pipelines._atlas_patch import sample_atlas_patch
from cytokeras.pipelines._checks import check_count, parallel_calls
from cytokeras.pipelines._sample_order import sample_order
from cytokeras.pipelines.patch_reader import PatchReader
from cytokeras.sampling import LabelledCentres

if TYPE_CHECKING:
    from cytokeras.brain import Brain, Section

_LATTICE_CELLS = 8
"""Output cells between the positions that centres are drawn around: 128 µm, a twentieth of the cortex's
thickness, keeps a section of 60 x 60 mm at 220,000 positions. Not stated in the paper."""

_Split = Literal["train", "test"] | None
_Sample = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def segmentation_dataset(
    brains: Brain | Sequence[Brain],
    model: Any,
    batch_size: int = 40,
    *,
    steps_per_epoch: int,
    seed: int = 0,
    with_atlas: bool = True,
    split: _Split = "train",
    fixed: bool = False,
    repeat: bool = False,
    initial_epoch: int = 0,
    workers: int | None = None,
) -> Any:
    """Return batches for ``AtlasUNet.fit``, drawn from the annotated sections.

    The class of the centre pixel is drawn first, all classes alike, then a pixel of that class (the first
    author's published tutorial; not stated in the paper). The patch is centred on exactly this pixel, and so,
    to half an output cell, is the output of the network. Label cell (r, c) is the class at pixel
    ``field.offset + field.stride * (r, c)`` of the patch; where the offset lies between two pixels (187.5 at
    8 µm) the annotation is asked for that place, and a label image answers with its nearest pixel.

    Every sample has a random generator of its own, made from seed, epoch and index, so that the samples do
    not depend on ``workers``. Every new iterator is the next epoch, starting with ``initial_epoch``: to
    resume ``fit(..., initial_epoch=n)`` build the dataset with ``initial_epoch=n`` too.

    Args:
        brains: One brain, or several with the same classes.
        model: The ``AtlasUNet`` to be trained, or its ``without_atlas()``; patch size, output grid, atlas
            grid, pixel size and classes are taken from it.
        batch_size: Patches in a batch; 40 in Spitzer et al. 2018, section 3.
        steps_per_epoch: Batches in an epoch; a new sample each.
        seed: Seed of all draws, 0 or greater.
        with_atlas: False leaves the atlas out, for ``model.without_atlas()`` (training phase 1 of the paper).
        split: Draw from sections of this split only; None draws from all.
        fixed: Every pass gives the samples of the first epoch again. Use it to validate.
        repeat: Go on without end; every iterator then starts at ``initial_epoch`` and runs through all later
            epochs.
        initial_epoch: Number of the first epoch.
        workers: Samples read in parallel; None lets tf.data choose.

    Returns:
        A ``tf.data.Dataset`` of known cardinality, of pairs (inputs, labels): ``{"image"}`` (B, H, H, 1)
        uint8, 0 black … 255 white, with ``{"atlas"}`` (B, A, A, C) float32, 0 … 1, where the model has an
        atlas path and ``with_atlas`` is set; labels (B, h, w) uint8, class index or 255 where nothing is
        annotated.

    Raises:
        UserError: No section of the split is annotated; the annotation has classes the model lacks; an
            annotated section has another pixel size than the model; the model needs an atlas and a brain has
            none, or one with another number of areas; or a number is out of range.
    """
    import tensorflow as tf

    brains = tuple(brains) if isinstance(brains, Sequence) else (brains,)
    batch_size = check_count(batch_size, "batch_size")
    count = batch_size * check_count(steps_per_epoch, "steps_per_epoch")
    seed = check_count(seed, "seed", 0)
    calls = parallel_calls(workers)
    source = _SampleSource(brains, model, seed, with_atlas, split)

    def draw(epoch: Any, index: Any) -> _Sample:
        return source.draw(np.random.default_rng([seed, int(epoch), int(index)]))

    def sample(epoch: Any, index: Any) -> Any:
        types = (tf.uint8, tf.float32, tf.uint8)
        values = tf.numpy_function(draw, [epoch, index], types)
        image, atlas, labels = (tf.ensure_shape(v, s) for v, s in zip(values, source.shapes, strict=True))
        inputs = {"image": image}
        if source.with_atlas:
            inputs["atlas"] = atlas
        return inputs, labels

    order = sample_order(
        count,
        seed=seed,
        shuffle=False,
        repeat=repeat,
        fixed=fixed,
        initial_epoch=check_count(initial_epoch, "initial_epoch", 0),
    )
    samples = order.map(sample, num_parallel_calls=calls, deterministic=True)
    return samples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


class _SampleSource:
    """Draws one sample after another for the geometry of one model; keeps no state between draws."""

    def __init__(self, brains: Sequence[Brain], model: Any, seed: int, with_atlas: bool, split: _Split) -> None:
        if not hasattr(model, "field"):
            raise UserError(
                f"model must be an AtlasUNet or the result of its without_atlas(). Received: {type(model).__name__}."
            )
        annotated = _annotated_sections(brains, split)
        image_size, output_size = _patch_sizes(model)
        self._reader = PatchReader(annotated, image_size, pixel_size_um=model.field.pixel_size_um)
        self._sections = annotated
        self._atlases = [brain.atlas for brain in brains] if with_atlas and model.atlas_channels else None
        self._field = model.field
        self._cells = output_size
        if self._atlases:
            _check_atlases(brains, model.atlas_channels)
            self._atlas_positions = model.atlas_field.positions()
        self._centres = LabelledCentres(brains, _LATTICE_CELLS * round(model.field.stride), seed, split=split)
        _check_classes(brains[0], self._centres.classes, model)
        atlas_size = model.atlas_field.size if self._atlases else 0
        self.shapes = (
            (image_size, image_size, 1),
            (atlas_size, atlas_size, model.atlas_channels if self._atlases else 0),
            (output_size, output_size),
        )

    @property
    def with_atlas(self) -> bool:
        """Whether samples hold an atlas patch; otherwise that array is empty."""
        return self._atlases is not None

    def draw(self, rng: np.random.Generator) -> _Sample:
        """Return image (H, H, 1), atlas (A, A, C) and labels (h, w) of one sample."""
        centre = self._centres.draw(1, rng)
        brain, row, column = int(centre.brain[0]), int(centre.row[0]), int(centre.column[0])
        key = (brain, int(centre.section[0]))
        section = self._sections[key]
        top, left = self._reader.corner(row, column)
        image = self._reader.read(key, row, column)[..., None]
        offset, stride, size = self._field.offset, self._field.stride, self._cells
        assert section.labels is not None, "only annotated sections are kept"
        labels = section.labels.read(top + offset, left + offset, size, size, step=stride)
        if self._atlases is None:
            return image, np.empty((0, 0, 0), np.float32), labels
        atlas = self._atlases[brain]
        assert atlas is not None, "checked when the source was made"
        rows, columns = top + self._atlas_positions, left + self._atlas_positions
        return image, sample_atlas_patch(atlas, section, rows, columns), labels


def _annotated_sections(brains: Sequence[Brain], split: str | None) -> dict[tuple[int, int], Section]:
    annotated = {
        (b, s): section
        for b, brain in enumerate(brains)
        for s, section in enumerate(brain.sections)
        if section.labels is not None and split in (None, section.split)
    }
    if not annotated:
        names = ", ".join(repr(brain.name) for brain in brains) or "none given"
        raise UserError(
            f"No annotated section of split {split!r} in the brains ({names}): give sections of this split "
            "labels, or choose another split."
        )
    return annotated


def _patch_sizes(model: Any) -> tuple[int, int]:
    """Side of the image patch and of the output in pixels."""
    image = next(tensor for tensor in model.inputs if tensor.name == "image")
    height, width = image.shape[1:3]
    if height is None or height != width or image.shape[3] != 1:
        raise UserError(
            "The model must take square grey patches of a known size; build it with input_shape=(size, size, "
            f"1). Received: input_shape={tuple(image.shape[1:])}."
        )
    return int(height), model.field.output_size(int(height))


def _check_atlases(brains: Sequence[Brain], channels: int) -> None:
    for brain in brains:
        if brain.atlas is None:
            raise UserError(
                f"Brain {brain.name!r} has no atlas, but the model has an atlas path: add an atlas to the "
                "brain, or pass with_atlas=False and train model.without_atlas()."
            )
        if len(brain.atlas.names) != channels:
            areas = len(brain.atlas.names)
            raise UserError(
                f"The atlas of brain {brain.name!r} has {areas} areas, but the model takes {channels}: "
                f"build it with atlas_channels={areas} or use the atlas it was built for."
            )


def _check_classes(brain: Brain, occurring: Sequence[int], model: Any) -> None:
    names = tuple(brain.labels.names)
    if max(occurring) >= model.num_classes:
        raise UserError(
            f"The annotation of brain {brain.name!r} holds class {max(occurring)}, but the model has classes "
            f"0 to {model.num_classes - 1}: build it with num_classes={max(len(names), max(occurring) + 1)}."
        )
    if model.class_names is not None and tuple(model.class_names) != names:
        raise UserError(
            f"The model was built for the classes {', '.join(model.class_names)}, but brain "
            f"{brain.name!r} has {', '.join(names)}: both must be the same, in the same order."
        )
