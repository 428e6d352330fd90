"""Curvature, obliqueness and contrast: from the brain to the trained network and on to the segmentation network."""

from __future__ import annotations

import json
import math
import warnings

import keras
import numpy as np
import pytest
from _feeding import marked_pairs
from _models import net_inputs, tiny_net, tiny_unet
from _small_brain import small_brain

from cytokeras.errors import UserError
from cytokeras.hub import list_presets
from cytokeras.losses import SpatialContrastiveLoss, siamese_losses
from cytokeras.models import SiameseDistanceNet, transfer_weights
from cytokeras.pipelines import pair_dataset, pair_targets
from cytokeras.sampling import CortexPairs, sample_cortex, sample_pairs
from cytokeras.training import PretrainingRecipe, distance_scores, pretrain
from cytokeras.training.pair_batches import held_out_pairs

TASKS = ("curvature", "obliqueness", "contrast")
SIZE = 9


def values(outputs) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


@pytest.fixture(scope="module")
def net() -> SiameseDistanceNet:
    keras.utils.set_random_seed(2)
    return tiny_net(auxiliary=TASKS, output_scale_mm=5.0)


@pytest.fixture
def pairs() -> CortexPairs:
    _, table = marked_pairs()
    rng = np.random.default_rng(3)
    table.locations.curvature_per_mm[:] = rng.normal(0, 0.2, 20)
    table.locations.obliqueness_deg[:] = rng.uniform(0, 45, 20)
    return table


# === The network ===


def test_outputs_of_the_tasks_are_linear_in_the_features(net):
    inputs = net_inputs()
    outputs = values(net(inputs))
    for end in ("a", "b"):
        features = net.embed(inputs[f"patch_{end}"])
        for task, scale in (("curvature", 0.2), ("obliqueness", 20.0)):
            kernel, bias = net.get_layer(f"{task}_head").get_weights()
            expected = scale * (features @ kernel + bias)[:, 0]
            np.testing.assert_allclose(outputs[f"{task}_{end}"], expected, rtol=1e-4, atol=1e-5)


def test_contrast_output_is_the_features_of_both_patches(net):
    inputs = net_inputs()
    expected = np.stack([net.embed(inputs["patch_a"]), net.embed(inputs["patch_b"])], axis=1)
    contrast = values(net(inputs))["contrast"]
    assert contrast.shape == (2, 2, 32)
    np.testing.assert_allclose(contrast, expected, rtol=1e-4, atol=1e-6)


def test_tasks_leave_the_other_weights_their_order_and_add_two_small_heads(net):
    plain = [weight.path for weight in tiny_net().weights]
    added = {weight.path: tuple(weight.shape) for weight in net.weights if weight.path not in plain}
    assert [weight.path for weight in net.weights if weight.path not in added] == plain
    assert added == {f"{t}_head/{w}": s for t in TASKS[:2] for w, s in (("kernel", (32, 1)), ("bias", (1,)))}
    assert len(tiny_net(auxiliary=("contrast",)).weights) == len(plain)


@pytest.mark.parametrize(
    ("auxiliary", "message"),
    [(("curvatur",), "Did you mean 'curvature'"), (("contrast", "contrast"), "once"), ("depth", "There are: curv")],
)
def test_unknown_tasks_are_refused(auxiliary, message):
    with pytest.raises(UserError, match=message):
        tiny_net(auxiliary=auxiliary)


# === Presets and transfer ===


def test_preset_round_trip_keeps_the_tasks(net, tmp_path):
    folder = net.save_pretrained(tmp_path / "net", golden=True)
    assert json.loads((folder / "config.json").read_text())["arguments"]["auxiliary"] == list(TASKS)
    loaded = SiameseDistanceNet.from_pretrained(folder)
    assert loaded.auxiliary == TASKS
    expected, received = values(net(net_inputs())), values(loaded(net_inputs()))
    assert set(expected) == set(received)
    for name, value in expected.items():
        np.testing.assert_allclose(received[name], value, rtol=1e-5, atol=1e-6)


def test_presets_from_before_the_tasks_load_without_and_with_new_heads():
    (preset,) = (p for p in list_presets() if p.class_name == "SiameseDistanceNet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = SiameseDistanceNet.from_pretrained(preset.name)
    assert before.auxiliary == ()
    with pytest.warns(UserWarning, match=r"auxiliary=\('curvature', 'contrast'\) .*: curvature_head are newly"):
        after = SiameseDistanceNet.from_pretrained(preset.name, auxiliary=("curvature", "contrast"))
    old, new = ({weight.path: weight.numpy() for weight in net.weights} for net in (before, after))
    assert set(new) - set(old) == {"curvature_head/kernel", "curvature_head/bias"}
    assert all(np.array_equal(value, new[path]) for path, value in old.items())
    assert np.abs(new["curvature_head/kernel"]).max() > 0


def test_heads_can_be_left_out_again(net, tmp_path):
    folder = net.save_pretrained(tmp_path / "net")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = SiameseDistanceNet.from_pretrained(folder, auxiliary=())
    assert [weight.path for weight in plain.weights] == [weight.path for weight in tiny_net().weights]
    np.testing.assert_array_equal(plain.get_layer("coordinate_head").kernel, net.get_layer("coordinate_head").kernel)


def test_transfer_copies_what_it_copies_without_the_tasks(net):
    unet = tiny_unet()
    report, plain = transfer_weights(net, unet), transfer_weights(tiny_net(), tiny_unet())
    assert report.transferred == plain.transferred
    assert sorted(report.skipped_source) == sorted([*plain.skipped_source, "curvature_head", "obliqueness_head"])
    name = "texture_block4_conv1"
    np.testing.assert_array_equal(unet.get_layer(name).kernel, net.encoder.get_layer(name).kernel)


# === Targets ===


@pytest.mark.parametrize("form", ["tf.data", "keras"])
def test_dataset_brings_the_targets_of_the_places(pairs, form):
    if form == "tf.data":
        pytest.importorskip("tensorflow")
    brain, places = marked_pairs()[0], pairs.locations
    batches = pair_dataset(brain, pairs, SIZE, 10, shuffle=False, auxiliary=TASKS, form=form)
    _, targets = next(iter(batches))
    targets = values(targets)
    for end, rows in (("a", pairs.i), ("b", pairs.j)):
        np.testing.assert_allclose(targets[f"curvature_{end}"], places.curvature_per_mm[rows], rtol=1e-6)
        np.testing.assert_allclose(targets[f"obliqueness_{end}"], places.obliqueness_deg[rows], rtol=1e-6)
    expected = np.column_stack([targets["distance"], targets["coordinates_a"], targets["coordinates_b"]])
    np.testing.assert_array_equal(targets["contrast"], expected)
    assert {value.dtype for value in targets.values()} == {np.dtype("float32")}


def test_dataset_has_the_targets_of_the_paper_unless_asked(pairs):
    pytest.importorskip("tensorflow")
    _, targets = pair_dataset(marked_pairs()[0], pairs, SIZE, 10).element_spec
    assert set(targets) == {"distance", "coordinates_a", "coordinates_b"}


def test_places_without_curvature_are_refused_where_it_is_learned(pairs):
    brain = marked_pairs()[0]
    pairs.locations.curvature_per_mm[pairs.i[0]] = np.nan
    next(iter(pair_dataset(brain, pairs, SIZE, 5, auxiliary=("obliqueness",))))
    with pytest.raises(UserError, match=rf"1 of their places .* place {pairs.i[0]}.*isfinite"):
        pair_dataset(brain, pairs, SIZE, 5, auxiliary=("curvature",))


# === Training ===


def test_a_few_steps_reduce_every_loss():
    brain = small_brain()
    table = sample_pairs(brain, sample_cortex(brain, 8, seed=0), 8, seed=0)
    net = tiny_net(auxiliary=TASKS)
    compiled = siamese_losses(1.0, auxiliary=net.auxiliary)
    # The ball of this brain is 3 mm wide.
    compiled["loss"]["contrast"] = SpatialContrastiveLoss(target_temperature_mm=0.3)
    net.compile(keras.optimizers.Adam(0.003), **compiled, run_eagerly=True)
    batches = pair_dataset(brain, table, 132, 8, shuffle=False, pixel_size_um=16.0, auxiliary=net.auxiliary)
    history = net.fit(batches, epochs=8, shuffle=False, verbose=0).history
    losses = {name: course for name, course in history.items() if name.endswith("_loss")}
    assert set(losses) == {f"{name}_loss" for name in compiled["loss"]}
    for name, course in losses.items():
        assert np.mean(course[-3:]) < 0.97 * course[0], (name, course)


@pytest.fixture
def eagerly():
    """Without the seconds that building a training graph takes."""
    tf = pytest.importorskip("tensorflow")
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_pretraining_takes_the_tasks_of_its_recipe():
    recipe = PretrainingRecipe("tiny", "test", 6, 6, 1, batch_size=6, auxiliary={"curvature": 0.5, "contrast": 1.0})
    brain = small_brain()
    message = r"without the auxiliary tasks contrast: .*auxiliary=\('curvature', 'contrast'\)"
    with pytest.raises(UserError, match=message):
        pretrain(tiny_net(auxiliary=("curvature",)), brain, recipe, verbose=0)
    net = tiny_net(auxiliary=recipe.auxiliary)
    before = net.get_layer("curvature_head").get_weights()
    (history,) = pretrain(net, brain, recipe, verbose=0)
    assert {"curvature_a_loss", "curvature_b_loss", "contrast_loss"} <= set(history.history)
    assert not np.array_equal(net.get_layer("curvature_head").get_weights()[0], before[0])
    assert json.loads(json.dumps(recipe.as_dict()))["auxiliary"] == {"curvature": 0.5, "contrast": 1.0}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_network_with_tasks_trains_without_them_too():
    net = tiny_net(auxiliary=TASKS)
    net.compile(keras.optimizers.SGD(0.01), **siamese_losses(scale_mm=50.0), run_eagerly=True)
    targets = {"distance": np.ones(2), "coordinates_a": np.ones((2, 3)), "coordinates_b": np.ones((2, 3))}
    assert np.isfinite(net.train_on_batch(net_inputs(), targets, return_dict=True)["loss"])


# === Scores ===


class Answers:
    """In place of a network: one that always knows what is asked, or one that looks at nothing."""

    def __init__(self, net, outputs):
        self.encoder, self.pixel_size_um, self.auxiliary = net.encoder, net.pixel_size_um, net.auxiliary
        self.predict = lambda batches, verbose: outputs


def test_every_task_is_scored_beside_its_best_constant_guess(net):
    brain, count = small_brain("test"), 32
    options = {"patches": 20, "pairs": count, "seed": 1}
    table = held_out_pairs(brain, **options)
    true = pair_targets(table, TASKS)
    features = np.zeros((count, 2, count), np.float32)
    features[np.arange(count), :, np.arange(count)] = 1.0  # the patches of a pair alike, all others unlike

    scores = distance_scores(Answers(net, {**true, "contrast": features}), brain, **options)
    assert [score.task for score in scores.tasks] == ["distance", "coordinates", *TASKS]
    assert [score.error for score in scores.tasks[:-1]] == [0.0] * 4
    assert scores["contrast"].constant_guess == pytest.approx(math.log(2 * count - 1), rel=1e-6)
    both = np.concatenate([true["curvature_a"], true["curvature_b"]])
    assert scores["curvature"].constant_guess == pytest.approx(np.abs(both - np.median(both)).mean(), rel=1e-5)
    card = scores.as_dict()
    assert card["obliqueness error on held-out sections (degrees)"] == 0.0
    assert card["curvature error of the best constant guess (1/mm)"] == scores["curvature"].constant_guess
    assert len(card) == 2 * 5 + 1
    assert json.loads(json.dumps(card)) == card

    guess = {name: np.broadcast_to(np.median(values, axis=0), values.shape) for name, values in true.items()}
    guess = {**guess, "curvature_b": guess["curvature_a"], "contrast": np.ones((count, 2, 5), np.float32)}
    scores = distance_scores(Answers(net, guess), brain, **options)
    assert scores.collapsed
    for task in ("distance", "contrast"):
        assert scores[task].error == pytest.approx(scores[task].constant_guess, rel=1e-6)
    with pytest.raises(KeyError):
        scores["depth"]
