"""The model card of a preset: a README.md with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cytokeras.hub.preset_files import LIBRARY, PresetConfig, PresetMetadata

_PIPELINE_TAGS = {"AtlasUNet": "image-segmentation", "SiameseDistanceNet": "image-feature-extraction"}

# The Hub accepts only its own licence names; all others are given as "other" with a name beside it.
_HUB_LICENSES = {
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "gpl-3.0",
    "lgpl-3.0",
    "artistic-2.0",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
}

_REFERENCE = (
    "Spitzer, Kiwitz, Amunts, Harmeling, Dickscheid: Improving Cytoarchitectonic Segmentation of Human Brain "
    "Areas with Self-supervised Siamese Networks. MICCAI 2018."
)


def render_model_card(config: PresetConfig, metadata: PresetMetadata, source: str) -> str:
    """Return the text of a model card.

    Args:
        config: Content of ``config.json``.
        metadata: Content of ``metadata.json``.
        source: What a reader gives to ``from_pretrained``: a repository of the Hub or a folder name.

    Returns:
        Markdown. The card states that the training data were synthetic where ``metadata`` says so, and states
        nothing that ``metadata`` does not hold.
    """
    known = metadata.provenance
    data = known.get("data", {})
    sections = [
        _front_matter(config, metadata),
        f"# {source.removeprefix('hf://')}",
        known.get("description", f"Weights of a cytokeras {config.class_name}."),
    ]
    if data.get("synthetic"):
        sections.append(
            "> **Trained on synthetic data.** The sections were drawn by a computer (phantom brain), not "
            "cut from a brain. Use these weights to try the software out or as a starting point, not for "
            "anatomical results."
        )
    sections += [
        "## Use",
        "```python\nimport cytokeras as ck\n\n"
        f"model = ck.{config.class_name}.from_pretrained({json.dumps(source)})\n```",
        "## Input and output",
        "\n".join(_input_lines(config, metadata)),
    ]
    if data or known.get("source_preset"):
        lines = [data.get("description", "")] if data.get("description") else []
        lines += [f"Licence of the data: {data['license']}."] if data.get("license") else []
        lines += [f"Training started from `{known['source_preset']}`."] if known.get("source_preset") else []
        sections += ["## Training data", "\n\n".join(lines) or "Not described."]
    if known.get("recipe"):
        sections += ["## Training recipe", _table("Setting", "Value", known["recipe"])]
    if known.get("scores"):
        sections += ["## Scores", _table("Score", "Value", known["scores"])]
    sections += ["## Reference", _REFERENCE, _written_by(metadata)]
    return "\n\n".join(sections) + "\n"


def _front_matter(config: PresetConfig, metadata: PresetMetadata) -> str:
    fields: dict[str, Any] = {"library_name": LIBRARY}
    license_name = metadata.provenance.get("license")
    if license_name and license_name.lower() in _HUB_LICENSES:
        fields["license"] = license_name.lower()
    elif license_name:
        fields |= {"license": "other", "license_name": license_name}
    if config.class_name in _PIPELINE_TAGS:
        fields["pipeline_tag"] = _PIPELINE_TAGS[config.class_name]
    fields["tags"] = ["keras", "neuroscience", "histology", "cytoarchitecture"]
    if metadata.provenance.get("data", {}).get("synthetic"):
        fields["tags"].append("synthetic-data")
    # Every JSON value is a YAML value, and quoting is settled.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _input_lines(config: PresetConfig, metadata: PresetMetadata) -> Iterator[str]:
    low, high = config.value_range
    yield f"- Pixel size: {config.pixel_size_um:g} µm"
    yield f"- Values: {low:g} to {high:g}, {config.polarity}"
    if "input_shape" in config.arguments:
        yield f"- Input shape: {tuple(config.arguments['input_shape'])}"
    if config.arguments.get("atlas_channels"):
        yield f"- Atlas probabilities: {config.arguments['atlas_channels']} channels"
    if "pixel_size_um" in config.output_grid:
        yield f"- Output pixel size: {config.output_grid['pixel_size_um']:g} µm"
    if config.classes:
        yield f"- Classes: {', '.join(config.classes)}"
    yield f"- Trainable parameters: {metadata.trainable_parameters:,}"


def _table(left: str, right: str, values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_cell(value)} |" for name, value in _flat(values)]
    return "\n".join([f"| {left} | {right} |", "|---|---|", *rows])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}, ")
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _written_by(metadata: PresetMetadata) -> str:
    known = metadata.provenance
    when = f" on {known['date']}" if known.get("date") else ""
    commit = f", commit {known['commit']}" if known.get("commit") else ""
    return (
        f"Written{when} by cytokeras {metadata.cytokeras_version} with Keras {metadata.keras_version}"
        f"{commit}. SHA-256 of the weights and their variable list are in `metadata.json`."
    )
