"""Reading section images of every supported kind, and writing them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from _images import grey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cytokeras.brain import ArrayImage, SectionImage, TileCache, write_section_tiff
from cytokeras.errors import UserError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# Pure stains of Ruifrok & Johnston 2001 as a camera sees them at optical density 1 along the unit vector.
STAINS = {"haematoxylin": (0.65, 0.70, 0.29), "eosin": (0.07, 0.99, 0.11), "dab": (0.27, 0.57, 0.78)}


def stained(amounts):
    """(h, w) dictionary of stain amounts to (h, w, 3) light on white 255."""
    density = sum(
        amount[..., None] * np.array(STAINS[name]) / np.linalg.norm(STAINS[name]) for name, amount in amounts.items()
    )
    return np.rint(255 * 10.0**-density).astype(np.uint8)


def nuclei():
    amount = np.zeros((120, 160))
    amount[40:60, 40:60] = 0.8
    other = np.zeros_like(amount)
    other[80:100, 40:120] = 0.5
    return amount, other


class TestReading:
    @pytest.mark.parametrize(
        "options",
        [
            {"tile": (32, 48)},
            {"tile": (32, 48), "compression": "zlib", "predictor": True},
            {"tile": (32, 48), "compression": "lzw"},
            {"tile": (32, 48), "compression": "zstd"},
            {"tile": (32, 48), "byteorder": ">"},
            {"tile": (32, 48), "bigtiff": True},
            {},
            {"rowsperstrip": 1},
            {"rowsperstrip": 7},
            {"rowsperstrip": 7, "compression": "zlib"},
            {"compression": "zlib"},
        ],
        ids=str,
    )
    def test_tiff_layouts_give_the_written_pixels(self, tmp_path, options):
        pytest.importorskip("imagecodecs")
        array, options = grey(), dict(options)
        opening = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
        tifffile.imwrite(tmp_path / "s.tif", array, photometric="minisblack", **opening, **options)
        image = SectionImage.open(tmp_path / "s.tif", 2.0)
        assert image.shape == (150, 200)
        assert np.array_equal(image.read(0, 0, 150, 200), array)
        assert np.array_equal(image.read(17, 90, 60, 70), array[17:77, 90:160])

    @settings(max_examples=80, deadline=None)
    @given(st.integers(-60, 200), st.integers(-60, 250), st.integers(0, 200), st.integers(0, 220))
    def test_any_window_equals_the_padded_image(self, tmp_path_factory, row, column, height, width):
        path = tmp_path_factory.getbasetemp() / "windows.ome.tif"
        array = grey()
        if not path.exists():
            write_section_tiff(path, array, 2.0, tile=64)
        padded = np.pad(array, ((60, 400), (60, 450)), constant_values=240)
        expected = padded[row + 60 : row + 60 + height, column + 60 : column + 60 + width]
        for image in (SectionImage.open(path), ArrayImage(array, 2.0)):
            assert np.array_equal(image.read(row, column, height, width), expected)

    def test_window_wholly_outside_is_background(self):
        assert (ArrayImage(grey(), 2.0).read(1000, -900, 4, 5) == 240).all()

    def test_subifd_pyramid(self, tmp_path):
        array = grey(256, 384)
        with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
            writer.write(array, subifds=2, tile=(64, 64), photometric="minisblack")
            for factor in (2, 4):
                writer.write(array[::factor, ::factor], subfiletype=1, tile=(64, 64), photometric="minisblack")
        image = SectionImage.open(tmp_path / "p.tif", 1.0)
        assert image.levels == (1.0, 2.0, 4.0)
        assert np.array_equal(image.read(0, 0, 64, 96, level=2), array[::4, ::4])

    def test_pyramid_in_pages_leaves_out_the_overview_of_another_shape(self, tmp_path):
        array = grey(255, 383)
        with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
            writer.write(array, tile=(64, 64), photometric="minisblack")
            writer.write(np.full((100, 60), 9, np.uint8), photometric="minisblack")  # the slide's label
            writer.write(array[::2, ::2], tile=(64, 64), photometric="minisblack")
        image = SectionImage.open(tmp_path / "p.tif", 1.0)
        assert image.levels == (1.0, 2.0)
        assert image.level_shapes[1] == (128, 192)

    def test_threads_share_an_image(self, tmp_path):
        array = grey(600, 700)
        write_section_tiff(tmp_path / "s.ome.tif", array, 2.0, tile=64)
        image = SectionImage.open(tmp_path / "s.ome.tif")
        wrong = []

        def work(seed):
            rng = np.random.default_rng(seed)
            for row, column in rng.integers(0, 500, (40, 2)):
                if not np.array_equal(image.read(row, column, 90, 90), array[row : row + 90, column : column + 90]):
                    wrong.append((row, column))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_images_share_a_cache_that_stays_within_its_bytes(self, tmp_path):
        cache = TileCache(20_000)
        for name in ("a", "b"):
            write_section_tiff(tmp_path / f"{name}.ome.tif", grey(600, 700), 2.0, tile=64)
            image = SectionImage.open(tmp_path / f"{name}.ome.tif", cache=cache)
            image.read(0, 0, 600, 700)
            assert 20_000 - 64 * 64 < cache.held_bytes <= 20_000
        cache.limit_bytes = 5000
        assert cache.held_bytes <= 5000

    def test_whole_pictures_are_in_the_cache_too(self, tmp_path):
        Image.fromarray(grey()).save(tmp_path / "s.png")
        cache = TileCache(100_000)
        images = [SectionImage.open(tmp_path / "s.png", 2.0, cache=cache) for _ in range(10)]
        for image in images:
            assert np.array_equal(image.read(0, 0, 150, 200), grey())
        assert cache.held_bytes == 3 * grey().nbytes

    @pytest.mark.parametrize(("level", "size"), [(1, 4), (-1, 4), (0, -4)])
    def test_impossible_windows_are_refused(self, level, size):
        with pytest.raises(UserError, match=r"level|window"):
            ArrayImage(grey(), 2.0).read(0, 0, size, 4, level=level)

    def test_tiles_left_out_of_the_file_are_background(self, tmp_path):
        def tiles():
            yield np.full((64, 64), 230, np.uint8)
            yield None

        with tifffile.TiffWriter(tmp_path / "sparse.tif") as writer:
            writer.write(tiles(), shape=(64, 128), dtype=np.uint8, tile=(64, 64), compression="zlib")
        image = SectionImage.open(tmp_path / "sparse.tif", 2.0)
        assert (image.read(0, 0, 64, 128) == 230).all()


class TestConversion:
    def test_sixteen_bits_use_the_full_range(self, tmp_path):
        array = np.array([[0, 257, 25700, 65535]], np.uint16).repeat(4, axis=0)
        tifffile.imwrite(tmp_path / "s.tif", array)
        image = SectionImage.open(tmp_path / "s.tif", 2.0, polarity="bright")
        assert image.read(0, 0, 1, 4).tolist() == [[0, 1, 100, 255]]

    def test_twelve_bits_in_sixteen_are_not_black(self, tmp_path):
        array = (grey().astype(np.uint16) * 16) + 15
        tifffile.imwrite(tmp_path / "s.tif", array)
        assert np.abs(SectionImage.open(tmp_path / "s.tif", 2.0).read(0, 0, 150, 200) - grey().astype(int)).max() <= 1

    def test_min_is_white_is_turned_round(self, tmp_path):
        tifffile.imwrite(tmp_path / "s.tif", 255 - grey(), photometric="miniswhite")
        assert np.array_equal(SectionImage.open(tmp_path / "s.tif", 2.0).read(0, 0, 150, 200), grey())

    def test_dark_background_is_inverted(self, tmp_path):
        Image.fromarray(255 - grey()).save(tmp_path / "fluorescence.png")
        image = SectionImage.open(tmp_path / "fluorescence.png", 2.0)
        assert np.array_equal(image.read(0, 0, 150, 200), grey())
        assert image.background == 240

    def test_black_padding_is_not_taken_for_a_dark_background(self, tmp_path):
        padded = np.pad(grey(), 30)
        Image.fromarray(padded).save(tmp_path / "padded.png")
        image = SectionImage.open(tmp_path / "padded.png", 2.0)
        assert np.array_equal(image.read(30, 30, 150, 200), grey())

    def test_polarity_overrules_the_border(self, tmp_path):
        Image.fromarray(255 - grey()).save(tmp_path / "dark.png")
        image = SectionImage.open(tmp_path / "dark.png", 2.0, polarity="bright")
        assert np.array_equal(image.read(0, 0, 150, 200), 255 - grey())

    def test_own_files_are_never_inverted(self, tmp_path):
        write_section_tiff(tmp_path / "s.ome.tif", np.full((64, 64), 20, np.uint8), 2.0)
        assert (SectionImage.open(tmp_path / "s.ome.tif").read(0, 0, 64, 64) == 20).all()

    def test_nearly_grey_colours_become_grey(self, tmp_path):
        rgb = np.repeat(grey()[..., None], 3, axis=2)
        rgb[..., 0] -= 2
        Image.fromarray(rgb).save(tmp_path / "s.png")
        values = SectionImage.open(tmp_path / "s.png", 2.0).read(0, 0, 150, 200)
        assert np.abs(values - grey().astype(int)).max() <= 1

    @pytest.mark.parametrize("other", ["eosin", "dab"])
    def test_haematoxylin_is_told_from_other_stains(self, tmp_path, other):
        cells, counterstain = nuclei()
        Image.fromarray(stained({"haematoxylin": cells, other: counterstain})).save(tmp_path / "s.png")
        values = SectionImage.open(tmp_path / "s.png", 1.0).read(0, 0, 120, 160)
        # 255 * 10^-0.8 = 40; rounding to bytes in three channels moves it by a few levels
        np.testing.assert_allclose(values[45:55, 45:55], 40, atol=3)
        np.testing.assert_allclose(values[85:95, 50:110], 255, atol=6)
        assert (values[:30] == 255).all()

    def test_another_stain_can_be_asked_for(self, tmp_path):
        cells, marker = nuclei()
        Image.fromarray(stained({"haematoxylin": cells, "dab": marker})).save(tmp_path / "s.png")
        values = SectionImage.open(tmp_path / "s.png", 1.0, channel="dab").read(0, 0, 120, 160)
        np.testing.assert_allclose(values[85:95, 50:110], 255 * 10**-0.5, atol=3)

    def test_yellowish_light_is_balanced(self, tmp_path):
        cells, pink = nuclei()
        rgb = stained({"haematoxylin": cells, "eosin": pink}) * np.array([0.98, 0.94, 0.8])
        Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "s.png")
        values = SectionImage.open(tmp_path / "s.png", 1.0).read(0, 0, 120, 160)
        np.testing.assert_allclose(values[45:55, 45:55], 40, atol=4)
        assert (values[:30] >= 253).all()

    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_colour_tiff_in_either_sample_order(self, tmp_path, planar):
        cells, pink = nuclei()
        rgb = stained({"haematoxylin": cells, "eosin": pink})
        Image.fromarray(rgb).save(tmp_path / "s.png")
        data = rgb if planar == "contig" else np.moveaxis(rgb, 2, 0)
        options = {"photometric": "rgb", "planarconfig": planar, "tile": (32, 48), "compression": "zlib"}
        tifffile.imwrite(tmp_path / "s.tif", data, **options)
        from_tiff, from_png = (SectionImage.open(tmp_path / f"s.{end}", 1.0) for end in ("tif", "png"))
        assert np.array_equal(from_tiff.read(5, 5, 110, 150), from_png.read(5, 5, 110, 150))

    def test_transparent_pixels_are_white(self, tmp_path):
        cells, pink = nuclei()
        rgba = np.zeros((120, 160, 4), np.uint8)
        rgba[20:110, 20:150, :3] = stained({"haematoxylin": cells, "eosin": pink})[20:110, 20:150]
        rgba[20:110, 20:150, 3] = 255
        Image.fromarray(rgba).save(tmp_path / "s.png")
        image = SectionImage.open(tmp_path / "s.png", 1.0)
        assert image.background == 255
        assert image.read(0, 0, 1, 1)[0, 0] == 255

    def test_jpeg_in_tiff(self, tmp_path):
        pytest.importorskip("imagecodecs")
        cells, pink = nuclei()
        rgb = stained({"haematoxylin": cells, "eosin": pink})
        options = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg"}
        tifffile.imwrite(tmp_path / "s.tif", rgb, compressionargs={"level": 95}, **options)
        values = SectionImage.open(tmp_path / "s.tif", 1.0).read(0, 0, 120, 160)
        np.testing.assert_allclose(values[47:53, 47:53], 40, atol=8)

    def test_stain_of_a_grey_image_is_refused(self, tmp_path):
        Image.fromarray(grey()).save(tmp_path / "s.png")
        with pytest.raises(UserError, match="is grey"):
            SectionImage.open(tmp_path / "s.png", 2.0, channel="dab").read(0, 0, 1, 1)


class TestWriting:
    def test_ome_tiff_that_tifffile_reads(self, tmp_path):
        write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.5, tile=64)
        with tifffile.TiffFile(tmp_path / "s.ome.tif") as tif:
            assert tif.is_ome and tif.pages[0].is_tiled
            assert np.array_equal(tif.asarray(), grey())
            pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (2.5, "µm")

    def test_image_is_read_in_strips(self, tmp_path):
        class Counting(ArrayImage):
            largest = 0

            def read(self, row, column, height, width, level=0):
                self.largest = max(self.largest, height)
                return super().read(row, column, height, width, level)

        image = Counting(grey(300, 200), 4.0)
        write_section_tiff(tmp_path / "s.ome.tif", image, tile=64)
        assert image.largest == 64
        assert SectionImage.open(tmp_path / "s.ome.tif").pixel_size_um == 4.0

    def test_equal_input_gives_equal_bytes(self, tmp_path):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            write_section_tiff(tmp_path / folder / "s.ome.tif", grey(), 2.0)
        assert (tmp_path / "a/s.ome.tif").read_bytes() == (tmp_path / "b/s.ome.tif").read_bytes()

    def test_failure_leaves_nothing_behind(self, tmp_path):
        class Broken(ArrayImage):
            def read(self, row, column, height, width, level=0):
                if row:
                    raise RuntimeError("disk on fire")
                return super().read(row, column, height, width, level)

        with pytest.raises(RuntimeError):
            write_section_tiff(tmp_path / "s.ome.tif", Broken(grey(), 2.0), tile=64)
        assert list(tmp_path.iterdir()) == []

    def test_codec_that_is_not_installed_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
        with pytest.raises(UserError, match="zstd needs imagecodecs"):
            write_section_tiff(tmp_path / "s.ome.tif", grey(), 2.0, compression="zstd")

    @pytest.mark.parametrize(
        ("array", "options", "message"),
        [
            (np.zeros((4, 4, 3), np.uint8), {}, "must be a"),
            (np.zeros((4, 4)), {}, "uint8"),
            (grey(), {"tile": 100}, "multiple of 16"),
            (grey(), {"compression": "rar"}, "compression"),
            (grey(), {"pixel_size_um": None}, "pixel size"),
        ],
    )
    def test_faulty_arguments_are_refused(self, tmp_path, array, options, message):
        with pytest.raises(UserError, match=message):
            write_section_tiff(tmp_path / "s.ome.tif", array, **{"pixel_size_um": 2.0, **options})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4)), "uint8"),
        (np.zeros((4, 4, 3), np.uint8), "height"),
        (np.zeros((0, 4), np.uint8), "height"),
    ],
)
def test_array_image_refuses_other_arrays(array, message):
    with pytest.raises(UserError, match=message):
        ArrayImage(array, 2.0)


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real sections is not here")
class TestRealSections:
    def test_haematoxylin_nuclei_with_dab_become_dark_on_bright(self):
        image = SectionImage.open(DATA / "sana-cortex/example_q90.jpg", 1.0)
        assert image.shape == (4292, 4292)
        values = image.read(2000, 2000, 600, 600)
        assert image.background > 220
        assert np.median(values) > 170  # DAB fibres, the darkest thing in the picture, are nearly gone
        assert 0.005 < np.mean(values < 110) < 0.05  # nuclei

    def test_visium_section_has_white_glass_and_darker_tissue(self):
        image = SectionImage.open(DATA / "humanpilot-dlpfc/151507_tissue_lowres_image.png", 16.1)
        values = image.read(0, 0, 600, 600)
        assert image.background > 245
        assert np.median(values[250:400, 150:400]) < 225
