"""A product with the weights of several gates side by side, seen as a product for each gate: part(x @ W) = x @ part(W).

What is read only in blocks of columns is computed block by block, from the readers down to the weights, so that a mistake in one gate's
block is one edge.  Sums and functions entry by entry are taken apart alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bptt.harness.graph.naming.split import renumbered
from bptt.harness.graph.tracing.node import Graph, Node
from bptt.harness.graph.tracing.operations import ELEMENTWISE, Gather
from bptt.harness.subject import Array

#: Columns from, and up to.
Block = tuple[int, int]


def by_blocks(graph: Graph) -> Graph:
    """The same values, computed block by block where nothing reads the whole; the same graph where all is read whole."""
    blocks = _blocks(graph)
    return graph if not blocks else _Rewriting(graph, blocks).done()


def _width(graph: Graph, n: int) -> int:
    shape = graph.values[n].shape
    return shape[-1] if shape else 1


def _columns_of(graph: Graph, node: Node) -> Array | None:
    """Of a gather from one array that leaves columns together: the column of the array that each of its columns is; else None."""
    (a,) = node.args
    index, width = np.asarray(node.settings.index), _width(graph, a)
    if not index.size or np.any(index < 0) or index.ndim == 0:
        return None
    columns = index.reshape(-1, index.shape[-1]) % width
    return columns[0] if bool(np.all(columns == columns[0])) else None


def _kept(graph: Graph, node: Node) -> dict[int, Array] | None:
    """For each argument read column by column, which column each column of the node reads; None where it cannot be taken apart."""
    width, every = _width(graph, node.index), np.arange(_width(graph, node.index))
    if node.op in ELEMENTWISE:
        return {a: every for a in node.args if _width(graph, a) == width and graph.values[a].ndim} if width > 1 else None
    if node.op == "matmul" and all(graph.values[a].ndim >= 2 for a in node.args) and graph.values[node.args[1]].ndim == 2:
        return {node.args[1]: every} if node.args[0] != node.args[1] else None
    if node.op == "einsum":
        inputs, _, output = node.settings.subscripts.partition("->")
        operands = inputs.split(",")
        having = [k for k, letters in enumerate(operands) if output and output[-1] in letters]
        if len(having) == 1 and operands[having[0]].endswith(output[-1]) and operands[having[0]].count(output[-1]) == 1:
            a = node.args[having[0]]
            return {a: every} if node.args.count(a) == 1 else None
    if node.op == "gather" and len(node.args) == 1:
        columns = _columns_of(graph, node)
        return None if columns is None or len(set(columns.tolist())) < len(columns) else {node.args[0]: columns}
    return None


def _blocks(graph: Graph) -> dict[int, list[Block]]:
    """Nodes of which nothing reads more than one block of columns at once, and these blocks."""
    used = set(graph.outputs.values())
    whole = used | {node for node, _, _ in graph.cuts}
    asked: dict[int, list[Block]] = defaultdict(list)
    found: dict[int, list[Block]] = {}
    for node in reversed(graph.nodes):
        if node.index not in used:
            continue
        used.update(node.args)
        kept = _kept(graph, node)
        blocks = _merged(asked[node.index]) if node.index not in whole and node.op not in ("input", "constant") else []
        if len(blocks) > 1 and kept:
            found[node.index] = blocks
        elif node.op != "gather" or len(node.args) != 1 or not kept:
            whole.update(node.args)
            continue
        assert kept is not None
        whole.update(a for a in node.args if a not in kept and graph.values[a].size > 1)
        for a, columns in kept.items():
            for first, last in blocks if node.index in found else [(0, len(columns))]:
                some = columns[first:last]
                asked[a].append((int(some.min()), int(some.max()) + 1))
    return found


def _merged(ranges: Sequence[Block]) -> list[Block]:
    """The smallest blocks of which each range is in one."""
    merged: list[Block] = []
    for first, last in sorted(set(ranges)):
        if merged and first < merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


@dataclass
class _Rewriting:
    graph: Graph
    blocks: Mapping[int, list[Block]]
    nodes: list[Node] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    at: dict[int, int] = field(default_factory=dict)
    part: dict[tuple[int, Block], int] = field(default_factory=dict)

    def done(self) -> Graph:
        for node in self.graph.nodes:
            if node.index in self.blocks:
                for k, block in enumerate(self.blocks[node.index]):
                    self.part[node.index, block] = self._of(node, block, k)
            elif node.op == "gather" and len(node.args) == 1 and node.args[0] in self.blocks:
                self.at[node.index] = self._taken(node, (0, _width(self.graph, node.index)), node.part)
            elif all(a in self.at for a in node.args):
                self.at[node.index] = self._put(replace(node, args=tuple(self.at[a] for a in node.args)), self.graph.values[node.index])
        return renumbered(self.graph, self.nodes, self.values, self.at)

    def _put(self, node: Node, value: Array) -> int:
        self.nodes.append(replace(node, index=len(self.nodes)))
        self.values.append(value)
        return len(self.nodes) - 1

    def _of(self, node: Node, block: Block, k: int) -> int:
        """One block of a node."""
        if node.op == "gather":
            return self._taken(node, block, k)
        kept = _kept(self.graph, node) or {}
        args = tuple(self._columns(a, block, node, k) if a in kept else self.at[a] for a in node.args)
        return self._put(replace(node, args=args, part=k), self.graph.values[node.index][..., slice(*block)])

    def _columns(self, a: int, block: Block, reader: Node, k: int) -> int:
        """Columns of an argument."""
        if a not in self.blocks:
            if (a, block) not in self.part:
                value = self.graph.values[a]
                index = np.arange(value.size).reshape(value.shape)[..., slice(*block)]
                self.part[a, block] = self._put(
                    Node(0, "gather", (self.at[a],), Gather(index), reader.place, reader.order, part=k), value[..., slice(*block)]
                )
            return self.part[a, block]
        around = self._around(a, block)
        if around == block:
            return self.part[a, block]
        value = self.graph.values[a][..., slice(*around)]
        index = np.arange(value.size).reshape(value.shape)[..., block[0] - around[0] : block[1] - around[0]]
        return self._put(
            Node(0, "gather", (self.part[a, around],), Gather(index), reader.place, reader.order, part=k),
            self.graph.values[a][..., slice(*block)],
        )

    def _around(self, a: int, block: Block) -> Block:
        return next(b for b in self.blocks[a] if b[0] <= block[0] and block[1] <= b[1])

    def _taken(self, node: Node, block: Block, k: int) -> int:
        """A gather's columns of this block, from the block of its argument that has them; the block itself where that is all of it."""
        (a,) = node.args
        index = np.asarray(node.settings.index)[..., slice(*block)]
        value = self.graph.values[node.index][..., slice(*block)]
        if a not in self.blocks:
            return self._put(replace(node, args=(self.at[a],), settings=replace(node.settings, index=index), part=k), value)
        width = _width(self.graph, a)
        columns = index % width
        around = self._around(a, (int(columns.min()), int(columns.max()) + 1))
        moved = index // width * (around[1] - around[0]) + columns - around[0]
        source = self.part[a, around]
        if moved.shape == self.values[source].shape and np.array_equal(moved.reshape(-1), np.arange(moved.size)):
            return source
        return self._put(replace(node, args=(source,), settings=replace(node.settings, index=moved), part=k), value)
