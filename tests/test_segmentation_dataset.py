"""segmentation_dataset: image, labels and atlas of one sample are the same place; balance, seeds, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from _feeding import THREE, linear_atlas, plane, three_class_brain
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.brain import (
    UNLABELLED,
    ArrayImage,
    Atlas,
    Brain,
    ImageLabels,
    LabelScheme,
    Section,
)
from cytokeras.errors import UserError
from cytokeras.pipelines import segmentation_dataset
from cytokeras.pipelines._atlas_patch import sample_atlas_patch

tf = pytest.importorskip("tensorflow")

from cytokeras.models import AtlasUNet  # noqa: E402

NARROW = (2, 2, 2, 2, 2, 2)
CODES = 250
CODE_SCHEME = LabelScheme([f"c{n}" for n in range(CODES)], [(n, 0, 0) for n in range(CODES)])


def marked_brain(axis, side, pixel_size_um, atlas=True):
    """Image and labels hold the row (axis 0) or column (axis 1) of the pixel modulo 250."""
    code = np.indices((side, side))[axis].astype(np.int64) % CODES
    image = ArrayImage(code.astype(np.uint8), pixel_size_um, background=255)
    section = Section("marked", image, plane(pixel_size_um), ImageLabels(code.astype(np.uint8)))
    return Brain("marked", "test", CODE_SCHEME, [section], {}, linear_atlas() if atlas else None)


@pytest.fixture(scope="module")
def unet():
    return AtlasUNet(3, (258, 258, 1), 3, pixel_size_um=16.0, widths=NARROW)


def samples(dataset, batches=None):
    return [tf.nest.map_structure(np.asarray, batch) for batch in itertools.islice(dataset, batches)]


def assert_equal(first, second):
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)


def differ(first, second):
    return any((a != b).any() for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("size", "pixel_size_um", "side"), [(258, 16.0, 400), (510, 8.0, 700), (1513, 2.0, 1700)])
def test_image_labels_and_atlas_are_the_same_place(axis, size, pixel_size_um, side):
    """The atlas says where the patch lies; image and labels must say the same, to half an output pixel."""
    model = AtlasUNet(CODES, (size, size, 1), 3, pixel_size_um=pixel_size_um, widths=NARROW)
    brain = marked_brain(axis, side, pixel_size_um)
    dataset = segmentation_dataset(brain, model, 4, steps_per_epoch=1)
    ((inputs, all_labels),) = samples(dataset)
    for image, atlas, labels in zip(inputs["image"][..., 0], inputs["atlas"], all_labels, strict=True):
        image, atlas, labels = (np.moveaxis(array, axis, 0) for array in (image, atlas, labels))
        mm = atlas[:, 0, 1] * 100 - 5 if axis == 0 else atlas[:, 0, 0] * 100 - 10
        pixel = (20 - mm if axis == 0 else mm - 1) * 1000 / pixel_size_um
        # All atlas pixels must agree on where the patch begins.
        begins = pixel - model.atlas_field.positions()
        np.testing.assert_allclose(begins, begins[0], atol=0.02)
        begin = begins.mean()

        inside = image != 255
        seen = (image.astype(float) - np.round(begin) - np.arange(size)[:, None]) % CODES
        assert inside.any() and (seen[inside] == 0).all()

        annotated = labels != UNLABELLED
        wanted = begin + model.field.positions(labels.shape[0])[:, None]
        away = (labels - wanted + CODES / 2) % CODES - CODES / 2
        assert annotated.any() and np.abs(away[annotated]).max() <= model.field.stride / 2 + 0.02


@pytest.mark.parametrize("size", [258, 274])
def test_the_centre_of_the_patch_is_the_pixel_drawn(size):
    """A single annotated pixel must be under the centre of every patch and within the output."""
    labels = np.full((300, 300), UNLABELLED, np.uint8)
    labels[148:157, 148:157] = 1
    pixels = np.full((300, 300), 200, np.uint8)
    pixels[148:157, 148:157] = 7
    section = Section("s0", ArrayImage(pixels, 16.0), plane(16.0), ImageLabels(labels))
    brain = Brain("dot", "test", THREE, [section], {})
    model = AtlasUNet(3, (size, size, 1), 0, pixel_size_um=16.0, widths=NARROW)
    ((inputs, cells),) = samples(segmentation_dataset(brain, model, 12, steps_per_epoch=1))
    assert (inputs["image"][:, size // 2, size // 2, 0] == 7).all()
    middle = round(size // 2 - model.field.offset)
    assert (cells[:, middle, middle] == 1).all()


def test_every_class_is_equally_likely_at_the_centre(unet):
    """300 draws of 3 classes: chi-square below 13.8 (p = 0.001), though the areas are 1 : 7 : 41."""
    dataset = segmentation_dataset(three_class_brain(), unet, 30, steps_per_epoch=10, with_atlas=False)
    middle = 258 // 2 - unet.field.offset
    drawn = np.concatenate([labels[:, middle, middle] for _, labels in samples(dataset)])
    counts = np.bincount(drawn, minlength=3)
    assert len(counts) == 3 and ((counts - 100) ** 2 / 100).sum() < 13.8


def test_shapes_and_types_are_known_before_the_first_batch(unet):
    dataset = segmentation_dataset(three_class_brain(), unet, 2, steps_per_epoch=5)
    assert dataset.element_spec == (
        {
            "image": tf.TensorSpec((2, 258, 258, 1), tf.uint8),
            "atlas": tf.TensorSpec((2, 256, 256, 3), tf.float32),
        },
        tf.TensorSpec((2, 68, 68), tf.uint8),
    )
    assert dataset.cardinality() == 5 == len(list(dataset))


def test_places_without_annotation_are_255(unet):
    dataset = segmentation_dataset(three_class_brain(), unet, 20, steps_per_epoch=1, with_atlas=False)
    ((_, labels),) = samples(dataset)
    assert set(np.unique(labels)) == {0, 1, 2, UNLABELLED}


def test_samples_do_not_depend_on_the_number_of_workers(unet):
    one, four = (
        samples(segmentation_dataset(three_class_brain(), unet, 3, steps_per_epoch=2, seed=7, workers=n))
        for n in (1, 4)
    )
    assert_equal(one, four)


def test_samples_follow_from_the_seed(unet):
    first, second = (
        samples(segmentation_dataset(three_class_brain(), unet, 3, steps_per_epoch=1, seed=n)) for n in (0, 1)
    )
    assert differ(first, second)


def test_every_epoch_has_new_samples_and_can_be_resumed(unet):
    brain = three_class_brain()
    dataset = segmentation_dataset(brain, unet, 3, steps_per_epoch=2, with_atlas=False)
    first, second = samples(dataset), samples(dataset)
    assert differ(first, second) and differ(first[0], first[1])
    resumed = segmentation_dataset(brain, unet, 3, steps_per_epoch=2, with_atlas=False, initial_epoch=1)
    assert_equal(samples(resumed), second)


def test_fixed_samples_are_the_same_on_every_pass(unet):
    dataset = segmentation_dataset(three_class_brain(), unet, 3, steps_per_epoch=2, fixed=True)
    first = samples(dataset)
    assert_equal(samples(dataset), first)
    assert_equal(samples(dataset), first)


def test_repeat_goes_through_the_epochs_without_end(unet):
    brain, options = three_class_brain(), {"steps_per_epoch": 2, "with_atlas": False}
    dataset = segmentation_dataset(brain, unet, 3, **options)
    endless = segmentation_dataset(brain, unet, 3, repeat=True, **options)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert_equal(samples(endless, 4), samples(dataset) + samples(dataset))


def test_fixed_and_repeat_give_the_first_epoch_over_and_over(unet):
    dataset = segmentation_dataset(
        three_class_brain(), unet, 3, steps_per_epoch=1, with_atlas=False, repeat=True, fixed=True
    )
    first, second, third = samples(dataset, 3)
    assert_equal(first, second)
    assert_equal(first, third)


def test_without_atlas_only_the_image_is_read(unet):
    brain = three_class_brain(atlas=None)
    dataset = segmentation_dataset(brain, unet, 2, steps_per_epoch=1, with_atlas=False)
    other = segmentation_dataset(brain, unet.without_atlas(), 2, steps_per_epoch=1)
    assert list(dataset.element_spec[0]) == list(other.element_spec[0]) == ["image"]
    assert_equal(samples(dataset), samples(other))


def test_each_brain_brings_its_own_image_and_atlas(unet):
    """Black brain without any area, white brain with the linear atlas: both occur, never mixed."""
    empty = Atlas(np.zeros((2, 2, 2, 3)), np.eye(4), ["a", "b", "c"])
    brains = [
        three_class_brain("black", np.zeros((300, 300), np.uint8), atlas=empty),
        three_class_brain("white", np.full((300, 300), 200, np.uint8)),
    ]
    ((inputs, _),) = samples(segmentation_dataset(brains, unet, 12, steps_per_epoch=1))
    black = inputs["image"][:, 129, 129, 0] == 0
    with_areas = inputs["atlas"].any(axis=(1, 2, 3))
    assert 0 < black.sum() < 12
    np.testing.assert_array_equal(with_areas, ~black)


def test_only_sections_of_the_split_are_drawn(unet):
    brain = three_class_brain()
    image = ArrayImage(np.full((300, 300), 9, np.uint8), 16.0)
    held_out = Section("s1", image, plane(16.0), brain.sections[0].labels, "test")
    both = Brain("both", "test", THREE, [*brain.sections, held_out], {})
    options = {"steps_per_epoch": 1, "with_atlas": False, "split": "test"}
    ((inputs, _),) = samples(segmentation_dataset(both, unet, 8, **options))
    assert (inputs["image"][:, 129, 129] == 9).all()


def test_fit_takes_the_batches(unet):
    from cytokeras.losses import MaskedCategoricalCrossentropy

    brain = three_class_brain()
    unet.compile("sgd", MaskedCategoricalCrossentropy(), run_eagerly=True)
    history = unet.fit(
        segmentation_dataset(brain, unet, 2, steps_per_epoch=2),
        validation_data=segmentation_dataset(brain, unet, 2, steps_per_epoch=1, fixed=True),
        shuffle=False,
        verbose=0,
    )
    assert np.isfinite([history.history["loss"], history.history["val_loss"]]).all()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-3000, 3000),
    st.floats(-3000, 3000),
    st.floats(0.2, 400),
    st.floats(-1.5, 1.5),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_an_atlas_patch_equals_the_atlas_sampled_at_every_pixel(row, column, step, tilt, turned, seed):
    """Also at the border of the atlas and beyond, for tilted sections, and for sections turned in their plane."""
    rng = np.random.default_rng(seed)
    affine = np.diag([1.0, -0.8, 1.3, 1.0])
    affine[:3, :3] += turned * rng.uniform(-0.3, 0.3, (3, 3))
    affine[:3, 3] = [-3, 2, 14]
    atlas = Atlas(rng.random((6, 5, 7, 4)), affine, list("abcd"))
    section = Section("s", ArrayImage(np.zeros((2, 2), np.uint8), 2.0), plane(2.0, tilt))
    rows, columns = row + step * np.arange(9), column + step * np.arange(8)
    everywhere = atlas.sample(section.pixel_to_mm(np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)))
    np.testing.assert_allclose(sample_atlas_patch(atlas, section, rows, columns), everywhere, atol=2e-4)


def refused(match, model, brain, **options):
    with pytest.raises(UserError, match=match):
        segmentation_dataset(brain, model, 2, **{"steps_per_epoch": 1, **options})


def test_brains_without_annotation_are_refused(unet):
    section = Section("s0", ArrayImage(np.zeros((300, 300), np.uint8), 16.0), plane(16.0))
    refused("No annotated section of split 'train'.*'bare'", unet, Brain("bare", "test", THREE, [section], {}))


def test_a_split_without_annotation_is_refused(unet):
    refused("No annotated section of split 'test'", unet, three_class_brain(), split="test")


def test_a_missing_atlas_is_refused(unet):
    refused("Brain 'three' has no atlas.*with_atlas=False", unet, three_class_brain(atlas=None))


def test_an_atlas_with_other_areas_is_refused(unet):
    atlas = Atlas(np.zeros((2, 2, 2, 2)), np.eye(4), ["a", "b"])
    refused("has 2 areas, but the model takes 3", unet, three_class_brain(atlas=atlas))


def test_another_pixel_size_is_refused():
    model = AtlasUNet(3, (510, 510, 1), 3, pixel_size_um=8.0, widths=NARROW)
    refused("'s0' has pixels of 16 µm, but the network expects 8 µm", model, three_class_brain())


def test_classes_that_the_model_lacks_are_refused():
    model = AtlasUNet(2, (258, 258, 1), 0, pixel_size_um=16.0, widths=NARROW)
    refused("holds class 2, but the model has classes 0 to 1", model, three_class_brain())


def test_classes_in_another_order_are_refused():
    names = ["white", "glass", "grey"]
    model = AtlasUNet(3, (258, 258, 1), 0, pixel_size_um=16.0, widths=NARROW, class_names=names)
    refused("white, glass, grey, but brain 'three' has glass, white, grey", model, three_class_brain())


def test_a_model_without_geometry_is_refused():
    import keras

    refused(r"AtlasUNet.*Received: Sequential", keras.Sequential(), three_class_brain())


@pytest.mark.parametrize("wrong", [{"steps_per_epoch": 0}, {"seed": -1}, {"initial_epoch": -1}, {"workers": 0}])
def test_numbers_out_of_range_are_named(unet, wrong):
    refused(next(iter(wrong)), unet, three_class_brain(), **wrong)
