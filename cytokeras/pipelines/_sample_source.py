"""What both forms of a pipeline draw their samples from."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
Sample = tuple[Arrays, Arrays]

TARGET = ""
"""Name of targets that are a single array and no dictionary."""


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a sample."""

    shape: tuple[int, ...]
    dtype: Any


Specs = tuple[dict[str, ArraySpec], dict[str, ArraySpec]]


class SampleSource(Protocol):
    """Draws samples, each a function of its epoch and its index alone, from any number of threads."""

    @property
    def specs(self) -> Specs:
        """Arrays of the inputs and of the targets of a sample; one target called ``TARGET`` stands alone."""

    def draw(self, epoch: int, index: int) -> Sample:
        """Return inputs and targets of a sample."""


def bare_target(targets: dict[str, Any]) -> Any:
    """Return targets as Keras takes them: the dictionary, or what stands alone in it."""
    return targets.get(TARGET, targets)


def random_of(*key: int) -> np.random.Generator:
    """Return the generator of one sample."""
    return np.random.default_rng(list(key))
