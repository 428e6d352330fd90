"""Any window of any format equals that of a NumPy array: across tile borders, resolutions and image edges."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from _chunked import write_ome_zarr, write_precomputed
from _images import grey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cytokeras.brain import SectionImage, TileCache

PIXELS = grey(300, 260, seed=4)
WIDE = PIXELS.astype(np.uint16) * 257
COLOUR = np.repeat(PIXELS[..., None], 3, axis=2)


def tiff(pixels=PIXELS, levels=(1,), **options):
    options = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack", **options}
    opening = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}

    def write(folder):
        with tifffile.TiffWriter(folder / "s.tif", **opening) as writer:
            for n, factor in enumerate(levels):
                tree = {"subifds": len(levels) - 1} if n == 0 and len(levels) > 1 else {}
                reduced = {"subfiletype": 1} if n else {}
                writer.write(pixels[::factor, ::factor], **tree, **reduced, **options)
        return folder / "s.tif"

    return write


def picture(suffix):
    def write(folder):
        Image.fromarray(PIXELS).save(folder / f"s.{suffix}", quality=100)
        return folder / f"s.{suffix}"

    return write


TILES = {"tile": (64, 48)}
FORMATS = {
    "plain tiles": (tiff(**TILES), (1,), 0),
    "plain tiles, 16 bits, big-endian": (tiff(WIDE, **TILES, byteorder=">"), (1,), 0),
    "plain tiles, colour": (tiff(COLOUR, **TILES), (1,), 0),
    "plain tiles in a pyramid, BigTIFF": (tiff(levels=(1, 2, 4), **TILES, bigtiff=True), (1, 2, 4), 0),
    "plain strips": (tiff(rowsperstrip=7), (1,), 0),
    "plain strips, 16 bits": (tiff(WIDE, rowsperstrip=33), (1,), 0),
    "plain strips, colour": (tiff(COLOUR, rowsperstrip=11), (1,), 0),
    "one plain strip": (tiff(), (1,), 0),
    "zlib tiles in a pyramid": (tiff(levels=(1, 2, 4), compression="zlib", **TILES), (1, 2, 4), 0),
    "zlib tiles with differences, 16 bits": (tiff(WIDE, compression="zlib", predictor=True, **TILES), (1,), 0),
    "zlib tiles with differences, big-endian": (
        tiff(WIDE, compression="zlib", predictor=True, byteorder=">", **TILES),
        (1,),
        0,
    ),
    "zlib tiles with differences, colour": (tiff(COLOUR, compression="zlib", predictor=True, **TILES), (1,), 0),
    "zlib strips": (tiff(compression="zlib", rowsperstrip=9), (1,), 0),
    "zlib, planes apart": (
        tiff(np.moveaxis(COLOUR, 2, 0), compression="zlib", photometric="rgb", planarconfig="separate", **TILES),
        (1,),
        0,
    ),
    "lzw tiles": (tiff(compression="lzw", **TILES), (1,), 0),
    "lzw tiles with differences, 16 bits": (tiff(WIDE, compression="lzw", predictor=True, **TILES), (1,), 0),
    "lzw strips, colour": (tiff(COLOUR, compression="lzw", rowsperstrip=33), (1,), 0),
    "zstd tiles": (tiff(compression="zstd", **TILES), (1,), 0),
    "jpeg tiles": (tiff(compression="jpeg", compressionargs={"level": 100}, **TILES), (1,), 3),
    "png": (picture("png"), (1,), 0),
    "jpeg": (picture("jpg"), (1,), 3),
    "precomputed": (lambda folder: write_precomputed(folder, PIXELS, factors=(1, 2)), (1, 2), 0),
    "precomputed, jpeg": (lambda folder: write_precomputed(folder, PIXELS, encoding="jpeg"), (1,), 3),
    "ome-zarr": (lambda folder: write_ome_zarr(folder, PIXELS, factors=(1, 2, 4)), (1, 2, 4), 0),
    "ome-zarr 3": (lambda folder: write_ome_zarr(folder, PIXELS, version=3, axes="zyx"), (1,), 0),
}


@pytest.fixture(scope="module", params=FORMATS)
def case(request, tmp_path_factory):
    name = request.param
    if "precomputed" in name or "zarr" in name:
        pytest.importorskip("tensorstore")
    if any(codec in name for codec in ("lzw", "zstd", "jpeg tiles", "differences")):
        pytest.importorskip("imagecodecs")
    write, factors, loss = FORMATS[name]
    path = write(tmp_path_factory.mktemp("format"))
    size = None if "precomputed" in name or "zarr" in name else 2.0
    # a cache of a few tiles: windows come from the file, from the cache, and from both; and none: from parts of tiles
    return [SectionImage.open(path, size, cache=TileCache(limit)) for limit in (30_000, 0)], factors, loss


@settings(max_examples=30)
@given(data=st.data())
def test_any_window_is_that_of_the_array(case, data):
    (image, uncached), factors, loss = case
    assert image.levels == tuple(map(float, factors))
    level = data.draw(st.integers(0, len(factors) - 1))
    expected = PIXELS[:: factors[level], :: factors[level]]
    assert image.level_shapes[level] == expected.shape
    row, column = (data.draw(st.integers(-40, side + 40)) for side in expected.shape)
    height, width = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 200))
    padded = np.pad(expected.astype(int), 250, constant_values=image.background)
    wanted = padded[row + 250 : row + 250 + height, column + 250 : column + 250 + width]
    window = image.read(row, column, height, width, level=level)
    assert window.shape == (height, width) and window.dtype == np.uint8
    assert np.abs(window - wanted).max(initial=0) <= loss
    assert np.array_equal(uncached.read(row, column, height, width, level=level), window)
    # a window that overlaps it gives the same pixels
    again = image.read(row + 5, column + 3, height, width, level=level)
    assert np.array_equal(window[5:, 3:], again[: max(height - 5, 0), : max(width - 3, 0)])
