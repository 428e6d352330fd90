"""``cytokeras pretrain``, ``finetune`` and ``recipes``: settings from flags and files, runs, errors in one line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from cytokeras._commands import pretrain
from cytokeras._commands._run_settings import parse_config, with_fields
from cytokeras.cli import main
from cytokeras.errors import UserError
from cytokeras.training import FINETUNING_RECIPES, PRETRAINING_RECIPES


def changed(fields):
    """Flags that give fields of a recipe other values."""
    return [part for change in fields.split() for part in ("--set", change)]


# Plain gradient descent: eagerly, Adam takes longer than the network.
PRETRAINING = changed("patches=24 pairs=16 batch_size=8 epochs=1 optimizer=sgd")
FINETUNING = [*changed("phases.0.iterations=1 phases.1.iterations=1 batch_size=2 optimizer=sgd"), "--patch-size", "194"]


def error_of(capsys, *arguments):
    """The one line that a command with these arguments ends with."""
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_fields_are_changed_with_the_kind_they_have():
    recipe = with_fields(PRETRAINING_RECIPES["paper"], ["learning_rate=1e-3", "pairs=100", "halve_every_epochs=null"])
    assert (recipe.learning_rate, recipe.pairs, recipe.halve_every_epochs) == (0.001, 100, None)
    phases = with_fields(FINETUNING_RECIPES["paper"], ["phases.1.iterations=7", "phases.0.halve_at=[2, 3]"]).phases
    assert (phases[1].iterations, phases[0].halve_at) == (7, (2, 3))
    assert phases[0].iterations == 8000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rat=1", "no field 'learning_rat'. Did you mean 'learning_rate'"),
        ("learning_rate", "write FIELD=VALUE"),
        ("learning_rate=fast", "a number is needed"),
        ("pairs=1.5", "a whole number is needed"),
        ("optimizer=3", "a name is needed"),
    ],
)
def test_wrong_fields_are_told(change, message):
    with pytest.raises(UserError, match=message):
        with_fields(PRETRAINING_RECIPES["paper"], [change])


def test_wrong_phase_is_told():
    with pytest.raises(UserError, match="there are parts 0 to 1"):
        with_fields(FINETUNING_RECIPES["paper"], ["phases.2.iterations=7"])


def test_recipes_are_listed_and_printed(capsys):
    assert main(["recipes"]) == 0
    assert "paper-20k-distance" in capsys.readouterr().out
    assert main(["recipes", "paper"]) == 0
    printed = capsys.readouterr().out
    assert "pairs: 200000" in printed
    assert "iterations: 8000" in printed


@pytest.fixture
def settings(tmp_path):
    """Settings of a ``pretrain`` with these flags and this file."""

    def parsed(flags, file):
        (tmp_path / "run.yaml").write_text(file)
        parser = argparse.ArgumentParser()
        pretrain.add(parser.add_subparsers())
        config = ["--config", str(tmp_path / "run.yaml")] if file else []
        return parse_config(parser.parse_args(["pretrain", "brain", *flags.split(), *config]))

    return parsed


def test_flags_come_before_the_file_and_the_file_before_the_defaults(settings):
    file = "out: from-file\ninterval: 7\nseed: 3\nprecision: bfloat16\nquiet: true\npatch-size: 140\n"
    given = settings("--interval 100 --precision float32", file)  # their defaults
    assert (given.interval, given.precision) == (100, "float32")
    assert (given.out, given.seed, given.quiet, given.patch_size) == (Path("from-file"), 3, True, 140)
    assert (given.recipe, given.devices, given.find_rate, given.set) == ("adam-cosine", None, False, [])


def test_fields_of_flags_come_after_those_of_the_file(settings):
    given = settings("--out run --set epochs=2 --set pairs=8", "set: {epochs: 5, learning_rate: 1.0e-3}\n")
    recipe = with_fields(PRETRAINING_RECIPES["paper"], given.set)
    assert (recipe.epochs, recipe.pairs, recipe.learning_rate) == (2, 8, 1e-3)
    assert settings("--out run", "").set == []


def test_help_states_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "see cytokeras recipes (adam-cosine)" in printed
    assert "two checkpoints (100)" in printed


def test_wrong_settings_end_in_one_line(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    assert "There are: paper" in error_of(capsys, "recipes", "papre")
    assert "--out: give a folder" in error_of(capsys, "pretrain", tmp_path)
    config.write_text("recipee: paper\n")
    assert "no such setting. Did you mean 'recipe'" in error_of(capsys, "pretrain", tmp_path, "--config", config)
    config.write_text("interval: many\n")
    assert "interval:" in error_of(capsys, "pretrain", tmp_path, "--config", config)
    config.write_text("precision: float8\n")
    assert "must be one of float32" in error_of(capsys, "pretrain", tmp_path, "--config", config)
    config.write_text("widths: 5\n")
    assert "must be a list of 6" in error_of(capsys, "pretrain", tmp_path, "--config", config)
    config.write_text("quiet: perhaps\n")
    assert "must be true or false" in error_of(capsys, "pretrain", tmp_path, "--config", config)
    config.write_text("from: random\n")
    assert "--out: give a folder" in error_of(capsys, "finetune", tmp_path, "--config", config)
    config.write_text("- 3\n")
    assert "holds no settings" in error_of(capsys, "pretrain", tmp_path, "--config", config)
    assert "--from: give the preset" in error_of(capsys, "finetune", tmp_path, "--out", tmp_path / "run")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.yaml"]


def test_flags_that_a_preset_has_decided_are_refused(small_phantom, tmp_path, capsys):
    start = ["--from", "siamese-phantom-16um", "--out", tmp_path / "run"]
    assert "--widths: siamese" in error_of(capsys, "pretrain", small_phantom, *start, "--widths", *6 * ["2"])
    assert "--patch-size: siamese" in error_of(capsys, "pretrain", small_phantom, *start, "--patch-size", "140")
    assert "--no-atlas: atlas" in error_of(
        capsys, "finetune", small_phantom, "--from", "atlas-unet-phantom-16um", "--out", tmp_path / "run", "--no-atlas"
    )


@pytest.fixture
def few_scored(monkeypatch):
    """Fewer patches and pairs to validate and to score with."""
    from cytokeras.training import distance_scores, finetuning, pretraining

    monkeypatch.setattr(pretraining, "_VALIDATION_PATCHES", 8)
    monkeypatch.setattr(pretraining, "_VALIDATION_PAIRS", 8)
    monkeypatch.setattr(finetuning, "_VALIDATION_PATCHES", 4)
    monkeypatch.setattr(distance_scores, "__kwdefaults__", {"patches": 24, "pairs": 32, "seed": 1})


def test_pretrain_and_finetune_write_run_folders(small_phantom, tmp_path, capsys, eager, few_scored):
    siamese, unet, config = tmp_path / "siamese", tmp_path / "unet", tmp_path / "run.yaml"
    config.write_text(f"out: {siamese}\ninterval: 1\nwidths: [2, 2, 2, 2, 2, 2]\nset:\n  learning_rate: 1.0e-4\n")
    status = main(["pretrain", str(small_phantom), "--quiet", "--config", str(config), *PRETRAINING])
    assert status in (0, 1)  # 1: two steps taught it nothing about distance, which is what it says then
    assert "best constant guess" in capsys.readouterr().out
    settings = json.loads((siamese / "config.json").read_text())
    assert (settings["recipe"]["learning_rate"], settings["interval"], settings["recipe"]["pairs"]) == (1e-4, 1, 16)

    start = ["--from", str(siamese / "preset"), "--out", str(unet), "--quiet"]
    assert main(["finetune", str(small_phantom), *start, *FINETUNING]) == 0
    printed = capsys.readouterr().out
    assert "24 layers, 542 weights copied" in printed
    assert "val_dice" in printed
    for run in (siamese, unet):
        names = {entry.name for entry in run.iterdir()}
        assert {"config.json", "log.csv", "curves.png", "events", "state.h5", "best.weights.h5", "preset"} <= names
    metadata = json.loads((unet / "preset" / "metadata.json").read_text())
    assert metadata["source_preset"] == str(siamese / "preset")

    assert main(["finetune", str(small_phantom), *start, *FINETUNING]) == 0
    assert "(complete, kept)" in capsys.readouterr().out
    other = [*start, *FINETUNING, "--seed", "1"]
    assert "seed 0 (now 1)" in error_of(capsys, "finetune", small_phantom, *other)
