"""Maps of whole brains: majority on surfaces, stacked volumes, and what independent readers make of the files."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
from _small_brain import SCHEME, SHAPE, hemisphere, plane, section_image

from cytokeras.brain import Section
from cytokeras.errors import UserError
from cytokeras.inference import (
    OutputGrid,
    Segmentation,
    label_volume,
    vertex_labels,
    write_label_tiff,
    write_label_volume,
    write_probability_tiff,
    write_surface_labels,
)


def mapped(*maps, positions=(-0.5, 0.0, 0.5)):
    """Sections with maps of one value, or arrays, on a grid of one cell a pixel."""
    result = []
    for number, (y, values) in enumerate(zip(positions, maps, strict=True)):
        labels = np.broadcast_to(np.asarray(values, np.uint8), SHAPE)
        segmentation = Segmentation(labels, None, OutputGrid(SHAPE, 16.0, (0.0, 0.0), 1.0), SCHEME.names)
        result.append((Section(f"s{number}", section_image(), plane(y)), lambda found=segmentation: found))
    return result


def test_the_majority_of_sections_wins():
    labels = vertex_labels(hemisphere(), mapped(2, 3, 2), 4, reach_mm=10)
    assert (labels == 2).all()


def test_of_equal_votes_the_nearest_section_wins():
    ball = hemisphere()
    labels = vertex_labels(ball, mapped(2, 3, positions=(-0.5, 0.5)), 4, reach_mm=10)
    y = ball.mid.vertices[:, 1]
    assert (labels[y < -0.05] == 2).all() and (labels[y > 0.05] == 3).all()


def test_vertices_away_from_all_sections_are_not_covered():
    ball = hemisphere()
    labels = vertex_labels(ball, mapped(2, 2, 2), 4)
    # 1.5 distances of 0.5 mm beyond the outer sections; the depths asked reach from 1.28 to 1.52 mm from the centre
    height = np.abs(ball.mid.vertices[:, 1]) / 1.4
    assert (labels[height > 1.25 / 1.28] == 255).all() and (labels[height < 1.25 / 1.52] == 2).all()


def test_a_vertex_takes_the_class_of_its_place():
    half = np.full(SHAPE, 2)
    half[:, 150:] = 3
    ball = hemisphere()
    labels = vertex_labels(ball, mapped(half, half, half), 4, reach_mm=10)
    x = ball.mid.vertices[:, 0]
    assert (labels[x < -0.05] == 2).all() and (labels[x > 0.05] == 3).all()


def test_surface_labels_open_in_nibabel_and_nilearn(tmp_path):
    surface = pytest.importorskip("nilearn.surface", reason="nilearn is not installed")
    labels = np.array([0, 1, 2, 3, 255, 2], np.uint8)
    path = tmp_path / "labels-left.label.gii"
    write_surface_labels(path, labels, SCHEME, "left")
    image = nibabel.load(path)
    np.testing.assert_array_equal(image.agg_data(), labels)
    table = {label.key: (label.label, label.rgba) for label in image.labeltable.labels}
    assert table[2][0] == "hOc1" and table[255][0] == "not covered"
    np.testing.assert_allclose(table[2][1], (220 / 255, 40 / 255, 40 / 255, 1), atol=1e-6)
    assert dict(image.meta)["AnatomicalStructurePrimary"] == "CortexLeft"
    np.testing.assert_array_equal(surface.load_surf_data(str(path)), labels)


def test_volume_has_the_maps_at_their_planes(tmp_path):
    half = np.full(SHAPE, 2)
    half[:, 150:] = 3
    volume, affine = label_volume(mapped(half, 1, half), voxel_size_mm=0.25)
    write_label_volume(tmp_path / "v.nii.gz", volume, affine)
    image = nibabel.load(tmp_path / "v.nii.gz")
    assert image.header.get_xyzt_units()[0] == "mm" and image.get_data_dtype() == np.uint8
    data = np.asarray(image.dataobj)
    for point, expected in {
        (-1.0, -0.5, 0.5): 2,
        (1.0, -0.5, 0.5): 3,
        (1.0, 0.0, 0.5): 1,
        (1.0, 0.5, -1.0): 3,
        (1.0, 1.25, 0.0): 0,  # beyond the last section
        (2.75, 0.0, 0.0): 0,  # beyond the image
    }.items():
        voxel = np.rint(np.linalg.solve(image.affine, [*point, 1])[:3]).astype(int)
        inside = ((voxel >= 0) & (voxel < data.shape)).all()
        assert (data[tuple(voxel)] if inside else 0) == expected, point


def test_volume_of_too_many_voxels_is_refused():
    with pytest.raises(UserError, match=r"voxel_size_mm: 0\.001 mm gives"):
        label_volume(mapped(1, 1, 1), voxel_size_mm=0.001)


@pytest.fixture
def large():
    """1300 x 700 cells: three levels."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), (1300, 700)).astype(np.float16)
    grid = OutputGrid((1300, 700), 16.0, (3.5, 3.5), 8.0)
    return Segmentation(probabilities.argmax(-1).astype(np.uint8), probabilities, grid, SCHEME.names)


def test_labels_have_a_pyramid_colours_and_micrometres(large, tmp_path):
    path = tmp_path / "labels.ome.tif"
    write_label_tiff(path, large, scheme=SCHEME)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert [level.shape for level in file.series[0].levels] == [(1300, 700), (650, 350), (325, 175)]
        np.testing.assert_array_equal(file.series[0].levels[0].asarray(), large.labels)
        np.testing.assert_array_equal(file.series[0].levels[1].asarray(), large.labels[1::2, 1::2])
        page = file.pages.first
        assert page.is_tiled and page.photometric.name == "PALETTE"
        np.testing.assert_array_equal(page.colormap[:, 2] // 257, (220, 40, 40))
        assert "PhysicalSizeX" in file.ome_metadata


def test_probabilities_have_a_channel_a_class_with_name_and_colour(large, tmp_path):
    path = tmp_path / "p.ome.tif"
    write_probability_tiff(path, large, scheme=SCHEME)
    with tifffile.TiffFile(path) as file:
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(4, 1300, 700), (4, 650, 350), (4, 325, 175)]
        full = levels[0].asarray()
        np.testing.assert_allclose(full / 255, np.moveaxis(large.probabilities, -1, 0), atol=0.0025)
        mean = full.reshape(4, 650, 2, 350, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(levels[1].asarray(), mean, atol=0.51)
        channels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert [channel["Name"] for channel in channels] == list(SCHEME.names)
    assert channels[2]["Color"] % 2**32 == 0xDC2828FF


def test_labels_open_in_tiffslide(large, tmp_path):
    tiffslide = pytest.importorskip("tiffslide", reason="tiffslide is not installed")
    write_label_tiff(tmp_path / "labels.ome.tif", large, scheme=SCHEME)
    with tiffslide.open_slide(tmp_path / "labels.ome.tif") as slide:
        assert slide.level_dimensions == ((700, 1300), (350, 650), (175, 325))
        assert float(slide.properties["tiffslide.mpp-x"]) == 16.0
        region = slide.read_region((100, 600), 0, (50, 40), as_array=True)
    np.testing.assert_array_equal(np.squeeze(region), large.labels[600:640, 100:150])
