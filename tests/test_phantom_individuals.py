"""What sets phantom individuals apart: folding, borders, textures, cutting angle, damage, annotations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("nilearn", reason="the phantom is drawn on the fsaverage5 surfaces that nilearn ships")

from cytokeras.brain.labels import UNLABELLED, VISUAL_AREAS, VISUAL_SCHEME
from cytokeras.cli import main
from cytokeras.errors import UserError
from cytokeras.phantom import LEVELS, PhantomBrain, section_positions
from cytokeras.phantom._damage import random_damage
from cytokeras.phantom._deformation import Deformation
from cytokeras.phantom._displacement import random_flaps
from cytokeras.phantom._section_fields import BACKGROUND, OTHER_CORTEX
from cytokeras.phantom.anatomy import individual_surfaces
from cytokeras.phantom.cytoarchitecture import AREA_LAYERS, depth_profiles, texture_layers
from cytokeras.phantom.phantom_brain import PhantomLabels
from cytokeras.phantom.renderer import SectionRenderer
from cytokeras.phantom.territories import areas_from_territory, textures_from_territory

STANDARD = LEVELS["standard"]


@pytest.fixture(scope="module")
def standard():
    return PhantomBrain(3, 16.0, [-84.0, -78.0], ["left"], "standard", "partial")


def prism_volumes(surfaces):
    """Signed volumes of the three tetrahedra between each pial and white triangle."""
    p, w, f = surfaces.pial.vertices, surfaces.white.vertices, surfaces.pial.faces
    a, b, c = f.T
    corners = [(p[a], p[b], p[c], w[c]), (p[a], p[b], w[b], w[c]), (p[a], w[a], w[b], w[c])]
    return np.concatenate([np.einsum("ij,ij->i", np.cross(y - x, z - x), t - x) / 6 for x, y, z, t in corners])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level", ["standard", "hard"])
def test_deformation_is_one_to_one(seed, level):
    """The Jacobian determinant, by finite differences, is positive everywhere: space never folds over."""
    deform = Deformation.random(np.random.default_rng(seed), LEVELS[level].folding_mm, LEVELS[level].size_spread)
    points = np.random.default_rng(seed).uniform(-100, 100, (4000, 3))
    h = 1e-3
    jacobian = np.stack([(deform(points + h * e) - deform(points - h * e)) / (2 * h) for e in np.eye(3)], axis=-1)
    assert np.linalg.det(jacobian).min() > 0.2
    moved = np.linalg.norm(deform(points) - points * deform.size, axis=1)
    assert np.sqrt((moved**2).mean()) == pytest.approx(LEVELS[level].folding_mm, rel=0.35)


def test_folding_turns_no_prism_of_the_cortex_inside_out():
    """Where the average's prisms have a volume to speak of, the individual's have one of the same sign."""
    before = prism_volumes(individual_surfaces("left", 5, LEVELS["easy"]))
    after = prism_volumes(individual_surfaces("left", 5, LEVELS["hard"]))
    clear = np.abs(before) > 0.02
    assert clear.mean() > 0.95
    assert (np.sign(before) == np.sign(after))[clear].mean() > 0.999


def test_individuals_differ_in_shape_and_layers():
    first, second = (individual_surfaces("left", seed, STANDARD) for seed in (1, 2))
    assert np.linalg.norm(first.pial.vertices - second.pial.vertices, axis=1).mean() > 2.0
    layers = [texture_layers(np.random.default_rng(seed), 0.08, 0.08)[1] for seed in range(200)]
    log_density = np.log([individual[4].density for individual in layers])
    assert log_density.std() == pytest.approx(0.08, rel=0.2)
    assert np.exp(log_density.mean()) == pytest.approx(AREA_LAYERS["hOc1"][4].density, rel=0.03)


def test_textures_follow_the_areas_and_mix_only_at_gradual_borders():
    rng = np.random.default_rng(0)
    territory = rng.uniform(-10, 10, (5000, 12))
    territory[:, 0] = rng.uniform(0, 60, 5000)
    striate = (12.0, 20.0)
    texture, neighbour, share = textures_from_territory(territory, striate, np.zeros((5000, 1)), 0.5)
    assert (texture == areas_from_territory(territory, striate, OTHER_CORTEX) - OTHER_CORTEX).all()
    assert share.max() <= 127
    assert (share[texture == 1] == 0).all()  # hOc1/hOc2 is sharp
    assert ((share > 0) <= (texture != neighbour)).all()
    outer = territory[:, 0] - striate[1]
    near = (np.abs(outer) < 0.05) & (texture != 1)
    assert (share[near] > 100).all()
    assert (neighbour[near & (outer > 0)] == 2).all()


def test_half_of_the_cells_at_a_gradual_border_are_the_neighbours(standard):
    """Halfway between hOc2 and cortex of no cells, half the stain of hOc2's cells is left."""
    fields = standard.sections[0].image.fields()
    empty = tuple(replace(layer, density=0.0) for layer in AREA_LAYERS["hOc2"])
    profiles = depth_profiles([AREA_LAYERS["hOc2"], empty])
    flat = {"gradients": np.zeros_like(fields.gradients), "columns": np.zeros_like(fields.columns)}
    zeros = np.zeros_like(fields.texture)
    means = []
    for texture, share in ((zeros, 0), (zeros, 127), (zeros + 1, 0)):
        mixed = replace(fields, texture=texture, neighbour=1 - texture, share=zeros + np.uint8(share), **flat)
        grey = SectionRenderer(mixed, profiles, 16.0, 1, LEVELS["easy"]).render(0, 0, *standard.sections[0].image.shape)
        cortex = np.zeros(grey.shape, bool)
        whole = mixed.labels >= OTHER_CORTEX
        height, width = (grey.shape[0] + 1) // 2, (grey.shape[1] + 1) // 2
        cortex[::2, ::2] = whole[:height, :width]
        means.append(-np.log(grey[cortex] / 245.0).mean())
    pure, half, none = means
    assert (half - none) / (pure - none) == pytest.approx(0.5, abs=0.03)


def test_columns_leave_the_number_of_cells(standard):
    fields = standard.sections[0].image.fields()
    wave = fields.columns[fields.labels >= OTHER_CORTEX] / 127
    assert abs(wave.mean()) < 0.02
    assert wave.std() == pytest.approx(0.5, abs=0.05)


def test_tilted_sections_know_their_place(standard):
    """The surface cut by the section's own plane lies where the section shows the edge of the tissue."""
    section = standard.sections[0]
    plane = section.plane
    assert np.abs(plane.normal @ [0.0, 1.0, 0.0]) < 0.99999  # tilted
    pial = standard.surfaces["left"].pial.plane_section(plane.origin, plane.normal).points.reshape(-1, 3)
    pixels = np.rint(section.mm_to_pixel(pial)).astype(int)
    tissue = section.image.fields().labels != BACKGROUND
    rows, columns = np.rint(pixels * 16.0 / 32.0).astype(int).T
    around = [tissue[rows + r, columns + c] for r in range(-3, 4) for c in range(-3, 4)]
    touches = np.any(around, axis=0) & ~np.all(around, axis=0)
    assert touches.mean() > 0.97  # the rest lies where two banks of a sulcus touch


def test_damage_is_drawn_for_each_section_anew(standard):
    fields = standard.sections[0].image.fields()
    kinds = [random_damage(np.random.default_rng(seed), fields, STANDARD)[:, 0] for seed in range(30)]
    assert np.mean([len(np.unique(kind)) for kind in kinds]) > 2.5
    assert not len(random_damage(np.random.default_rng(0), fields, LEVELS["easy"]))


def test_partial_annotations_hold_only_true_classes(standard):
    shares = []
    for seed in range(6):
        brain = PhantomBrain(seed, 16.0, [-84.0], ["left"], "easy", "partial")
        section = brain.sections[0]
        if section.labels is None:
            continue
        truth = PhantomLabels(section.image)
        window = (0, 0, section.image.shape[0] // 8, section.image.shape[1] // 8, 8)
        some, all_of_them = section.labels.read(*window), truth.read(*window)
        given = some != UNLABELLED
        assert (some[given] == all_of_them[given]).all()
        shares.append(given.mean())
    assert 1 <= len(shares) <= 5
    assert 0.02 < np.mean(shares) < 0.6


def test_strokes_annotate_other_cortex_far_from_areas():
    found = []
    for seed in range(4):
        section = PhantomBrain(seed, 16.0, [-60.0], ["left"], "easy", "partial").sections[0]
        if section.labels is None:
            continue
        window = (0, 0, section.image.shape[0] // 8, section.image.shape[1] // 8, 8)
        some, truth = section.labels.read(*window), PhantomLabels(section.image).read(*window)
        areas = (truth > OTHER_CORTEX) & (truth != UNLABELLED)
        far = (truth == OTHER_CORTEX) & (ndimage.distance_transform_edt(~areas) * 8 * 0.016 > 6.0)
        found.append((some[far] == OTHER_CORTEX).mean())
    assert found
    assert 0.05 < np.mean(found) < 0.5  # neither none of it nor all


def test_other_cortex_is_not_one_texture():
    brain = PhantomBrain(1, 16.0, [-60.0], ["left"], "standard")
    fields = brain.sections[0].image.fields()
    other = fields.texture[fields.labels == OTHER_CORTEX]
    assert len(np.unique(other)) > 1
    assert not set(np.unique(other)) & set(range(1, len(VISUAL_AREAS) + 1))


@pytest.mark.parametrize(
    "arguments", [{"level": "standart"}, {"annotation": "some"}, {"seed": 1_000_000}, {"sections_mm": [-80.0, np.nan]}]
)
def test_bad_choices_are_refused(arguments):
    with pytest.raises(UserError):
        PhantomBrain(**{"sections_mm": [-80.0], **arguments})


def test_positions_that_miss_a_small_brain_give_no_section():
    brain = PhantomBrain(9, 16.0, [-100.0, -84.0], ["left"], "hard")  # begins at y = -97.4 mm
    assert [section.id for section in brain.sections] == ["phantom-9-0001"]
    with pytest.raises(UserError, match="reaches from y = -97 to"):
        PhantomBrain(9, 16.0, [-100.0], ["left"], "hard")


def test_section_through_the_very_pole_has_no_place_for_damage():
    image = PhantomBrain(9, 16.0, [-97.386], ["left"], "hard").sections[0].image  # a quarter of a µm of the brain
    assert image.read(0, 0, *image.shape).mean() > 220  # next to nothing but glass
    for seed in range(5):
        assert not len(random_damage(np.random.default_rng(seed), image.fields(), LEVELS["hard"]))
        assert not random_flaps(np.random.default_rng(seed), image.fields(), LEVELS["hard"])


def test_section_positions_cover_the_range():
    assert len(section_positions(1.2)) == 49
    with pytest.raises(UserError, match="spacing"):
        section_positions(0.0)


def test_phantom_command_writes_resumes_and_never_overwrites(tmp_path, capsys):
    out = tmp_path / "brains"
    arguments = ["phantom", str(out), "--pixel-size-um", "20", "--spacing-mm", "50", "--hemispheres", "left", "--quiet"]
    assert main([*arguments, "--brains", "1", "--seed", "4", "--level", "easy"]) == 0
    assert "1 annotated" not in capsys.readouterr().err
    written = (out / "phantom-4" / "brain.json").stat().st_mtime_ns
    assert main([*arguments, "--brains", "2", "--seed", "4", "--level", "easy"]) == 0
    assert "complete, kept" in capsys.readouterr().out
    assert (out / "phantom-4" / "brain.json").stat().st_mtime_ns == written
    assert (out / "phantom-5" / "brain.json").exists()
    assert main([*arguments, "--level", "hard"]) == 2
    assert "other settings: " in capsys.readouterr().err
    assert main(["phantom", str(tmp_path / "new"), "--level", "medium"]) == 2
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    assert main(["phantom", str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


assert VISUAL_SCHEME.names[OTHER_CORTEX] == "other cortex"
