"""Augmentation: image, labels and atlas move together; equal seeds give equal patches; what is off changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _feeding import THREE, linear_atlas, marked_pairs, plane, three_class_brain
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cytokeras.brain import UNLABELLED, ArrayImage, Brain, ImageLabels, LabelScheme, Section
from cytokeras.errors import UserError
from cytokeras.pipelines import AUGMENTATIONS, Augmentation, pair_dataset, segmentation_dataset
from cytokeras.pipelines._patch_geometry import PatchGeometry

MOVES = {
    "turned": Augmentation(rotation_deg=180),
    "flipped": Augmentation(flip=True),
    "bent": Augmentation(elastic_um=60, elastic_scale_um=600),
    "all": Augmentation(rotation_deg=180, flip=True, elastic_um=60, elastic_scale_um=600),
}
CODES = 240
SCHEME = LabelScheme([f"c{n}" for n in range(CODES)], [(n, 0, 0) for n in range(CODES)])
SIDE = 2200


def wave(pixel):
    """A triangle wave of slope 1, which interpolation keeps but at its tips."""
    return np.abs(pixel % (2 * CODES) - CODES)


def marked_brain(axis):
    """The image is a wave of the pixel's row or column, the label that row or column modulo 240."""
    pixel = np.indices((SIDE, SIDE))[axis]
    image = ArrayImage(wave(pixel).astype(np.uint8), 2.0, background=255)
    section = Section("marked", image, plane(2.0), ImageLabels((pixel % CODES).astype(np.uint8)))
    return Brain("marked", "test", SCHEME, [section], {}, linear_atlas())


@pytest.fixture(scope="module")
def unet():
    from cytokeras.models import AtlasUNet

    return AtlasUNet(CODES, (1513, 1513, 1), 3, pixel_size_um=2.0, widths=(2, 2, 2, 2, 2, 2))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("moves", MOVES)
def test_image_labels_and_atlas_stay_together(unet, moves, axis):
    """The atlas tells which row (or column) an output pixel shows; label and image agree to half an output pixel."""
    options = {"steps_per_epoch": 1, "form": "keras", "seed": 3}
    inputs, labels = segmentation_dataset(marked_brain(axis), unet, 8, augment=MOVES[moves], **options)[0]
    cells = unet.field.positions(labels.shape[1])
    half = unet.field.stride / 2
    compared = 0
    for image, atlas, label in zip(inputs["image"][..., 0], inputs["atlas"], labels, strict=True):
        mm = atlas[..., 1] * 100 - 5 if axis == 0 else atlas[..., 0] * 100 - 10
        pixel = (20 - mm if axis == 0 else mm - 1) * 1000 / 2
        positions = unet.atlas_field.positions()
        places = np.interp(cells, positions, np.arange(len(positions)))
        shown = ndimage.map_coordinates(pixel, np.meshgrid(places, places, indexing="ij"), order=1)
        inside = (label != UNLABELLED) & (shown > 0) & (shown < SIDE - 1)
        away = (label.astype(float) - shown + CODES / 2) % CODES - CODES / 2
        assert (np.abs(away)[inside] <= half).all()
        at_image = ndimage.map_coordinates(image.astype(float), np.meshgrid(cells, cells, indexing="ij"), order=1)
        assert (np.abs(at_image - wave(shown))[inside] <= half).all()
        compared += inside.sum()
    assert compared > 40


@settings(max_examples=40)
@given(st.floats(-math.pi, math.pi), st.booleans(), st.integers(0, 1000), st.integers(5, 40), st.booleans())
def test_a_smooth_picture_is_seen_where_the_geometry_says(angle, flipped, seed, size, bent):
    """On a picture that is linear in place, interpolation is exact: the patch must hold the value of its place."""
    bend = np.random.default_rng(seed).uniform(-3, 3, (9, 9, 2)) if bent else None
    geometry = PatchGeometry.turned(angle, flipped, bend, knot_px=size / 4)
    r, c = np.indices((240, 260)).astype(float)
    picture = np.rint(0.5 * r + 0.4 * c).astype(np.uint8)

    def read(row, column, height, width):
        return picture[row : row + height, column : column + width]

    patch = geometry.read_image(read, 120, 130, size)
    own = np.arange(size) - size // 2
    places = geometry.places(own.astype(float), own.astype(float)) + np.array([120, 130])
    np.testing.assert_allclose(patch, places @ [0.5, 0.4], atol=1.1)  # two roundings


def test_quarter_turns_and_flips_move_pixels_and_change_none():
    picture = np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)

    def read(row, column, height, width):
        padded = np.pad(picture, 9)
        return padded[row + 9 : row + 9 + height, column + 9 : column + 9 + width]

    for turns in range(4):
        for flipped in (False, True):
            patch = PatchGeometry.turned(turns * math.pi / 2, flipped).read_image(read, 4, 4, 9)
            expected = np.rot90(picture, -turns)
            np.testing.assert_array_equal(patch, expected[:, ::-1] if flipped else expected)


def test_the_centre_of_a_turned_patch_is_the_place_of_the_pair():
    brain, pairs = marked_pairs()
    plain, _ = next(iter(pair_dataset(brain, pairs, 9, 10, shuffle=False, form="keras")))
    turned, targets = next(iter(pair_dataset(brain, pairs, 9, 10, shuffle=False, form="keras", augment="turn")))
    for name in plain:
        np.testing.assert_array_equal(turned[name][:, 4, 4], plain[name][:, 4, 4])
        assert (turned[name] != plain[name]).any()
    np.testing.assert_array_equal(targets["distance"], pairs.distance_mm)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_kept_patches_are_turned_as_those_read(name):
    brain, pairs = marked_pairs()
    first, second = (
        next(iter(pair_dataset(brain, pairs, 9, 10, form="keras", augment=name, cache=cache, progress=False)))
        for cache in (False, True)
    )
    for patch in ("patch_a", "patch_b"):
        np.testing.assert_array_equal(first[0][patch], second[0][patch])


def first_patches(**options):
    return next(iter(pair_dataset(*marked_pairs(), 9, 10, shuffle=False, form="keras", **options)))[0]["patch_a"]


def test_equal_seeds_give_equal_patches_and_every_epoch_new_ones():
    first = first_patches(augment="histology", seed=5)
    np.testing.assert_array_equal(first_patches(augment="histology", seed=5, workers=1), first)
    assert (first_patches(augment="histology", seed=6) != first).any()
    assert (first_patches(augment="histology", seed=5, initial_epoch=1) != first).any()


@pytest.mark.parametrize("augment", [None, Augmentation()])
def test_nothing_is_changed_unless_asked_for(augment):
    np.testing.assert_array_equal(first_patches(augment=augment), first_patches())


def recolour(patch, seed=0, **options):
    return Augmentation(**options).recolour(patch, np.random.default_rng(seed), 2.0, 240)


def test_gamma_multiplies_the_optical_density():
    levels = np.array([[64, 128, 200]], np.uint8)
    ratios = np.log(recolour(levels, gamma=1.5) / 255) / np.log(levels / 255)
    assert np.ptp(ratios) < 0.03 and 1 / 1.5 <= ratios.mean() <= 1.5 and abs(ratios.mean() - 1) > 0.01


def test_gain_multiplies_and_contrast_keeps_the_middle():
    levels = np.array([[50, 100, 127, 150]], np.uint8)
    factors = recolour(levels, gain=1.3) / levels
    assert np.ptp(factors) < 0.03 and abs(factors.mean() - 1) > 0.01
    stretched = recolour(levels, contrast=1.5).astype(int)
    assert abs(stretched[0, 2] - 127) <= 1 and (stretched != levels).any()
    np.testing.assert_allclose((stretched[0, 0] - 127.5) / (50 - 127.5), (stretched[0, 3] - 127.5) / 22.5, atol=0.05)


def test_blur_is_given_in_micrometres():
    dot = np.zeros((41, 41), np.uint8)
    dot[20, 20] = 255
    blurred = recolour(dot, blur_um=8.0)
    sigma = np.random.default_rng(0).uniform(0, 8.0) / 2.0
    expected = ndimage.gaussian_filter(dot.astype(float), sigma)
    np.testing.assert_allclose(blurred, expected, atol=1.1)


def test_dropped_out_ellipses_are_glass_or_dark_and_small():
    patch = np.full((200, 200), 100, np.uint8)
    results = [recolour(patch, seed, dropout=3, dropout_share=0.2) for seed in range(20)]
    assert {value for result in results for value in np.unique(result)} == {20, 100, 240}
    assert max((result != 100).mean() for result in results) <= 3 * math.pi / 4 * 0.2**2
    assert (patch == 100).all()


def test_labels_are_kept_where_tissue_drops_out():
    from cytokeras.models import AtlasUNet

    unet = AtlasUNet(3, (258, 258, 1), 0, pixel_size_um=16.0, widths=(2, 2, 2, 2, 2, 2), class_names=THREE.names)
    options = {"steps_per_epoch": 1, "form": "keras"}
    plain, dirty = (
        segmentation_dataset(three_class_brain(), unet, 4, augment=augment, **options)[0]
        for augment in (None, Augmentation(dropout=3))
    )
    assert (plain[0]["image"] != dirty[0]["image"]).any()
    np.testing.assert_array_equal(plain[1], dirty[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 0.5},
        {"rotation_deg": -1},
        {"gain": math.nan},
        {"dropout_share": 0},
        {"elastic_um": 200},
        {"dropout": -1},
    ],
)
def test_values_out_of_range_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Augmentation(**wrong)


@pytest.mark.parametrize(("augment", "said"), [("histologie", "Did you mean 'histology'"), (7, "Received: augment=7")])
def test_unknown_augmentations_are_refused(augment, said):
    with pytest.raises(UserError, match=said):
        first_patches(augment=augment)
