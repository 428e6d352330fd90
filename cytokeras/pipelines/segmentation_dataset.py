"""Batches of image, atlas and label patches with every class equally likely at the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cytokeras.errors import UserError
from cytokeras.pipelines._atlas_patch import sample_atlas_patch
from cytokeras.pipelines._checks import check_count
from cytokeras.pipelines._feed import Form, Shard, feed, worker_shard
from cytokeras.pipelines._patch_geometry import PatchGeometry
from cytokeras.pipelines._sample_order import SampleOrder
from cytokeras.pipelines._sample_source import TARGET, Arrays, ArraySpec, Sample, random_of
from cytokeras.pipelines.augmentation import Augmentation, find_augmentation
from cytokeras.pipelines.patch_reader import PatchReader
from cytokeras.sampling import LabelledCentres

if TYPE_CHECKING:
    from cytokeras.brain import Atlas, Brain, Section

_LATTICE_CELLS = 8
"""Output cells between the positions that centres are drawn around: 128 µm, a twentieth of the cortex's
thickness, keeps a section of 60 x 60 mm at 220,000 positions. Not stated in the paper."""

_Split = Literal["train", "test"] | None
_LABEL_SAMPLES = 4
"""Label samples an output pixel that a turned patch takes the nearest of: off by at most an eighth of the pixel."""


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
    initial_step: int = 0,
    centres: LabelledCentres | None = None,
    augment: str | Augmentation | None = None,
    form: Form = None,
    shard: Shard = None,
    device: str | None = None,
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
        initial_step: With ``repeat``, number of the first batch, counted from ``initial_epoch`` on through all epochs:
            where a run goes on that was stopped.
        centres: What ``labelled_centres`` found for these brains, this model and split; None searches the annotation
            anew. Several datasets can share it.
        augment: Random changes of every sample, with labels and atlas moved along: a name ("turn", "stain",
            "histology") or an ``Augmentation``; None as in the paper.
        form, shard, device, workers: As in ``pair_dataset``.

    Returns:
        Batches, known in number, of pairs (inputs, labels): ``{"image"}`` (B, H, H, 1)
        uint8, 0 black … 255 white, with ``{"atlas"}`` (B, A, A, C) float32, 0 … 1, where the model has an
        atlas path and ``with_atlas`` is set; labels (B, h, w) uint8, class index or 255 where nothing is
        annotated.

    Raises:
        UserError: No section of the split is annotated; the annotation has classes the model lacks; an
            annotated section has another pixel size than the model; the model needs an atlas and a brain has
            none, or one with another number of areas; or a number is out of range.
    """
    brains = tuple(brains) if isinstance(brains, Sequence) else (brains,)
    batch_size = check_count(batch_size, "batch_size")
    order = SampleOrder(
        batch_size * check_count(steps_per_epoch, "steps_per_epoch"),
        batch_size,
        check_count(seed, "seed", 0),
        shuffle=False,
        repeat=repeat,
        fixed=fixed,
        initial_epoch=check_count(initial_epoch, "initial_epoch", 0),
        initial_step=initial_step,
        shard=worker_shard(shard),
    )
    if centres is None:
        centres = labelled_centres(brains, model, seed=order.seed, split=split)
    source = _LabelledSource(brains, model, centres, order.seed, with_atlas, split, find_augmentation(augment))
    return feed(source, order, form=form, workers=workers, device=device)


def labelled_centres(
    brains: Brain | Sequence[Brain], model: Any, *, seed: int = 0, split: _Split = "train"
) -> LabelledCentres:
    """Search the annotation for the places that patches of ``segmentation_dataset`` are centred on.

    Args:
        brains, model, split: As in ``segmentation_dataset``.
        seed: Seed of the choice where a class has more places than are kept.

    Raises:
        UserError: No section of the split is annotated.
    """
    brains = tuple(brains) if isinstance(brains, Sequence) else (brains,)
    _annotated_sections(brains, split)
    return LabelledCentres(brains, _LATTICE_CELLS * round(_field_of(model).stride), seed, split=split)


class _LabelledSource:
    """Draws one sample after another for the geometry of one model; keeps no state between draws."""

    def __init__(
        self,
        brains: Sequence[Brain],
        model: Any,
        centres: LabelledCentres,
        seed: int,
        with_atlas: bool,
        split: _Split,
        augmentation: Augmentation | None,
    ) -> None:
        field = _field_of(model)
        annotated = _annotated_sections(brains, split)
        image_size, output_size = _patch_sizes(model)
        self._reader = PatchReader(annotated, image_size, pixel_size_um=field.pixel_size_um)
        self._sections = annotated
        self._atlases = [brain.atlas for brain in brains] if with_atlas and model.atlas_channels else None
        self._field = field
        self._cells = output_size
        if self._atlases:
            _check_atlases(brains, model.atlas_channels)
            self._atlas_positions = model.atlas_field.positions()
        self._centres = centres
        _check_classes(brains[0], centres.classes, model)
        self._seed, self._augmentation = seed, augmentation
        inputs = {"image": ArraySpec((image_size, image_size, 1), np.uint8)}
        if self._atlases:
            side = model.atlas_field.size
            inputs["atlas"] = ArraySpec((side, side, model.atlas_channels), np.float32)
        self.specs = inputs, {TARGET: ArraySpec((output_size, output_size), np.uint8)}

    def draw(self, epoch: int, index: int) -> Sample:
        """Return image (H, H, 1), atlas (A, A, C) and labels (h, w) of one sample."""
        rng = random_of(self._seed, epoch, index)
        drawn = self._centres.draw(1, rng)
        key = int(drawn.brain[0]), int(drawn.section[0])
        section, centre = self._sections[key], (int(drawn.row[0]), int(drawn.column[0]))
        size = self._reader.patch_size
        geometry = None
        if self._augmentation is not None:
            geometry = self._augmentation.geometry(rng, size, section.pixel_size_um)
        if geometry is None:
            image = self._reader.read(key, *centre)
        else:
            image = geometry.read_image(section.image.read, *centre, size)
        if self._augmentation is not None:
            image = self._augmentation.recolour(image, rng, section.pixel_size_um, section.image.background)
        inputs: Arrays = {"image": image[..., None]}
        if self._atlases is not None:
            atlas = self._atlases[key[0]]
            assert atlas is not None, "checked when the source was made"
            inputs["atlas"] = self._read_atlas(atlas, section, centre, geometry)
        return inputs, {TARGET: self._read_labels(section, centre, geometry)}

    def _read_labels(
        self, section: Section, centre: tuple[int, int], geometry: PatchGeometry | None
    ) -> npt.NDArray[np.uint8]:
        assert section.labels is not None, "only annotated sections are kept"
        offset, stride, cells = self._field.offset, self._field.stride, self._cells
        before = self._reader.patch_size // 2
        if geometry is None:
            top, left = centre[0] - before + offset, centre[1] - before + offset
            return section.labels.read(top, left, cells, cells, step=stride)
        own = offset + stride * np.arange(cells) - before
        places = geometry.places(own, own) + centre
        step = stride / _LABEL_SAMPLES
        low = places.min(axis=(0, 1))
        nearest = np.rint((places - low) / step).astype(np.int64)
        height, width = nearest.max(axis=(0, 1)) + 1
        labels = section.labels.read(float(low[0]), float(low[1]), int(height), int(width), step=step)
        return labels[nearest[..., 0], nearest[..., 1]]

    def _read_atlas(
        self, atlas: Atlas, section: Section, centre: tuple[int, int], geometry: PatchGeometry | None
    ) -> npt.NDArray[np.float32]:
        own = self._atlas_positions - self._reader.patch_size // 2
        if geometry is None:
            return sample_atlas_patch(atlas, section, centre[0] + own, centre[1] + own)
        return atlas.sample(section.pixel_to_mm(geometry.places(own, own) + centre))


def _field_of(model: Any) -> Any:
    if not hasattr(model, "field"):
        raise UserError(
            f"model must be an AtlasUNet or the result of its without_atlas(). Received: {type(model).__name__}."
        )
    return model.field


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
