"""What every Keras model has to survive: files, clones, mixed precision, training."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from _models import net_inputs, tiny_net, tiny_unet, unet_inputs

from cytokeras.errors import UserError
from cytokeras.losses import MaskedCategoricalCrossentropy, siamese_losses
from cytokeras.metrics import Dice
from cytokeras.models import AtlasUNet

MODELS = {
    "unet": tiny_unet,
    "unet_texture": lambda: tiny_unet(atlas_channels=0),
    "siamese": tiny_net,
    "siamese_auxiliary": lambda: tiny_net(auxiliary=("curvature", "obliqueness", "contrast")),
}


def inputs_of(model: keras.Model) -> dict[str, np.ndarray]:
    return unet_inputs(model) if isinstance(model, AtlasUNet) else net_inputs()


def outputs_of(model: keras.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = model(inputs, training=False)
    outputs = outputs if isinstance(outputs, dict) else {"probabilities": outputs}
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def assert_same_outputs(one: keras.Model, two: keras.Model) -> None:
    inputs = inputs_of(one)
    expected, received = outputs_of(one, inputs), outputs_of(two, inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(received[name], value, rtol=1e-5, atol=1e-6)


@pytest.fixture(params=MODELS)
def model(request) -> keras.Model:
    return MODELS[request.param]()


def test_config_survives_json_and_builds_the_same_network(model: keras.Model) -> None:
    config = json.loads(json.dumps(model.get_config()))
    other = type(model).from_config(config)
    other.set_weights(model.get_weights())
    assert other.get_config() == model.get_config()
    assert_same_outputs(model, other)


def test_keras_file_round_trip(model: keras.Model, tmp_path) -> None:
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.field == model.field
    assert_same_outputs(model, loaded)


def test_weights_file_round_trip(model: keras.Model, tmp_path) -> None:
    model.save_weights(tmp_path / "model.weights.h5")
    other = type(model).from_config(model.get_config())
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same_outputs(model, other)


def test_clone_with_the_same_weights_gives_the_same(model: keras.Model) -> None:
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_same_outputs(model, clone)


def test_summary_lists_the_layers(model: keras.Model) -> None:
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line), expand_nested=True, line_length=200)
    assert "texture_block1_conv1" in "\n".join(lines)


def test_uint8_and_float_images_give_the_same(model: keras.Model) -> None:
    inputs = inputs_of(model)
    as_float = {name: value.astype(np.float32) for name, value in inputs.items()}
    for one, two in zip(keras.tree.flatten(model(inputs)), keras.tree.flatten(model(as_float)), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(two))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("build", MODELS.values(), ids=list(MODELS))
def test_outputs_are_float32_under_mixed_precision(build, policy: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = build()
        resized = mixed.with_input_shape(mixed.get_config()["input_shape"])
    finally:
        keras.config.set_dtype_policy(before)
    assert mixed.dtype_policy.name == policy
    assert resized.dtype_policy.name == policy
    assert all(value.dtype == np.float32 for value in outputs_of(mixed, inputs_of(mixed)).values())


def test_compiled_unet_goes_on_training_from_a_keras_file(tmp_path) -> None:
    unet = tiny_unet()
    unet.compile(keras.optimizers.SGD(0.05), MaskedCategoricalCrossentropy(), metrics=[Dice(3)], run_eagerly=True)
    labels = np.random.default_rng(0).integers(0, 3, (2, 4, 4)).astype(np.uint8)
    first = unet.train_on_batch(unet_inputs(unet), labels, return_dict=True)
    unet.save(tmp_path / "unet.keras")
    loaded = keras.saving.load_model(tmp_path / "unet.keras")
    assert int(loaded.optimizer.iterations) == 1
    assert loaded.train_on_batch(unet_inputs(unet), labels, return_dict=True)["loss"] < first["loss"]


def test_siamese_loss_is_that_of_equation_3() -> None:
    net = tiny_net(weight_decay=0.001)
    net.compile(keras.optimizers.SGD(0.01), **siamese_losses(alpha=10.0, scale_mm=5.0), run_eagerly=True)
    targets = {
        "distance": np.array([10.0, 80.0], np.float32),
        "coordinates_a": np.full((2, 3), 20.0, np.float32),
        "coordinates_b": np.full((2, 3), -20.0, np.float32),
    }
    outputs = outputs_of(net, net_inputs())
    distance = np.abs(outputs["distance"] - targets["distance"]).mean()
    coordinates = sum(
        np.abs(outputs[name] - targets[name]).sum(axis=1).mean() for name in ("coordinates_a", "coordinates_b")
    )
    expected = distance / 5.0 + 10.0 * coordinates / 5.0 + float(keras.ops.convert_to_numpy(sum(net.losses)))
    received = net.test_on_batch(net_inputs(), targets, return_dict=True)
    assert received["loss"] == pytest.approx(expected, rel=1e-4)


def test_int8_siamese_net_stays_close_to_the_float_one() -> None:
    net = tiny_net()
    before = outputs_of(net, net_inputs())
    net.quantize("int8")
    assert net.get_layer("coordinate_head").dtype_policy.quantization_mode == "int8"
    assert net.encoder.get_layer("features").dtype_policy.quantization_mode == "int8"
    # One step of 8 bits is 1/127 of the largest weight and of the largest feature.
    for name, value in outputs_of(net, net_inputs()).items():
        np.testing.assert_allclose(value, before[name], atol=0.05 * np.abs(before[name]).max())
        assert not np.array_equal(value, before[name])


def test_int8_leaves_the_unet_as_it_is() -> None:
    # Keras quantizes no convolutions, and this network has nothing else.
    unet = tiny_unet()
    before = outputs_of(unet, unet_inputs(unet))["probabilities"]
    unet.quantize("int8")
    np.testing.assert_array_equal(outputs_of(unet, unet_inputs(unet))["probabilities"], before)


def test_quantized_network_is_not_saved_as_a_preset(tmp_path) -> None:
    net = tiny_net()
    net.quantize("int8")
    with pytest.raises(UserError, match="was changed after it was built"):
        net.save_pretrained(tmp_path / "int8")
    assert not list(tmp_path.iterdir())
