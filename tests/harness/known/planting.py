"""Reference cells with bugs planted in them, in their own layout and in a foreign one, and the wrong gradients they give."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, cotangents
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.subjects import PlantedCell
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification, Piece, WeightMap, gradients_from_reference, params_to_reference
from bptt.refimpl import CELLS
from bptt.refimpl.stack import single

D, H = 3, 7


def own_layout(name: str) -> WeightMap:
    """The reference's own layout as a mapping."""
    return _mapping(name, foreign=False)


def foreign_layout(name: str) -> WeightMap:
    """Gates in reverse order, weights as rows, a second bias for LSTMs, z that opens the new state for GRUs, other names."""
    return _mapping(name, foreign=True)


def _mapping(name: str, foreign: bool) -> WeightMap:
    cell = CELLS[name]
    gates, params = cell.gates, cell.init(np.random.default_rng(0), D, H)
    P = params["W_h"].shape[0]
    words = {"W_x": f"D {len(gates)}H", "W_h": f"{'H' if P == H else 'P'} {len(gates)}H", "p": "3 H", "W_p": "H P"}
    shapes = {tensor: words.get(tensor, f"{len(gates)}H") for tensor in params}
    pieces, tensors = [], {}
    for tensor, value in params.items():
        if tensor in ("p", "W_p"):
            tensors[f"my_{tensor}" if foreign else tensor] = words[tensor]
            whole = (slice(None),) * 2
            pieces.append(Piece(f"my_{tensor}" if foreign else tensor, whole, tensor, whole, ""))
            continue
        order = gates[::-1] if foreign else gates
        copies = ("_1", "_2") if foreign and tensor == "b" else ("",)
        for k, gate in enumerate(order):
            own, theirs = slice(k * H, (k + 1) * H), slice(gates.index(gate) * H, (gates.index(gate) + 1) * H)
            matrix = value.ndim == 2
            for copy in copies:
                axes = shapes[tensor].split()
                tensors[f"my_{tensor}{copy}" if foreign else tensor] = " ".join(axes[::-1] if foreign else axes)
                pieces.append(
                    Piece(
                        f"my_{tensor}{copy}" if foreign else tensor,
                        ((own, slice(None)) if foreign else (slice(None), own)) if matrix else (own,),
                        tensor,
                        (slice(None), theirs) if matrix else (theirs,),
                        gate,
                        transposed=foreign and matrix,
                        sign=-1.0 if foreign and gate == "z" else 1.0,
                    )
                )
    states = cell.zero_state(params, 1)
    sizes = {"D": D, "H": H} if P == H else {"D": D, "H": H, "P": P}
    names = {"h": "hidden", "c": "memory"} if foreign else {"h": "h", "c": "c"}
    return WeightMap(single(cell), tuple(pieces), shapes, state={names[s]: s for s in states}, sizes=sizes, tensors=tensors)


@dataclass(frozen=True)
class Translated:
    """A planted cell behind a layout: a plug-in contract object."""

    mapping: WeightMap
    planted: PlantedCell

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        canonical = self.planted.init(rng, input_size, hidden_size)
        shapes: dict[str, tuple[int, ...]] = {}
        for piece in self.mapping.pieces:
            shape = canonical[piece.reference].shape
            shapes[piece.tensor] = shape[::-1] if piece.transposed else shape
        return {name: rng.uniform(-0.4, 0.4, shape) for name, shape in shapes.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        canonical = self.planted.zero_state(params_to_reference(self.mapping, params), batch_size)
        return {name: canonical[own] for name, own in self.mapping.state.items()}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = self.planted.run(params_to_reference(self.mapping, params), xs, self._canonical(state))
        return ys, {name: final[own] for name, own in self.mapping.state.items()}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        canonical = params_to_reference(self.mapping, params)
        dparams, dxs, dstate = self.planted.backward(canonical, xs, self._canonical(state), dys, self._canonical(dfinal))
        return (
            gradients_from_reference(self.mapping, dparams, params),
            dxs,
            {n: dstate[own] for n, own in self.mapping.state.items()},
        )

    def _canonical(self, state: Arrays) -> dict[str, Array]:
        return {own: state[name] for name, own in self.mapping.state.items()}


def subject(name: str, *bugs: KnownMistake, mapping: WeightMap | None = None, scale: float | None = None) -> Subject:
    planted = PlantedCell(name, bugs)
    implementation = planted if mapping is None else Translated(mapping, planted)
    return Subject(name, name, "numpy", "cell", implementation, capabilities=frozenset({"backward"}), dys_scale=scale)


def wrong_gradient(
    name: str,
    *bugs: KnownMistake,
    case: Case | None = None,
    mapping: WeightMap | None = None,
    identified: bool = True,
    scale: float | None = None,
    dtype: str = "float64",
) -> WrongGradient:
    """What the harness would hand to the diagnosis; `exact` is the same cell's gradient without the bugs."""
    case = replace(case or Case(), dtype=dtype)
    tested = replace(subject(name, *bugs, mapping=mapping, scale=scale), dtype=dtype)
    clean = subject(name, mapping=mapping)
    data = draw(tested, case)
    vs = cotangents(tested, case, *run(tested, data))
    layout = mapping or own_layout(name)
    return WrongGradient(
        tested,
        Identification(name, name, 0.0, layout, 1) if identified else None,
        (),
        case,
        data,
        tuple(vs),
        tuple(backward(tested, data, v) for v in vs),
        tuple(backward(clean, data, v) for v in vs),
    )
