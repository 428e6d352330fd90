"""The pixel size of section images, and saying clearly what is wrong with files that cannot be read."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile
from _images import grey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cytokeras.brain import SectionImage, write_section_tiff
from cytokeras.errors import UserError


class TestPixelSize:
    @pytest.mark.parametrize(("value", "unit"), [(2.0, "µm"), (0.002, "mm"), (2000, "nm"), (2.0, None)])
    def test_ome_xml(self, tmp_path, value, unit):
        metadata = {"axes": "YX", "PhysicalSizeX": value, "PhysicalSizeY": value}
        if unit:
            metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
        tifffile.imwrite(tmp_path / "s.ome.tif", grey(), metadata=metadata)
        assert SectionImage.open(tmp_path / "s.ome.tif").pixel_size_um == pytest.approx(2.0)

    @pytest.mark.parametrize(("resolution", "unit"), [(5000, "CENTIMETER"), (12700, "INCH")])
    def test_resolution_tags(self, tmp_path, resolution, unit):
        tifffile.imwrite(tmp_path / "s.tif", grey(), resolution=(resolution,) * 2, resolutionunit=unit)
        assert SectionImage.open(tmp_path / "s.tif").pixel_size_um == pytest.approx(2.0)

    def test_print_resolution_is_not_believed(self, tmp_path):
        tifffile.imwrite(tmp_path / "s.tif", grey(), resolution=(300, 300), resolutionunit="INCH")
        with pytest.raises(UserError, match=r"84\.67 µm.*--pixel-size-um"):
            SectionImage.open(tmp_path / "s.tif")

    @pytest.mark.parametrize("name", ["s.tif", "s.png"])
    def test_missing_says_how_to_give_it(self, tmp_path, name):
        Image.fromarray(grey()).save(tmp_path / name)
        with pytest.raises(UserError, match=r"s\.\w+: .*--pixel-size-um"):
            SectionImage.open(tmp_path / name)

    def test_contradiction_shows_both(self, tmp_path):
        write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.0)
        assert SectionImage.open(tmp_path / "s.ome.tif", 2.01).pixel_size_um == 2.01
        with pytest.raises(UserError, match="given is 8 µm but the file says 2 µm"):
            SectionImage.open(tmp_path / "s.ome.tif", 8.0)

    @pytest.mark.parametrize("value", [0, -2.0, float("nan"), float("inf"), "two"])
    def test_impossible_values_are_refused(self, tmp_path, value):
        Image.fromarray(grey()).save(tmp_path / "s.png")
        with pytest.raises(UserError, match="must be a number above 0"):
            SectionImage.open(tmp_path / "s.png", value)

    def test_pixels_that_are_not_square_are_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "s.tif", grey(), resolution=(5000, 2500), resolutionunit="CENTIMETER")
        with pytest.raises(UserError, match="not square"):
            SectionImage.open(tmp_path / "s.tif")


class TestFaultyFiles:
    def test_missing_folder_and_empty(self, tmp_path):
        (tmp_path / "empty.tif").touch()
        for path, message in ((tmp_path / "no.tif", "no such file"), (tmp_path, "is a folder")):
            with pytest.raises(UserError, match=message):
                SectionImage.open(path, 2.0)
        with pytest.raises(UserError, match="is empty"):
            SectionImage.open(tmp_path / "empty.tif", 2.0)

    @pytest.mark.parametrize("content", [b"Dear diary, ", b"\x89PNG\r\n", b"%PDF-1.4 "])
    def test_not_an_image(self, tmp_path, content):
        (tmp_path / "s.tif").write_bytes(content * 20)
        with pytest.raises(UserError, match=r"s\.tif: .*image"):
            SectionImage.open(tmp_path / "s.tif", 2.0)

    @settings(max_examples=40, deadline=None)
    @given(st.floats(0, 0.999))
    def test_truncated_tiff_is_noticed_when_opened(self, tmp_path_factory, share):
        folder = tmp_path_factory.mktemp("cut")
        write_section_tiff(folder / "s.ome.tif", grey(), 2.0, tile=64)
        content = (folder / "s.ome.tif").read_bytes()
        (folder / "cut.tif").write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=r"cut\.tif"):
            SectionImage.open(folder / "cut.tif")

    @pytest.mark.parametrize("name", ["s.png", "s.jpg"])
    def test_truncated_png_and_jpeg_are_noticed_when_read(self, tmp_path, name):
        Image.fromarray(grey()).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="truncated or damaged"):
            SectionImage.open(tmp_path / name, 2.0).read(0, 0, 10, 10)

    def test_damaged_tile_is_named(self, tmp_path):
        write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.0, tile=64)
        with tifffile.TiffFile(tmp_path / "s.ome.tif") as tif:
            start = tif.pages[0].dataoffsets[0]
        content = bytearray((tmp_path / "s.ome.tif").read_bytes())
        content[start : start + 50] = bytes(50)
        (tmp_path / "s.ome.tif").write_bytes(content)
        with pytest.raises(UserError, match=r"block \(0, 0\) of level 0 is damaged"):
            SectionImage.open(tmp_path / "s.ome.tif").read(0, 0, 10, 10)

    @pytest.mark.parametrize("count", [2, 5])
    def test_wrong_number_of_channels(self, tmp_path, count):
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((40, 50, count), np.uint8), **options)
        with pytest.raises(UserError, match=f"{count} channels; expected 1"):
            SectionImage.open(tmp_path / "s.tif", 2.0)

    def test_grey_with_alpha_png_is_refused(self, tmp_path):
        Image.fromarray(grey()).convert("LA").save(tmp_path / "s.png")
        with pytest.raises(UserError, match="2 channels"):
            SectionImage.open(tmp_path / "s.png", 2.0)

    def test_stack_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((5, 40, 50), np.uint8), photometric="minisblack")
        with pytest.raises(UserError, match="holds 5 images"):
            SectionImage.open(tmp_path / "s.tif", 2.0)

    @pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
    def test_other_pixel_types_are_refused(self, tmp_path, dtype):
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((40, 50), dtype))
        with pytest.raises(UserError, match="8-bit or 16-bit unsigned"):
            SectionImage.open(tmp_path / "s.tif", 2.0)

    def test_absurd_dimensions_are_refused(self, tmp_path):
        write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.0)
        with tifffile.TiffFile(tmp_path / "s.ome.tif", mode="r+") as tif:
            tif.pages[0].tags["ImageWidth"].overwrite(0x7FFFFFFF)
        with pytest.raises(UserError, match="2147483647"):
            SectionImage.open(tmp_path / "s.ome.tif")

    def test_header_with_too_few_tiles_is_refused(self, tmp_path):
        write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.0, tile=64)
        with tifffile.TiffFile(tmp_path / "s.ome.tif", mode="r+") as tif:
            tif.pages[0].tags["ImageLength"].overwrite(5000)
        with pytest.raises(UserError, match="are needed"):
            SectionImage.open(tmp_path / "s.ome.tif")

    def test_decompression_bomb_is_refused(self, tmp_path):
        Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
        with pytest.raises(UserError, match="save it as a tiled TIFF"):
            SectionImage.open(tmp_path / "bomb.png", 2.0)

    def test_codec_that_is_not_installed_says_what_to_install(self, tmp_path, monkeypatch):
        pytest.importorskip("imagecodecs")
        tifffile.imwrite(tmp_path / "s.tif", grey(), compression="lzw", tile=(64, 64))
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
        monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {8: None})
        with pytest.raises(UserError, match=r'LZW, which needs .*pip install "cytokeras\[codecs\]"'):
            SectionImage.open(tmp_path / "s.tif", 2.0)
