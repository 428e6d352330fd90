"""OME-Zarr and precomputed images written for the tests."""

from __future__ import annotations

import json

import numpy as np


def write_precomputed(folder, pixels, *, factors=(1,), resolution_nm=2000, axes="xyz", encoding="raw", chunk=(64, 48)):
    """Write ``(rows, columns[, samples])`` as a volume one voxel thick; ``axes``: those of the columns and the rows."""
    import tensorstore

    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    across, down = "xyz".index(axes[0]), "xyz".index(axes[1])
    flat = 3 - across - down
    for factor in factors:
        level = pixels[::factor, ::factor]
        size, chunks, resolution = [1, 1, 1], [1, 1, 1], [float(resolution_nm)] * 3
        size[across], size[down] = level.shape[1], level.shape[0]
        chunks[across], chunks[down] = chunk
        resolution[across] = resolution[down] = float(resolution_nm * factor)
        volume = np.moveaxis(level[..., None, :], (1, 0, 2), (across, down, flat))
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {"type": "image", "data_type": pixels.dtype.name, "num_channels": pixels.shape[2]},
            "scale_metadata": {
                "size": size,
                "chunk_size": chunks,
                "resolution": resolution,
                "encoding": encoding,
                "voxel_offset": [7, 5, 3],
                **({"jpeg_quality": 100} if encoding == "jpeg" else {}),
            },
        }
        tensorstore.open(spec, create=True).result().write(volume).result()
    return folder


def write_ome_zarr(
    folder, pixels, *, factors=(1,), size_um=2.0, unit="micrometer", version=2, axes="yx", chunk=(48, 64)
):
    """Write ``(rows, columns)`` or ``(rows, columns, samples)`` with the axes named; samples go to axis c."""
    import tensorstore

    datasets = []
    for n, factor in enumerate(factors):
        level = pixels[::factor, ::factor]
        level = np.moveaxis(level, 2, 0) if level.ndim == 3 else level[None]
        shape = [{"y": level.shape[1], "x": level.shape[2], "c": level.shape[0]}.get(axis, 1) for axis in axes]
        level = level.reshape(shape)
        chunks = [{"y": chunk[0], "x": chunk[1]}.get(axis, side) for axis, side in zip(axes, shape, strict=True)]
        kvstore = {"driver": "file", "path": f"{folder}/{n}/"}
        if version == 2:
            kind = f"<u{level.dtype.itemsize}" if level.dtype.itemsize > 1 else "|u1"
            metadata = {"shape": shape, "chunks": chunks, "dtype": kind, "compressor": {"id": "zlib", "level": 1}}
            spec = {"driver": "zarr", "kvstore": kvstore, "metadata": metadata}
        else:
            grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
            metadata = {"shape": shape, "chunk_grid": grid, "data_type": level.dtype.name}
            spec = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata}
        tensorstore.open(spec, create=True).result().write(level).result()
        scale = [size_um * factor if axis in "xy" else 1.0 for axis in axes]
        datasets.append({"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    if unit:
        described = [{**axis, "unit": unit} if axis["type"] == "space" else axis for axis in described]
    image = [{"axes": described, "datasets": datasets, "version": "0.4" if version == 2 else "0.5"}]
    if version == 2:
        (folder / ".zattrs").write_text(json.dumps({"multiscales": image}))
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    else:
        attributes = {"ome": {"version": "0.5", "multiscales": image}}
        content = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (folder / "zarr.json").write_text(json.dumps(content))
    return folder
