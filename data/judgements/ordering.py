"""How many judgements an order must contradict: minimum feedback arcs of a small graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# 2^16 subsets times 16 videos: a tenth of a second and 10 MB. Beyond, an interval is given.
EXACT_SIZE = 16

Weights = Mapping[tuple[int, int], int]  # (better, worse) -> how often so judged


@dataclass(frozen=True)
class OrderLoss:
    """Judgements within one cyclic group that any order must break.

    Attributes
    ----------
    lost : int
        Broken by the best order found.
    lost_at_least : int
        Every order breaks so many; equal to `lost` where the answer is exact.
    cycle : tuple of int
        One shortest cycle of the group.
    """

    lost: int
    lost_at_least: int
    cycle: tuple[int, ...]


def strong_components(n: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the strongly connected components of a graph of `n` nodes, each sorted.

    Two passes of depth-first search without recursion (Kosaraju; Aho, Hopcroft and Ullman,
    Data Structures and Algorithms, 1983, section 6.7).
    """
    forward: list[list[int]] = [[] for _ in range(n)]
    backward: list[list[int]] = [[] for _ in range(n)]
    for a, b in edges:
        forward[a].append(b)
        backward[b].append(a)
    finished: list[int] = []
    _depth_first(range(n), forward, finished.append)
    components: list[list[int]] = []
    seen = [False] * n
    for root in reversed(finished):
        if not seen[root]:
            found: list[int] = []
            _depth_first([root], backward, found.append, seen)
            components.append(sorted(found))
    return sorted(components)


def _depth_first(
    roots: Iterable[int],
    neighbours: Sequence[Sequence[int]],
    finish: Callable[[int], None],
    seen: list[bool] | None = None,
) -> None:
    """Visit what `roots` reach and call `finish` on each node after its descendants."""
    seen = [False] * len(neighbours) if seen is None else seen
    for root in roots:
        if seen[root]:
            continue
        seen[root] = True
        stack = [(root, iter(neighbours[root]))]
        while stack:
            node, rest = stack[-1]
            following = next((m for m in rest if not seen[m]), None)
            if following is None:
                stack.pop()
                finish(node)
            else:
                seen[following] = True
                stack.append((following, iter(neighbours[following])))


def best_order(nodes: Sequence[int], weights: Weights) -> OrderLoss:
    """Return the least weight of judgements that an order of `nodes` contradicts.

    Parameters
    ----------
    nodes : sequence of int
        One strongly connected component, of two nodes or more.
    weights : mapping
        Judgements of the whole graph; those outside `nodes` are ignored.

    Returns
    -------
    OrderLoss
        Exact for up to `EXACT_SIZE` nodes; otherwise from a local search above and from a
        packing of cycles without a common judgement below.
    """
    place = {node: i for i, node in enumerate(nodes)}
    matrix = np.zeros((len(nodes), len(nodes)), np.int64)  # (better, worse)
    for (a, b), weight in weights.items():
        if a in place and b in place:
            matrix[place[a], place[b]] = weight
    cycle = tuple(nodes[i] for i in _shortest_cycle(matrix))
    if len(nodes) <= EXACT_SIZE:
        lost = int(matrix.sum()) - _most_kept(matrix)
        return OrderLoss(lost, lost, cycle)
    return OrderLoss(_local_search(matrix), _packed_cycles(matrix), cycle)


def _most_kept(matrix: np.ndarray) -> int:
    """Return the most judgements that an order keeps, by dynamic programming over subsets.

    kept[S] is the best over orders of the set S alone; its worst member v was beaten by the
    judgements of S against v, so kept[S] = max over v in S of kept[S - v] + wins(S over v).
    """
    n = len(matrix)
    subsets = np.arange(1 << n)
    wins = np.zeros((n, 1 << n), np.int64)  # wins[v, S]: judgements "a member of S beats v"
    for u in range(n):
        wins[:, 1 << u : 2 << u] = wins[:, : 1 << u] + matrix[u][:, None]
    size = np.zeros(1 << n, np.int64)
    for u in range(n):
        size += subsets >> u & 1
    kept = np.zeros(1 << n, np.int64)
    for layer in range(1, n + 1):
        members = subsets[size == layer]
        for v in range(n):
            with_v = members[members >> v & 1 == 1]
            candidate = kept[with_v ^ (1 << v)] + wins[v, with_v ^ (1 << v)]
            kept[with_v] = np.maximum(kept[with_v], candidate)
    return int(kept[-1])


def _local_search(matrix: np.ndarray) -> int:
    """Return the judgements lost by an order that moving any single node cannot improve."""
    order = list(np.argsort(matrix.sum(0) - matrix.sum(1), kind="stable"))  # most wins first
    improved = True
    while improved:
        improved = False
        for node in list(order):
            rest = [other for other in order if other != node]
            # Kept judgements with node put before rest[k]: those of rest[:k] over it, and it
            # over rest[k:].
            over = np.concatenate([[0], np.cumsum(matrix[rest, node])])
            under = np.concatenate([np.cumsum(matrix[node, rest][::-1])[::-1], [0]])
            kept = over + under
            here, there = order.index(node), int(np.argmax(kept))
            if kept[there] > kept[here]:
                order = [*rest[:there], node, *rest[there:]]
                improved = True
    ranked = matrix[np.ix_(order, order)]
    return int(np.tril(ranked).sum())


def _packed_cycles(matrix: np.ndarray) -> int:
    """Return a weight that every order loses: cycles that share no judgement, shortest first."""
    left = matrix.copy()
    lost = 0
    while cycle := _shortest_cycle(left):
        edges = (list(cycle), [*cycle[1:], cycle[0]])
        weight = int(left[edges].min())
        left[edges] -= weight
        lost += weight
    return lost


def _shortest_cycle(matrix: np.ndarray) -> tuple[int, ...]:
    """Return one shortest cycle of the graph of positive weights; empty where there is none."""
    neighbours = [np.flatnonzero(row) for row in matrix]
    best: tuple[int, ...] = ()
    for start in range(len(matrix)):
        found = _cycle_through(start, neighbours, len(best) or len(matrix) + 1)
        if found and (not best or len(found) < len(best)):
            best = found
        if len(best) == 2:
            break
    return best


def _cycle_through(
    start: int, neighbours: Sequence[np.ndarray], shorter_than: int
) -> tuple[int, ...]:
    """Return a shortest cycle through `start` of fewer than `shorter_than` nodes, or nothing."""
    parent = {start: -1}
    depth = {start: 1}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if depth[node] >= shorter_than:
            return ()
        for following in map(int, neighbours[node]):
            if following == start:
                return _path_to(node, parent)
            if following not in parent:
                parent[following], depth[following] = node, depth[node] + 1
                queue.append(following)
    return ()


def _path_to(node: int, parent: Mapping[int, int]) -> tuple[int, ...]:
    path = []
    while node != -1:
        path.append(node)
        node = parent[node]
    return tuple(reversed(path))
