"""What several commands share."""

from __future__ import annotations

import os

DEFAULT_UNET = "atlas-unet-phantom-16um"
DEFAULT_SIAMESE = "siamese-phantom-16um"


def positive_int(text: str) -> int:
    """Return a whole number above 0; argparse tells what is wrong with another."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def prepare_training() -> None:
    """Choose oneDNN's convolutions before TensorFlow is imported.

    They train in half the time; TensorFlow takes them by itself only on Intel's newer processors. On others predictions
    are slower with them, so that only commands that train ask for them.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
