"""The same weights give the same numbers on every Keras backend; each runs in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BACKENDS = ("tensorflow", "jax", "torch")
TOLERANCE = 1e-4


def probe(folder: Path) -> dict[str, np.ndarray]:
    """Everything that has to agree, on the backend of this process; the first process stores the weights."""
    import keras

    from cytokeras.hub import check_golden_pair, list_presets
    from cytokeras.losses import CoordinateLoss, DistanceLoss, MaskedCategoricalCrossentropy, ScaledAbsoluteError
    from cytokeras.metrics import Dice, MeanDistanceError, PixelDistanceError
    from cytokeras.models import AtlasUNet, SiameseDistanceNet

    widths = (4, 4, 6, 6, 8, 8)
    # An odd size along the way, so that ceil pooling is compared as well.
    arguments = {"pixel_size_um": 16.0, "widths": widths}
    tasks = ("curvature", "obliqueness", "contrast")
    net = stored(
        SiameseDistanceNet, folder, input_shape=(137, 137, 1), output_scale_mm=10.0, auxiliary=tasks, **arguments
    )
    unet = stored(
        AtlasUNet,
        folder,
        num_classes=3,
        input_shape=(194, 194, 1),
        atlas_channels=2,
        weight_decay=0.001,
        **arguments,
    )

    rng = np.random.default_rng(1)
    patches = rng.integers(0, 256, (2, 2, 137, 137, 1), dtype=np.uint8)
    image = rng.integers(0, 256, (2, 194, 194, 1), dtype=np.uint8)
    atlas = rng.random((2, *unet.atlas_field.shape, 2), dtype=np.float32)
    labels = rng.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    labels[0, 0] = 255
    distance, coordinates = np.array([20.0, 60.0]), rng.normal(size=(2, 3)) * 30

    found = dict(net({"patch_a": patches[0], "patch_b": patches[1]}, training=False))
    found["features"] = net.embed(patches[0])
    found["probabilities"] = unet({"image": image, "atlas": atlas}, training=False)
    found["without_atlas"] = unet.without_atlas()({"image": image}, training=False)
    training = unet({"image": image, "atlas": atlas}, training=True)
    found["probabilities_training"] = training
    found["moving_mean"] = unet.get_layer("atlas_block6_conv2_norm").moving_mean
    found["distance_loss"] = DistanceLoss(50.0)(distance, found["distance"])
    found["coordinate_loss"] = CoordinateLoss(50.0)(coordinates, found["coordinates_a"])
    found["scaled_error"] = ScaledAbsoluteError(0.2)(np.array([[0.1], [-0.2]]), found["curvature_a"])
    found["crossentropy"] = MaskedCategoricalCrossentropy()(labels, training)
    found["l2"] = sum(unet.losses)
    for metric, true, predicted in (
        (Dice(3, average=None), labels, training),
        (PixelDistanceError(3), labels, training),
        (MeanDistanceError(), distance, found["distance"]),
    ):
        metric.update_state(true, predicted)
        found[metric.name] = metric.result()
    found |= branch_changes()
    found |= contrast_of_one_step()
    found |= {"large batch": weights_after_training(1), "accumulated": weights_after_training(4)}
    found |= {f"golden {preset.name}": check_golden_pair(preset.name)[0] for preset in list_presets()}
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def stored(cls, folder: Path, **arguments):
    """The network of the first process that asks for it."""
    preset = folder / cls.__name__
    if not preset.exists():
        rng = np.random.default_rng(0)
        model = cls(**arguments)
        model.set_weights([0.1 + 0.2 * rng.standard_normal(w.shape) ** 2 for w in model.weights])
        model.save_pretrained(preset)
    return cls.from_pretrained(preset)


def branch_changes() -> dict[str, np.ndarray]:
    """Weights of two branches after training with a rate for each, through ``fit``."""
    import keras

    from cytokeras.training import BranchRates

    x = keras.Input((4,))
    heads = [keras.layers.Dense(3, kernel_initializer="ones", name=name)(x) for name in ("a_head", "b_head")]
    model = keras.Model(x, keras.layers.Add(name="sum")(heads))
    sgd = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, global_clipnorm=1.0)
    model.compile(BranchRates(sgd, {"b_": 10.0}), loss="mae")
    inputs = np.random.default_rng(0).random((8, 4)).astype(np.float32)
    model.fit(inputs, np.full((8, 3), 1e4, np.float32), batch_size=4, epochs=2, shuffle=False, verbose=0)
    return {f"{name}_change": model.get_layer(name).get_weights()[0] - 1.0 for name in ("a_head", "b_head")}


def contrast_of_one_step() -> dict[str, np.ndarray]:
    """The spatial contrastive loss, and its slopes as a step of training sees them."""
    import keras

    from cytokeras.losses import SpatialContrastiveLoss

    rng = np.random.default_rng(3)
    inputs, targets = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 7)).astype(np.float32) * 20
    x = keras.Input((6,))
    dense = keras.layers.Dense(6, use_bias=False)
    model = keras.Model(x, keras.layers.Reshape((2, 3))(dense(x)))
    kernel = rng.normal(size=(6, 6)).astype(np.float32)
    dense.set_weights([kernel])
    model.compile(keras.optimizers.SGD(1.0), loss=SpatialContrastiveLoss())
    loss = model.train_on_batch(inputs, targets)
    return {"contrastive_loss": loss, "contrastive_slopes": kernel - dense.get_weights()[0]}


def weights_after_training(accumulate: int) -> np.ndarray:
    """Weights after 6 updates with 8 samples each, given in so many batches; the rate is halved at updates 2 and 4."""
    import keras

    from cytokeras.training import BranchRates, accumulate_gradients, halved_at

    x = keras.Input((4,))
    heads = [keras.layers.Dense(3, kernel_initializer="ones", name=name)(x) for name in ("a_head", "b_head")]
    model = keras.Model(x, keras.layers.Multiply(name="product")(heads))
    sgd = keras.optimizers.SGD(halved_at((2, 4), initial_rate=0.05), momentum=0.9, global_clipnorm=0.5)
    model.compile(BranchRates(accumulate_gradients(sgd, accumulate), {"b_": 10.0}), loss="mse")
    rng = np.random.default_rng(0)
    inputs, targets = rng.random((48, 4)).astype(np.float32), rng.random((48, 3)).astype(np.float32)
    model.fit(inputs, targets, batch_size=8 // accumulate, epochs=1, shuffle=False, verbose=0)
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


def is_installed(backend: str) -> bool:
    return importlib.util.find_spec(backend) is not None


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("backends")
    found = {}
    for backend in filter(is_installed, BACKENDS):
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if backend == "jax":
            # JAX compiles its random numbers for every kernel shape; optimizing that takes a minute.
            environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
        process = subprocess.run(
            [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, f"{backend}: {process.stderr[-3000:]}"
        with np.load(folder / f"{backend}.npz", allow_pickle=False) as arrays:
            found[backend] = dict(arrays)
    return found


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backend_gives_the_numbers_of_tensorflow(backend: str, results) -> None:
    for name in (BACKENDS[0], backend):
        if not is_installed(name):
            pytest.skip(f"the Keras backend {name} is not installed")
    assert set(results[backend]) == set(results["tensorflow"])
    for name, expected in results["tensorflow"].items():
        np.testing.assert_allclose(
            results[backend][name], expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{backend}: {name}"
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_branch_rate_is_the_multiplier_on_every_backend(backend: str, results) -> None:
    if not is_installed(backend):
        pytest.skip(f"the Keras backend {backend} is not installed")
    changes = results[backend]
    assert np.abs(changes["a_head_change"]).min() > 0
    np.testing.assert_allclose(changes["b_head_change"], 10.0 * changes["a_head_change"], rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_batches_train_as_a_large_one_on_every_backend(backend: str, results) -> None:
    if not is_installed(backend):
        pytest.skip(f"the Keras backend {backend} is not installed")
    found = results[backend]
    assert np.abs(found["large batch"] - 1.0).max() > 0.1
    np.testing.assert_allclose(found["accumulated"], found["large batch"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bundled_presets_give_their_golden_outputs(backend: str, results) -> None:
    if not is_installed(backend):
        pytest.skip(f"the Keras backend {backend} is not installed")
    differences = {name: value for name, value in results[backend].items() if name.startswith("golden")}
    assert len(differences) == 2
    assert max(differences.values()) <= TOLERANCE, differences


def test_outputs_are_worth_comparing(results) -> None:
    numbers = next(iter(results.values()))
    assert np.ptp(numbers["probabilities_training"]) > 0.1
    assert numbers["distance"].min() > 0
    assert np.abs(numbers["contrastive_slopes"]).max() > 0.1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    target = Path(sys.argv[1])
    np.savez(target / f"{os.environ['KERAS_BACKEND']}.npz", **probe(target))
