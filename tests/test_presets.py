"""Preset folders: round trips, overrides, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.hub import describe_preset, list_presets, presets
from cytokeras.hub.preset_files import PRESET_FILES, WEIGHTS_FILE

keras = pytest.importorskip("keras")

from _presets import NAMES, TINY, randomise, tiny_unet  # noqa: E402

from cytokeras.models.atlas_unet import AtlasUNet  # noqa: E402
from cytokeras.models.siamese_distance_net import SiameseDistanceNet  # noqa: E402


@pytest.fixture(scope="module")
def saved_siamese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = randomise(SiameseDistanceNet((131, 131, 1), **TINY))
    return net.save_pretrained(tmp_path_factory.mktemp("presets") / "tiny-siamese")


@pytest.fixture(scope="module")
def inputs(preset_unet: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (1, 194, 194, 1)).astype(np.uint8)
    size = preset_unet.atlas_field.size
    return {"image": image, "atlas": rng.random((1, size, size, 2), np.float32)}


def weights_of(model: Any) -> dict[str, np.ndarray]:
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}


def predict(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(inputs)))


# === Round trip ===


def test_round_trip_gives_equal_predictions(preset_unet: Any, saved_unet: Path, inputs: dict[str, Any]) -> None:
    loaded = AtlasUNet.from_pretrained(saved_unet)
    np.testing.assert_array_equal(predict(loaded, inputs), predict(preset_unet, inputs))


def test_round_trip_in_another_process_gives_equal_predictions(
    preset_unet: Any, saved_unet: Path, inputs: dict[str, Any], tmp_path: Path
) -> None:
    # There, other layers are built first, so that every counter of automatic names differs.
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = (
        "import sys, numpy as np, keras\n"
        "keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])\n"
        "from cytokeras.models.atlas_unet import AtlasUNet\n"
        "model = AtlasUNet.from_pretrained(sys.argv[1])\n"
        "outputs = model(dict(np.load(sys.argv[2])))\n"
        "np.save(sys.argv[3], keras.ops.convert_to_numpy(outputs))\n"
    )
    arguments = [str(saved_unet), str(tmp_path / "inputs.npz"), str(tmp_path / "out.npy")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, env=environment)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), predict(preset_unet, inputs), rtol=1e-6)


def test_siamese_round_trip_gives_equal_weights(saved_siamese: Path, tmp_path: Path) -> None:
    loaded = SiameseDistanceNet.from_pretrained(saved_siamese)
    again = SiameseDistanceNet.from_pretrained(loaded.save_pretrained(tmp_path / "again"))
    first, second = weights_of(loaded), weights_of(again)
    assert list(first) == list(second)
    assert all(np.array_equal(first[path], second[path]) for path in first)


def test_variable_list_is_the_same_when_saved_again(saved_unet: Path, tmp_path: Path) -> None:
    AtlasUNet.from_pretrained(saved_unet).save_pretrained(tmp_path / "again")
    first = json.loads((saved_unet / "metadata.json").read_text())
    second = json.loads((tmp_path / "again" / "metadata.json").read_text())
    assert first["variables"] == second["variables"]


def test_preset_holds_exactly_the_four_files(saved_unet: Path) -> None:
    assert {entry.name for entry in saved_unet.iterdir()} == set(PRESET_FILES)


def test_training_state_is_not_published(tmp_path: Path) -> None:
    model = tiny_unet()
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.trainable = False
    folder = model.save_pretrained(tmp_path / "trained")
    with h5py.File(folder / WEIGHTS_FILE) as file:
        assert "optimizer" not in file
    metadata = json.loads((folder / "metadata.json").read_text())
    assert len(metadata["variables"]) == len(model.variables)
    assert metadata["trainable_parameters"] > 0


@pytest.mark.parametrize("build", [tiny_unet, lambda: SiameseDistanceNet((131, 131, 1), **TINY)])
def test_variable_list_does_not_depend_on_what_was_built_before(build: Any) -> None:
    from cytokeras.hub._model_building import list_variables

    first = list_variables(build())
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization()])
    assert list_variables(build()) == first
    assert len({variable.path for variable in first}) == len(first)


def test_config_states_how_to_feed_the_model(preset_unet: Any, saved_unet: Path) -> None:
    config = json.loads((saved_unet / "config.json").read_text())
    assert config["input"]["pixel_size_um"] == 16.0
    assert config["input"]["value_range"] == [0.0, 255.0]
    assert config["classes"] == list(NAMES)
    assert config["output_grid"]["offset_px"] == preset_unet.field.offset


def test_model_card_says_that_data_were_synthetic(saved_unet: Path) -> None:
    card = (saved_unet / "README.md").read_text(encoding="utf-8")
    assert card.startswith('---\nlibrary_name: "cytokeras"\nlicense: "apache-2.0"\n')
    assert "Trained on synthetic data." in card
    assert "| test, dice | 0.81 |" in card


def test_model_card_is_silent_about_what_is_not_known(saved_siamese: Path) -> None:
    card = (saved_siamese / "README.md").read_text(encoding="utf-8")
    assert "license" not in card
    assert "ynthetic" not in card


# === Loading with other arguments ===


def test_without_weights_only_the_config_is_needed(saved_unet: Path, tmp_path: Path) -> None:
    shutil.copy(saved_unet / "config.json", tmp_path)
    assert AtlasUNet.from_pretrained(tmp_path, load_weights=False).class_names == NAMES


def test_new_number_of_classes_replaces_only_the_head(preset_unet: Any, saved_unet: Path) -> None:
    with pytest.warns(UserWarning, match="output_conv and output_norm are newly initialised"):
        model = AtlasUNet.from_pretrained(saved_unet, num_classes=5)
    before, after = weights_of(preset_unet), weights_of(model)
    assert model.output_shape[-1] == 5
    assert model.class_names is None
    kept = [path for path in after if not path.startswith("output_")]
    assert len(kept) == len(after) - 5
    assert all(np.array_equal(before[path], after[path]) for path in kept)


def test_new_class_names_give_the_number_of_classes(saved_unet: Path) -> None:
    with pytest.warns(UserWarning, match="num_classes=2 replaces 3"):
        model = AtlasUNet.from_pretrained(saved_unet, class_names=["a", "b"])
    assert model.output_shape[-1] == 2
    assert model.class_names == ("a", "b")


def test_larger_input_keeps_every_weight(preset_unet: Any, saved_unet: Path) -> None:
    model = AtlasUNet.from_pretrained(saved_unet, input_shape=(210, 210, 1))
    before, after = weights_of(preset_unet), weights_of(model)
    assert model.output_shape[1:3] == (20, 20)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_other_pixel_size_is_announced_and_keeps_the_weights_by_name(preset_unet: Any, saved_unet: Path) -> None:
    with pytest.warns(UserWarning, match=r"pixel_size_um=8\.0.*trained with pixel_size_um=16\.0"):
        model = AtlasUNet.from_pretrained(saved_unet, pixel_size_um=8.0, input_shape=(382, 382, 1))
    before, after = weights_of(preset_unet), weights_of(model)
    assert model.get_config()["first_pool"] is True
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_dtype_becomes_the_policy_of_this_model_only(saved_unet: Path) -> None:
    model = AtlasUNet.from_pretrained(saved_unet, dtype="mixed_bfloat16")
    assert model.get_layer("texture_block1_conv1").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_unknown_dtype_is_refused(saved_unet: Path) -> None:
    with pytest.raises(UserError, match="dtype must be a Keras dtype policy"):
        AtlasUNet.from_pretrained(saved_unet, dtype="float12")


def test_unknown_override_names_the_nearest_argument(saved_unet: Path) -> None:
    with pytest.raises(TypeError, match=r"'num_class'. Did you mean 'num_classes'"):
        AtlasUNet.from_pretrained(saved_unet, num_class=5)


def test_override_that_changes_shapes_is_refused(saved_unet: Path) -> None:
    with pytest.raises(UserError, match=r"widths=.*texture_block2_conv1/kernel is \(3, 3, 2, 2\) in the preset"):
        AtlasUNet.from_pretrained(saved_unet, widths=(2, 4, 2, 2, 2, 2), num_classes=5)


# === Sources ===


@pytest.fixture
def builtin(saved_siamese: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "builtin_presets", lambda: {"tiny-siamese": saved_siamese})


@pytest.mark.usefixtures("builtin")
def test_unknown_name_gives_the_nearest_and_the_list() -> None:
    with pytest.raises(UserError, match=r"built-in preset \(tiny-siamese\).*Did you mean 'tiny-siamese'"):
        SiameseDistanceNet.from_pretrained("tiny-siames")


@pytest.mark.usefixtures("builtin")
def test_wrong_class_says_which_to_use() -> None:
    with pytest.raises(UserError, match=r"SiameseDistanceNet\.from_pretrained and copy .*transfer_weights"):
        AtlasUNet.from_pretrained("tiny-siamese")


@pytest.mark.usefixtures("builtin")
def test_presets_are_listed_with_their_size(saved_siamese: Path) -> None:
    (description,) = list_presets()
    # Six blocks of two convolutions, the first 5 x 5 on grey; 32 features, 3 coordinates.
    convolutions = 5 * 5 * 1 * 2 + 11 * 3 * 3 * 2 * 2
    normalizations = 12 * 2 * 2
    dense = (2 * 32 + 32) + (32 * 3 + 3)
    assert description.parameters == convolutions + normalizations + dense
    assert str(description).startswith("tiny-siamese: SiameseDistanceNet, 16 µm/px, ")


def test_describing_a_preset_imports_no_keras(saved_unet: Path) -> None:
    script = (
        "import sys, cytokeras.hub as hub\n"
        "hub.list_presets(); print(hub.describe_preset(sys.argv[1]))\n"
        "assert not {'keras', 'tensorflow', 'huggingface_hub', 'h5py'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", script, str(saved_unet)]
    output = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    assert "AtlasUNet, 16 µm/px" in output
    assert output.rstrip().endswith("Smallest network.")


def test_description_of_a_folder_holds_its_recipe(saved_unet: Path) -> None:
    assert describe_preset(saved_unet).metadata.provenance["recipe"] == {"optimizer": "SGD", "rate": 0.05}


def test_revision_of_a_folder_is_refused(saved_unet: Path) -> None:
    with pytest.raises(UserError, match="revision is for repositories of the Hub"):
        AtlasUNet.from_pretrained(saved_unet, revision="v1")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing: no such preset folder"):
        AtlasUNet.from_pretrained(tmp_path / "nothing")


# === Saving ===


def test_existing_card_is_kept(preset_unet: Any, preset_folder: Path) -> None:
    (preset_folder / "README.md").write_text("mine", encoding="utf-8")
    preset_unet.save_pretrained(preset_folder)
    assert (preset_folder / "README.md").read_text(encoding="utf-8") == "mine"


def test_given_card_replaces_the_existing_one(preset_unet: Any, preset_folder: Path) -> None:
    preset_unet.save_pretrained(preset_folder, card="new")
    assert (preset_folder / "README.md").read_text(encoding="utf-8") == "new"


def test_other_files_beside_a_preset_survive(preset_unet: Any, preset_folder: Path) -> None:
    (preset_folder / ".git").mkdir()
    (preset_folder / ".git" / "HEAD").write_text("ref", encoding="utf-8")
    preset_unet.save_pretrained(preset_folder)
    assert (preset_folder / ".git" / "HEAD").read_text(encoding="utf-8") == "ref"


def test_folder_that_is_no_preset_is_not_replaced(preset_unet: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("…", encoding="utf-8")
    with pytest.raises(UserError, match="is no cytokeras preset, so it is not replaced"):
        preset_unet.save_pretrained(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_interrupted_saving_leaves_the_old_preset(
    preset_unet: Any, preset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Iterator[str]:
        raise KeyboardInterrupt

    before = {entry.name: entry.read_bytes() for entry in preset_folder.iterdir()}
    monkeypatch.setattr("cytokeras.hub._preset_writer.render_model_card", interrupt)
    (preset_folder / "README.md").unlink()
    with pytest.raises(KeyboardInterrupt):
        preset_unet.save_pretrained(preset_folder)
    before.pop("README.md")
    assert {entry.name: entry.read_bytes() for entry in preset_folder.iterdir()} == before
    assert [entry.name for entry in preset_folder.parent.iterdir()] == [preset_folder.name]


def test_nan_weights_are_not_saved(tmp_path: Path) -> None:
    model = tiny_unet()
    model.variables[0].assign(np.full(model.variables[0].shape, np.nan))
    with pytest.raises(UserError, match="texture_block1_conv1/kernel holds NaN"):
        model.save_pretrained(tmp_path / "bad")
    assert not list(tmp_path.iterdir())


def test_unknown_metadata_field_names_the_nearest(preset_unet: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown field 'licence'\. Did you mean 'license'"):
        preset_unet.save_pretrained(tmp_path / "new", metadata={"licence": "MIT"})


def test_metadata_of_the_wrong_kind_is_named(preset_unet: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metadata, field data, field synthetic: must be true or false"):
        preset_unet.save_pretrained(tmp_path / "new", metadata={"data": {"synthetic": "yes"}})
