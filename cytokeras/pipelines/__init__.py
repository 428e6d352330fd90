"""From brains to batches, for tf.data and for Keras without TensorFlow."""

from __future__ import annotations

from cytokeras.pipelines._feed import Form, Shard, worker_shard
from cytokeras.pipelines.augmentation import AUGMENTATIONS, Augmentation
from cytokeras.pipelines.pair_dataset import pair_dataset, pair_targets
from cytokeras.pipelines.patch_reader import PatchReader
from cytokeras.pipelines.segmentation_dataset import labelled_centres, segmentation_dataset

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Form",
    "PatchReader",
    "Shard",
    "labelled_centres",
    "pair_dataset",
    "pair_targets",
    "segmentation_dataset",
    "worker_shard",
]
