"""Batches of patch pairs that fit a siamese network, of pairs sampled for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cytokeras.pipelines import pair_dataset
from cytokeras.pipelines.pair_dataset import DEFAULT_CACHE_BYTES
from cytokeras.sampling import sample_cortex, sample_pairs

if TYPE_CHECKING:
    from cytokeras.brain import Brain
    from cytokeras.models import SiameseDistanceNet
    from cytokeras.sampling import CortexPairs


def pair_batches(net: SiameseDistanceNet, brain: Brain, pairs: CortexPairs, batch_size: int, **arguments: Any) -> Any:
    """Batches of ``pair_dataset``; patches stay in memory where they fit, and are read from the sections where not."""
    side = net.encoder.input_shape[1]
    needed = len(pairs.locations) * side**2 * (2 if arguments.get("augment") else 1)
    fits = needed <= DEFAULT_CACHE_BYTES
    return pair_dataset(brain, pairs, side, batch_size, pixel_size_um=net.pixel_size_um, cache=fits, **arguments)


def held_out_pairs(brain: Brain, patches: int, pairs: int, seed: int) -> CortexPairs:
    """Pairs from the sections of split "test"."""
    return sample_pairs(brain, sample_cortex(brain, patches, seed=seed, split="test"), pairs, seed=seed)
