"""Features along the cortical ribbon of a section, or all over its tissue."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cytokeras._files import atomic_path
from cytokeras._progress import progress as show_progress
from cytokeras.errors import UserError
from cytokeras.inference._resampled_image import ResampledImage
from cytokeras.inference._ribbon import RibbonLine, ribbon_lines
from cytokeras.inference._tissue_finder import tissue_rows

if TYPE_CHECKING:
    from cytokeras.brain import Brain, Section
    from cytokeras.surfaces import Hemisphere

# Pial and white surface meet on the medial wall, where there is no cortex; real cortex is 1 … 5 mm thick.
_THINNEST_CORTEX_MM = 0.5

HEMISPHERES = ("left", "right")

# 200 µm: Spitzer et al. 2018, Fig. 4
_STEP_MM = {"ribbon": 0.2, "tissue": 1.0}


@dataclass(frozen=True)
class CorticalEmbedding:
    """Positions with what the network makes of the patch around each.

    Rows follow the ribbon; where ``line`` changes, the next piece begins. Places all over the tissue come row by row.

    Attributes:
        line: (N,) int64, number of the connected piece of ribbon, or of the row.
        closed: (N,) bool, the piece is a closed loop: its last row is a neighbour of its first.
        arc_mm: (N,) float64, distance along the piece.
        hemisphere: (N,) int64, 0 left, 1 right.
        row, column: (N,) float64, position in pixels of the section image.
        position_mm: (N, 3) float64, position in space.
        face: (N,) int64, face of the hemisphere's surfaces with the point of the mid surface nearest to the position.
        barycentric: (N, 3) float64, weights of that point at the corners of the face.
        surface_distance_mm: (N,) float64, distance from that point, 0 in the ribbon.
        obliqueness_deg: (N,) float64, angle by which the cut departs from perpendicular to the cortex, 0 …
            90.
        curvature_per_mm: (N,) float64, mean curvature of the mid surface, see `Hemisphere.mean_curvature`.
        features: (N, 32) float32.
        coordinates_mm: (N, 3) float32, predicted position on the inflated surface (mirrored to the left).
    """

    line: np.ndarray
    closed: np.ndarray
    arc_mm: np.ndarray
    hemisphere: np.ndarray
    row: np.ndarray
    column: np.ndarray
    position_mm: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray
    surface_distance_mm: np.ndarray
    obliqueness_deg: np.ndarray
    curvature_per_mm: np.ndarray
    features: np.ndarray
    coordinates_mm: np.ndarray

    def __len__(self) -> int:
        return len(self.line)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row a position; vectors become numbered columns, units are in the column names."""
        header: list[str] = []
        columns: list[np.ndarray] = []
        for name, values in vars(self).items():
            if values.ndim == 1:
                header.append(name)
                columns.append(values.astype(int) if values.dtype == bool else values)
            else:
                suffixes = "xyz" if name.endswith("_mm") else range(values.shape[1])
                header += [f"{name}_{suffix}" for suffix in suffixes]
                columns += list(values.T)
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


def embed_cortex(
    net: Any,
    brain: Brain,
    section: Section,
    *,
    places: str = "ribbon",
    step_mm: float | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> CorticalEmbedding:
    """Embed the patches along the cortical ribbon of one section, or all over its tissue.

    The ribbon is the line along which the mid surface of each hemisphere crosses the cutting plane; patches
    are centred on it every ``step_mm`` (200 µm in Spitzer et al. 2018, Fig. 4). Places without cortex (medial
    wall) and places outside the image are left out, which splits the line there. All over the tissue patches are
    centred on a square grid, wherever the mean over 64 µm departs from the background. The image is resampled where
    its pixel size differs from the network's.

    Args:
        net: A SiameseDistanceNet.
        brain: The brain whose surfaces are cut.
        section: One of its sections, with its plane in space.
        places: ``"ribbon"`` or ``"tissue"``.
        step_mm: Distance between neighbouring patches in mm; default: 0.2 along the ribbon, 1 in the tissue.
        batch_size: Patches per pass through the network.
        progress: Show progress on standard error.

    Returns:
        Table of positions, features and predicted coordinates.

    Raises:
        UserError: ``places`` is neither, ``step_mm`` is not positive, the section has no plane, the plane meets no
            cortex in the image, or the image shows no tissue.
    """
    if places not in _STEP_MM:
        raise UserError(f"embed_cortex: places must be 'ribbon' or 'tissue'. Received: {places!r}")
    step_mm = _STEP_MM[places] if step_mm is None else step_mm
    if not step_mm > 0:
        raise UserError(f"embed_cortex: step_mm must be above 0. Received: step_mm={step_mm!r}")
    if section.plane is None:
        raise UserError(f"embed_cortex: section {section.id!r} has no plane, so the cortex cannot be found in it.")
    if places == "ribbon":
        pieces = [
            piece
            for name, hemisphere in brain.surfaces.items()
            for line in ribbon_lines(hemisphere.mid, section.plane.origin, section.plane.normal, step_mm)
            for piece in _cortical_pieces(line, name, hemisphere, section)
        ]
    else:
        pieces = [_surface_columns(brain, section, row) for row in tissue_rows(section.image, step_mm)]
    if not pieces:
        missing = "meets no cortex inside its image" if places == "ribbon" else "has no tissue in its image"
        raise UserError(f"embed_cortex: the plane of section {section.id!r} {missing}.")
    columns = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    line_number = np.repeat(np.arange(len(pieces)), [len(piece["arc_mm"]) for piece in pieces])
    centres = np.column_stack([columns["row"], columns["column"]])
    features, coordinates = _embed(net, section.image, centres, batch_size, progress)
    return CorticalEmbedding(line=line_number, **columns, features=features, coordinates_mm=coordinates)


def _cortical_pieces(
    line: RibbonLine, name: str, hemisphere: Hemisphere, section: Section
) -> list[dict[str, np.ndarray]]:
    """Cut a line where there is no cortex or no image, and collect the columns of each remaining piece."""
    faces = hemisphere.faces
    position = line.points.positions(hemisphere.mid)
    pixel = section.mm_to_pixel(position)
    shape = np.asarray(section.image.shape)
    kept = (line.points.interpolate(faces, hemisphere.thickness) >= _THINNEST_CORTEX_MM) & (
        (pixel >= -0.5) & (pixel < shape - 0.5)
    ).all(axis=1)
    across = np.abs(hemisphere.mid.face_normals[line.points.faces] @ section.plane.normal)
    table = {
        "arc_mm": line.arc_mm,
        "hemisphere": np.full(len(kept), HEMISPHERES.index(name)),
        "row": pixel[:, 0],
        "column": pixel[:, 1],
        "position_mm": position,
        "face": line.points.faces,
        "barycentric": line.points.barycentric,
        "surface_distance_mm": np.zeros(len(kept)),
        "obliqueness_deg": np.degrees(np.arcsin(np.clip(across, 0, 1))),
        "curvature_per_mm": line.points.interpolate(faces, hemisphere.mean_curvature),
    }
    closed = line.closed and bool(kept.all())
    return [
        {key: values[run] for key, values in table.items()} | {"closed": np.full(len(run), closed)}
        for run in _runs(kept, line.closed)
    ]


def _surface_columns(brain: Brain, section: Section, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Collect the columns of places (N, 2) in one row of the tissue, each with its nearest point of the surfaces."""
    position = section.pixel_to_mm(pixels)
    result: dict[str, np.ndarray] = {}
    for name, hemisphere in brain.surfaces.items():
        points = hemisphere.mid.closest_point(position)
        across = np.abs(hemisphere.mid.face_normals[points.faces] @ section.plane.normal)
        columns = {
            "arc_mm": np.linalg.norm(position - position[0], axis=1),
            "hemisphere": np.full(len(pixels), HEMISPHERES.index(name)),
            "row": pixels[:, 0],
            "column": pixels[:, 1],
            "position_mm": position,
            "face": points.faces,
            "barycentric": points.barycentric,
            "surface_distance_mm": np.linalg.norm(points.positions(hemisphere.mid) - position, axis=1),
            "obliqueness_deg": np.degrees(np.arcsin(np.clip(across, 0, 1))),
            "curvature_per_mm": points.interpolate(hemisphere.faces, hemisphere.mean_curvature),
            "closed": np.zeros(len(pixels), bool),
        }
        if not result:
            result = columns
            continue
        nearer = columns["surface_distance_mm"] < result["surface_distance_mm"]
        for key, values in columns.items():
            result[key][nearer] = values[nearer]
    return result


def _runs(kept: np.ndarray, closed: bool) -> list[np.ndarray]:
    """Return the indices of each run of True; a run of a closed line may pass its end."""
    order = np.arange(len(kept))
    if closed and not kept.all() and kept.any():
        order = np.roll(order, -int(np.argmin(kept)))
    where = np.flatnonzero(kept[order])
    breaks = np.flatnonzero(np.diff(where) > 1) + 1
    return [order[run] for run in np.split(where, breaks) if len(run)]


def _embed(net: Any, image: Any, centres: np.ndarray, batch_size: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, F) and coordinates (N, 3) of the patches around ``centres`` (image pixels)."""
    source = ResampledImage(image, net.pixel_size_um)
    config = net.get_config()
    height, width = config["input_shape"][:2]
    # The pixel asked for lies at index size // 2, as in the patches that the network was trained on.
    corners = (np.rint(source.from_pixel(centres)) - (height // 2, width // 2)).astype(int)
    features = []
    starts = range(0, len(corners), batch_size)
    for start in show_progress(starts, "embedding", enabled=progress):
        patches = _read_patches(source, corners[start : start + batch_size], height, width)
        features.append(net.embed(patches, batch_size=batch_size))
    stacked = np.concatenate(features)
    # eq. 2: the coordinates are a linear layer of the features, so the patches need not pass a second time
    kernel, bias = net.get_layer("coordinate_head").get_weights()
    return stacked, config["output_scale_mm"] * (stacked @ kernel + bias)


def _read_patches(source: ResampledImage, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the patches (B, height, width) uint8 with these upper left corners (B, 2)."""
    top, left = (int(n) for n in corners.min(axis=0))
    rows, columns = (int(n) for n in np.add(np.ptp(corners, axis=0), (height, width)))
    # Neighbours along the ribbon overlap: where one window holds all of them, it is read once.
    if rows * columns <= len(corners) * height * width:
        window = source.read(top, left, rows, columns)
        places = (corners - (top, left)).tolist()
        return np.stack([window[row : row + height, column : column + width] for row, column in places])
    return np.stack([source.read(row, column, height, width) for row, column in corners.tolist()])
