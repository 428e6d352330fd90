"""Weights that go from one network to another by layer name."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.models import AtlasUNet, SiameseDistanceNet, transfer_weights

WIDTHS = (4, 4, 6, 6, 8, 8)


def siamese(widths=WIDTHS) -> SiameseDistanceNet:
    net = SiameseDistanceNet((132, 132, 1), pixel_size_um=16.0, widths=widths)
    rng = np.random.default_rng(0)
    net.set_weights([rng.random(weight.shape) for weight in net.weights])
    return net


@pytest.fixture
def unet() -> AtlasUNet:
    return AtlasUNet(3, (194, 194, 1), 2, pixel_size_um=16.0, widths=WIDTHS)


def test_texture_maps_of_both_networks_are_equal_after_the_transfer(unet: AtlasUNet) -> None:
    net = siamese()
    transfer_weights(net, unet)
    layer = "texture_block2_conv2_relu"
    image = np.random.default_rng(1).integers(0, 256, (1, 194, 194, 1), dtype=np.uint8)
    in_unet = keras.Model(unet.input["image"], unet.get_layer(layer).output)(image)
    in_net = keras.Model(net.encoder.input, net.encoder.get_layer(layer).output)(image[:, :132, :132])
    # Away from the border of the smaller patch both see the same pixels.
    expected = keras.ops.convert_to_numpy(in_net[:, :100, :100])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(in_unet[:, :100, :100]), expected, rtol=1e-4)


def test_all_12_convolutions_of_the_texture_path_are_copied_with_their_norms(unet: AtlasUNet) -> None:
    report = transfer_weights(siamese(), unet)
    assert len(report.transferred) == 24
    assert all(name.startswith("texture_block") for name in report.transferred)


def test_moving_statistics_are_copied(unet: AtlasUNet) -> None:
    net = siamese()
    transfer_weights(net, unet)
    name = "texture_block6_conv2_norm"
    np.testing.assert_array_equal(unet.get_layer(name).moving_mean, net.encoder.get_layer(name).moving_mean)


def test_report_names_what_only_one_network_has(unet: AtlasUNet) -> None:
    report = transfer_weights(siamese(), unet)
    assert report.skipped_source == ["features", "coordinate_head"]
    assert {"atlas_block1_conv1", "decoder_block7_up", "output_conv"} <= set(report.skipped_target)


def test_report_is_a_table_of_layers(unet: AtlasUNet) -> None:
    lines = str(transfer_weights(siamese(), unet)).splitlines()
    assert lines[0].split() == ["texture_block1_conv1", "copied"]
    assert lines[-1].startswith("24 layers")


def test_untouched_layers_keep_their_weights(unet: AtlasUNet) -> None:
    before = unet.get_layer("decoder_block7_conv1").get_weights()[0]
    transfer_weights(siamese(), unet)
    np.testing.assert_array_equal(unet.get_layer("decoder_block7_conv1").get_weights()[0], before)


def test_unet_without_atlas_is_a_target_too(unet: AtlasUNet) -> None:
    net = siamese()
    transfer_weights(net, unet.without_atlas())
    name = "texture_block1_conv1"
    np.testing.assert_array_equal(unet.get_layer(name).kernel, net.encoder.get_layer(name).kernel)


def test_other_widths_are_refused_and_nothing_is_copied(unet: AtlasUNet) -> None:
    before = unet.get_weights()
    with pytest.raises(UserError, match=r"texture_block3_conv1: .*8.* in the source"):
        transfer_weights(siamese((4, 4, 8, 8, 8, 8)), unet)
    for one, two in zip(before, unet.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_models_without_a_common_layer_are_refused(unet: AtlasUNet) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="other_dense")], name="other")
    with pytest.raises(UserError, match=r"no layer of the same name.*other_dense"):
        transfer_weights(other, unet)


def test_two_layers_of_one_name_are_refused(unet: AtlasUNet) -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="same")], name="inner")
    outer = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(4, name="same")], name="outer")
    with pytest.raises(UserError, match="outer has two layers named 'same'"):
        transfer_weights(outer, unet)
