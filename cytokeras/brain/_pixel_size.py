"""How large a pixel is: from the file, from the user, and whether both agree."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from cytokeras.errors import UserError

_UM_PER_UNIT = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "\u03bcm": 1.0, "um": 1.0, "nm": 1e-3, "Å": 1e-4,
    "in": 25400.0, "meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "nanometer": 1e-3,
    "angstrom": 1e-4, "inch": 25400.0,
}  # fmt: skip
_UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 1e4}
# Screen and print resolutions (72, 96, 300, 600 dpi = 353 … 42 µm) are written by programs that know nothing
# of the microscope; sections are scanned well below that.
PLAUSIBLE_UM = (0.05, 40.0)
_TOLERANCE = 0.01


def check_pixel_size(value: Any, where: str) -> float:
    """Return a pixel size in µm as float, or raise UserError unless it is finite and above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise UserError(f"{where}: the pixel size must be a number above 0, in µm; received {value!r}.")
    return number


def resolve_pixel_size(
    path: str,
    given: float | None,
    description: str = "",
    resolution: tuple[float, float, int] | None = None,
) -> float:
    """Return the pixel size in µm from OME-XML, resolution tags or the user.

    Raises:
        UserError: None of them gives it, it is not positive, differs across and down, or the file and the
            user contradict each other by more than 1 %.
    """
    found, note = _from_file(path, description, resolution)
    return agreed_pixel_size(path, given, found, note)


def agreed_pixel_size(path: str, given: float | None, found: float | None, note: str = "") -> float:
    """Return the pixel size in µm that the user gave and a file stated, where both agree; ``note``: why none is stated.

    Raises:
        UserError: Neither is there, the one given is not positive, or they differ by more than 1 %.
    """
    if given is not None:
        given = check_pixel_size(given, f"{path}: pixel_size_um")
    if found is None:
        if given is None:
            raise UserError(
                f"{path}: the file does not say how large its pixels are{note}; give the size in µm "
                "(pixel_size_um=…, on the command line --pixel-size-um)."
            )
        return given
    if given is not None and not math.isclose(given, found, rel_tol=_TOLERANCE):
        raise UserError(
            f"{path}: the pixel size given is {given:g} µm but the file says {found:g} µm; correct whichever is wrong."
        )
    return found if given is None else given


def length_um(unit: Any, where: str) -> float:
    """Return the length in µm of a unit, by its sign or (as in OME-Zarr) its name.

    Raises:
        UserError: An unknown unit.
    """
    if unit not in _UM_PER_UNIT:
        raise UserError(f"{where}: unknown unit {unit!r}; expected one of {', '.join(_UM_PER_UNIT)}.")
    return _UM_PER_UNIT[unit]


def significant_bits(description: str) -> int | None:
    """Return OME-XML's ``SignificantBits`` where it is there."""
    pixels = _ome_pixels(description)
    bits = pixels.get("SignificantBits") if pixels is not None else None
    return int(bits) if bits is not None and bits.isdigit() else None


def _from_file(path: str, description: str, resolution: tuple[float, float, int] | None) -> tuple[float | None, str]:
    pixels = _ome_pixels(description)
    if pixels is not None and pixels.get("PhysicalSizeX") is not None:
        across = _ome_length(pixels, "X", path)
        down = _ome_length(pixels, "Y", path) if pixels.get("PhysicalSizeY") is not None else across
        return square(across, down, f"{path}: OME-XML PhysicalSize"), ""
    aperio = re.search(r"\bMPP\s*=\s*([0-9.]+)", description) if description.startswith("Aperio") else None
    if aperio:
        return check_pixel_size(aperio[1], f"{path}: Aperio MPP"), ""
    if resolution is None or resolution[2] not in _UM_PER_RESOLUTION_UNIT:
        return None, ""
    if not (resolution[0] > 0 and resolution[1] > 0):
        return None, ""
    across, down = (_UM_PER_RESOLUTION_UNIT[resolution[2]] / value for value in resolution[:2])
    low, high = PLAUSIBLE_UM
    if not (low <= across <= high and low <= down <= high):
        return None, f" (its resolution tag means {across:.4g} µm, which no section scanner has)"
    return square(across, down, f"{path}: resolution tags"), ""


def square(across: float, down: float, where: str) -> float:
    """Return the size of pixels that are equally long across and down, or raise UserError."""
    if not math.isclose(across, down, rel_tol=_TOLERANCE):
        raise UserError(f"{where}: pixels of {across:g} x {down:g} µm (x, y) are not square; resample the image.")
    return across


def _ome_pixels(description: str) -> ElementTree.Element | None:
    if "<OME" not in description[:4096]:
        return None
    try:
        root = ElementTree.fromstring(description)
    except ElementTree.ParseError:
        return None
    return next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)


def _ome_length(pixels: ElementTree.Element, axis: str, path: str) -> float:
    field = f"{path}: OME-XML PhysicalSize{axis}"
    unit = length_um(pixels.get(f"PhysicalSize{axis}Unit", "µm"), field)
    return check_pixel_size(pixels.get(f"PhysicalSize{axis}"), field) * unit
