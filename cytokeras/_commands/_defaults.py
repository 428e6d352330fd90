"""What several commands share."""

from __future__ import annotations

DEFAULT_UNET = "atlas-unet-phantom-16um"
DEFAULT_SIAMESE = "siamese-phantom-16um"
