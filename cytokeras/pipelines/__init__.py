"""From brains to batches: the only part that knows tf.data (imported where a dataset is made)."""

from __future__ import annotations

from cytokeras.pipelines.pair_dataset import pair_dataset
from cytokeras.pipelines.patch_reader import PatchReader
from cytokeras.pipelines.segmentation_dataset import segmentation_dataset

__all__ = ["PatchReader", "pair_dataset", "segmentation_dataset"]
