"""Brains in memory and in folders: round trip, resuming, and every fault named with file and field."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import trimesh

from cytokeras.brain import (
    ArrayImage,
    Atlas,
    Brain,
    ImageLabels,
    LabelScheme,
    PolygonLabels,
    Section,
    SectionImage,
    SectionPlane,
    check_brain,
)
from cytokeras.errors import UserError
from cytokeras.surfaces import Hemisphere, Mesh

SCHEME = LabelScheme(("background", "hOc1", "hOc2"), ((255, 255, 255), (200, 0, 0), (0, 0, 200)))
PIXEL_UM = 100.0


def hemisphere(name):
    """Spheres of 7 and 5 mm beside the midline."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    centre = np.array([-8.0 if name == "left" else 8.0, 0, 0])
    pial, white, inflated = (Mesh(ball.vertices * radius + centre, ball.faces) for radius in (7, 5, 9))
    return Hemisphere(name, pial, white, inflated)


def plane(y=0.0):
    pixel = PIXEL_UM / 1000
    return SectionPlane([[0, pixel, 0], [-pixel, 0, 0]], [-16, y, 10], [1, 0, 0], [0, 0, 1])


def section(id, y, seed=0, split="train"):
    rng = np.random.default_rng([seed, round(1000 * y) + 99_999])
    array = np.full((201, 321), 240, np.uint8)
    array[20:-20, 20:-20] = rng.integers(20, 235, (161, 281))
    labels = np.full(array.shape, 255, np.uint8)
    labels[60:120, 100:200] = rng.integers(0, 3, (60, 100))
    return Section(id, ArrayImage(array, PIXEL_UM), plane(y), ImageLabels(labels), split)


def brain(seed=0):
    atlas = Atlas(np.random.default_rng(1).random((5, 6, 7, 2)), np.diag([4, 4, 4, 1]), ("hOc1", "hOc2"))
    sections = [
        section("s-0001", -3.0, seed),
        section("s-0002", 0.0, seed),
        section("s-0003", 2.5, seed, "test"),
    ]
    sections.append(Section("s-0004", ArrayImage(np.full((50, 60), 200, np.uint8), PIXEL_UM), plane(4.0)))
    surfaces = {name: hemisphere(name) for name in ("left", "right")}
    return Brain("ball", "test space", SCHEME, sections, surfaces, atlas, synthetic=True)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain") / "saved"
    brain().save(folder, progress=False)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(saved, tmp_path / "brain")


def edit_json(folder, change):
    content = json.loads((folder / "brain.json").read_text())
    change(content)
    (folder / "brain.json").write_text(json.dumps(content))


def edit_csv(folder, change, delimiter=","):
    with (folder / "sections.csv").open() as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with (folder / "sections.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


class TestMemory:
    def test_section_by_id_and_index(self):
        ball = brain()
        assert ball.section("s-0002") is ball.sections[1] is ball.section(1)

    def test_unknown_section_offers_the_nearest(self):
        with pytest.raises(UserError, match=r"no section 's-002' .*Did you mean"):
            brain().section("s-002")

    def test_repeated_ids_are_refused(self):
        with pytest.raises(UserError, match="'a' is given twice"):
            Brain("b", "s", SCHEME, [section("a", 0), section("a", 1)], {})

    def test_unknown_hemisphere_is_refused(self):
        with pytest.raises(UserError, match="'left' or 'right'"):
            Brain("b", "s", SCHEME, [], {"lh": hemisphere("left")})


class TestRoundTrip:
    def test_everything_comes_back(self, saved):
        before, after = brain(), Brain.open(saved)
        assert (after.name, after.space, after.synthetic) == ("ball", "test space", True)
        assert after.labels == SCHEME
        assert [s.id for s in after.sections] == [s.id for s in before.sections]
        assert [s.split for s in after.sections] == ["train", "train", "test", "train"]
        np.testing.assert_allclose(after.atlas.probabilities, before.atlas.probabilities)
        assert after.atlas.names == ("hOc1", "hOc2")
        for side in ("left", "right"):
            expected = before.surfaces[side].pial.vertices
            np.testing.assert_allclose(after.surfaces[side].pial.vertices, expected, atol=1e-5)

    def test_pixels_labels_and_places_are_equal(self, saved):
        for before, after in zip(brain().sections, Brain.open(saved).sections, strict=True):
            assert after.image.shape == before.image.shape
            assert after.pixel_size_um == PIXEL_UM
            window = (-5, 30, 190, 300)
            assert np.array_equal(after.image.read(*window), before.image.read(*window))
            np.testing.assert_array_equal(after.pixel_to_mm([[3, 4]]), before.pixel_to_mm([[3, 4]]))
            if before.labels is None:
                assert after.labels is None
            else:
                assert np.array_equal(after.labels.read(*window, 3), before.labels.read(*window, 3))

    def test_a_saved_brain_passes_the_check(self, saved):
        assert check_brain(saved) == []

    def test_nothing_is_opened_before_it_is_used(self, folder):
        ball = Brain.open(folder)
        for path in [*folder.glob("sections/*"), *folder.glob("surfaces/*"), folder / "atlas.nii.gz"]:
            path.unlink()
        assert ball.sections[0].pixel_size_um == PIXEL_UM
        with pytest.raises(UserError, match=r"sections\.csv, line 2, image: .*no such file"):
            ball.sections[0].image.read(0, 0, 1, 1)

    def test_label_step_keeps_the_labels_of_its_lattice(self, tmp_path):
        brain().save(tmp_path / "b", sections=["s-0002"], progress=False, label_step=8)
        after = Brain.open(tmp_path / "b").section("s-0002")
        before = brain().section("s-0002")
        assert np.array_equal(after.labels.read(0, 0, 26, 41, 8), before.labels.read(0, 0, 26, 41, 8))
        assert after.labels.load().shape == (26, 41)

    def test_chosen_sections_by_index_and_id(self, tmp_path):
        brain().save(tmp_path / "b", sections=[2, "s-0001"], progress=False)
        assert [s.id for s in Brain.open(tmp_path / "b").sections] == ["s-0003", "s-0001"]

    def test_polygons_are_read_in_image_pixels(self, folder):
        ring = [[10, 20], [30, 20], [30, 40], [10, 40], [10, 20]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        feature = {"type": "Feature", "geometry": shape, "properties": {"classification": {"name": "hOc2"}}}
        (folder / "labels/areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        edit_csv(folder, lambda rows: rows[0].update(labels="labels/areas.geojson"))
        labels = Brain.open(folder).sections[0].labels
        assert isinstance(labels.load(), PolygonLabels)
        assert (labels.read(20, 10, 20, 20) == 2).all()

    def test_semicolons_of_a_spreadsheet_and_a_byte_order_mark(self, folder):
        edit_csv(folder, lambda rows: None, delimiter=";")
        text = (folder / "sections.csv").read_text()
        (folder / "sections.csv").write_text(text, encoding="utf-8-sig")
        assert len(Brain.open(folder).sections) == 4

    def test_pixel_size_of_the_brain_fills_empty_cells(self, folder):
        edit_csv(folder, lambda rows: [row.update(pixel_size_um="") for row in rows])
        assert Brain.open(folder).sections[0].pixel_size_um == PIXEL_UM


class Interrupted(ArrayImage):
    """An image that stops its save half-way."""

    def read(self, row, column, height, width, level=0):
        raise KeyboardInterrupt


class TestSaving:
    def interrupted(self, folder):
        ball = brain()
        ball.section("s-0003").image = Interrupted(np.full((201, 321), 240, np.uint8), PIXEL_UM)
        with pytest.raises(KeyboardInterrupt):
            ball.save(folder, progress=False)

    def test_interrupted_folder_is_recognised(self, tmp_path):
        self.interrupted(tmp_path / "b")
        assert not (tmp_path / "b/brain.json").exists()
        with pytest.raises(UserError, match=r"brain\.json: no such file; its saving was interrupted"):
            Brain.open(tmp_path / "b")

    def test_saving_goes_on_and_keeps_complete_sections(self, tmp_path):
        self.interrupted(tmp_path / "b")
        first = tmp_path / "b/sections/s-0001.ome.tif"
        before = first.stat().st_mtime_ns
        brain().save(tmp_path / "b", progress=False)
        assert first.stat().st_mtime_ns == before
        assert check_brain(tmp_path / "b") == []

    def test_sections_of_another_individual_are_not_kept(self, tmp_path):
        self.interrupted(tmp_path / "b")
        brain(seed=5).save(tmp_path / "b", progress=False)
        saved_again = Brain.open(tmp_path / "b").sections[0].image.read(0, 0, 201, 321)
        assert np.array_equal(saved_again, brain(seed=5).sections[0].image.read(0, 0, 201, 321))

    def test_interrupted_save_of_another_brain_is_refused(self, tmp_path):
        self.interrupted(tmp_path / "b")
        other = brain()
        other.name = "cube"
        with pytest.raises(UserError, match="interrupted save of another brain"):
            other.save(tmp_path / "b", progress=False)

    def test_folder_that_is_not_empty_is_refused(self, folder):
        with pytest.raises(UserError, match="not empty"):
            brain().save(folder, progress=False)

    def test_overwriting_replaces_the_brain(self, folder):
        brain(seed=7).save(folder, sections=[0], progress=False, overwrite=True)
        after = Brain.open(folder)
        assert len(after.sections) == 1
        assert np.array_equal(
            after.sections[0].image.read(0, 0, 201, 321), brain(seed=7).sections[0].image.read(0, 0, 201, 321)
        )

    def test_saving_into_its_own_folder_is_refused(self, folder):
        with pytest.raises(UserError, match="is read from there"):
            Brain.open(folder).save(folder, progress=False, overwrite=True)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"sections": []}, "no section is chosen"),
            ({"sections": [0, "s-0001"]}, "chosen twice"),
            ({"sections": ["x"]}, "no section 'x'"),
            ({"label_step": 0}, "label_step"),
            ({"label_step": 1.5}, "label_step"),
        ],
    )
    def test_faulty_choices_write_nothing(self, tmp_path, options, message):
        with pytest.raises(UserError, match=message):
            brain().save(tmp_path / "b", progress=False, **options)
        assert not (tmp_path / "b").exists()

    def test_progress_goes_to_standard_error(self, tmp_path, capsys):
        brain().save(tmp_path / "b", sections=[3])
        assert "saving ball: 1/1" in capsys.readouterr().err


JSON_FAULTS = [
    (lambda c: c.update(format_version=2), "format_version: must be 1; received 2"),
    (lambda c: c.pop("name"), "name: must be a text"),
    (lambda c: c.update(surface={}), "surface: unknown field. Did you mean 'surfaces'"),
    (lambda c: c.update(synthetic="no"), "synthetic: must be true or false"),
    (lambda c: c.update(classes=[{"name": "a"}]), "classes: entry 0"),
    (lambda c: c.pop("classes"), "classes: must be a list"),
    (lambda c: c.update(pixel_size_um=-1), "pixel_size_um: the pixel size must be a number above 0"),
    (lambda c: c["surfaces"]["left"].update(pial="x.gii"), "surfaces.left.pial: no such file"),
    (lambda c: c["surfaces"]["left"].pop("inflated"), "surfaces.left.inflated: must be the path"),
    (lambda c: c["surfaces"].update(lh={}), "surfaces.lh: a hemisphere is 'left' or 'right'"),
    (lambda c: c.update(surfaces={}), "surfaces: must be"),
    (lambda c: c["atlas"].update(path="x.nii"), "atlas.path: no such file"),
    (lambda c: c["atlas"].update(names=[]), "atlas.names: must be a list"),
]
CSV_FAULTS = [
    (lambda r: r[1].update(image="sections/none.tif"), "line 3, image: no such file"),
    (lambda r: r[1].update(image=""), "line 3, image: must be the path"),
    (lambda r: r[0].update(pixel_size_um="0"), "line 2, pixel_size_um: must be above 0"),
    (lambda r: r[0].update(pixel_size_um="0,5"), "line 2, pixel_size_um: .*write a decimal point"),
    (lambda r: r[2].update(affine_u_column_mm="nan"), "line 4, affine_u_column_mm: must be a number"),
    (lambda r: r[0].update(axis_u_x="0.5"), "line 2, axis_u: must have length 1"),
    (lambda r: r[0].update(affine_v_row_mm="0"), "line 2, affine: cannot be inverted"),
    (lambda r: r[3].update(id="s-0001"), "line 5, id: 's-0001' was given already in line 2"),
    (lambda r: r[0].update(id="a/b"), "line 2, id: must begin"),
    (lambda r: r[0].update(split="val"), "line 2, split: must be train or test"),
    (lambda r: r[0].update(label_scale="-1"), "line 2, label_scale: must be above 0"),
    (lambda r: r[0].update(labels="none.tif"), "line 2, labels: no such file"),
    (lambda r: [row.pop("axis_v_z") for row in r], "first line: lacks the column.*axis_v_z"),
    (
        lambda r: [row.update(splits=row.pop("split")) for row in r],
        "splits: unknown column. Did you mean 'split'",
    ),
]


class TestFaults:
    @pytest.mark.parametrize(("change", "message"), JSON_FAULTS, ids=[message for _, message in JSON_FAULTS])
    def test_brain_json_faults_name_file_and_field(self, folder, change, message):
        edit_json(folder, change)
        with pytest.raises(UserError, match=f"brain.json, {message}"):
            Brain.open(folder)

    @pytest.mark.parametrize(("change", "message"), CSV_FAULTS, ids=[message for _, message in CSV_FAULTS])
    def test_sections_csv_faults_name_file_line_and_field(self, folder, change, message):
        edit_csv(folder, change)
        with pytest.raises(UserError, match=rf"sections.csv, .*{message}"):
            Brain.open(folder)

    def test_missing_folder_and_files(self, tmp_path, folder):
        with pytest.raises(UserError, match="no such folder"):
            Brain.open(tmp_path / "none")
        with pytest.raises(UserError, match="not a brain folder"):
            Brain.open(tmp_path)
        (folder / "sections.csv").unlink()
        with pytest.raises(UserError, match=r"sections\.csv: no such file"):
            Brain.open(folder)

    def test_broken_json_is_named(self, folder):
        (folder / "brain.json").write_text("{")
        with pytest.raises(UserError, match=r"brain\.json: cannot be read as JSON"):
            Brain.open(folder)

    def test_columns_of_the_users_own_are_welcome(self, folder):
        edit_csv(folder, lambda rows: [row.update(remark="good") for row in rows])
        assert len(Brain.open(folder).sections) == 4

    def test_image_contradicting_the_pixel_size_names_the_line(self, folder):
        edit_csv(folder, lambda rows: rows[1].update(pixel_size_um="90"))
        with pytest.raises(UserError, match=r"sections\.csv, line 3, image: .*given is 90 µm but the file says 100"):
            Brain.open(folder).sections[1].image.read(0, 0, 1, 1)


def spoil_label_values(folder):
    from cytokeras.brain import write_section_tiff

    write_section_tiff(folder / "labels/s-0001.ome.tif", np.full((201, 321), 7, np.uint8), 100.0, labels=True)


def spoil_atlas(folder):
    (folder / "atlas.nii.gz").write_bytes(b"x")


def spoil_surface(folder):
    (folder / "surfaces/left_pial.surf.gii").write_bytes(b"x")


def truncate_image(folder):
    path = folder / "sections/s-0003.ome.tif"
    path.write_bytes(path.read_bytes()[:-100])


def far_plane(folder):
    edit_csv(folder, lambda rows: rows[1].update(origin_y_mm="40"))


def plane_beside_the_image(folder):
    edit_csv(folder, lambda rows: rows[1].update(origin_z_mm="200"))


def affine_in_micrometres(folder):
    edit_csv(folder, lambda rows: rows[1].update(affine_u_column_mm="100", affine_v_row_mm="-100"))


def labels_of_another_scale(folder):
    edit_csv(folder, lambda rows: rows[0].update(label_scale="8"))


class TestCheck:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (spoil_label_values, "sections.csv, line 2, labels: .*has the class indices 7"),
            (spoil_atlas, "brain.json, atlas: .*cannot be read as NIfTI"),
            (spoil_surface, "brain.json, surfaces.left: .*left_pial"),
            (truncate_image, "sections.csv, line 4, image: .*"),
            (far_plane, "line 3, origin, axes and affine: the section plane meets no surface"),
            (plane_beside_the_image, "line 3, origin, axes and affine: the section plane meets no surface"),
            (affine_in_micrometres, "line 3, affine: its pixels measure 1e.05 µm"),
            (labels_of_another_scale, "line 2, label_scale: .*do not cover the image"),
        ],
    )
    def test_one_fault_is_found(self, folder, spoil, message):
        import re

        spoil(folder)
        problems = check_brain(folder)
        assert any(re.search(message, problem) for problem in problems), problems

    def test_all_faults_are_found_in_one_pass(self, folder):
        for spoil in (spoil_label_values, spoil_atlas, truncate_image, far_plane):
            spoil(folder)
        edit_json(folder, lambda content: content.pop("space"))
        assert len(check_brain(folder)) == 5

    def test_a_folder_that_is_none_is_one_problem(self, tmp_path):
        assert len(check_brain(tmp_path / "none")) == 1


def test_saved_image_keeps_the_background_of_the_original(saved):
    kept = SectionImage.open(saved / "sections/s-0001.ome.tif")
    assert kept.background == brain().sections[0].image.background == 240
