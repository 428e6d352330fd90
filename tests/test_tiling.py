"""Windows over a section: every cell once, on one lattice, in whole periods of the network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.brain import ArrayImage
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, plan_windows
from cytokeras.inference._resampled_image import ResampledImage
from cytokeras.models.field_geometry import ConvStep, FieldGeometry, PoolStep, UpStep


def unet_field(first_stride: int, first_pool: bool, pixel_size_um: float) -> FieldGeometry:
    """The path of the published network from image to output: 10 blocks of two 3x3 convolutions, the first 5x5."""
    steps = [ConvStep("c", 1, 5, first_stride), ConvStep("c", 1, 3)]
    if first_pool:
        steps.append(PoolStep("p"))
    for block in range(5):
        steps += [ConvStep("c", 1, 3), ConvStep("c", 1, 3)]
        if block < 4:
            steps.append(PoolStep("p"))
    for _ in range(4):
        steps += [UpStep("u", 1), ConvStep("c", 1, 3), ConvStep("c", 1, 3)]
    return FieldGeometry(tuple(steps), pixel_size_um, exact=True)


PAPER = unet_field(4, True, 2.0)
FIELDS = st.sampled_from([PAPER, unet_field(2, True, 4.0), unet_field(1, True, 8.0), unet_field(1, False, 16.0)])
SIDES = st.integers(1, 6_000)


def stepping_window(field: FieldGeometry, number: int) -> int:
    """A valid window that yields at least one period of cells; sizes are one period apart."""
    size = field.valid_size(1)
    while field.output_size(size) * field.stride < field.period:
        size = field.valid_size(size + 1)
    return size + number * int(field.period)


@settings(max_examples=25, deadline=None)
@given(field=FIELDS, height=SIDES, width=SIDES, choice=st.integers(0, 9), default=st.booleans())
def test_windows_write_every_cell_exactly_once(field, height, width, choice, default):
    window = None if default else stepping_window(field, choice)
    plan = plan_windows(field, (height, width), window)
    assert plan.window_cells[0] == field.output_size(plan.window_px[0])
    written = np.zeros(plan.shape, np.uint8)
    for place in plan:
        rows, columns = place.cells
        assert 1 <= rows <= plan.window_cells[0] and 1 <= columns <= plan.window_cells[1]
        written[place.cell_row : place.cell_row + rows, place.cell_column : place.cell_column + columns] += 1
    assert (written == 1).all()


@settings(max_examples=25, deadline=None)
@given(field=FIELDS, height=SIDES, width=SIDES)
def test_cells_of_all_windows_lie_on_one_lattice(field, height, width):
    plan = plan_windows(field, (height, width))
    offset, stride = field.offset, field.stride
    for place in plan:
        assert place.row + offset == plan.first_pixel + stride * place.cell_row
        assert place.column + offset == plan.first_pixel + stride * place.cell_column


@settings(max_examples=25, deadline=None)
@given(field=FIELDS, height=SIDES, width=SIDES)
def test_windows_are_whole_periods_apart(field, height, width):
    plan = plan_windows(field, (height, width))
    period = field.period
    assert {(place.row - plan.windows[0].row) % period for place in plan} == {0}
    assert {(place.column - plan.windows[0].column) % period for place in plan} == {0}


@settings(max_examples=25, deadline=None)
@given(field=FIELDS, height=SIDES, width=SIDES)
def test_map_covers_the_image_and_no_whole_cell_more(field, height, width):
    plan = plan_windows(field, (height, width))
    for size, cells in zip((height, width), plan.shape, strict=True):
        assert (cells - 1) * field.stride < size <= cells * field.stride
        assert 0 <= plan.first_pixel < field.stride


@settings(max_examples=25, deadline=None)
@given(field=FIELDS, height=SIDES, width=SIDES)
def test_default_window_is_valid_and_bounded(field, height, width):
    plan = plan_windows(field, (height, width))
    assert all(field.is_valid(side) for side in plan.window_px)
    # 512 cells and the 4 that the next valid size has beyond (68 + 16 k)
    assert max(plan.window_cells) <= 516


def test_window_count_of_the_paper_geometry():
    # 512 x 320 cells; 68 cells a window, of which 64 = 4 periods are stepped over: 1 + ceil(444 / 64) = 8 rows
    # and 1 + ceil(252 / 64) = 5 columns.
    plan = plan_windows(PAPER, (4096, 2560), 2025)
    assert plan.shape == (512, 320) and len(plan) == 40


def test_first_cell_of_the_paper_geometry_is_centred_in_its_block():
    plan = plan_windows(PAPER, (4096, 4096), 2025)
    assert plan.windows[0].row == -740  # 744 px before the centre of cell 0
    assert plan.first_pixel == 4


def test_default_window_of_a_large_section_reads_its_pixels_less_than_twice():
    plan = plan_windows(PAPER, (40_000, 40_000))
    # patches of 2025 px, stepped over by 64 cells, read every pixel 15.6 times
    assert 1 < len(plan) * plan.window_px[0] ** 2 / 40_000**2 < 2.1


def test_invalid_window_names_the_next_valid_size():
    with pytest.raises(UserError, match=r"2000 px is not a valid input size.* 2025 px.* 128 px apart"):
        plan_windows(PAPER, (4096, 4096), 2000)


def test_window_below_one_period_names_the_smallest():
    # 1513 px yield 4 cells, windows are moved by 16
    with pytest.raises(UserError, match=r"1513 px give 4 output cells.* at least 1641 px"):
        plan_windows(PAPER, (4096, 4096), 1513)


def test_image_without_pixels_is_refused():
    with pytest.raises(UserError, match="0 x 5 px"):
        plan_windows(PAPER, (0, 5))


@given(
    step=st.floats(0.1, 20),
    origin=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    cell=st.tuples(st.integers(0, 999), st.integers(0, 999)),
)
def test_output_grid_round_trip(step, origin, cell):
    grid = OutputGrid((1000, 1000), 16.0, origin, step)
    pixel = grid.to_pixel(np.array([cell]))
    assert pixel[0, 0] == pytest.approx(grid.rows_px[cell[0]])
    assert grid.to_cell(pixel)[0] == pytest.approx(cell, abs=1e-6)


# --- the image at the network's pixel size ---


def random_image(height: int, width: int, pixel_size_um: float) -> ArrayImage:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width)).astype(np.uint8)
    return ArrayImage(pixels, pixel_size_um, background=255)


class Pyramid(ArrayImage):
    """An image with a second level of means of 4 x 4 pixels; counts what is read."""

    def __init__(self, array: np.ndarray, pixel_size_um: float) -> None:
        super().__init__(array, pixel_size_um)
        height, width = array.shape
        means = array.reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
        self.coarse = np.rint(means).astype(np.uint8)
        self.levels = (1.0, 4.0)
        self.level_shapes = (self.shape, (self.coarse.shape[0], self.coarse.shape[1]))
        self.levels_read: list[int] = []

    def _read_inside(self, level: int, row: int, column: int, out: np.ndarray) -> None:
        self.levels_read.append(level)
        source = (self.array, self.coarse)[level]
        out[...] = source[row : row + out.shape[0], column : column + out.shape[1]]


def test_equal_pixel_size_reads_the_image_itself():
    image = random_image(60, 80, 8.0)
    source = ResampledImage(image, 8.004)  # 0.05 % apart
    assert source.factor == 1.0
    np.testing.assert_array_equal(source.read(3, 5, 20, 30), image.array[3:23, 5:35])


def test_shrinking_by_two_takes_block_means():
    image = random_image(60, 80, 8.0)
    means = image.array.reshape(30, 2, 40, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(ResampledImage(image, 16.0).read(0, 0, 30, 40), np.rint(means))


def test_shrinking_by_a_fraction_weights_by_covered_area():
    image = ArrayImage(np.array([[0, 100, 200]], np.uint8).repeat(3, axis=0), 10.0, background=255)
    # pixels of 1.5: 1 of the first and half of the second, half of the second and 1 of the third
    shrunk = ResampledImage(image, 15.0).read(0, 0, 2, 2)
    np.testing.assert_array_equal(shrunk, [[33, 167], [33, 167]])


def test_enlarging_interpolates_a_ramp_exactly():
    ramp = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (20, 1))
    source = ResampledImage(ArrayImage(ramp, 8.0), 4.0)
    columns = np.arange(4, 40)
    np.testing.assert_allclose(source.read(4, 4, 1, 36)[0], 10 * ((columns + 0.5) / 2 - 0.5), atol=0.5)


@settings(max_examples=40, deadline=None)
@given(
    pixel_size=st.floats(1.0, 40.0),
    top=st.integers(-20, 30),
    left=st.integers(-20, 30),
    split=st.integers(1, 19),
)
def test_neighbouring_reads_agree_bit_by_bit(pixel_size, top, left, split):
    source = ResampledImage(random_image(97, 83, 7.3), pixel_size)
    whole = source.read(top, left, 20, 20)
    np.testing.assert_array_equal(whole[:split], source.read(top, left, split, 20))
    np.testing.assert_array_equal(whole[:, split:], source.read(top, left + split, 20, 20 - split))


def test_coarsest_fitting_level_is_read():
    array = np.random.default_rng(0).integers(0, 256, (80, 120)).astype(np.uint8)
    image = Pyramid(array, 2.0)
    means = image.coarse.astype(float).reshape(10, 2, 15, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(ResampledImage(image, 16.0).read(0, 0, 10, 15), np.rint(means))
    assert set(image.levels_read) == {1}


@given(factor=st.floats(0.2, 30), pixel=st.tuples(st.floats(-100, 1000), st.floats(-100, 1000)))
def test_positions_go_to_the_image_and_back(factor, pixel):
    source = ResampledImage(random_image(10, 10, 1.0), factor)
    back = source.from_pixel(source.to_pixel(np.array([pixel])))
    assert back[0] == pytest.approx(pixel, abs=1e-6)


def test_outside_the_image_there_is_background():
    source = ResampledImage(random_image(40, 40, 8.0), 20.0)
    assert (source.read(-50, -50, 10, 10) == 255).all()


@pytest.mark.parametrize("pixel_size", [0, -2.0, float("nan")])
def test_impossible_pixel_size_is_refused(pixel_size):
    with pytest.raises(UserError, match="positive number of µm"):
        ResampledImage(random_image(4, 4, 1.0), pixel_size)
