"""SpatialContrastiveLoss against plain NumPy, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest

from cytokeras.errors import UserError
from cytokeras.losses import SpatialContrastiveLoss

RNG = np.random.default_rng(4)
PAIRS = 5
TARGETS = np.column_stack([RNG.uniform(1, 80, PAIRS), RNG.normal(size=(PAIRS, 6)) * 25]).astype(np.float32)
FEATURES = RNG.normal(size=(PAIRS, 2, 8)).astype(np.float32)


def each(loss: SpatialContrastiveLoss, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(loss.call(true, predicted))


def plain(true: np.ndarray, predicted: np.ndarray, target_temperature_mm: float, temperature: float) -> np.ndarray:
    """Patch by patch, over the others only; (B,) losses and (B,) entropies of the targets."""
    count = len(true)
    patches = [(pair, end) for end in (0, 1) for pair in range(count)]
    place = {(pair, end): true[pair, 1 + 3 * end : 4 + 3 * end].astype(float) for pair, end in patches}
    losses, entropies = np.zeros((2, count)), np.zeros((2, count))
    for pair, end in patches:
        closeness, similarity = [], []
        for other, other_end in patches:
            if (other, other_end) == (pair, end):
                continue
            straight = np.linalg.norm(place[pair, end] - place[other, other_end])
            closeness.append(-(true[pair, 0] if other == pair else straight) / target_temperature_mm)
            one, two = predicted[pair, end].astype(float), predicted[other, other_end].astype(float)
            similarity.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two) / temperature)
        target = np.exp(closeness) / np.exp(closeness).sum()
        losses[end, pair] = -(target * np.log(np.exp(similarity) / np.exp(similarity).sum())).sum()
        entropies[end, pair] = -(target * np.log(target)).sum()
    return losses.mean(axis=0), entropies.mean(axis=0)


@pytest.mark.parametrize("temperatures", [(10.0, 0.1), (40.0, 0.5), (3.0, 1.0)])
def test_loss_is_that_of_plain_numpy(temperatures):
    expected, entropy = plain(TARGETS, FEATURES, *temperatures)
    received = each(SpatialContrastiveLoss(*temperatures), TARGETS, FEATURES)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    assert np.all(received > entropy)  # the cross-entropy is never below it


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_equal_features_cost_the_log_of_the_number_of_others(pairs):
    equal = np.broadcast_to(FEATURES[:1, :1], (pairs, 2, 8))
    np.testing.assert_allclose(each(SpatialContrastiveLoss(), TARGETS[:pairs], equal), np.log(2 * pairs - 1), rtol=1e-5)


def test_hard_targets_give_infonce():
    # The two places of a pair all but touch, all others are centimetres away.
    targets = np.zeros((PAIRS, 7), np.float32)
    targets[:, 0] = 0.1
    targets[:, [1, 4]] = 50.0 * np.arange(PAIRS)[:, None]
    unit = np.concatenate([FEATURES[:, 0], FEATURES[:, 1]]).astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    score = np.exp(unit @ unit.T / 0.1)
    np.fill_diagonal(score, 0.0)
    positive = score[np.arange(2 * PAIRS), np.roll(np.arange(2 * PAIRS), PAIRS)]
    infonce = -np.log(positive / score.sum(axis=1)).reshape(2, PAIRS).mean(axis=0)
    np.testing.assert_allclose(each(SpatialContrastiveLoss(1.0, 0.1), targets, FEATURES), infonce, rtol=1e-4)


def test_features_as_alike_as_places_are_near_reach_the_entropy_of_the_targets():
    # Within a pair 3 mm and a similarity of 1, between them 8 mm and 0.95: (8 - 3) / 10 mm = (1 - 0.95) / 0.1.
    targets = np.zeros((2, 7), np.float32)
    targets[:, 0] = 3.0
    targets[1, [1, 4]] = 8.0
    features = np.zeros((2, 2, 2), np.float32)
    features[0] = [1.0, 0.0]
    features[1] = [0.95, np.sqrt(1 - 0.95**2)]
    _, entropy = plain(targets, features, 10.0, 0.1)
    np.testing.assert_allclose(each(SpatialContrastiveLoss(10.0, 0.1), targets, features), entropy, rtol=1e-5)


def test_length_of_the_features_does_not_matter():
    longer = FEATURES * RNG.uniform(0.5, 20, (PAIRS, 2, 1)).astype(np.float32)
    loss = SpatialContrastiveLoss()
    np.testing.assert_allclose(each(loss, TARGETS, longer), each(loss, TARGETS, FEATURES), rtol=1e-4)


def test_order_of_pairs_and_of_their_patches_does_not_matter():
    loss, order = SpatialContrastiveLoss(), RNG.permutation(PAIRS)
    expected = each(loss, TARGETS, FEATURES)
    np.testing.assert_allclose(each(loss, TARGETS[order], FEATURES[order]), expected[order], rtol=1e-5)
    swapped = TARGETS[:, [0, 4, 5, 6, 1, 2, 3]]
    np.testing.assert_allclose(each(loss, swapped, FEATURES[:, ::-1]), expected, rtol=1e-5)


def test_vanished_features_have_a_finite_loss_and_gradient():
    tf = pytest.importorskip("tensorflow")
    features = tf.zeros((2, 2, 4))
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_sum(SpatialContrastiveLoss()(TARGETS[:2], features))
    assert float(loss) == pytest.approx(np.log(3.0))
    assert np.isfinite(tape.gradient(loss, features)).all()


@pytest.mark.parametrize("arguments", [{"target_temperature_mm": 0.0}, {"temperature": -1.0}])
def test_temperatures_must_be_positive(arguments):
    with pytest.raises(UserError, match=f"{next(iter(arguments))} must be positive"):
        SpatialContrastiveLoss(**arguments)
