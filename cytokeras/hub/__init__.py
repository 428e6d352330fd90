"""Presets: built-in weights, preset folders, and the Hugging Face Hub.

Importing this package imports neither Keras nor a backend nor ``huggingface_hub``.
"""

from __future__ import annotations

from cytokeras.hub._preset_loader import check_golden_pair, load_preset
from cytokeras.hub._preset_writer import push_folder, push_preset, save_preset
from cytokeras.hub.exports import export_preset
from cytokeras.hub.hub_client import Publication
from cytokeras.hub.presets import PresetDescription, describe_preset, download_preset, list_presets

__all__ = [
    "PresetDescription",
    "Publication",
    "check_golden_pair",
    "describe_preset",
    "download_preset",
    "export_preset",
    "list_presets",
    "load_preset",
    "push_folder",
    "push_preset",
    "save_preset",
]
