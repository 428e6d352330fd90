"""Training recipes as data: the paper's and those that made the bundled presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import keras

from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.training.accumulation import accumulate_gradients
from cytokeras.training.branch_rates import BranchRates
from cytokeras.training.replica_clipping import clip_over_replicas
from cytokeras.training.schedules import halved_at, halved_every, warmup_cosine


@dataclass(frozen=True)
class PretrainingRecipe:
    """How a ``SiameseDistanceNet`` is trained.

    Attributes:
        name: Name of the recipe.
        source: Where its numbers come from.
        patches: Number of patches sampled from the cortex.
        pairs: Number of pairs made of them.
        epochs: Passes over the pairs.
        batch_size: Pairs in a batch.
        optimizer: ``"sgd"`` (Nesterov momentum 0.9), ``"adam"``, ``"adamw"`` or ``"lamb"``.
        learning_rate: Initial or, with warm-up, largest rate.
        halve_every_epochs: The rate is halved every so many epochs; None: warm-up over a tenth of the steps, then
            a cosine to a hundredth.
        alpha: Weight of the coordinate losses (eq. 3).
        distance_weight: Weight of the distance loss; 0 in the ablation with coordinates alone.
        weight_decay: Factor lambda of the L2 term (eq. 3).
        output_scale_mm: Millimetres of one unit of the network's outputs and of the loss.
        clip_norm: Largest norm of the whole gradient; None: not clipped.
        decoupled_decay: Weight decay of ``"adamw"`` and ``"lamb"``, which is no part of the loss.
        ema_momentum: Share of the past in a running average of the weights, which the network has at the end of
            training; None: no average.
        accumulate: Every batch goes through the network in so many parts, whose gradients are averaged; see
            ``accumulate_gradients``.
        augment: Random changes of every patch by name, as in ``pair_dataset``; None as in the paper.
        auxiliary: Further tasks with the weights of their losses, see ``siamese_losses``; the network has to be
            built with them (``auxiliary=recipe.auxiliary``).
    """

    name: str
    source: str
    patches: int
    pairs: int
    epochs: int
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    halve_every_epochs: int | None = 3
    alpha: float = 10.0
    distance_weight: float = 1.0
    weight_decay: float = 0.001
    output_scale_mm: float = 1.0
    clip_norm: float | None = None
    decoupled_decay: float = 0.0
    ema_momentum: float | None = None
    accumulate: int = 1
    augment: str | None = None
    auxiliary: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.epochs * self.pairs // self.batch_size

    def build_optimizer(self, *, constant_rate: bool = False) -> keras.optimizers.Optimizer:
        """The optimizer with its schedule, or with the initial rate throughout."""
        if constant_rate:
            schedule: Any = self.learning_rate
        elif self.halve_every_epochs is None:
            schedule = _warmup_and_cosine(self.learning_rate, self.steps)
        else:
            schedule = halved_every(
                self.halve_every_epochs,
                initial_rate=self.learning_rate,
                steps_per_epoch=max(1, self.pairs // self.batch_size),
            )
        return _optimizer(self, schedule)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON values, for model cards and logs."""
        return asdict(self)


@dataclass(frozen=True)
class Phase:
    """One phase of fine-tuning.

    Attributes:
        iterations: Optimizer steps.
        learning_rate: Initial or, with warm-up, largest rate.
        with_atlas: Whether the atlas path takes part.
        atlas_rate_factor: The atlas branch learns so many times faster.
        halve_at: Iterations at which the rate is halved; None: warm-up and cosine as in ``PretrainingRecipe``.
        texture_rate_factor: The texture branch, which transferred weights begin, learns so many times faster.
    """

    iterations: int
    learning_rate: float
    with_atlas: bool
    atlas_rate_factor: float = 1.0
    halve_at: tuple[int, ...] | None = (3000, 5000, 6000)
    texture_rate_factor: float = 1.0


@dataclass(frozen=True)
class FinetuningRecipe:
    """How an ``AtlasUNet`` is trained, phase after phase with the same weights.

    Attributes:
        name: Name of the recipe.
        source: Where its numbers come from.
        phases: The phases in order.
        batch_size: Patches in a batch.
        optimizer: As in ``PretrainingRecipe``.
        weight_decay: Factor of the L2 term.
        clip_norm, decoupled_decay, ema_momentum, accumulate, augment: As in ``PretrainingRecipe``.
    """

    name: str
    source: str
    phases: tuple[Phase, ...]
    batch_size: int = 40
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decoupled_decay: float = 0.0
    ema_momentum: float | None = None
    accumulate: int = 1
    augment: str | None = None

    def build_optimizer(self, phase: Phase, *, constant_rate: bool = False) -> keras.optimizers.Optimizer:
        """The optimizer of one phase, with its schedule or the initial rate throughout; every phase starts anew."""
        if constant_rate:
            schedule: Any = phase.learning_rate
        elif phase.halve_at is None:
            schedule = _warmup_and_cosine(phase.learning_rate, phase.iterations)
        else:
            schedule = halved_at(phase.halve_at, initial_rate=phase.learning_rate)
        optimizer = _optimizer(self, schedule)
        factors = {"texture_": phase.texture_rate_factor}
        if phase.with_atlas:
            factors["atlas_"] = phase.atlas_rate_factor
        factors = {prefix: factor for prefix, factor in factors.items() if factor != 1.0}
        return BranchRates(optimizer, factors) if factors else optimizer

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON values, for model cards and logs."""
        return asdict(self)


_OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "lamb": keras.optimizers.Lamb,
}


def _optimizer(recipe: PretrainingRecipe | FinetuningRecipe, schedule: Any) -> keras.optimizers.Optimizer:
    if recipe.optimizer not in _OPTIMIZERS:
        raise UserError(f"optimizer must be one of {', '.join(_OPTIMIZERS)}. Received: optimizer={recipe.optimizer!r}")
    if recipe.decoupled_decay and recipe.optimizer not in ("adamw", "lamb"):
        raise UserError(f"decoupled_decay belongs to 'adamw' and 'lamb'. Received: optimizer={recipe.optimizer!r}")
    arguments: dict[str, Any] = {"global_clipnorm": recipe.clip_norm}
    if recipe.optimizer == "sgd":
        arguments |= {"momentum": 0.9, "nesterov": True}
    if recipe.decoupled_decay:
        arguments["weight_decay"] = recipe.decoupled_decay
    elif recipe.optimizer == "adamw":
        arguments["weight_decay"] = None  # Keras' own default is not 0
    if recipe.ema_momentum is not None:
        arguments |= {"use_ema": True, "ema_momentum": recipe.ema_momentum}
    plain = _OPTIMIZERS[recipe.optimizer](schedule, **arguments)
    return clip_over_replicas(accumulate_gradients(plain, recipe.accumulate))


def part_size(recipe: PretrainingRecipe | FinetuningRecipe) -> int:
    """Samples that go through the network at once.

    Raises:
        UserError: The batches cannot be divided evenly.
    """
    size, rest = divmod(recipe.batch_size, recipe.accumulate) if recipe.accumulate >= 1 else (0, 1)
    if rest:
        raise UserError(
            "batch_size must be a multiple of accumulate, which is at least 1. Received: "
            f"batch_size={recipe.batch_size}, accumulate={recipe.accumulate}"
        )
    return size


def _warmup_and_cosine(learning_rate: float, steps: int) -> Any:
    steps = max(steps, 2)
    return warmup_cosine(learning_rate, warmup_steps=max(1, steps // 10), total_steps=steps, final_fraction=0.01)


_PAPER = "Spitzer et al. 2018, section 3.1; batch size and momentum are not stated there"
_PAPER_ABLATION = "Spitzer et al. 2018, section 4, 20k ablation"

_ADAM_COSINE = PretrainingRecipe(
    "adam-cosine",
    "ours: scaled outputs, clipped gradients and warm-up against collapse",
    patches=6_000,
    pairs=8_000,
    epochs=5,
    optimizer="adam",
    learning_rate=2e-3,
    halve_every_epochs=None,
    output_scale_mm=50.0,
    weight_decay=1e-4,
    clip_norm=1.0,
)

PRETRAINING_RECIPES = {
    recipe.name: recipe
    for recipe in (
        PretrainingRecipe("paper", _PAPER, patches=200_000, pairs=200_000, epochs=16),
        PretrainingRecipe("paper-20k", _PAPER_ABLATION, patches=20_000, pairs=20_000, epochs=50),
        PretrainingRecipe("paper-20k-distance", _PAPER_ABLATION, patches=20_000, pairs=20_000, epochs=50, alpha=0.0),
        PretrainingRecipe(
            "paper-20k-coordinates",
            _PAPER_ABLATION,
            patches=20_000,
            pairs=20_000,
            epochs=50,
            distance_weight=0.0,
        ),
        _ADAM_COSINE,
        replace(
            _ADAM_COSINE,
            name="adam-cosine-closing",
            source="ours: goes on from adam-cosine with more patches and coordinates that weigh as much as distances",
            patches=16_000,
            pairs=40_000,
            epochs=1,
            alpha=1.0,
        ),
        replace(
            _ADAM_COSINE,
            name="demo",
            source="ours: a short way on from weights trained with adam-cosine, minutes on two cores",
            patches=1_920,
            pairs=2_560,
            epochs=1,
            learning_rate=5e-4,
            alpha=1.0,
        ),
    )
}
"""Pre-training recipes by name."""

_ADAM_FINETUNING = FinetuningRecipe(
    "adam-cosine",
    "ours, for small networks on two cores",
    phases=(
        Phase(20, 3e-3, with_atlas=False, halve_at=None),
        Phase(200, 3e-3, with_atlas=True, atlas_rate_factor=2.0, halve_at=None),
    ),
    batch_size=8,
    optimizer="adam",
    clip_norm=1.0,
)

FINETUNING_RECIPES = {
    recipe.name: recipe
    for recipe in (
        FinetuningRecipe(
            "paper",
            "Spitzer et al. 2018, section 3.2; momentum is not stated there",
            phases=(
                Phase(8_000, 0.05, with_atlas=False),
                Phase(10_000, 0.025, with_atlas=True, atlas_rate_factor=10.0),
            ),
        ),
        _ADAM_FINETUNING,
        replace(
            _ADAM_FINETUNING,
            name="demo",
            source="ours: adam-cosine, shortened to minutes on two cores",
            phases=(
                Phase(10, 3e-3, with_atlas=False, halve_at=None),
                Phase(40, 3e-3, with_atlas=True, atlas_rate_factor=2.0, halve_at=None),
            ),
        ),
    )
}
"""Fine-tuning recipes by name."""


def pretraining_recipe(name: str) -> PretrainingRecipe:
    """The pre-training recipe of that name; UserError with the nearest name where there is none."""
    return _lookup(PRETRAINING_RECIPES, name, "pre-training")


def finetuning_recipe(name: str) -> FinetuningRecipe:
    """The fine-tuning recipe of that name; UserError with the nearest name where there is none."""
    return _lookup(FINETUNING_RECIPES, name, "fine-tuning")


def _lookup(recipes: dict[str, Any], name: str, kind: str) -> Any:
    if name not in recipes:
        raise UserError(
            f"No {kind} recipe is called {name!r}.{nearest_name_hint(name, recipes)} There are: {', '.join(recipes)}."
        )
    return recipes[name]
