"""The two networks: the stated numbers, shared weights, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from _models import net_inputs, tiny_net, tiny_unet, unet_inputs

from cytokeras.errors import UserError
from cytokeras.losses import MaskedCategoricalCrossentropy
from cytokeras.models import AtlasGrid, AtlasUNet, SiameseDistanceNet


def run(model: keras.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Output of a segmentation network, without the time that predict takes to build its graph."""
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    rng = np.random.default_rng(seed)
    model.set_weights([0.5 + 0.3 * rng.random(weight.shape) for weight in model.weights])
    return model


@pytest.fixture(scope="module")
def paper_unet() -> AtlasUNet:
    return AtlasUNet()


@pytest.fixture(scope="module")
def paper_net() -> SiameseDistanceNet:
    return SiameseDistanceNet()


# Numbers of the papers


def test_unet_without_atlas_has_the_weights_of_the_paper() -> None:
    assert trainable(AtlasUNet(atlas_channels=0)) == 1_479_728


def test_unet_with_13_atlas_maps_has_2441504_weights(paper_unet: AtlasUNet) -> None:
    assert trainable(paper_unet) == 2_441_504


def test_unet_maps_2025_px_to_68_cells_of_16_classes(paper_unet: AtlasUNet) -> None:
    assert paper_unet.output_shape == (None, 68, 68, 16)


def test_siamese_branch_and_coordinate_head_have_the_stated_weights(paper_net: SiameseDistanceNet) -> None:
    assert trainable(paper_net.encoder) == 667_504
    assert trainable(paper_net) == 667_504 + 99


# Weights of every layer of the table in section 1.2 of the method, with batch normalization.
BLOCKS = {
    "texture_block1_conv1": 432,
    "texture_block1_conv2": 2_336,
    "texture_block2_conv1": 4_672,
    "texture_block2_conv2": 9_280,
    "texture_block3_conv1": 18_560,
    "texture_block3_conv2": 36_992,
    "texture_block4_conv1": 36_992,
    "texture_block4_conv2": 36_992,
    "texture_block5_conv1": 73_984,
    "texture_block5_conv2": 147_712,
    "texture_block6_conv1": 147_712,
    "texture_block6_conv2": 147_712,
    "decoder_block7_up": 65_792,
    "decoder_block7_conv1": 295_168,
    "decoder_block7_conv2": 147_712,
    "decoder_block8_up": 32_896,
    "decoder_block8_conv1": 73_856,
    "decoder_block8_conv2": 36_992,
    "decoder_block9_up": 16_512,
    "decoder_block9_conv1": 73_856,
    "decoder_block9_conv2": 36_992,
    "decoder_block10_up": 8_256,
    "decoder_block10_conv1": 18_496,
    "decoder_block10_conv2": 9_280,
    "output": 544,
}


def test_every_layer_has_the_weights_of_the_table() -> None:
    unet = AtlasUNet(atlas_channels=0)
    counts = dict.fromkeys(BLOCKS, 0)
    for variable in unet.trainable_variables:
        layer = variable.path.split("/")[-2].removesuffix("_norm")
        counts["output" if layer.startswith("output") else layer] += int(np.prod(variable.shape))
    assert counts == BLOCKS


def test_map_sizes_are_those_of_the_table(paper_unet: AtlasUNet) -> None:
    sizes = [paper_unet.get_layer(f"texture_block{block}_conv2_relu").output.shape[1] for block in range(1, 7)]
    sizes += [paper_unet.get_layer(f"decoder_block{block}_conv2_relu").output.shape[1] for block in range(7, 11)]
    assert sizes == [504, 248, 120, 56, 24, 8, 12, 20, 36, 68]


def test_maps_of_both_paths_match(paper_unet: AtlasUNet) -> None:
    for block in range(2, 7):
        texture = paper_unet.get_layer(f"texture_block{block}_conv2_relu").output.shape
        assert paper_unet.get_layer(f"atlas_block{block}_conv2_relu").output.shape == texture


def test_atlas_grid_is_256_px_of_16_um_centred_on_the_patch(paper_unet: AtlasUNet) -> None:
    assert paper_unet.atlas_field == AtlasGrid(size=256, stride=8, offset=-8)
    assert paper_unet.atlas_field.positions().mean() == 1012.0
    assert paper_unet.input["atlas"].shape == (None, 256, 256, 13)


@pytest.mark.parametrize(("pixel_size_um", "size"), [(8.0, 510), (16.0, 258)])
def test_unet_of_coarser_pixels_keeps_output_and_weights(pixel_size_um: float, size: int) -> None:
    unet = AtlasUNet(input_shape=(size, size, 1), pixel_size_um=pixel_size_um)
    assert unet.output_shape == (None, 68, 68, 16)
    assert trainable(unet) == 2_441_504
    assert unet.atlas_field.positions().mean() == pytest.approx((size - 1) / 2)


def test_image_grey_is_rescaled_to_minus_one_for_white_and_one_for_black() -> None:
    rescale = tiny_unet().get_layer("rescale_grey")
    np.testing.assert_allclose(rescale(np.array([0.0, 127.5, 255.0])), [1.0, 0.0, -1.0], atol=1e-6)


def test_distance_is_the_scaled_squared_distance_of_the_features() -> None:
    net, inputs = tiny_net(output_scale_mm=7.0), net_inputs()
    features_a, features_b = net.embed(inputs["patch_a"]), net.embed(inputs["patch_b"])
    expected = 7.0 * ((features_a - features_b) ** 2).sum(axis=1)
    distance = keras.ops.convert_to_numpy(net(inputs)["distance"])
    np.testing.assert_allclose(distance, expected, rtol=1e-4, atol=1e-5)


def test_coordinates_are_a_scaled_linear_map_of_the_features() -> None:
    net, inputs = tiny_net(output_scale_mm=7.0), net_inputs()
    kernel, bias = net.get_layer("coordinate_head").get_weights()
    expected = 7.0 * (net.embed(inputs["patch_b"]) @ kernel + bias)
    coordinates = keras.ops.convert_to_numpy(net(inputs)["coordinates_b"])
    np.testing.assert_allclose(coordinates, expected, rtol=1e-4, atol=1e-4)


def test_l2_term_is_lambda_times_the_squares_of_all_but_the_dense_layers() -> None:
    net = randomize(tiny_net(weight_decay=0.01, auxiliary=("curvature", "obliqueness", "contrast")))
    heads = ("features", "coordinate_head", "curvature_head", "obliqueness_head")
    squares = sum(
        float((weight.numpy() ** 2).sum())
        for weight in net.trainable_variables
        if weight.path.split("/")[-2] not in heads
    )
    total = keras.ops.convert_to_numpy(sum(net.losses))
    assert float(total) == pytest.approx(0.01 * squares, rel=1e-4)


def test_larger_patches_average_the_features_of_their_cells() -> None:
    large = tiny_net(input_shape=(132 + 16, 132 + 16, 1))
    assert large.encoder.get_layer("texture_block6_conv2_relu").output.shape[1:3] == (2, 2)
    assert large.embed(np.zeros((1, 148, 148, 1), np.uint8)).shape == (1, 32)


# Geometry against the network itself


def test_turned_kernels_turn_the_map_of_a_turned_patch() -> None:
    # Holds only where every crop is centred and every pool and stride ends at the border.
    unet = tiny_unet()
    inputs = unet_inputs(unet)
    expected = run(unet, inputs)[:, ::-1, ::-1]
    unet.set_weights([value[::-1, ::-1] if value.ndim == 4 else value for value in unet.get_weights()])
    turned = run(unet, {name: value[:, ::-1, ::-1] for name, value in inputs.items()})
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(turned, expected, atol=1e-5)


# Sharing and resizing


def test_unet_without_atlas_equals_the_unet_whose_atlas_maps_are_zero() -> None:
    unet = randomize(tiny_unet())
    for block in ("atlas_block6_conv2_norm", *(f"atlas_block{n}_conv2_norm" for n in range(2, 6))):
        # gamma and beta of 0 make the maps of the atlas path zero.
        layer = unet.get_layer(block)
        layer.set_weights([np.zeros_like(value) if i < 2 else value for i, value in enumerate(layer.get_weights())])
    inputs = unet_inputs(unet)
    expected = run(unet, inputs)
    np.testing.assert_allclose(run(unet.without_atlas(), {"image": inputs["image"]}), expected, atol=1e-6)


def test_unet_without_atlas_shares_its_variables_and_has_none_of_the_atlas_path() -> None:
    unet = tiny_unet()
    own = {id(variable) for variable in unet.variables}
    shared = unet.without_atlas().variables
    assert all(id(variable) in own for variable in shared)
    assert not any("atlas_" in variable.path for variable in shared)


def test_training_without_atlas_moves_the_unet_and_leaves_its_atlas_path() -> None:
    unet = tiny_unet()
    before = {variable.path: variable.numpy() for variable in unet.variables}
    model = unet.without_atlas()
    model.compile(keras.optimizers.SGD(0.1), loss=MaskedCategoricalCrossentropy(), run_eagerly=True)
    labels = np.random.default_rng(0).integers(0, 3, (2, 4, 4)).astype(np.uint8)
    model.fit({"image": unet_inputs(unet)["image"]}, labels, verbose=0)
    moved = {v.path for v in unet.variables if not np.array_equal(v.numpy(), before[v.path])}
    assert "texture_block1_conv1/kernel" in moved
    assert not any(path.startswith("atlas_") for path in moved)


def test_unet_keeps_its_layers_and_weights_when_the_atlas_is_switched_off() -> None:
    unet = tiny_unet()
    layers, weights = list(unet.layers), [weight.path for weight in unet.weights]
    unet.without_atlas()
    assert unet.layers == layers
    assert [weight.path for weight in unet.weights] == weights


def test_unet_without_atlas_brings_what_inference_asks_for() -> None:
    unet = tiny_unet(class_names=("a", "b", "c"))
    model = unet.without_atlas()
    assert (model.field, model.atlas_field, model.class_names) == (unet.field, None, ("a", "b", "c"))


def test_unet_built_without_atlas_is_its_own_texture_network() -> None:
    unet = tiny_unet(atlas_channels=0)
    assert unet.without_atlas() is unet


def test_larger_input_shape_gives_the_same_cells_from_the_same_weights() -> None:
    unet = randomize(tiny_unet(atlas_channels=0))
    large = unet.with_input_shape((194 + 16, 194 + 32, 1))
    image = np.random.default_rng(1).integers(0, 256, (1, 210, 226, 1), dtype=np.uint8)
    small_cells = run(unet, {"image": image[:, 16:, 32:]})
    large_cells = run(large, {"image": image})
    np.testing.assert_allclose(large_cells[:, 16:, 32:], small_cells, atol=1e-5)


def test_rectangular_input_has_a_rectangular_atlas_grid() -> None:
    unet = tiny_unet(input_shape=(194, 210, 1))
    assert unet.atlas_field.shape == (192, 208)
    assert unet.input["atlas"].shape == (None, 192, 208, 2)


def test_siamese_net_of_another_input_shape_has_the_same_weights() -> None:
    net = tiny_net()
    other = net.with_input_shape((140, 140, 1))
    for one, two in zip(net.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


# What a user may get wrong


def test_invalid_patch_size_names_the_nearest_ones() -> None:
    with pytest.raises(UserError, match=r"2048 px.*2025 or 2153 px"):
        AtlasUNet(input_shape=(2048, 2048, 1))


def test_too_small_siamese_patch_names_the_smallest() -> None:
    with pytest.raises(UserError, match=r"512 px.*1005 px"):
        SiameseDistanceNet(input_shape=(512, 512, 1))


@pytest.mark.parametrize(
    ("builder", "name", "nearest"),
    [(AtlasUNet, "num_class", "num_classes"), (SiameseDistanceNet, "feature_dims", "feature_dim")],
)
def test_unknown_argument_is_refused_with_the_nearest_name(builder, name: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=f"{name}.*Did you mean '{nearest}'"):
        builder(**{name: 3})


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 1},
        {"atlas_channels": -1},
        {"class_names": ("one",)},
        {"widths": (4, 4)},
        {"input_shape": (194, 194)},
        {"pixel_size_um": 0.0},
        {"first_stride": 7},
    ],
)
def test_unet_refuses_arguments_outside_their_range(arguments: dict) -> None:
    with pytest.raises(UserError):
        tiny_unet(**arguments)


def test_embed_refuses_patches_of_another_size() -> None:
    with pytest.raises(UserError, match="132"):
        tiny_net().embed(np.zeros((2, 100, 100, 1), np.uint8))


def test_embed_of_no_patches_is_empty() -> None:
    assert tiny_net().embed(np.zeros((0, 132, 132, 1), np.uint8)).shape == (0, 32)
