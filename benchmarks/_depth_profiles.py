"""Classical mapping: profiles of staining from pia to white matter, compared by linear discriminant analysis.

After Schleicher et al. 1999 (NeuroImage 9, 165-177): a profile of the grey level index over cortical depth, described
by moments of its shape and by those of its derivative. Here the index is the mean optical density.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cytokeras.brain import Brain
from cytokeras.sampling import CortexLocations
from cytokeras.surfaces import SurfacePoints

DEPTHS = 32
SMOOTHED_PX = 1.5
TRAVERSES_MM = np.linspace(-0.4, 0.4, 9)  # a profile is the mean of so many lines from pia to white matter
BLOCK = 5  # neighbouring profiles averaged, as blocks of profiles are in observer-independent mapping
SHRINKAGE = 0.05
TISSUE = 0.05  # optical density between glass and white matter


def depth_profiles_at(brain: Brain, places: CortexLocations) -> np.ndarray:
    """Profiles ``(N, DEPTHS + 10)``: optical density over depth, then ten shape features."""
    ends = []
    for kind in ("pial", "white"):
        place = np.empty((len(places), 3))
        for number, side in enumerate(("left", "right")):
            here = places.hemisphere == number
            if here.any():
                mesh = getattr(brain.surfaces[side], kind)
                place[here] = SurfacePoints(places.face[here], places.barycentric[here]).positions(mesh)
        ends.append(place)
    depth = ((np.arange(DEPTHS) + 0.5) / DEPTHS)[:, None, None]
    line = (1 - depth) * ends[0] + depth * ends[1]
    profiles = np.empty((len(places), DEPTHS))
    for index in np.unique(places.section):
        here = np.flatnonzero(places.section == index)
        section = brain.sections[index]
        grey = section.image.read(0, 0, *section.image.shape[:2]).astype(np.float32)
        density = ndimage.gaussian_filter(-np.log(np.maximum(grey, 1) / section.image.background), SMOOTHED_PX)
        density /= np.median(density[density > TISSUE])  # sections are stained unevenly dark
        pixels = section.mm_to_pixel(line[:, here])
        radial = pixels[-1] - pixels[0]
        tangent = radial[:, ::-1] * (-1, 1) / np.maximum(np.linalg.norm(radial, axis=1, keepdims=True), 1e-6)
        total = np.zeros((DEPTHS, len(here)))
        for offset_mm in TRAVERSES_MM:
            beside = np.moveaxis(pixels + 1000 * offset_mm / section.pixel_size_um * tangent, -1, 0)
            total += ndimage.map_coordinates(density, beside, order=1, mode="nearest")
        profiles[here] = _block_means(total.T / len(TRAVERSES_MM), places.position_mm[here])
    return np.column_stack([profiles, _shape(profiles), _shape(np.abs(np.gradient(profiles, axis=1)))])


def _block_means(profiles: np.ndarray, position_mm: np.ndarray) -> np.ndarray:
    """Mean of each profile and its nearest neighbours in the section."""
    from scipy.spatial import cKDTree

    count = min(BLOCK, len(profiles))
    return profiles[cKDTree(position_mm).query(position_mm, count)[1].reshape(len(profiles), count)].mean(axis=1)


def _shape(curve: np.ndarray) -> np.ndarray:
    """Mean, centre of gravity, spread, skewness and kurtosis of curves ``(N, DEPTHS)`` taken as distributions."""
    x = (np.arange(DEPTHS) + 0.5) / DEPTHS
    mass = np.maximum(curve, 1e-6)
    weight = mass / mass.sum(axis=1, keepdims=True)
    centre = weight @ x
    away = x[None] - centre[:, None]
    spread = np.sqrt((weight * away**2).sum(axis=1))
    third, fourth = ((weight * away**n).sum(axis=1) / spread**n for n in (3, 4))
    return np.column_stack([curve.mean(axis=1), centre, spread, third, fourth])


class ProfileClassifier:
    """Linear discriminant analysis with equal class weights and a shrunken common covariance.

    Args:
        samples: ``(N, F)``.
        classes: ``(N,)`` integers.
    """

    def __init__(self, samples: np.ndarray, classes: np.ndarray) -> None:
        self._mean, self._scale = samples.mean(axis=0), samples.std(axis=0) + 1e-9
        scaled = (samples - self._mean) / self._scale
        self.classes = np.unique(classes)
        self._centres = np.array([scaled[classes == c].mean(axis=0) for c in self.classes])
        centred = scaled - self._centres[np.searchsorted(self.classes, classes)]
        within = centred.T @ centred / len(scaled)
        within = (1 - SHRINKAGE) * within + SHRINKAGE * np.eye(len(within)) * np.trace(within) / len(within)
        self._inverse = np.linalg.inv(within)

    def predict(self, samples: np.ndarray) -> np.ndarray:
        """Class of the nearest centre in the metric of the common covariance, ``(N,)``."""
        away = ((samples - self._mean) / self._scale)[:, None] - self._centres[None]
        return self.classes[np.einsum("ncf,fg,ncg->nc", away, self._inverse, away, optimize=True).argmin(axis=1)]
