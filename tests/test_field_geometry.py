"""Geometry of the networks: the numbers of the papers, and the places of cells checked against real convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.errors import UserError
from cytokeras.models.field_geometry import (
    ConvStep,
    FieldGeometry,
    PoolStep,
    UpStep,
    crop_between,
    flatten_steps,
)
from cytokeras.models.texture_encoder import (
    DEFAULT_WIDTHS,
    decoder_blocks,
    first_block_of,
    texture_blocks,
)


def network(first_stride: int = 4, first_pool: bool = True, pixel_size_um: float = 2.0) -> FieldGeometry:
    blocks = texture_blocks(DEFAULT_WIDTHS, first_stride, first_pool) + decoder_blocks(DEFAULT_WIDTHS)
    return FieldGeometry(flatten_steps(blocks), pixel_size_um, exact=True)


def encoder(first_stride: int = 4, first_pool: bool = True, pixel_size_um: float = 2.0) -> FieldGeometry:
    blocks = texture_blocks(DEFAULT_WIDTHS, first_stride, first_pool)
    return FieldGeometry(flatten_steps(blocks), pixel_size_um)


def test_network_has_the_receptive_field_of_the_paper() -> None:
    assert network().receptive_field == 1481


def test_network_output_is_on_the_16_um_grid_of_the_paper() -> None:
    assert network().output_pixel_size_um == 16.0


def test_network_maps_2025_px_to_68_cells_from_pixel_744_on() -> None:
    field = network()
    assert (field.output_size(2025), field.offset, field.stride) == (68, 744, 8)


def test_cells_of_the_network_are_centred_on_the_patch() -> None:
    # 744 + 8 * 33.5 = 1012 = (2025 - 1) / 2
    assert network().positions(68).mean() == 1012.0


def test_encoder_has_the_receptive_field_1001_and_stride_128() -> None:
    assert (encoder().receptive_field, encoder().stride) == (1001, 128)


@pytest.mark.parametrize(("size", "cells"), [(1004, 0), (1005, 1), (1019, 1), (1132, 1), (1133, 2)])
def test_encoder_gives_one_cell_from_1005_to_1132_px(size: int, cells: int) -> None:
    assert encoder().output_size(size) == cells


@pytest.mark.parametrize("k", range(-4, 5))
def test_valid_sizes_of_the_network_are_2025_and_multiples_of_128_away(k: int) -> None:
    size = 2025 + 128 * k
    assert network().is_valid(size)
    assert not any(network().is_valid(size + shift) for shift in range(1, 128))


def test_smallest_network_input_is_1513_px_for_4_cells() -> None:
    field = network()
    assert (field.valid_size(1), field.output_size(1513)) == (1513, 4)


def test_period_is_128_px_at_2_um() -> None:
    assert network().period == 128


def test_output_grows_by_16_cells_per_128_px() -> None:
    assert network().output_size(2025 + 128) - network().output_size(2025) == 16


@pytest.mark.parametrize(
    ("pixel_size_um", "network_size", "encoder_size"), [(2.0, 2025, 1019), (8.0, 510, 258), (16.0, 258, 132)]
)
def test_coarser_pixels_keep_the_output(pixel_size_um: float, network_size: int, encoder_size: int) -> None:
    first = first_block_of(pixel_size_um, None, None)
    field = network(*first, pixel_size_um)
    assert field.is_valid(network_size)
    assert field.output_size(network_size) == 68
    assert field.output_pixel_size_um == 16.0
    assert encoder(*first).output_size(encoder_size) == 1


@pytest.mark.parametrize(
    ("pixel_size_um", "first"),
    [(2.0, (4, True)), (4.0, (2, True)), (8.0, (1, True)), (16.0, (1, False)), (20.0, (1, False))],
)
def test_first_block_follows_from_the_pixel_size(pixel_size_um: float, first: tuple[int, bool]) -> None:
    assert first_block_of(pixel_size_um, None, None) == first


def test_pixel_size_between_the_levels_is_refused() -> None:
    with pytest.raises(UserError, match="pixel_size_um=12"):
        first_block_of(12.0, None, None)


def test_pixel_size_between_the_levels_works_with_an_explicit_first_block() -> None:
    assert first_block_of(12.0, 1, False) == (1, False)


def test_half_pixel_offset_where_the_centre_lies_between_two_pixels() -> None:
    # At 8 µm a cell of 16 µm covers two pixels.
    assert network(1, True).offset == 187.5


def test_skip_crops_are_those_of_the_layer_table() -> None:
    # 24 -> 16, 56 -> 24, 120 -> 40, 248 -> 72
    texture, decoder = texture_blocks(DEFAULT_WIDTHS, 4, True), decoder_blocks(DEFAULT_WIDTHS)
    crops = []
    for index, block in enumerate((5, 4, 3, 2)):
        skip = flatten_steps(texture[:block])[:-1]
        joint = [*flatten_steps(texture), *flatten_steps(decoder[:index]), decoder[index][0]]
        crops.append(crop_between(skip, joint))
    assert crops == [4, 16, 40, 88]


def test_error_names_the_nearest_valid_sizes() -> None:
    with pytest.raises(UserError, match=r"2000 px.*1897 or 2025 px"):
        network().check_input_size(2000, "AtlasUNet")


@given(size=st.integers(1, 5000))
def test_valid_size_is_the_next_valid_one(size: int) -> None:
    field = network()
    found = field.valid_size(size)
    assert field.is_valid(found)
    assert not any(field.is_valid(between) for between in range(size, found))


@given(cells=st.integers(1, 60))
def test_network_input_is_stride_times_output_and_receptive_field(cells: int) -> None:
    field = network()
    size = field.stride * cells + field.receptive_field
    assert not field.is_valid(size) or field.output_size(size) == cells


steps = st.lists(
    st.one_of(
        st.builds(ConvStep, st.just("c"), st.just(1), st.integers(1, 5), st.integers(1, 3)),
        st.builds(PoolStep, st.just("p")),
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(steps=steps, cells=st.integers(1, 4))
def test_offset_and_stride_are_the_centres_of_moving_averages(steps: list, cells: int) -> None:
    # Averaging the pixel indices under every window, layer by layer, gives the centre of each cell.
    field = FieldGeometry(tuple(steps), 1.0, exact=True)
    size = field.stride * cells + field.receptive_field
    centres = np.arange(size, dtype=float)
    for step in steps:
        starts = range(0, len(centres) - step.kernel + 1, step.stride)
        centres = np.array([centres[start : start + step.kernel].mean() for start in starts])
    np.testing.assert_allclose(centres, field.positions(len(centres)), atol=1e-9)


def test_up_step_splits_a_cell_about_its_centre() -> None:
    field = FieldGeometry((PoolStep("p"), UpStep("u", 1)), 1.0)
    assert (field.offset, field.stride) == (0, 1)
