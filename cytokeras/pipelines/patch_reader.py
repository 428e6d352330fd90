"""Square patches of section images around given pixels, read from many threads at once."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cytokeras._progress import progress as show_progress
from cytokeras.errors import UserError
from cytokeras.pipelines._checks import check_count

if TYPE_CHECKING:
    from cytokeras.brain import Section

PIXEL_SIZE_TOLERANCE = 0.01
"""Largest relative difference of two pixel sizes that count as equal: far above rounding in file headers, far
below the step between the resolutions that sections are published at. Not stated in the paper."""


def check_pixel_sizes(sections: Iterable[Section], pixel_size_um: float | None = None) -> None:
    """Check that all sections have the pixel size the network expects, within 1 %.

    Args:
        sections: The sections whose images will be read.
        pixel_size_um: Pixel size of the network's input, µm; None takes that of the first section.

    Raises:
        UserError: A section has another pixel size. The message names the section, both sizes and a way out.
    """
    expected, source = pixel_size_um, "the network expects"
    for section in sections:
        if expected is None:
            expected, source = float(section.pixel_size_um), f"section {section.id!r} has"
        if abs(section.pixel_size_um - expected) > PIXEL_SIZE_TOLERANCE * expected:
            raise UserError(
                f"Section {section.id!r} has pixels of {section.pixel_size_um:g} µm, but {source} "
                f"{expected:g} µm (they may differ by 1 %). Resample the image to {expected:g} µm, leave the "
                f"section out, or build the network with pixel_size_um={section.pixel_size_um:g}."
            )


class PatchReader:
    """Reads square patches centred on pixels of sections, from any number of threads.

    The pixel asked for lands at index ``patch_size // 2`` of both axes: the exact centre of an odd patch.
    Where the patch reaches over the edge of the image it holds the image's background.

    Args:
        sections: Sections by the keys that ``read`` will be given: a mapping, or a sequence with
            its indices.
        patch_size: Side of a patch in pixels. 1019 (siamese) and 2025 (segmentation) in Spitzer et al. 2018,
            at 2 µm.
        pixel_size_um: Pixel size of the network's input in µm, checked against all sections; None requires
            only that all sections have the same.

    Raises:
        UserError: ``patch_size`` is not a positive whole number, or a section has another pixel size.
    """

    def __init__(
        self,
        sections: Mapping[Any, Section] | Sequence[Section],
        patch_size: int,
        *,
        pixel_size_um: float | None = None,
    ) -> None:
        self._sections: dict[Hashable, Section] = (
            dict(sections) if isinstance(sections, Mapping) else dict(enumerate(sections))
        )
        self.patch_size = check_count(patch_size, "patch_size")
        check_pixel_sizes(self._sections.values(), pixel_size_um)

    def corner(self, row: float, column: float) -> tuple[int, int]:
        """Return the image pixel (row, column) at index (0, 0) of the patch around a pixel.

        The centre is rounded to the nearest pixel, the even one of two equally near.
        """
        before = self.patch_size // 2
        return round(float(row)) - before, round(float(column)) - before

    def read(self, section: Hashable, row: float, column: float) -> npt.NDArray[np.uint8]:
        """Return the patch around one pixel.

        Args:
            section: Key of the section.
            row: Row of the centre in image pixels.
            column: Column of the centre in image pixels.

        Returns:
            (P, P) uint8, 0 black … 255 white; background outside the image.
        """
        top, left = self.corner(row, column)
        return self._sections[section].image.read(top, left, self.patch_size, self.patch_size)

    def read_all(
        self,
        sections: Sequence[Hashable],
        rows: Sequence[float] | npt.NDArray[np.float64],
        columns: Sequence[float] | npt.NDArray[np.float64],
        *,
        workers: int | None = None,
        progress: bool = True,
    ) -> npt.NDArray[np.uint8]:
        """Return the patches around many pixels.

        They are read section by section: images that are decoded or drawn on demand keep only the last few
        sections.

        Args:
            sections: Key of the section of each patch, (N,).
            rows: Rows of the centres in image pixels, (N,).
            columns: Columns of the centres in image pixels, (N,).
            workers: Number of threads; None takes one a processor.
            progress: Show a progress line.

        Returns:
            (N, P, P) uint8, 0 black … 255 white, in the order asked for.
        """
        patches = np.empty((len(sections), self.patch_size, self.patch_size), np.uint8)
        place = {key: i for i, key in enumerate(self._sections)}
        order = sorted(range(len(sections)), key=lambda n: (place[sections[n]], rows[n]))

        def fill(n: int) -> None:
            patches[n] = self.read(sections[n], rows[n], columns[n])

        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for _ in show_progress(pool.map(fill, order), "reading patches", len(order), progress):
                pass
        return patches
