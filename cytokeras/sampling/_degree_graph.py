"""Random graphs without loops and double edges whose degrees follow a power law."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_DRAWS = 32  # whole sequences drawn; the one whose sum is nearest is kept, so that little has to be redrawn
_SWAP_ROUNDS = 40  # each tries to swap every edge once; degrees of neighbours are uncorrelated after some ten


def power_law_degrees(size: int, total: int, exponent: float, rng: np.random.Generator) -> Ints:
    """Draw degrees 1 … size - 1 from the zeta law that add up to ``total`` and that a simple graph can have.

    Args:
        size: Number of vertices, at least 2.
        total: Even, size … size * (size - 1).
        exponent: Exponent of the law, above 1.
    """
    draws = (_zeta(size, size - 1, exponent, rng) for _ in range(_DRAWS))
    degrees = min(draws, key=lambda each: abs(int(each.sum()) - total))
    gap = total - int(degrees.sum())
    while gap:
        # redraw everyone and keep, in random order, the changes towards the total that do not pass it
        change = _zeta(size, size - 1, exponent, rng) - degrees
        useful = rng.permutation(np.flatnonzero((np.sign(change) == np.sign(gap)) & (abs(change) <= abs(gap))))
        taken = useful[np.cumsum(abs(change[useful])) <= abs(gap)]
        if len(taken) == 0:
            # at the far end of what is possible the law hardly ever offers a change: take a single step
            room = degrees < size - 1 if gap > 0 else degrees > 1
            taken = rng.choice(np.flatnonzero(room), 1)
            change[taken] = np.sign(gap)
        degrees[taken] += change[taken]
        gap -= int(change[taken].sum())
    while not _is_graphical(degrees):
        degrees[np.argmax(degrees)] -= 1
        degrees[np.argmin(degrees)] += 1
    return degrees


def _zeta(size: int, largest: int, exponent: float, rng: np.random.Generator) -> Ints:
    return np.minimum(rng.zipf(exponent, size), largest).astype(np.int64)


def _is_graphical(degrees: Ints) -> bool:
    """Erdős-Gallai: whether a graph without loops and double edges has these degrees (of even sum)."""
    falling = np.sort(degrees)[::-1]
    k = np.arange(1, len(falling) + 1)
    # sum over the rest of min(d, k): those above k count k, of the others the sum is known
    above = np.searchsorted(-falling, -k, side="right")  # number of degrees >= k
    suffix = np.concatenate([np.cumsum(falling[::-1])[::-1], [0]])
    rest = np.maximum(above - k, 0) * k + suffix[np.maximum(above, k)]
    return bool(np.all(np.cumsum(falling) <= k * (k - 1) + rest))


def random_simple_graph(degrees: Ints, rng: np.random.Generator) -> Ints:
    """Return edges (E, 2) of a random graph with exactly these degrees, each edge in random direction.

    A first graph is built deterministically (Havel and Hakimi), which succeeds for every graphical sequence,
    and then made random by swapping ends of edge pairs, which keeps the degrees.
    """
    edges = _havel_hakimi(degrees)
    size = len(degrees)
    for _ in range(_SWAP_ROUNDS):
        edges = _swapped(edges, size, rng)
    flip = rng.random(len(edges)) < 0.5
    edges[flip] = edges[flip, ::-1]
    return edges


def _havel_hakimi(degrees: Ints) -> Ints:
    heap = [(-int(degree), vertex) for vertex, degree in enumerate(degrees) if degree]
    heapq.heapify(heap)
    edges = []
    while heap:
        degree, vertex = heapq.heappop(heap)
        partners = [heapq.heappop(heap) for _ in range(-degree)]
        for partner_degree, partner in partners:
            edges.append((vertex, partner))
            if partner_degree < -1:
                heapq.heappush(heap, (partner_degree + 1, partner))
    return np.array(edges, np.int64).reshape(-1, 2)


def _swapped(edges: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Swap ends between random pairs of edges wherever that makes neither a loop nor a double edge."""
    order = rng.permutation(len(edges))
    half = len(edges) // 2
    first, second = order[:half], order[half : 2 * half]
    a, b = edges[first].T
    c, d = np.where(rng.random(half)[:, None] < 0.5, edges[second], edges[second, ::-1]).T
    proposed = np.stack([_keys(a, d, size), _keys(c, b, size)])
    unique, inverse, uses = np.unique(proposed, return_inverse=True, return_counts=True)
    taken = (uses > 1) | np.isin(unique, _keys(edges[:, 0], edges[:, 1], size))
    free = ~taken[inverse.reshape(proposed.shape)].any(axis=0) & (a != d) & (b != c)
    result = edges.copy()
    result[first[free]] = np.stack([a, d], axis=1)[free]
    result[second[free]] = np.stack([c, b], axis=1)[free]
    return result


def _keys(a: Ints, b: Ints, size: int) -> Ints:
    return np.minimum(a, b) * size + np.maximum(a, b)
