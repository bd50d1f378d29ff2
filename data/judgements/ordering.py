"""Cycles of judgements: no order satisfies them, and how many judgements every order breaks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, shortest_path


def graph_of(n: int, weights: Mapping[tuple[int, int], int]) -> csr_array:
    """Matrix (n, n) of how often one video (row) was judged better than another (column)."""
    better, worse = np.array(list(weights), np.int64).reshape(-1, 2).T
    return csr_array((list(weights.values()), (better, worse)), shape=(n, n), dtype=np.int64)


def count_components(graph: csr_array) -> int:
    """Count the groups of videos that judgements connect, whatever their direction."""
    return int(connected_components(graph, directed=False, return_labels=False))


def cyclic_groups(graph: csr_array) -> list[list[int]]:
    """Return the strongly connected components of two videos or more, each sorted."""
    _, labels = connected_components(graph, connection="strong")
    sizes = np.bincount(labels)
    return sorted(np.flatnonzero(labels == label).tolist() for label in np.flatnonzero(sizes > 1))


def shortest_cycle(matrix: np.ndarray) -> list[int]:
    """Return one shortest cycle of a strongly connected group.

    Parameters
    ----------
    matrix : ndarray (N, N) int64
        Judgements "row better than column" of the group.
    """
    back = shortest_path(matrix, unweighted=True).T
    lengths = np.where(matrix > 0, back, np.inf)
    better, worse = divmod(int(lengths.argmin()), len(matrix))
    return [better, *_path(matrix, worse, better)[:-1]]


def broken_at_least(matrix: np.ndarray) -> int:
    """Return a number of judgements that every order breaks: cycles that share no judgement.

    Parameters
    ----------
    matrix : ndarray (N, N) int64
        Judgements "row better than column" of a group.
    """
    contradicted = np.minimum(matrix, matrix.T)
    left = matrix - contradicted
    broken = int(contradicted.sum()) // 2
    for better, worse in np.argwhere(left).tolist():
        while left[better, worse] and (way_back := _path(left, worse, better)):
            cycle = ([better, *way_back[:-1]], way_back)
            weight = int(left[cycle].min())
            left[cycle] -= weight
            broken += weight
    return broken


def _path(matrix: np.ndarray, start: int, end: int) -> list[int]:
    """Return a shortest path between two videos, both included; empty where there is none."""
    _, before = breadth_first_order(matrix, start)
    if before[end] < 0:
        return []
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path[::-1]
