"""Packages of bioimage.io: ONNX weights, test tensors, and what programs need to know to feed them.

The description is made and checked by the bioimageio.spec library: https://bioimage-io.github.io/spec-bioimage-io
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bioimageio.spec
import numpy as np
import onnx
from bioimageio.spec.model import v0_5 as spec

from cytokeras._auxiliary_tasks import CONTRAST, PLACE_TASKS
from cytokeras.hub.exports import ONNX_OPSET, write_onnx
from cytokeras.hub.golden import GoldenPair
from cytokeras.hub.preset_files import CARD_FILE, GOLDEN_FILE, PresetConfig, PresetFolder, PresetMetadata

WEIGHTS, CARD = "weights.onnx", "documentation.md"

_REFERENCE = (
    "Spitzer, Kiwitz, Amunts, Harmeling, Dickscheid: Improving Cytoarchitectonic Segmentation of Human Brain Areas "
    "with Self-supervised Siamese Networks. MICCAI 2018"
)
_REFERENCE_URL = "https://arxiv.org/abs/1806.05104"


def write_package(model: Any, preset: PresetFolder, authors: Sequence[str], path: Path) -> None:
    """Write a preset as a package of bioimage.io.

    Args:
        model: The model of the preset.
        preset: The folder of the preset.
        authors: Names of the authors of the weights.
        path: The zip file to write.
    """
    config, metadata = preset.read_config(), preset.read_metadata()
    pair = GoldenPair.of(model)
    if metadata.golden_sha256 is not None:
        pair = GoldenPair.read(preset.check_golden(metadata), f"{preset.label}/{GOLDEN_FILE}")
    with tempfile.TemporaryDirectory(prefix="cytokeras-export-") as workplace:
        folder = Path(workplace)
        write_onnx(model, folder / WEIGHTS)
        graph = onnx.load(folder / WEIGHTS).graph
        # Programs pass tensors to ONNX by their order, so that the description has to follow it.
        inputs = {item.name: pair.inputs[item.name] for item in graph.input}
        names = [item.name if item.name in pair.outputs else "output" for item in graph.output]
        outputs = {name: pair.outputs[name] for name in names}
        (folder / CARD).write_bytes(preset.file(CARD_FILE).read_bytes())
        for name, array in {**inputs, **outputs}.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        # Addresses are not looked up: exporting works without internet.
        with bioimageio.spec.ValidationContext(root=folder, perform_io_checks=False):
            writer = _Describer(folder, config, metadata, preset.folder.name)
            description = writer.model(authors, inputs, outputs)
            bioimageio.spec.save_bioimageio_package(description, output_path=path, local_files_only=True)


class _Describer:
    """Descriptions of the tensors of one preset, whose files lie in ``folder``."""

    def __init__(self, folder: Path, config: PresetConfig, metadata: PresetMetadata, name: str) -> None:
        self.folder = folder
        self.config = config
        self.known = metadata.provenance
        self.name = name
        # The atlas lies on the grid of the output.
        self.grid_um = float(config.output_grid.get("pixel_size_um", config.pixel_size_um))

    def model(
        self, authors: Sequence[str], inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> spec.ModelDescr:
        tags = ["cytoarchitecture", "histology", "brain", "2d", "keras"]
        if self.known.get("data", {}).get("synthetic"):
            tags.append("synthetic-data")
        return spec.ModelDescr(
            name=re.sub(r"[^\w +()-]", " ", f"cytokeras {self.name}"),
            description=self.known.get("description", f"A cytokeras {self.config.class_name}."),
            authors=[spec.Author(name=author) for author in authors],
            cite=[spec.CiteEntry(text=_REFERENCE, url=spec.HttpUrl(_REFERENCE_URL))],
            license=self.known.get("license"),
            documentation=self.file(CARD),
            tags=tags,
            inputs=[self.input(name, array) for name, array in inputs.items()],
            outputs=[self.output(name, array) for name, array in outputs.items()],
            weights=spec.WeightsDescr(
                onnx=spec.OnnxWeightsDescr(source=self.folder / WEIGHTS, opset_version=ONNX_OPSET)
            ),
        )

    def input(self, name: str, array: np.ndarray) -> spec.InputTensorDescr:
        if name == "atlas":
            channels = [f"area_{number}" for number in range(array.shape[-1])]
            text = "Probabilities of the areas of an atlas"
            data, pixel_um = spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)), self.grid_um
            steps = []
        else:
            channels, text, pixel_um = ["grey"], f"Grey values: {self.config.polarity}", self.config.pixel_size_um
            low, high = self.config.value_range
            data = spec.IntervalOrRatioDataDescr(type="uint8", range=(low, high))
            steps = [spec.EnsureDtypeDescr(kwargs=spec.EnsureDtypeKwargs(dtype="float32"))]
        return spec.InputTensorDescr(
            id=spec.TensorId(name),
            description=text,
            axes=[spec.BatchAxis(), *self.plane(array, spec.SpaceInputAxis, pixel_um), self.channels(channels)],
            data=data,
            preprocessing=steps,
            test_tensor=self.file(f"{name}.npy"),
        )

    def output(self, name: str, array: np.ndarray) -> spec.OutputTensorDescr:
        axes: list[Any] = [spec.BatchAxis()]
        if array.ndim == 4:
            classes = self.config.classes or [f"class_{number}" for number in range(array.shape[-1])]
            axes += [*self.plane(array, spec.SpaceOutputAxis, self.grid_um), self.channels(classes)]
            data = spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0))
            offset = self.config.output_grid.get("offset_px")
            text = f"Probabilities of the classes; cell (0, 0) is centred on input pixel ({offset}, {offset})"
        else:
            axes += self.vector(array)
            text, unit = _meaning(name)
            data = spec.IntervalOrRatioDataDescr(type="float32", unit=unit)
        return spec.OutputTensorDescr(
            id=spec.TensorId(name), description=text, axes=axes, data=data, test_tensor=self.file(f"{name}.npy")
        )

    def vector(self, array: np.ndarray) -> list[Any]:
        if array.ndim == 3:
            features = [f"feature_{number}" for number in range(array.shape[2])]
            return [spec.IndexOutputAxis(id=spec.AxisId("patch"), size=array.shape[1]), self.channels(features)]
        return [self.channels(["x", "y", "z"])] if array.ndim == 2 else []

    def plane(self, array: np.ndarray, kind: type, pixel_um: float) -> list[Any]:
        return [
            kind(id=spec.AxisId(axis), size=size, unit="micrometer", scale=pixel_um)
            for axis, size in zip("yx", array.shape[1:3], strict=True)
        ]

    def channels(self, names: Sequence[str]) -> spec.ChannelAxis:
        return spec.ChannelAxis(channel_names=[spec.Identifier(re.sub(r"\W", "_", name)) for name in names])

    def file(self, name: str) -> spec.FileDescr:
        return spec.FileDescr(source=self.folder / name)


def _meaning(output: str) -> tuple[str, str]:
    """What an output of a siamese network is, and its unit (bioimage.io knows neither 1/mm nor degrees)."""
    task = re.sub("_[ab]$", "", output)
    if task in PLACE_TASKS:
        return PLACE_TASKS[task].text, "arbitrary unit"
    if output == CONTRAST:
        return "Features of both patches", "arbitrary unit"
    return ("Distance along the cortex" if output == "distance" else "Place on the inflated surface"), "mm"
