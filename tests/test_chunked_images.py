"""OME-Zarr and neuroglancer precomputed, from disk and over HTTP; servers that fail."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from _chunked import write_ome_zarr, write_precomputed
from _images import grey
from _servers import serve

from cytokeras.brain import SectionImage, TileCache
from cytokeras.errors import UserError

pytest.importorskip("tensorstore")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    from cytokeras.brain import _chunked_source

    monkeypatch.setattr(
        _chunked_source, "_RETRIES", {**_chunked_source._RETRIES, "initial_delay": "10ms", "max_delay": "50ms"}
    )


def whole(image, level=0):
    return image.read(0, 0, *image.level_shapes[level], level=level)


def opened(*arguments, **options):
    return SectionImage.open(*arguments, cache=TileCache(), **options)


@pytest.mark.parametrize("axes", ["xyz", "xzy", "yzx", "zxy"])
def test_precomputed_planes_along_any_axes(tmp_path, axes):
    """The rows run along the last of the axes that the plane has."""
    image = opened(write_precomputed(tmp_path, grey(), axes=axes))
    expected = grey() if axes[0] < axes[1] else grey().T
    assert image.shape == expected.shape and image.pixel_size_um == 2.0
    assert np.array_equal(whole(image), expected)


def test_precomputed_pyramid(tmp_path):
    image = opened(write_precomputed(tmp_path, grey(), factors=(1, 2, 4)))
    assert image.levels == (1.0, 2.0, 4.0)
    for level, factor in enumerate((1, 2, 4)):
        assert np.array_equal(whole(image, level), grey()[::factor, ::factor])


@pytest.mark.parametrize(("version", "axes"), [(2, "yx"), (2, "tczyx"), (3, "cyx"), (3, "zyx")])
def test_ome_zarr_pyramid(tmp_path, version, axes):
    image = opened(write_ome_zarr(tmp_path, grey(), factors=(1, 2), version=version, axes=axes))
    assert image.shape == (150, 200) and image.levels == (1.0, 2.0) and image.pixel_size_um == 2.0
    for level, factor in enumerate((1, 2)):
        assert np.array_equal(whole(image, level), grey()[::factor, ::factor])


def test_colour_and_sixteen_bits(tmp_path):
    rgb = np.repeat(grey()[..., None], 3, axis=2)
    for name, write in (("p", write_precomputed), ("z", lambda *a: write_ome_zarr(*a, axes="cyx"))):
        (tmp_path / name).mkdir()
        assert np.abs(whole(opened(write(tmp_path / name, rgb))) - grey().astype(int)).max() <= 1
    (tmp_path / "wide").mkdir()
    wide = grey().astype(np.uint16) * 257
    assert np.array_equal(whole(opened(write_ome_zarr(tmp_path / "wide", wide))), grey())


def test_the_pixel_size_is_that_of_the_metadata(tmp_path):
    write_ome_zarr(tmp_path, grey(), size_um=0.004, unit="millimeter")
    assert opened(tmp_path).pixel_size_um == pytest.approx(4.0)
    with pytest.raises(UserError, match="given is 2 µm but the file says 4 µm"):
        opened(tmp_path, 2.0)


def test_a_zarr_without_unit_needs_the_pixel_size(tmp_path):
    write_ome_zarr(tmp_path, grey(), unit=None)
    with pytest.raises(UserError, match="does not say how large"):
        opened(tmp_path)
    assert opened(tmp_path, 5.0).pixel_size_um == 5.0


def test_a_volume_asks_for_the_plane(tmp_path):
    import tensorstore

    write_ome_zarr(tmp_path, grey(), axes="zyx")
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{tmp_path}/0/"}}
    array = tensorstore.open(spec).result().resize(exclusive_max=[4, 150, 200]).result()
    array[2].write(255 - grey()).result()
    with pytest.raises(UserError, match=r"z 4.*add #z=NUMBER"):
        opened(tmp_path)
    assert np.array_equal(whole(opened(f"{tmp_path}#z=2", polarity="bright")), 255 - grey())
    with pytest.raises(UserError, match="no plane z = 4"):
        opened(f"{tmp_path}#z=4")


@pytest.mark.parametrize("write", [write_precomputed, write_ome_zarr])
def test_http_gives_the_pixels_of_the_disk(tmp_path, write):
    write(tmp_path, grey(), factors=(1, 2))
    with serve(tmp_path) as (address, asked):
        image = opened(address)
        assert np.array_equal(image.read(-5, 20, 100, 90), opened(tmp_path).read(-5, 20, 100, 90))
        before = len(asked)
        image.read(0, 30, 50, 50)
        assert len(asked) == before, "what was read is in the cache"


@pytest.mark.parametrize("faults", [[500], [503, 503], ["half"], ["hang up", 429]])
def test_transient_errors_are_tried_again(tmp_path, faults):
    write_precomputed(tmp_path, grey())
    with serve(tmp_path, {"info": list(faults), "7-71_5-53": list(faults)}) as (address, _):
        assert np.array_equal(whole(opened(address)), grey())


CHUNK = "7-71_5-53_3-4"
SERVERS = {
    "404 for all": ({"": 404}, "has none of the files"),
    "403": ({"info": 403}, "info: cannot be read .*403"),
    "500 for ever": ({"info": 500}, "info: cannot be read .*500"),
    "half the metadata for ever": ({"info": "half"}, "info: cannot be read .*partial"),
    "silence": ({"info": "silence"}, "info: no answer within 8 s"),
    "hangs up": ({"info": "hang up"}, "info: cannot be read"),
    "no JSON": ({"info": b"<html>Please log in</html>"}, "info: is damaged or no JSON"),
    "JSON of something else": ({"info": b"[1, 2]"}, "info: must be a JSON object"),
    "no image": ({"info": b'{"type": "segmentation", "scales": []}'}, "expected type image"),
    "404 for a chunk": ({CHUNK: 404}, r"block \(0, 0\): cannot be read"),
    "500 for a chunk": ({CHUNK: 500}, r"block \(0, 0\): cannot be read .*500"),
    "half a chunk": ({CHUNK: "half"}, r"block \(0, 0\): cannot be read .*partial"),
    "a chunk too short": ({CHUNK: b"abc"}, r"block \(0, 0\): cannot be read"),
    "silence for a chunk": ({CHUNK: "silence"}, r"no answer within 8 s"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_bad_servers_are_told_within_ten_seconds(tmp_path, name, monkeypatch):
    from cytokeras.brain import _chunked_source

    faults, message = SERVERS[name]
    if "silence" in name:  # keeps the test short; the message tells the time that holds in earnest
        monkeypatch.setattr(_chunked_source, "DEADLINE_S", 1.0)
        message = message.replace("8 s", "1 s")
    write_precomputed(tmp_path, grey())
    with serve(tmp_path, faults) as (address, _):
        started = time.monotonic()
        with pytest.raises(UserError, match=f"^{address}.*{message}"):
            whole(opened(address))
        assert time.monotonic() - started < 10


def test_a_server_that_is_not_there_is_told(tmp_path):
    with serve(tmp_path) as (address, _):
        pass
    with pytest.raises(UserError, match="cannot be read"):
        opened(address)


def changed_info(folder, **changes):
    content = json.loads((folder / "info").read_text())
    content["scales"][0].update(changes)
    (folder / "info").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [2**40, 2**40, 1]}, "px; a section has"),
        ({"size": [-5, 200, 1]}, "cannot be read"),
        ({"chunk_sizes": [[2**20, 2**20, 1]]}, "too large to read piecewise"),
        ({"resolution": [2000, 3000, 2000]}, "not square"),
        ({"resolution": [0, 0, 0]}, "3 numbers above 0"),
        ({"encoding": "rar"}, "cannot be read"),
        ({"encoding": "jpeg"}, r"block \(0, 0\): cannot be read"),
    ],
)
def test_lying_metadata_are_told(tmp_path, changes, message):
    write_precomputed(tmp_path, grey())
    changed_info(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        whole(opened(tmp_path))


@pytest.mark.parametrize(
    ("path", "message"),
    [("../../etc", "must be a folder beside"), (7, "must be a folder beside"), ("missing", "cannot be read")],
)
def test_zarr_metadata_that_point_elsewhere_are_refused(tmp_path, path, message):
    write_ome_zarr(tmp_path, grey())
    content = json.loads((tmp_path / ".zattrs").read_text())
    content["multiscales"][0]["datasets"][0]["path"] = path
    (tmp_path / ".zattrs").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_a_compression_bomb_in_the_metadata_is_refused(tmp_path):
    write_ome_zarr(tmp_path, grey())
    content = json.loads((tmp_path / "0/.zarray").read_text())
    (tmp_path / "0/.zarray").write_text(json.dumps({**content, "chunks": [100_000, 100_000], "shape": [100_000] * 2}))
    with pytest.raises(UserError, match="too large to read piecewise"):
        opened(tmp_path)


def test_what_to_install_is_said(tmp_path, monkeypatch):
    import sys

    write_ome_zarr(tmp_path, grey())
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(UserError, match=r'pip install "cytokeras\[tensorstore\]"'):
        opened(tmp_path)


def test_unknown_addresses_are_refused():
    with pytest.raises(UserError, match="unknown kind of address 'ftp'"):
        opened("ftp://example.org/section")


def test_a_brain_folder_names_folders_and_servers(tmp_path):
    from _balls import hemisphere

    from cytokeras.brain import VISUAL_SCHEME, ArrayImage, Brain, Section, SectionPlane

    plane = SectionPlane([[0, 0.002, 0], [-0.002, 0, 0]], [0, 0, 0], [1, 0, 0], [0, 0, 1])
    sections = [Section(name, ArrayImage(grey(), 2.0), plane) for name in ("a", "b")]
    Brain("small", "test", VISUAL_SCHEME, sections, {"left": hemisphere("left")}).save(
        tmp_path / "brain", progress=False
    )
    write_ome_zarr(tmp_path / "brain/a.zarr", 255 - grey())
    write_precomputed(tmp_path / "b", 255 - grey())
    with serve(tmp_path / "b") as (address, _):
        table = tmp_path / "brain/sections.csv"
        text = table.read_text().replace("sections/a.ome.tif", "a.zarr").replace("sections/b.ome.tif", address)
        table.write_text(text)
        for section in Brain.open(tmp_path / "brain").sections:
            # a dark ground is turned round: what is read are the dark cells again
            assert np.array_equal(section.image.read(0, 0, 150, 200), grey())
