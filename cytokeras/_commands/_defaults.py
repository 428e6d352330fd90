"""What several commands share."""

from __future__ import annotations

DEFAULT_UNET = "atlas-unet-phantom-16um"
DEFAULT_SIAMESE = "siamese-phantom-16um"


def positive_int(text: str) -> int:
    """Return a whole number above 0; argparse tells what is wrong with another."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
