"""Reading and writing surfaces; the format is told by content, not by name."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from cytokeras._files import atomic_path
from cytokeras.errors import UserError
from cytokeras.surfaces.mesh import Mesh

_FREESURFER_MAGICS = (b"\xff\xff\xfe", b"\xff\xff\xff", b"\xff\xff\xfd")  # triangles, quads, new quads
_KNOWN_FORMATS = "GIFTI (.gii, .gii.gz), FreeSurfer binary and MNI .obj"
_MNI_HEADER_VALUES = 6  # ambient, diffuse, specular, shininess, transparency, number of points


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read one surface; positions are taken as stored, in mm.

    GIFTI transformation matrices and the ``cras`` offset of FreeSurfer files are not applied: all surfaces of
    a brain must be stored in the brain's own space.

    Args:
        path: GIFTI (plain or gzipped), FreeSurfer binary, or MNI ``.obj`` in ASCII (BigBrain; not Wavefront).

    Raises:
        UserError: No such file, another format, a damaged file, or a mesh that `Mesh` refuses; the message
            starts with the path.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError as error:
        raise UserError(f"{source}: no such surface file.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{source}: cannot be read ({error}).") from error
    try:
        return _parse(data)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def write_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write GIFTI; positions are rounded to float32, the only floating type that the format knows.

    Raises:
        UserError: ``path`` ends neither in ``.gii`` nor in ``.gii.gz``, or cannot be written.
    """
    import nibabel

    target = Path(path)
    name = target.name.lower()
    if not name.endswith((".gii", ".gii.gz")):
        raise UserError(f"{target}: surfaces are written as GIFTI; the name must end in .gii or .gii.gz.")
    arrays = [
        nibabel.gifti.GiftiDataArray(mesh.vertices.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
        nibabel.gifti.GiftiDataArray(mesh.faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
    ]
    data = nibabel.gifti.GiftiImage(darrays=arrays).to_bytes()
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # no time stamp: equal meshes give equal files
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def _parse(data: bytes) -> Mesh:
    head = data[:4096].lstrip()
    if data[:3] in _FREESURFER_MAGICS:
        return _parse_freesurfer(data)
    if head.startswith(b"<") and b"<GIFTI" in head:
        return _parse_gifti(data)
    if head[:1] == b"P" and head[1:2].isspace():
        return _parse_mni_obj(data)
    if not data:
        raise UserError("the file is empty.")
    if head[:1] == b"p" and b"\n" not in head[:16]:
        raise UserError("this is a binary MNI .obj; convert it to ASCII.")
    if head.startswith((b"v ", b"#", b"o ", b"g ", b"mtllib")) and b"\nv " in b"\n" + head:
        raise UserError(f"this is a Wavefront .obj; surfaces are read from {_KNOWN_FORMATS}.")
    raise UserError(f"unknown surface format; surfaces are read from {_KNOWN_FORMATS}.")


def _parse_gifti(data: bytes) -> Mesh:
    import nibabel

    try:
        image = nibabel.gifti.GiftiImage.from_bytes(data)
    except Exception as error:  # expat, zlib, base64 and ValueError, depending on where the file is damaged
        raise UserError(f"damaged GIFTI file ({error}).") from error
    found = {}
    for intent in ("NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"):
        arrays = image.get_arrays_from_intent(intent)
        if len(arrays) != 1 or arrays[0].data is None:
            raise UserError(f"a GIFTI surface must hold one {intent} array. Received: {len(arrays)}")
        found[intent] = np.asarray(arrays[0].data)
    return Mesh(found["NIFTI_INTENT_POINTSET"], found["NIFTI_INTENT_TRIANGLE"])


def _parse_freesurfer(data: bytes) -> Mesh:
    import nibabel

    # nibabel reads only from a named file, and the bytes may come out of a .gz
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "surface"
        copy.write_bytes(data)
        try:
            vertices, faces = nibabel.freesurfer.read_geometry(copy)
        except Exception as error:  # ValueError, IndexError … depending on where the file is cut off
            raise UserError(f"damaged FreeSurfer surface ({error}).") from error
    return Mesh(vertices, np.asarray(faces, np.int64))


def _parse_mni_obj(data: bytes) -> Mesh:
    """Header, points, normals, number of polygons, colours, running ends of the polygons, their corners."""
    try:
        values = np.array(data.split()[1:], np.float64)
    except ValueError as error:
        raise UserError(f"MNI .obj: only numbers may follow the first letter ({error}).") from error
    try:
        count = int(values[_MNI_HEADER_VALUES - 1])
        points_end = _MNI_HEADER_VALUES + 3 * count
        items_at = points_end + 3 * count
        items = int(values[items_at])
        colour_rows = {0: 1, 1: items, 2: count}.get(int(values[items_at + 1]))
    except IndexError as error:
        raise UserError("MNI .obj: the file ends too early.") from error
    if colour_rows is None:
        raise UserError(f"MNI .obj: the colour flag must be 0, 1 or 2. Received: {values[items_at + 1]:g}")
    ends_at = items_at + 2 + 4 * colour_rows
    corners_at = ends_at + items
    if count < 1 or items < 1 or len(values) != corners_at + 3 * items:
        raise UserError(
            f"MNI .obj: {count} points and {items} triangles need {corners_at + 3 * items} numbers. "
            f"Received: {len(values)}"
        )
    if not np.array_equal(values[ends_at:corners_at], 3 * np.arange(1, items + 1)):
        raise UserError("MNI .obj: all polygons must be triangles.")
    vertices = values[_MNI_HEADER_VALUES:points_end].reshape(-1, 3)
    return Mesh(vertices, values[corners_at:].astype(np.int64).reshape(-1, 3))
