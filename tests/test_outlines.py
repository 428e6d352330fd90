"""Outlines against the cells they were traced from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cytokeras.brain import LabelScheme, PolygonLabels
from cytokeras.inference import OutputGrid, Segmentation, write_outlines
from cytokeras.inference.outlines import class_polygons

SCHEME = LabelScheme(("background", "white matter", "hOc1"), ((255, 255, 255), (200, 200, 200), (220, 40, 40)))


def segmentation(labels):
    labels = np.asarray(labels, np.uint8)
    return Segmentation(labels, None, OutputGrid(labels.shape, 16.0, (3.5, 3.5), 8.0), SCHEME.names)


def test_one_cell_is_a_square_around_its_centre(tmp_path):
    write_outlines(tmp_path / "a.geojson", segmentation([[0, 0], [0, 2]]), scheme=SCHEME, min_area_mm2=0)
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    # cell (1, 1) covers image pixels 8 … 15, from corner 8 to corner 16; counter-clockwise in (x, y)
    assert feature["geometry"] == {
        "type": "MultiPolygon",
        "coordinates": [[[[8.0, 8.0], [16.0, 8.0], [16.0, 16.0], [8.0, 16.0], [8.0, 8.0]]]],
    }
    assert feature["properties"]["classification"] == {"name": "hOc1", "color": [220, 40, 40]}


def test_a_ring_has_a_hole_and_diagonal_cells_are_apart():
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], bool)
    ring, corner = class_polygons(mask)
    assert [len(line) for line in ring] == [4, 4] and [len(line) for line in corner] == [4]
    np.testing.assert_array_equal(sorted(ring[1].tolist()), [[1, 1], [1, 2], [2, 1], [2, 2]])


def test_small_pieces_and_holes_are_left_out():
    mask = np.ones((5, 9), bool)
    mask[:, 6] = mask[1:, 7:] = False  # leaves a piece of two cells
    mask[2, 2] = False
    assert [len(rings) for rings in class_polygons(mask, 0)] == [2, 1]
    assert [len(rings) for rings in class_polygons(mask, 3)] == [1]


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_polygons_come_back_as_the_same_cells(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("outlines") / "a.geojson"
    write_outlines(path, segmentation(labels), min_area_mm2=0)
    read = PolygonLabels(path, SCHEME).read(3.5, 3.5, *labels.shape, step=8)
    np.testing.assert_array_equal(np.where(read == 255, 0, read), labels)


def test_a_validator_accepts_the_file(tmp_path):
    validator = pytest.importorskip("geojson_validator", reason="geojson-validator is not installed")
    shapely = pytest.importorskip("shapely", reason="shapely is not installed")
    labels = np.random.default_rng(0).integers(0, 3, (40, 50))
    labels[10:30, 10:30] = 2
    labels[15:20, 15:20] = 1
    write_outlines(tmp_path / "a.geojson", segmentation(labels), min_area_mm2=0.001)
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert validator.validate_structure(content) == {}
    assert validator.validate_geometries(content)["invalid"] == {}
    for feature in content["features"]:
        for polygon in feature["geometry"]["coordinates"]:
            piece = shapely.Polygon(polygon[0], polygon[1:])
            assert piece.is_valid, shapely.is_valid_reason(piece)
            assert piece.exterior.is_ccw and not any(hole.is_ccw for hole in piece.interiors)
