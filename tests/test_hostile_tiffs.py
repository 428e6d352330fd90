"""TIFF files that lie: each is told in one line, quickly and without taking the memory they ask for."""

from __future__ import annotations

import itertools
import resource
import struct
import sys
import time
import zlib

import numpy as np
import pytest
import tifffile
from _images import grey

from cytokeras.brain import SectionImage, TileCache, write_section_tiff
from cytokeras.errors import UserError

_LIMIT_S = 10
_LIMIT_BYTES = 600 << 20


def written(tmp_path, **options):
    path = tmp_path / "s.tif"
    options = {"tile": (64, 64), "photometric": "minisblack", **options}
    tifffile.imwrite(path, grey(), **options)
    return path


def retag(path, page=0, **tags):
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name, value in tags.items():
            tif.pages[page].tags[name].overwrite(value)
    return path


def cyclic(tmp_path):
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    place = struct.unpack_from("<I", content, 4)[0]
    entries = struct.unpack_from("<H", content, place)[0]
    struct.pack_into("<I", content, place + 2 + 12 * entries, place)
    path.write_bytes(content)
    return path


def long_chain(tmp_path):
    """Directories of one entry each, ten thousand of them."""
    path, head = tmp_path / "s.tif", b"II*\0" + struct.pack("<I", 8)
    entry = struct.pack("<HHII", 256, 3, 1, 1)
    parts = [struct.pack("<H", 1) + entry + struct.pack("<I", 8 + 18 * (n + 1)) for n in range(10_000)]
    path.write_bytes(head + b"".join(parts) + bytes(6))
    return path


def sub_directory_is_the_main_one(tmp_path):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(grey(), subifds=1, tile=(64, 64), photometric="minisblack")
        writer.write(grey()[::2, ::2], subfiletype=1, tile=(64, 64), photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        place, main = tif.pages[0].tags["SubIFDs"].valueoffset, tif.pages[0].offset
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, place, main)
    path.write_bytes(content)
    return path


def beyond_the_end(tmp_path):
    path = written(tmp_path)
    return retag(path, TileOffsets=(*[10**8] * 12,))


def zlib_bomb(tmp_path):
    """A tile of 512 px that inflates to a gigabyte."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return with_tile(tmp_path, b"\x78\xda" + 1024 * megabyte + deflate.flush(), "zlib")


def jpeg_bomb(tmp_path):
    """A tile of 512 px that says it is 65,000 px."""
    pytest.importorskip("imagecodecs")
    path = written(tmp_path, compression="jpeg")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        start, count = page.dataoffsets[0], page.databytecounts[0]
    tile = bytearray(path.read_bytes()[start : start + count])
    frame = tile.index(b"\xff\xc0")
    struct.pack_into(">HH", tile, frame + 5, 65_000, 65_000)
    return with_tile(tmp_path, bytes(tile), "jpeg")


def with_tile(tmp_path, tile, compression):
    """A file of one tile of 512 px, encoded already."""
    options = {"shape": (150, 200), "dtype": np.uint8, "tile": (512, 512), "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "s.tif", iter([tile]), compression=compression, **options)
    return tmp_path / "s.tif"


def entities(tmp_path):
    """An XML description that grows a billionfold."""
    names = "abcdefghij"
    grown = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise(names))
    text = f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "lol">{grown}]><OME xmlns="x">&j;</OME>'
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, grey(), description=text, metadata=None)
    return path


def truncated_after_opening(tmp_path):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, grey(1500, 1500), tile=(64, 64), photometric="minisblack")
    image = SectionImage.open(path, 2.0, cache=TileCache(0))
    with open(path, "r+b") as file:
        file.truncate(2000)
    return image


CASES = {
    "a header alone": (lambda p: raw(p, b"II*\0\x08\0\0\0"), "truncated or damaged"),
    "a directory beyond the end": (lambda p: raw(p, b"II*\0" + struct.pack("<I", 10**9)), "truncated or damaged"),
    "a directory of 65,535 entries": (lambda p: raw(p, b"II*\0\x08\0\0\0\xff\xff" + bytes(20)), "truncated or damaged"),
    "a directory that refers to itself": (cyclic, "refers back to itself"),
    "ten thousand directories": (long_chain, "holds more than 256 images"),
    "a BigTIFF cut off": (lambda p: raw(p, b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**60)), "truncated or damaged"),
    "too few tiles": (lambda p: retag(written(p), ImageLength=5000), "are needed"),
    "too many tiles": (lambda p: retag(written(p), ImageLength=70), "are needed"),
    "absurd width": (lambda p: retag(written(p), ImageWidth=2**31 - 1), "2147483647"),
    "no rows": (lambda p: retag(written(p), ImageLength=0), "the header says 0 x"),
    "absurd tiles": (
        lambda p: retag(written(p, compression="zlib"), TileWidth=2**20, TileLength=2**20),
        "needed|large",
    ),
    "tiles beyond the end": (beyond_the_end, "is truncated"),
    "tiles without a place": (lambda p: retag(written(p), TileOffsets=(0,) * 12), "without a place"),
    "tiles too short": (lambda p: retag(written(p), TileByteCounts=(100,) * 12), "fewer bytes than the header says"),
    "unknown compression": (lambda p: retag(written(p), Compression=34676), "not supported|needs imagecodecs"),
    "another compression": (lambda p: retag(written(p), Compression=8), "is damaged"),
    "twenty samples": (lambda p: retag(written(p), SamplesPerPixel=20), "needed|channels|damaged|fewer"),
    "64 bits": (lambda p: retag(written(p), BitsPerSample=64), "8-bit or 16-bit unsigned"),
    "a zlib bomb": (zlib_bomb, "is damaged"),
    "a JPEG bomb": (jpeg_bomb, "is damaged .*65000 x 65000 px in a tile of 512 x 512"),
    "growing entities": (entities, "does not say how large"),
    "truncated while open": (truncated_after_opening, "is damaged .*ends"),
}


def raw(folder, content):
    (folder / "s.tif").write_bytes(content)
    return folder / "s.tif"


@pytest.mark.parametrize("name", CASES)
def test_each_is_told_quickly_and_in_bounded_memory(tmp_path, name):
    make, message = CASES[name]
    made = make(tmp_path)
    before, started = peak_bytes(), time.monotonic()
    with pytest.raises(UserError, match=message) as caught:
        image = made if isinstance(made, SectionImage) else opened(made, name)
        image.read(0, 0, *(min(side, 1000) for side in image.shape))
    assert time.monotonic() - started < _LIMIT_S
    assert peak_bytes() - before < _LIMIT_BYTES
    assert str(tmp_path / "s.tif") in str(caught.value) and "\n" not in str(caught.value)


def opened(path, name):
    return SectionImage.open(path, None if name == "growing entities" else 2.0, cache=TileCache(0))


def peak_bytes():
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


@pytest.mark.parametrize("predictor", [False, True])
def test_without_imagecodecs_zlib_is_inflated_within_bounds(tmp_path, predictor, monkeypatch):
    monkeypatch.setattr("cytokeras.brain._tiff_codec.imagecodecs_installed", lambda: False)
    path = written(tmp_path, compression="zlib", predictor=predictor, tile=None, rowsperstrip=7)
    assert np.array_equal(SectionImage.open(path, 2.0).read(0, 0, 150, 200), grey())
    bomb = SectionImage.open(zlib_bomb(tmp_path), 2.0)
    before = peak_bytes()
    with pytest.raises(UserError, match="inflates to more than 262144 bytes"):
        bomb.read(0, 0, 10, 10)
    assert peak_bytes() - before < _LIMIT_BYTES


DAMAGED = {
    "zlib": {"compression": "zlib"},
    "zlib, differences": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "jpeg": {"compression": "jpeg"},
}


def spoil_second_tile(path, first_share):
    """Overwrite what lies behind the first share of a tile's bytes."""
    with tifffile.TiffFile(path) as tif:
        start, count = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
    kept = int(count * first_share)
    with path.open("r+b") as file:
        file.seek(start + kept)
        file.write(b"\xff" * (count - kept))


def opened_before(path, limit):
    """An image that has looked at its tiles once, as every first read does."""
    image = SectionImage.open(path, 2.0, cache=TileCache(limit))
    image.read(140, 190, 1, 1)
    return image


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["no cache", "cache"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_tile_is_told_and_the_others_are_read(tmp_path, name, limit):
    pytest.importorskip("imagecodecs")
    path = written(tmp_path, **DAMAGED[name])
    image = opened_before(path, limit)
    expected = opened_before(path, 0).read(64, 0, 60, 200)
    spoil_second_tile(path, 0)
    with pytest.raises(UserError, match=r"s.tif: (window \(0, 70\)|block \(0, 1\)) of level 0 is damaged \("):
        image.read(0, 70, 20, 20)
    assert np.array_equal(image.read(64, 0, 60, 200), expected)


@pytest.mark.parametrize("compression", ["zlib", "lzw"])
def test_without_a_cache_a_tile_is_decoded_only_as_far_as_needed(tmp_path, compression):
    pytest.importorskip("imagecodecs")
    pytest.importorskip("isal")
    path = written(tmp_path, compression=compression)
    cached, uncached = opened_before(path, 1 << 20), opened_before(path, 0)
    spoil_second_tile(path, 0.75)
    assert np.array_equal(uncached.read(0, 70, 30, 50), grey()[:30, 70:120])
    for image, rows in ((uncached, 64), (cached, 30)):
        with pytest.raises(UserError, match="is damaged"):
            image.read(0, 70, rows, 50)


@pytest.mark.parametrize("predictor", [False, True])
def test_without_isal_tiles_are_inflated_whole(tmp_path, predictor, monkeypatch):
    pytest.importorskip("imagecodecs")
    monkeypatch.setattr("cytokeras.brain._tiff_codec._isal", lambda: None)
    image = SectionImage.open(written(tmp_path, compression="zlib", predictor=predictor), 2.0, cache=TileCache(0))
    assert np.array_equal(image.read(10, 70, 30, 50), grey()[10:40, 70:120])


def test_a_sub_directory_that_is_the_main_one_is_no_level(tmp_path):
    image = SectionImage.open(sub_directory_is_the_main_one(tmp_path), 2.0)
    assert image.levels == (1.0,)
    assert np.array_equal(image.read(0, 0, 150, 200), grey())


def test_a_file_that_vanishes_while_open_is_told(tmp_path):
    write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.0)
    image = SectionImage.open(tmp_path / "s.ome.tif", cache=TileCache(0))
    (tmp_path / "s.ome.tif").unlink()
    with pytest.raises(UserError, match="cannot be read any more"):
        image.read(0, 0, 10, 10)
