"""Lines on which a number over two axes has one value: marching squares, linear along the edges of the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

Place = tuple[float, float]
Corner = tuple[int, int]
Edge = tuple[Corner, Corner]


def contour(x: Sequence[float], y: Sequence[float], values: Sequence[Sequence[float]], level: float) -> list[list[Place]]:
    """The lines `values` = `level`; values[r][c] stands at (x[c], y[r]).  A closed line ends where it began.

    Squares with a NaN have no line.  Where a square has two lines, its mean says which corners belong together.
    """
    neighbours: dict[Edge, list[Edge]] = {}
    for r in range(len(y) - 1):
        for c in range(len(x) - 1):
            for a, b in _crossings(values, r, c, level):
                neighbours.setdefault(a, []).append(b)
                neighbours.setdefault(b, []).append(a)
    return [[_place(x, y, values, edge, level) for edge in line] for line in _joined(neighbours)]


def _crossings(values: Sequence[Sequence[float]], r: int, c: int, level: float) -> list[tuple[Edge, Edge]]:
    """The edges of one square that the lines enter and leave by."""
    corners = ((r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c))
    at = [values[i][j] for i, j in corners]
    if any(map(math.isnan, at)):
        return []
    above = [v >= level for v in at]
    edges: list[Edge] = []
    crossed = []
    for k in range(4):
        a, b = corners[k], corners[(k + 1) % 4]
        edges.append((min(a, b), max(a, b)))
        crossed += [k] if above[k] != above[(k + 1) % 4] else []
    if len(crossed) == 4:
        through = (sum(at) / 4 >= level) == above[0]  # corners 0 and 2 hang together
        pairs = ((0, 1), (2, 3)) if through else ((3, 0), (1, 2))
        return [(edges[a], edges[b]) for a, b in pairs]
    return [(edges[crossed[0]], edges[crossed[1]])] if crossed else []


def _place(x: Sequence[float], y: Sequence[float], values: Sequence[Sequence[float]], edge: Edge, level: float) -> Place:
    (r0, c0), (r1, c1) = edge
    a, b = values[r0][c0], values[r1][c1]
    along = (0.5 if math.isinf(b) else 1.0) if math.isinf(a) else (level - a) / (b - a)
    return x[c0] + along * (x[c1] - x[c0]), y[r0] + along * (y[r1] - y[r0])


def _joined(neighbours: dict[Edge, list[Edge]]) -> list[list[Edge]]:
    """Chains of edges: open ones from end to end, then closed ones."""
    lines = []
    for start in sorted(neighbours, key=lambda e: (len(neighbours[e]), e)):
        while neighbours[start]:
            line, here = [start], start
            while neighbours[here]:
                there = neighbours[here].pop()
                neighbours[there].remove(here)
                line.append(there)
                here = there
            lines.append(line)
    return lines
