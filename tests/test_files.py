"""What a folder is made with is noted, and work with other settings is refused."""

from __future__ import annotations

import pytest

from cytokeras._files import same_settings, write_json
from cytokeras.errors import UserError


def same(path, **settings):
    return same_settings(path, settings, "holds tables made", "choose another folder")


def test_settings_are_compared_as_the_file_holds_them(tmp_path):
    path = tmp_path / "settings.json"
    assert not same(path, seed=1)
    write_json(path, {"seed": 1, "sides": ("left", "right"), "size_um": 16.0})
    assert same(path, seed=1, sides=["left", "right"], size_um=16)
    assert same(path, seed=1, sides=("left", "right"), size_um=16)


def test_what_differs_is_told_and_digests_by_name_only(tmp_path):
    path = tmp_path / "settings.json"
    write_json(path, {"seed": 1, "weights": "a" * 64, "atlas": None})
    with pytest.raises(UserError) as caught:
        same(path, seed=2, weights="b" * 64)
    assert str(caught.value) == (
        f"{tmp_path}: holds tables made with other settings: seed 1 (now 2), weights; choose another folder."
    )


@pytest.mark.parametrize("content", ["{", "\xff", ""])
def test_a_damaged_note_is_told(tmp_path, content):
    (tmp_path / "settings.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"settings.json: cannot be read .*; choose another folder"):
        same(tmp_path / "settings.json", seed=1)
