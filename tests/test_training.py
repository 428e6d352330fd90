"""The recipes against the paper's numbers, and the two trainings on a small phantom."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

pytest.importorskip("nilearn", reason="the phantom is drawn on the fsaverage5 surfaces that nilearn ships")
pytest.importorskip("tensorflow", reason="the pipelines feed networks through tf.data")

from cytokeras.brain import Brain
from cytokeras.errors import UserError
from cytokeras.losses import siamese_losses
from cytokeras.models import AtlasUNet, SiameseDistanceNet, transfer_weights
from cytokeras.training import (
    FINETUNING_RECIPES,
    PRETRAINING_RECIPES,
    DistanceScores,
    FinetuningRecipe,
    Phase,
    PretrainingRecipe,
    StopOnDivergence,
    TaskScore,
    distance_scores,
    finetune,
    finetuning_recipe,
    pretrain,
    pretraining_recipe,
)

WIDTHS = (2, 2, 2, 2, 2, 2)
TINY_PRETRAINING = PretrainingRecipe(
    "tiny",
    "for this test",
    patches=24,
    pairs=32,
    epochs=1,
    batch_size=8,
    optimizer="adam",
    learning_rate=1e-3,
    halve_every_epochs=None,
    output_scale_mm=50.0,
    clip_norm=1.0,
)
TINY_FINETUNING = FinetuningRecipe(
    "tiny",
    "for this test",
    phases=(Phase(2, 1e-2, False, halve_at=None), Phase(2, 1e-2, True, atlas_rate_factor=10.0, halve_at=None)),
    batch_size=2,
)


@pytest.fixture(scope="module")
def brain(small_phantom):
    return Brain.open(small_phantom)


@pytest.fixture
def net():
    keras.utils.set_random_seed(0)
    return SiameseDistanceNet((132, 132, 1), pixel_size_um=20.0, widths=WIDTHS, output_scale_mm=50.0)


def test_pretraining_recipe_of_the_paper():
    recipe = PRETRAINING_RECIPES["paper"]
    assert (recipe.patches, recipe.pairs, recipe.epochs) == (200_000, 200_000, 16)
    assert (recipe.alpha, recipe.weight_decay, recipe.optimizer) == (10.0, 0.001, "sgd")
    rate = recipe.build_optimizer().learning_rate
    schedule = recipe.build_optimizer()._learning_rate
    steps = recipe.pairs // recipe.batch_size
    assert float(rate) == pytest.approx(0.01)
    assert [float(schedule(steps * epoch)) for epoch in (2, 3, 6, 15)] == pytest.approx(
        [0.01, 0.005, 0.0025, 0.01 / 2**5]
    )


def test_finetuning_recipe_of_the_paper():
    recipe = FINETUNING_RECIPES["paper"]
    assert recipe.batch_size == 40
    assert [phase.iterations for phase in recipe.phases] == [8_000, 10_000]
    assert [phase.with_atlas for phase in recipe.phases] == [False, True]
    assert [phase.learning_rate for phase in recipe.phases] == [0.05, 0.025]
    assert recipe.phases[1].learning_rate * recipe.phases[1].atlas_rate_factor == pytest.approx(0.25)
    schedule = recipe.build_optimizer(recipe.phases[0])._learning_rate
    rates = [float(schedule(step)) for step in (0, 2_999, 3_000, 5_000, 6_000)]
    assert rates == pytest.approx([0.05, 0.05, 0.025, 0.0125, 0.00625])


def test_ablations_switch_one_loss_off():
    assert PRETRAINING_RECIPES["paper-20k-distance"].alpha == 0
    assert PRETRAINING_RECIPES["paper-20k-coordinates"].distance_weight == 0
    assert {PRETRAINING_RECIPES[f"paper-20k{x}"].epochs for x in ("", "-distance", "-coordinates")} == {50}


@pytest.mark.parametrize("lookup", [pretraining_recipe, finetuning_recipe])
def test_unknown_recipe_names_the_nearest(lookup):
    with pytest.raises(UserError, match="'paper'"):
        lookup("papre")


def test_pretraining_trains_and_scores(net, brain):
    before = [np.array(weight) for weight in net.trainable_weights]
    (history,) = pretrain(net, brain, TINY_PRETRAINING, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    changed = [(np.array(w) != b).any() for w, b in zip(net.trainable_weights, before, strict=True)]
    assert np.mean(changed) > 0.9
    scores = distance_scores(net, brain, patches=20, pairs=24)
    assert scores.pairs == 24
    assert scores.constant_guess_mm > 5.0  # places of one hemisphere lie centimetres apart
    assert np.isfinite(scores.err_dist_mm)


def test_constant_embedding_is_called_collapsed(net, brain):
    head = net.encoder.layers[-1]
    head.set_weights([np.zeros_like(weight) for weight in head.get_weights()])
    scores = distance_scores(net, brain, patches=20, pairs=24)
    assert scores.collapsed
    assert "COLLAPSED" in str(scores)


def test_collapse_compares_with_the_constant_guess():
    good, bad = (DistanceScores((TaskScore("distance", "err_dist", "mm", mm, 25.0),), 100) for mm in (10.0, 24.9))
    assert not good.collapsed
    assert bad.collapsed


def test_phase_one_leaves_the_atlas_branch_alone(brain):
    keras.utils.set_random_seed(0)
    unet = AtlasUNet(16, (258, 258, 1), 13, pixel_size_um=20.0, widths=WIDTHS, class_names=brain.labels.names)

    def atlas_weights():
        return [np.array(w) for w in unet.trainable_weights if "atlas_block" in w.path]

    before = atlas_weights()
    finetune(unet, brain, replace(TINY_FINETUNING, phases=TINY_FINETUNING.phases[:1]), verbose=0)
    assert all((a == b).all() for a, b in zip(before, atlas_weights(), strict=True))
    histories = finetune(unet, brain, TINY_FINETUNING, verbose=0)
    assert len(histories) == 2
    assert all((a != b).any() for a, b in zip(before, atlas_weights(), strict=True))


def test_transfer_after_pretraining_carries_the_texture_weights(net):
    unet = AtlasUNet(16, (258, 258, 1), 13, pixel_size_um=20.0, widths=WIDTHS)
    transfer_weights(net, unet)
    name = "texture_block3_conv2"
    theirs = unet.get_layer(name).get_weights()
    ours = net.encoder.get_layer(name).get_weights()
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_a_loss_that_is_not_finite_stops_with_epoch_and_batch(net):
    net.compile(keras.optimizers.SGD(0.01), **siamese_losses())
    patches = np.zeros((8, 132, 132, 1), np.uint8)
    targets = {"distance": np.full(8, np.nan), "coordinates_a": np.zeros((8, 3)), "coordinates_b": np.zeros((8, 3))}
    with pytest.raises(UserError, match="epoch 1, batch 1"):
        net.fit({"patch_a": patches, "patch_b": patches}, targets, callbacks=[StopOnDivergence()], verbose=0)
