"""The command line: results in their place, and one clear line for everything a user can get wrong."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile
from _chunked import write_ome_zarr, write_precomputed
from _servers import serve
from PIL import Image

from cytokeras._commands._section_image import image_name
from cytokeras.brain.labels import VISUAL_SCHEME
from cytokeras.cli import main
from cytokeras.phantom import PhantomBrain


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A tiny network with random weights, saved as a preset folder."""
    from cytokeras.models import AtlasUNet

    folder = tmp_path_factory.mktemp("presets") / "tiny"
    unet = AtlasUNet(
        16, (258, 258, 1), 13, pixel_size_um=16.0, widths=(2, 2, 2, 2, 2, 2), class_names=VISUAL_SCHEME.names
    )
    unet.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def brain_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "brain"
    PhantomBrain(5, 20.0, [-90.0], hemispheres=["left"], level="easy").save(folder, progress=False)
    return folder


@pytest.fixture
def section(tmp_path):
    """A grey picture of 300 x 320 px with a dark disc on bright glass."""
    rows, columns = np.indices((300, 320))
    grey = np.where(np.hypot(rows - 150, columns - 160) < 100, 120, 245).astype(np.uint8)
    path = tmp_path / "section.png"
    Image.fromarray(grey).save(path)
    return path


def fails(capsys, *arguments) -> str:
    """Run a command that must fail with status 2 and one line on standard error; returns that line."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert lines[-1].startswith("cytokeras: error: ")
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[-1]


def test_segment_writes_labels_and_overlay(section, preset, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["segment", str(section), "--pixel-size-um", "16", "--preset", str(preset), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "section-labels.ome.tif",
        "section-outlines.geojson",
        "section-overlay.png",
    ]
    with tifffile.TiffFile(out / "section-labels.ome.tif") as tiff:
        assert tiff.pages[0].shape == (300, 320)
        assert 'PhysicalSizeX="16' in tiff.ome_metadata
        labels = tiff.asarray()
    assert labels.max() < 16
    assert "section-overlay.png" in capsys.readouterr().out


def test_segment_resamples_to_the_pixel_size_of_the_network(section, preset, tmp_path):
    assert (
        main(["segment", str(section), "--pixel-size-um", "32", "--preset", str(preset), "--out", str(tmp_path)]) == 0
    )
    labels = tifffile.imread(tmp_path / "section-labels.ome.tif")
    assert labels.shape == (600, 640)


def test_segment_takes_an_address_and_a_folder_of_chunks(section, preset, tmp_path):
    pytest.importorskip("tensorstore")
    grey, options = np.asarray(Image.open(section)), ["--preset", str(preset), "--quiet", "--out"]
    for folder in ("server/slice", "slice.ome.zarr"):
        (tmp_path / folder).mkdir(parents=True)
    write_precomputed(tmp_path / "server/slice", grey, factors=(1, 2), resolution_nm=16_000)
    write_ome_zarr(tmp_path / "slice.ome.zarr", grey, factors=(1, 2), size_um=16.0)
    assert main(["segment", str(section), "--pixel-size-um", "16", *options, str(tmp_path)]) == 0
    with serve(tmp_path / "server") as (address, asked):
        assert main(["segment", f"{address}/slice", *options, str(tmp_path / "remote")]) == 0
        assert "slice/info" in asked
    folder = str(tmp_path / "slice.ome.zarr")
    assert main(["segment", folder, "--pixel-size-um", "16", *options, str(tmp_path / "local")]) == 0
    expected = tifffile.imread(tmp_path / "section-labels.ome.tif")
    for out in ("remote", "local"):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / out / "slice-labels.ome.tif"), expected)
        assert (tmp_path / out / "slice-outlines.geojson").exists()


def test_segment_of_an_address_that_fails(preset, tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorstore")
    monkeypatch.setattr("cytokeras.brain._chunked_source.DEADLINE_S", 1.0)
    with serve(tmp_path, {"": "silence"}) as (address, _):
        assert f"{address}, info: no answer within 1 s" in fails(capsys, "segment", address, "--preset", preset)
    with serve(tmp_path, {"": 404}) as (address, _):
        assert f"{address}: has none of the files" in fails(capsys, "segment", address, "--preset", preset)
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    line = fails(capsys, "segment", "https://127.0.0.1/section", "--preset", preset)
    assert 'pip install "cytokeras[tensorstore]"' in line


def test_files_are_named_after_the_image():
    names = {
        "a/slide 1.ome.tif": "slide 1",
        "b.2.png": "b.2",
        "volume.zarr#z=12": "volume-z12",
        "https://lab.org/data/s:1/?key=2": "s_1",
        "precomputed://http://127.0.0.1:8000": "section",
    }
    assert {address: image_name(address) for address in names} == names


def test_segment_keeps_what_is_there_unless_told(section, preset, tmp_path, capsys):
    arguments = ["segment", section, "--pixel-size-um", 16, "--preset", preset, "--out", tmp_path, "--quiet"]
    (tmp_path / "section-labels.ome.tif").write_text("mine")
    assert "exists already" in fails(capsys, *arguments)
    assert (tmp_path / "section-labels.ome.tif").read_text() == "mine"
    assert main([str(argument) for argument in (*arguments, "--overwrite", "--tta", "--probabilities")]) == 0
    for kind in ("labels", "probabilities", "uncertainty"):
        assert tifffile.imread(tmp_path / f"section-{kind}.ome.tif").shape[-2:] == (300, 320)


def test_segment_a_brain_and_again(tmp_path, capsys):
    from _small_brain import network, small_brain

    small_brain().save(tmp_path / "brain", progress=False)
    network().save_pretrained(tmp_path / "network")
    out = tmp_path / "out"
    arguments = ["segment", str(tmp_path / "brain"), "--preset", str(tmp_path / "network"), "--out", str(out)]
    assert main([*arguments, "--quiet", "--part", "2/2"]) == 0
    assert "1 segmented, 0 there already, 0 failed" in capsys.readouterr().out
    assert main([*arguments, "--workers", "2"]) == 0
    captured = capsys.readouterr()
    assert "2 segmented, 1 there already, 0 failed" in captured.out and "sections: 2/2" in captured.err
    assert {"labels-left.label.gii", "labels.nii.gz"} < {path.name for path in out.iterdir()}


def test_brain_options_are_checked(brain_folder, section, preset, tmp_path, capsys):
    common = ["--preset", preset, "--out", tmp_path / "out", "--quiet"]
    assert "I from 1 to N" in fails(capsys, "segment", brain_folder, "--part", "0/2", *common)
    assert "--part: is for brain folders" in fails(capsys, "segment", section, "--part", "1/2", *common)
    assert "Did you mean" in fails(capsys, "segment", brain_folder, "--section", "phantom-5-001", *common)
    assert "no such file" in fails(capsys, "segment", brain_folder, "--atlas", tmp_path / "a.nii", *common)


def test_embed_writes_a_table_a_section(brain_folder, tmp_path, capsys):
    arguments = ["embed", str(brain_folder), "--out", str(tmp_path), "--step-mm", "20", "--quiet"]
    assert main(arguments) == 0
    (path,) = tmp_path.iterdir()
    header = path.read_text().splitlines()[0].split(",")
    assert {"position_mm_x", "face", "barycentric_0", "features_31", "coordinates_mm_z"} < set(header)
    assert main(arguments) == 0
    assert "there     " in capsys.readouterr().out
    assert "it is AtlasUNet" in fails(capsys, *arguments, "--preset", "atlas-unet-phantom-16um")


def test_missing_file(preset, tmp_path, capsys):
    assert "nowhere.tif" in fails(capsys, "segment", tmp_path / "nowhere.tif", "--pixel-size-um", 1, "--preset", preset)


def test_not_an_image(preset, tmp_path, capsys):
    path = tmp_path / "notes.tif"
    path.write_text("not an image at all")
    assert "notes.tif" in fails(capsys, "segment", path, "--pixel-size-um", 1, "--preset", preset)


def test_truncated_tiff(preset, tmp_path, capsys):
    path = tmp_path / "cut.tif"
    noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
    tifffile.imwrite(path, noise)
    path.write_bytes(path.read_bytes()[:60_000])
    assert "cut.tif" in fails(capsys, "segment", path, "--pixel-size-um", 16, "--preset", preset)


def test_wrong_number_of_channels(preset, tmp_path, capsys):
    path = tmp_path / "five.tif"
    tifffile.imwrite(path, np.zeros((300, 300, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    assert "five.tif" in fails(capsys, "segment", path, "--pixel-size-um", 16, "--preset", preset)


@pytest.mark.parametrize("size", ["0", "-1", "nan"])
def test_impossible_pixel_size(section, preset, capsys, size):
    assert "pixel" in fails(capsys, "segment", section, f"--pixel-size-um={size}", "--preset", preset)


def test_missing_pixel_size_says_how_to_give_it(section, preset, capsys):
    assert "--pixel-size-um" in fails(capsys, "segment", section, "--preset", preset)


def test_image_smaller_than_one_patch(section, preset, tmp_path, capsys):
    out = tmp_path / "out"
    line = fails(capsys, "segment", section, "--pixel-size-um", 2, "--preset", preset, "--out", out, "--quiet")
    assert "smaller than one patch" in line
    assert list(out.iterdir()) == []


def test_unknown_preset_names_the_nearest(section, capsys):
    line = fails(capsys, "segment", section, "--pixel-size-um", 16, "--preset", "atlas-unet-phantom-16u")
    assert "atlas-unet-phantom-16um" in line


def test_siamese_preset_cannot_segment(section, capsys):
    line = fails(capsys, "segment", section, "--pixel-size-um", 16, "--preset", "siamese-phantom-16um")
    assert "AtlasUNet" in line


def test_damaged_weights(section, preset, tmp_path, capsys):
    copy, out = tmp_path / "damaged", tmp_path / "out"
    copy.mkdir()
    for file in preset.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / "model.weights.h5").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (copy / "model.weights.h5").write_bytes(bytes(content))
    line = fails(capsys, "segment", section, "--pixel-size-um", 16, "--preset", copy, "--out", out)
    assert "model.weights.h5" in line
    assert list(out.iterdir()) == []


def test_output_folder_that_cannot_be_made(section, preset, capsys):
    line = fails(capsys, "segment", section, "--pixel-size-um", 16, "--preset", preset, "--out", section / "inside")
    assert "inside" in line


def test_check_counts_problems(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 1
    assert "brain.json" in capsys.readouterr().out


def test_sample_writes_tables_and_refuses_other_settings(brain_folder, tmp_path, capsys):
    arguments = ["sample", str(brain_folder), "--patches", "30", "--out", str(tmp_path / "tables"), "--quiet"]
    assert main([*arguments, "--pairs", "40"]) == 0
    printed = capsys.readouterr().out
    assert "(30 on train sections)" in printed and "(40; distance along the cortex" in printed
    header = (tmp_path / "tables" / "locations.csv").read_text().splitlines()[0]
    assert "row_px" in header and "obliqueness_deg" in header and "curvature_per_mm" in header
    assert "pairs 40 (now 41)" in fails(capsys, *arguments, "--pairs", 41)


def test_check_of_a_sound_brain(brain_folder, capsys):
    assert main(["check", str(brain_folder)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_inspect_prints_what_is_read_and_writes_a_thumbnail(tmp_path, capsys):
    rows, columns = np.indices((300, 320))
    grey = np.where(np.hypot(rows - 150, columns - 160) < 100, 120, 245).astype(np.uint8)
    options = {"tile": (64, 64), "photometric": "minisblack", "compression": "zlib"}
    resolution = {"resolution": (5000, 5000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        writer.write((255 - grey).astype(np.uint16) * 257, subifds=1, **options, **resolution)
        writer.write((255 - grey[::2, ::2]).astype(np.uint16) * 257, subfiletype=1, **options)
    assert main(["inspect", str(tmp_path / "s.tif"), "--out", str(tmp_path), "--size", "80"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "TIFF, deflate",
        "320 x 300 px (width x height), 0.64 x 0.6 mm",
        "2 µm",
        "160 x 150 (4 µm)",
        "1 x uint16, read in blocks of 64 x 64 px",
        "0 to 65535 scaled to 8 bits, inverted",
        "grey level 245",
    ):
        assert words in printed
    thumbnail = np.asarray(Image.open(tmp_path / "s-thumbnail.png"))
    assert thumbnail.shape == (75, 80) and thumbnail[37, 40] == 120 and thumbnail[0, 0] == 245


def test_inspect_of_a_faulty_image(tmp_path, capsys):
    (tmp_path / "s.tif").write_bytes(b"II*\0" + bytes(40))
    assert main(["inspect", str(tmp_path / "s.tif"), "--pixel-size-um", "2"]) == 2
    assert capsys.readouterr().err.startswith(f"cytokeras: error: {tmp_path / 's.tif'}: ")


def test_presets_lists_the_bundled_ones(capsys):
    assert main(["presets"]) == 0
    assert "atlas-unet-phantom-16um: AtlasUNet" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert "cytokeras 0.1.0" in capsys.readouterr().out
