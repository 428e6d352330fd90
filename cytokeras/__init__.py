"""Keras 3 models, weights and pipelines for cytoarchitectonic brain mapping.

Names are loaded when first used, so that geometry and command line start without waiting for a Keras backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cytokeras._version import __version__

if TYPE_CHECKING:
    from cytokeras import surfaces as surfaces
    from cytokeras.analysis import cortical_borders as cortical_borders
    from cytokeras.analysis import evaluate as evaluate
    from cytokeras.brain import Atlas as Atlas
    from cytokeras.brain import Brain as Brain
    from cytokeras.brain import LabelScheme as LabelScheme
    from cytokeras.brain import Section as Section
    from cytokeras.brain import SectionImage as SectionImage
    from cytokeras.hub import list_presets as list_presets
    from cytokeras.inference.embed_cortex import embed_cortex as embed_cortex
    from cytokeras.inference.segment_brain import segment_brain as segment_brain
    from cytokeras.inference.segment_section import segment_section as segment_section
    from cytokeras.losses import CoordinateLoss as CoordinateLoss
    from cytokeras.losses import DistanceLoss as DistanceLoss
    from cytokeras.losses import MaskedCategoricalCrossentropy as MaskedCategoricalCrossentropy
    from cytokeras.losses import SpatialContrastiveLoss as SpatialContrastiveLoss
    from cytokeras.losses import siamese_losses as siamese_losses
    from cytokeras.metrics import Dice as Dice
    from cytokeras.metrics import MeanDistanceError as MeanDistanceError
    from cytokeras.metrics import PixelDistanceError as PixelDistanceError
    from cytokeras.models import AtlasUNet as AtlasUNet
    from cytokeras.models import SiameseDistanceNet as SiameseDistanceNet
    from cytokeras.models import transfer_weights as transfer_weights
    from cytokeras.phantom import PhantomBrain as PhantomBrain
    from cytokeras.pipelines import Augmentation as Augmentation
    from cytokeras.pipelines import pair_dataset as pair_dataset
    from cytokeras.pipelines import segmentation_dataset as segmentation_dataset
    from cytokeras.sampling import sample_cortex as sample_cortex
    from cytokeras.sampling import sample_pairs as sample_pairs

_HOME = {
    "analysis": ("cortical_borders", "evaluate"),
    "brain": ("Atlas", "Brain", "LabelScheme", "Section", "SectionImage"),
    "hub": ("list_presets",),
    "inference": ("embed_cortex", "segment_brain", "segment_section"),
    "losses": (
        "CoordinateLoss",
        "DistanceLoss",
        "MaskedCategoricalCrossentropy",
        "SpatialContrastiveLoss",
        "siamese_losses",
    ),
    "metrics": ("Dice", "MeanDistanceError", "PixelDistanceError"),
    "models": ("AtlasUNet", "SiameseDistanceNet", "transfer_weights"),
    "phantom": ("PhantomBrain",),
    "pipelines": ("Augmentation", "pair_dataset", "segmentation_dataset"),
    "sampling": ("sample_cortex", "sample_pairs"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_MODULES = (*_HOME, "surfaces", "training")

__all__ = ["__version__", *sorted(_MODULE_OF), *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF and name not in _MODULES:
        raise AttributeError(f"module 'cytokeras' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"cytokeras.{_MODULE_OF.get(name, name)}")
    except ModuleNotFoundError as error:
        if error.name in ("tensorflow", "jax", "torch"):
            raise ImportError(
                f"cytokeras.{name} needs a Keras backend, and {error.name} is not installed: "
                "pip install 'cytokeras[tensorflow-cpu]' (or [tensorflow], [tensorflow-cuda]), or set KERAS_BACKEND "
                "to the one you have."
            ) from error
        raise
    value = getattr(module, name) if name in _MODULE_OF else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
