"""The graph that distances along a mesh are sought in: its edges and straight links over strips of triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cytokeras.surfaces._unfolding import Unfolding
from cytokeras.surfaces._unfolding_kernels import needless_links
from cytokeras.surfaces.mesh import Mesh

# A link is left out where two others make a way that is longer by this share at most.
_NEEDLESS = 0.004
# Width of a bucket of the search as a share of the median link.
_BUCKET_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class LinkGraph:
    """A symmetric graph in the form that the search takes.

    Attributes:
        indptr, indices, lengths: CSR matrix (V, V), mm.
        bucket_mm: Width of the buckets of the search.
    """

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    lengths: NDArray[np.float32]
    bucket_mm: float

    @property
    def count(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    @property
    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], float]:
        """The graph as ``shortest_paths`` takes it."""
        return self.indptr, self.indices, self.lengths, self.bucket_mm

    @classmethod
    def of_mesh(cls, mesh: Mesh, unfolding: Unfolding) -> LinkGraph:
        """Link each vertex to those it sees over a strip of triangles, where that shortens the way."""
        edges = mesh.edges
        lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
        link_pairs, link_lengths = unfolding.vertex_links()
        # of the links between two vertices only the shortest stays
        keys = np.concatenate([edges @ [len(mesh.vertices), 1], link_pairs @ np.array([len(mesh.vertices), 1])])
        lengths = np.concatenate([lengths, link_lengths])
        order = np.lexsort((lengths, keys))
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        keys, lengths, is_edge = (
            keys[order[first]],
            lengths[order[first]],
            np.logical_or.reduceat(order < len(edges), first),
        )
        pairs = np.stack(np.divmod(keys, len(mesh.vertices)), axis=1)
        graph = _symmetric(pairs, lengths, is_edge, len(mesh.vertices))
        needless = needless_links(*graph, _NEEDLESS)
        indptr, indices, lengths, _ = graph
        indptr = np.concatenate([[0], np.cumsum(~needless)])[indptr].astype(np.int32)
        lengths = lengths[~needless]
        bucket = _BUCKET_SHARE * float(np.median(lengths)) if len(lengths) else 1.0
        return cls(indptr, indices[~needless], lengths.astype(np.float32), max(bucket, 1e-6))


def _symmetric(
    pairs: NDArray[np.int64], lengths: NDArray[np.float64], is_edge: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.bool_]]:
    """Return indptr, indices, lengths and is_edge of the CSR matrix that holds each pair in both directions."""
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    numbered = csr_array((np.arange(1, len(rows) + 1), (rows, columns)), shape=(count, count))
    numbered.sort_indices()
    number = (numbered.data - 1) % len(pairs)
    return numbered.indptr.astype(np.int32), numbered.indices.astype(np.int32), lengths[number], is_edge[number]
