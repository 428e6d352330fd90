from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.surfaces import Hemisphere, Mesh

VERTICES = np.array([[0, 0, 0], [10.5, 0, 0], [0, 10.25, 0], [0, 0, -3]], np.float64)  # exact in float32
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
TETRAHEDRON = Mesh(VERTICES, FACES)


def mni_obj(colour_flag: int = 0, ends: str = "3 6 9 12", corners: str | None = None) -> str:
    points = "\n".join(f" {x} {y} {z}" for x, y, z in VERTICES)
    normals = "\n".join(" 0 0 1" for _ in VERTICES)
    colours = " 1 1 1 1\n" * {0: 1, 1: 4, 2: 4}[colour_flag]
    corners = corners or " ".join(map(str, FACES.ravel()))
    header = "P 0.3 0.3 0.4 10 1 4"
    return f"{header}\n{points}\n\n{normals}\n\n 4\n {colour_flag}{colours}\n {ends}\n\n {corners}\n"


def assert_tetrahedron(mesh: Mesh) -> None:
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, FACES)


@pytest.mark.parametrize("name", ["surface.gii", "lh.pial.surf.gii.gz"])
def test_gifti_round_trip(tmp_path, name):
    TETRAHEDRON.write(tmp_path / name)
    assert_tetrahedron(Mesh.read(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_gifti_written_here_is_read_by_nibabel(tmp_path):
    TETRAHEDRON.write(tmp_path / "surface.gii")
    vertices, faces = nibabel.load(tmp_path / "surface.gii").agg_data(("pointset", "triangle"))
    np.testing.assert_array_equal(vertices, VERTICES)
    np.testing.assert_array_equal(faces, FACES)


def test_equal_meshes_give_equal_compressed_files(tmp_path):
    for name in ("a.gii.gz", "b.gii.gz"):
        TETRAHEDRON.write(tmp_path / name)
    assert (tmp_path / "a.gii.gz").read_bytes() == (tmp_path / "b.gii.gz").read_bytes()


@pytest.mark.parametrize("compress", [False, True])
def test_freesurfer_binary_whatever_its_name(tmp_path, compress):
    path = tmp_path / "lh.white"
    nibabel.freesurfer.write_geometry(path, VERTICES, FACES)
    if compress:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert_tetrahedron(Mesh.read(path))


@pytest.mark.parametrize("colour_flag", [0, 1, 2])
def test_mni_obj_with_every_kind_of_colours(tmp_path, colour_flag):
    path = tmp_path / "gray_left.obj"
    text = mni_obj(colour_flag).replace(f" {colour_flag} 1 1 1 1", f" {colour_flag}\n 1 1 1 1", 1)
    path.write_text(text)
    assert_tetrahedron(Mesh.read(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "Wavefront"),
        (b"# made by hand\nv 0 0 0\n", "Wavefront"),
        (b"p\x00\x00\x80\x3f\x00\x00\x00\x00 binary rest", "binary MNI"),
        (b"ply\nformat ascii 1.0\n", "unknown surface format"),
        (mni_obj()[:80].encode(), "ends too early"),
        (mni_obj()[:-8].encode(), r"triangles need \d+ numbers"),
        (mni_obj(ends="4 7 10 12").encode(), "must be triangles"),
        (mni_obj().replace("10.25", "ten").encode(), "only numbers"),
        (mni_obj(corners="0 2 1 0 1 3 1 2 9 0 3 2").encode(), r"face 2 = \[1, 2, 9\]"),
        (b"\x1f\x8b damaged", "cannot be read"),
        (b'<?xml version="1.0"?><GIFTI Version="1.0">', "damaged GIFTI"),
        (b"\xff\xff\xfe by someone\n\n\x00\x00", "damaged FreeSurfer"),
    ],
)
def test_other_or_damaged_files_are_refused_with_their_path(tmp_path, content, message):
    path = tmp_path / "surface.dat"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Mesh.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gifti_without_triangles_is_refused(tmp_path):
    image = nibabel.gifti.GiftiImage(
        darrays=[nibabel.gifti.GiftiDataArray(np.zeros(4, np.float32), intent="NIFTI_INTENT_SHAPE")]
    )
    (tmp_path / "curvature.gii").write_bytes(image.to_bytes())
    with pytest.raises(UserError, match=r"one NIFTI_INTENT_POINTSET array. Received: 0"):
        Mesh.read(tmp_path / "curvature.gii")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such surface file"):
        Mesh.read(tmp_path / "none.gii")


def test_only_gifti_is_written(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.gii or \.gii\.gz"):
        TETRAHEDRON.write(tmp_path / "surface.obj")


@pytest.mark.parametrize(("side", "area_cm2"), [("left", 763.5), ("right", 766.7)])
def test_fsaverage5(side, area_cm2):
    nilearn = pytest.importorskip("nilearn", reason="nilearn, which ships fsaverage5, is not installed")
    folder = Path(nilearn.__file__).parent / "datasets" / "data" / "fsaverage5"
    names = ("pial", "white", "infl", "sphere")
    hemisphere = Hemisphere(side, *(Mesh.read(folder / f"{name}_{side}.gii.gz") for name in names))
    assert len(hemisphere.pial.vertices) == 10_242
    assert len(hemisphere.faces) == 20_480
    assert hemisphere.pial.euler_characteristic == 2
    assert hemisphere.pial.area_mm2 / 100 == pytest.approx(area_cm2, abs=0.05)
