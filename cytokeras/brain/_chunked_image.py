"""Section images in OME-Zarr and neuroglancer precomputed, from a folder or over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cytokeras.brain._block_image import BlockImage
from cytokeras.brain._cell_body_channel import Channel, Polarity
from cytokeras.brain._chunked_source import ChunkedLevel, open_array, open_store, wait
from cytokeras.brain._image_address import METADATA_FILES, PREFIXES, split_plane
from cytokeras.brain._pixel_size import agreed_pixel_size, length_um, square
from cytokeras.brain._tile_cache import TileCache
from cytokeras.errors import UserError

_METADATA_LIMIT = 16 << 20
_LEVEL_LIMIT = 32
_SCHEMES = ("http", "https", "file")


@dataclass(frozen=True)
class _Pyramid:
    """What the metadata say.

    Args:
        format: For ``SectionImage.format``.
        arrays: tensorstore spec of each resolution, finest first.
        axes: Names of the array's dimensions: x, y, z, t or c.
        scales: Size of a voxel along each dimension, for each resolution; rows and columns in µm where ``in_um``.
        in_um: Whether the unit of rows and columns is stated.
    """

    format: str
    arrays: tuple[dict[str, Any], ...]
    axes: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    in_um: bool


class ChunkedImage(BlockImage):
    """An OME-Zarr or neuroglancer precomputed image; see ``SectionImage.open``."""

    def __init__(
        self, address: str, pixel_size_um: float | None, channel: Channel | None, polarity: Polarity, cache: TileCache
    ) -> None:
        place, asked = split_plane(address)
        pyramid = _read_metadata(place)
        opened = [open_array(spec) for spec in pyramid.arrays]
        arrays = [wait(future, f"{place} (level {n})") for n, future in enumerate(opened)]
        down, across, samples, planes = _plane_of(pyramid, arrays[0].shape, asked, place)
        levels: list[ChunkedLevel] = []
        for n, (array, scale) in enumerate(zip(arrays, pyramid.scales, strict=True)):
            where = f"{place} (level {n})" if n else place
            coarser = {
                axis: min(int((index + 0.5) * pyramid.scales[0][axis] / scale[axis]), int(array.shape[axis]) - 1)
                for axis, index in planes.items()
            }
            level = ChunkedLevel.of(array, where, (down, across, samples), coarser)
            if not levels or all(a < b for a, b in zip(level.shape, levels[-1].shape, strict=True)):
                levels.append(level)
        if levels[0].samples not in (1, 3, 4):
            raise UserError(f"{place}: has {levels[0].samples} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA).")
        found = None
        if pyramid.in_um:
            found = square(pyramid.scales[0][across], pyramid.scales[0][down], f"{place}: its metadata")
        self.path = place
        self.format = pyramid.format
        super().__init__(
            place,
            levels,
            agreed_pixel_size(place, pixel_size_um, found),
            cache,
            {"channel": channel, "polarity": polarity, "alpha": "unassociated"},
        )


def _read_metadata(place: str) -> _Pyramid:
    address = place
    for prefix in PREFIXES:
        address = address.removeprefix(prefix)
    scheme = address.partition("://")[0] if "://" in address else "file"
    if scheme not in _SCHEMES:
        raise UserError(f"{place}: unknown kind of address {scheme!r}; expected a folder or {', '.join(_SCHEMES)}.")
    root = address.removeprefix("file://").rstrip("/") + "/"
    store = {"driver": "file", "path": root} if scheme == "file" else {"driver": "http", "base_url": root}
    files = open_store(store, place)
    found: dict[str, Any] = {}
    wanted = {"precomputed://": ("info",), "zarr://": (".zattrs", "zarr.json")}
    kind = next((prefix for prefix in PREFIXES if place.startswith(prefix)), None)
    for name in wanted[kind] if kind else METADATA_FILES:
        answer = wait(files.read(name), f"{place}, {name}")
        if answer.state == "value":
            found[name] = _parse(answer.value, f"{place}, {name}")
            break
    if "info" in found:
        return _precomputed(found["info"], store, f"{place}, info")
    for name, content in found.items():
        return _ome_zarr(content, name, store, f"{place}, {name}")
    raise UserError(
        f"{place}: has none of the files info (neuroglancer precomputed), .zattrs and zarr.json (OME-Zarr); "
        "check the address."
    )


def _parse(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > _METADATA_LIMIT:
        raise UserError(f"{where}: is {len(content) >> 20} MiB large; it is no metadata.")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is damaged or no JSON ({str(error)[:200]}).") from None
    if not isinstance(parsed, dict):
        raise UserError(f"{where}: must be a JSON object; received {type(parsed).__name__}.")
    return parsed


def _precomputed(info: dict[str, Any], store: dict[str, Any], where: str) -> _Pyramid:
    scales = info.get("scales")
    if info.get("type") != "image" or not isinstance(scales, list) or not 0 < len(scales) <= _LEVEL_LIMIT:
        raise UserError(f"{where}: expected type image with 1 to {_LEVEL_LIMIT} scales; it is something else.")
    voxels = []
    for n, scale in enumerate(scales):
        size = scale.get("resolution") if isinstance(scale, dict) else None
        voxels.append((*_positive(size, 3, f"{where}, scales[{n}].resolution"), 1.0))
    order = sorted(range(len(scales)), key=lambda n: voxels[n])
    return _Pyramid(
        "neuroglancer precomputed",
        tuple(
            # What a server lacks is an error here: black pixels would be taken for cells.
            {"driver": "neuroglancer_precomputed", "kvstore": store, "scale_index": n, "fill_missing_data_reads": False}
            for n in order
        ),
        ("x", "y", "z", "c"),
        tuple(tuple(nm / 1000 for nm in voxels[n]) for n in order),
        in_um=True,
    )


def _ome_zarr(content: dict[str, Any], name: str, store: dict[str, Any], where: str) -> _Pyramid:
    newer = name == "zarr.json"
    attributes = content.get("attributes", {}) if newer else content
    described = attributes.get("ome", attributes) if isinstance(attributes, dict) else {}
    images = described.get("multiscales") if isinstance(described, dict) else None
    if not isinstance(images, list) or not images or not isinstance(images[0], dict):
        raise UserError(f"{where}: lacks multiscales; it is no OME-Zarr image (plates and label groups are not read).")
    datasets = images[0].get("datasets")
    if not isinstance(datasets, list) or not 0 < len(datasets) <= _LEVEL_LIMIT:
        raise UserError(f"{where}, multiscales[0].datasets: must list 1 to {_LEVEL_LIMIT} resolutions.")
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in images[0].get("axes") or "tczyx"]
    names = tuple(str(axis.get("name")) for axis in axes)
    if not {"x", "y"} <= set(names) <= set("tczyx") or len(set(names)) != len(names):
        raise UserError(f"{where}, multiscales[0].axes: expected some of t, c, z and y, x; received {list(names)}.")
    common = _scale_of(images[0], len(axes), f"{where}, multiscales[0]")
    scales, arrays = [], []
    for n, dataset in enumerate(datasets):
        field = f"{where}, multiscales[0].datasets[{n}]"
        path = dataset.get("path") if isinstance(dataset, dict) else None
        if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/"):
            raise UserError(f"{field}.path: must be a folder beside the metadata; received {path!r}.")
        own = _scale_of(dataset, len(axes), field)
        scales.append(tuple(a * b for a, b in zip(own, common, strict=True)))
        kvstore = {**store}
        kvstore["path" if store["driver"] == "file" else "base_url"] += f"{path.rstrip('/')}/"
        arrays.append({"driver": "zarr3" if newer else "zarr", "kvstore": kvstore})
    in_um = all(axis.get("unit") is not None for axis in axes if axis.get("name") in ("y", "x"))
    factors = [
        length_um(axis.get("unit"), f"{where}, unit of {axis['name']}") if in_um and axis["name"] in "yx" else 1.0
        for axis in axes
    ]
    scaled = (tuple(value * factor for value, factor in zip(scale, factors, strict=True)) for scale in scales)
    version = "3" if newer else "2"
    return _Pyramid(f"OME-Zarr (zarr {version})", tuple(arrays), names, tuple(scaled), in_um)


def _scale_of(holder: dict[str, Any], count: int, where: str) -> tuple[float, ...]:
    transformations = holder.get("coordinateTransformations") or []
    if not isinstance(transformations, list):
        raise UserError(f"{where}.coordinateTransformations: must be a list.")
    for transformation in transformations:
        if isinstance(transformation, dict) and transformation.get("type") == "scale":
            return _positive(transformation.get("scale"), count, f"{where}.coordinateTransformations, scale")
    return (1.0,) * count


def _positive(values: Any, count: int, where: str) -> tuple[float, ...]:
    numbers = values if isinstance(values, list) else []
    good = all(isinstance(n, int | float) and math.isfinite(n) and n > 0 for n in numbers)
    if len(numbers) != count or not good:
        raise UserError(f"{where}: must be {count} numbers above 0; received {str(values)[:100]}.")
    return tuple(float(n) for n in numbers)


def _plane_of(
    pyramid: _Pyramid, shape: Sequence[int], asked: tuple[str, int] | None, place: str
) -> tuple[int, int, int | None, dict[int, int]]:
    """Return the dimensions down, across and of the samples, and the index taken in every other one."""
    if len(shape) != len(pyramid.axes):
        raise UserError(f"{place}: has {len(shape)} dimensions but {len(pyramid.axes)} axes in its metadata.")
    sizes = dict(zip(pyramid.axes, (int(n) for n in shape), strict=True))
    planes: dict[int, int] = {}
    if asked is not None:
        axis, index = asked
        if axis not in sizes or index >= sizes[axis]:
            raise UserError(f"{place}: has no plane {axis} = {index}; its size is {sizes}.")
        planes[pyramid.axes.index(axis)] = index
    left = [name for name in pyramid.axes if name != "c" and pyramid.axes.index(name) not in planes]
    for name in ("t", "z", "y", "x"):
        if len(left) > 2 and name in left and sizes[name] == 1:
            planes[pyramid.axes.index(name)] = 0
            left.remove(name)
    if len(left) != 2 or "t" in left:
        raise UserError(
            f"{place}: is a volume ({', '.join(f'{name} {sizes[name]}' for name in left)}); a section is one plane of "
            "it: add #z=NUMBER (or x, y, t; counted from 0) to the address."
        )
    # The image's columns run along the first of x, y, z that it has, its rows along the other.
    across, down = (pyramid.axes.index(name) for name in sorted(left))
    channel = pyramid.axes.index("c") if "c" in pyramid.axes else None
    return down, across, channel, planes
