"""Classes, label images and polygons."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytokeras.brain import (
    UNLABELLED,
    VISUAL_AREAS,
    VISUAL_SCHEME,
    ImageLabels,
    LabelScheme,
    PolygonLabels,
    write_section_tiff,
)
from cytokeras.errors import UserError

SCHEME = LabelScheme(("background", "hOc1", "hOc2"), ((255, 255, 255), (200, 0, 0), (0, 0, 200)))


def feature(rings, name="hOc1", kind="Polygon"):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": rings},
        "properties": {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}},
    }


def square(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def polygons(*features, **options):
    return PolygonLabels({"type": "FeatureCollection", "features": list(features)}, SCHEME, **options)


class TestLabelScheme:
    def test_visual_scheme_has_the_papers_sixteen_classes(self):
        assert len(VISUAL_SCHEME) == 16
        assert VISUAL_SCHEME.names[3:] == VISUAL_AREAS
        assert VISUAL_SCHEME.index("hOc1") == 3
        assert VISUAL_SCHEME.index("FG4") == 15

    def test_visual_colours_are_far_apart(self):
        colors = np.array(VISUAL_SCHEME.colors, float)
        gaps = np.linalg.norm(colors[:, None] - colors[None], axis=2)[~np.eye(16, dtype=bool)]
        assert gaps.min() > 40

    def test_unknown_name_offers_the_nearest(self):
        with pytest.raises(UserError, match="Did you mean 'hOc4la'"):
            VISUAL_SCHEME.index("hOc4-la")

    def test_records_round_trip(self):
        assert LabelScheme.from_records(json.loads(json.dumps(VISUAL_SCHEME.to_records()))) == VISUAL_SCHEME

    @pytest.mark.parametrize(
        ("names", "colors", "message"),
        [
            ((), (), "1 to 255"),
            (("a", "a"), ((0, 0, 0), (1, 1, 1)), "given twice"),
            (("a",), ((0, 0, 256),), "0 to 255"),
            (("a", "b"), ((0, 0, 0),), "one a class"),
            (("a", " "), ((0, 0, 0), (1, 1, 1)), "must have a name"),
        ],
    )
    def test_faulty_classes_are_refused(self, names, colors, message):
        with pytest.raises(UserError, match=message):
            LabelScheme(names, colors)


class TestImageLabels:
    def test_reads_the_lattice_that_was_asked_for(self):
        array = np.arange(100, dtype=np.uint8).reshape(10, 10)
        assert ImageLabels(array).read(1, 2, 2, 3, step=3).tolist() == [[12, 15, 18], [42, 45, 48]]

    def test_outside_is_unlabelled(self):
        window = ImageLabels(np.ones((2, 2), np.uint8)).read(-1, 1, 3, 2)
        assert window.tolist() == [[255, 255], [1, 255], [1, 255]]

    def test_coarse_labels_belong_to_their_nearest_image_pixels(self):
        # every 8th pixel kept from pixel 0: label 1 is centred on pixel 8 and takes 4 … 11
        values = ImageLabels(np.array([[0, 1, 2]], np.uint8), scale=8).read(0, 0, 1, 24)
        assert np.flatnonzero(values[0] == 1).tolist() == list(range(4, 12))

    def test_block_reduced_labels_fill_their_blocks(self):
        # 8 x 8 blocks: label 1 is centred on pixel 11.5 and takes 8 … 15
        labels = ImageLabels(np.array([[0, 1, 2]], np.uint8), scale=8, offset=(3.5, 3.5))
        assert np.flatnonzero(labels.read(0, 0, 1, 24)[0] == 1).tolist() == list(range(8, 16))

    @settings(max_examples=40, deadline=None)
    @given(st.integers(-9, 40), st.integers(-9, 40), st.integers(1, 30), st.integers(1, 30), st.integers(1, 5))
    def test_file_and_array_agree(self, tmp_path_factory, row, column, height, width, step):
        array = np.random.default_rng(0).integers(0, 16, (37, 45)).astype(np.uint8)
        path = tmp_path_factory.getbasetemp() / "labels.ome.tif"
        if not path.exists():
            write_section_tiff(path, array, 2.0, tile=16, labels=True)
        for scale in (1.0, 2.5):
            from_file = ImageLabels(path, scale).read(row, column, height, width, step)
            from_array = ImageLabels(array, scale).read(row, column, height, width, step)
            assert np.array_equal(from_file, from_array)

    def test_colour_file_is_refused(self, tmp_path):
        import tifffile

        tifffile.imwrite(tmp_path / "l.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
        with pytest.raises(UserError, match=r"l\.tif: a label image must have one 8-bit channel"):
            ImageLabels(tmp_path / "l.tif")

    @pytest.mark.parametrize("scale", [0, -1, float("nan")])
    def test_scale_must_be_positive(self, scale):
        with pytest.raises(UserError, match="label scale"):
            ImageLabels(np.zeros((2, 2), np.uint8), scale)


class TestPolygonLabels:
    def test_whole_pixels_of_a_square(self):
        # QuPath's square (2, 1)-(5, 3) covers columns 2 … 4 and rows 1 … 2
        values = polygons(feature([square(2, 1, 5, 3)])).read(0, 0, 5, 7)
        expected = np.full((5, 7), UNLABELLED)
        expected[1:3, 2:5] = 1
        assert np.array_equal(values, expected)

    def test_hole_stays_unlabelled(self):
        values = polygons(feature([square(0, 0, 9, 9), square(3, 3, 6, 6)])).read(0, 0, 9, 9)
        assert (values == 1).sum() == 72
        assert (values[3:6, 3:6] == UNLABELLED).all()

    def test_multipolygon_and_plain_name(self):
        shape = feature([[square(0, 0, 2, 2)], [square(4, 4, 6, 6)]], kind="MultiPolygon")
        shape["properties"] = {"name": "hOc2"}
        assert (polygons(shape).read(0, 0, 6, 6) == 2).sum() == 8

    def test_later_feature_wins(self):
        values = polygons(feature([square(0, 0, 4, 4)]), feature([square(2, 0, 4, 4)], "hOc2")).read(0, 0, 4, 4)
        assert values[0].tolist() == [1, 1, 2, 2]

    def test_touching_areas_leave_no_gap_and_no_overlap(self):
        left = [[0, 0], [7.3, 0], [3.1, 12], [0, 12], [0, 0]]
        right = [[7.3, 0], [12, 0], [12, 12], [3.1, 12], [7.3, 0]]
        both = [polygons(feature([ring])).read(0, 0, 12, 12) == 1 for ring in (left, right)]
        assert (both[0] ^ both[1]).all()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def test_agrees_with_matplotlib_at_every_pixel_centre(self, seed):
        from matplotlib.path import Path

        rng = np.random.default_rng(seed)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radius = rng.uniform(5, 20, 12)
        ring = np.stack([20 + radius * np.cos(angles), 20 + radius * np.sin(angles)], axis=1)
        rows, columns = np.mgrid[0:40, 0:40]
        centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
        expected = Path(np.concatenate([ring, ring[:1]]), closed=True).contains_points(centres)
        values = polygons(feature([ring.tolist()])).read(0, 0, 40, 40)
        assert np.array_equal(values.ravel() == 1, expected)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(-10, 40), st.integers(-10, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 7))
    def test_window_equals_the_same_place_of_the_whole(self, row, column, height, width, step):
        rng = np.random.default_rng(1)
        ring = (rng.uniform(0, 40, (30, 2))).tolist()
        labels = polygons(feature([ring]), feature([square(3.2, 4.7, 20, 11.1)], "hOc2"))
        whole = labels.read(-10, -10, 400, 400)
        expected = whole[row + 10 :: step, column + 10 :: step][:height, :width]
        assert np.array_equal(labels.read(row, column, height, width, step), expected)

    def test_outside_the_image_is_unlabelled(self):
        values = polygons(feature([square(-5, -5, 50, 50)]), shape=(3, 4)).read(-1, -1, 6, 7)
        assert (values == 1).sum() == 12

    def test_lines_and_ignored_names_are_passed_over(self):
        line = feature([[0, 0], [5, 5]], kind="LineString")
        labels = polygons(line, feature([square(0, 0, 9, 9)], "ROI"), ignore=("ROI",))
        assert (labels.read(0, 0, 9, 9) == UNLABELLED).all()

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            (feature([square(0, 0, 4, 4)], "hOC1"), "feature 0, .*Did you mean 'hOc1'"),
            (feature([[[0, 0], [1, 1]]]), "2 corner"),
            (feature([[[0, 0], [1, float("nan")], [2, 0]]]), "finite"),
            (feature([[["a", 0], [1, 1], [2, 0]]]), "numbers in image pixels"),
            ({"type": "Feature", "properties": {}}, "no geometry"),
            ({**feature([square(0, 0, 1, 1)]), "properties": {}}, "has no class"),
            (feature([], kind="GeometryCollection"), "expected Polygon"),
        ],
    )
    def test_faulty_features_are_named(self, shape, message):
        with pytest.raises(UserError, match=message):
            polygons(shape)

    @pytest.mark.parametrize(("text", "message"), [("{", "not GeoJSON"), ("3", "must be a GeoJSON")])
    def test_faulty_files_are_named(self, tmp_path, text, message):
        path = tmp_path / "areas.geojson"
        path.write_text(text)
        with pytest.raises(UserError, match=rf"areas\.geojson: .*{message}"):
            PolygonLabels(path, SCHEME)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(UserError, match="no such file"):
            PolygonLabels(tmp_path / "none.geojson", SCHEME)


def test_scheme_from_names_keeps_known_colours_and_separates_new_ones():
    scheme = LabelScheme.from_names(["hOc1", *(f"area {n}" for n in range(40))])
    assert scheme.colors[0] == VISUAL_SCHEME.colors[VISUAL_SCHEME.index("hOc1")]
    assert len(set(scheme.colors)) == 41
