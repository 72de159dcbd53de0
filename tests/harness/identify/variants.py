"""Recurrent cells in many conventions, as objects of the plug-in contract, made from a table of options.

The formulas are written out gate by gate and share no code with the reference.  All of them take complex numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bptt.harness.subject import Array, Arrays, Subject

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.where(a.real > 0, a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "linear": lambda a: a,
    "hard_sigmoid": lambda a: np.clip(0.2 * a + 0.5, 0, 1),
}
sigmoid = ACTIVATIONS["sigmoid"]


@dataclass(frozen=True)
class Variant:
    """One convention.

    gates    blocks in the order of the tensors ("igfo", "zrn", "h"); gates_h where the recurrent weights have another order
    layout   columns, rows, xh, hx (one kernel), xh_rows, hx_rows, split, split_rows (a tensor a gate), split_hx (one kernel
             a gate), stack (4, D, H), leading ((1, 4H, D) as ONNX has it), interleaved (the gates of one unit side by side)
    biases   none, one, two, pair (2, kH), column (kH, 1), end_to_end (1, 2kH), n_on_h (one, and one more for n),
             split, split_two
    peephole "" or their order in one tensor ("iof"), a row each ("3 ifo"), or "split"
    mistake  name of a planted departure from every published cell
    """

    gates: str
    layout: str = "columns"
    biases: str = "one"
    gates_h: str = ""
    reset: str = "after"
    z_opens_new: bool = False
    activation: str = "tanh"
    gate_activation: str = "sigmoid"
    forget_bias: float = 0.0
    peephole: str = ""
    projection: int = 0
    cell_clip: float = 0.0
    states: tuple[str, ...] = ("h", "c")
    transposed_h: bool = False
    mistake: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------ the contract

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {name: rng.normal(scale=0.5, size=shape) for name, shape in self.shapes(input_size, hidden_size).items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        H = self.hidden_size(params)
        widths = {"h": self.projection or H, "c": H}
        names = self.states if len(self.gates) == 4 else self.states[:1]
        dtype = next(iter(params.values())).dtype
        return {name: np.zeros((batch_size, widths[self.meaning(name)]), dtype) for name in names}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        H, D = self.hidden_size(params), xs.shape[2]
        W, U, biases = self.unpacked(params, D, H)
        known = {self.meaning(name): value for name, value in state.items()}
        dtype = np.result_type(xs, *params.values(), *state.values())
        h = known.get("h", np.zeros((xs.shape[1], self.projection or H), dtype))
        c = known.get("c", np.zeros((xs.shape[1], H), dtype))
        step = {1: self.elman, 3: self.gru, 4: self.lstm}[len(self.gates)]
        ys = []
        for x in xs:
            h, c = step(params, x, h, c, W, U, biases)
            ys.append(h)
        return np.stack(ys), {name: {"h": h, "c": c}[self.meaning(name)] for name in state}

    # ------------------------------------------------------------------------------------------------ the cells

    def elman(self, params: Arrays, x: Array, h: Array, c: Array, W: Any, U: Any, biases: Any) -> tuple[Array, Array]:
        U_h = U["h"].T if self.transposed_h else U["h"]
        a = x @ W["h"] + h @ U_h + sum(b["h"] for b in biases)
        if self.mistake == "leaky":
            return 0.9 * h + 0.1 * np.tanh(a), c
        return ACTIVATIONS[self.activation](a), c

    def gru(self, params: Arrays, x: Array, h: Array, c: Array, W: Any, U: Any, biases: Any) -> tuple[Array, Array]:
        s = ACTIVATIONS[self.gate_activation]
        b_x = {gate: sum((b[gate] for b in biases[:1]), 0.0) for gate in "rzn"}
        b_h = {gate: sum((b[gate] for b in biases[1:] if gate in b), 0.0) for gate in "rzn"}
        r = s(x @ W["r"] + b_x["r"] + h @ U["r"] + b_h["r"])
        z = s(x @ W["z"] + b_x["z"] + h @ U["z"] + b_h["z"])
        if self.mistake == "ignores r":
            r = np.ones_like(r)
        if self.mistake == "both resets":
            recurrent = r * ((r * h) @ U["n"] + b_h["n"])
        elif self.reset == "after":
            recurrent = r * (h @ U["n"] + b_h["n"])
        else:
            recurrent = (r * h) @ U["n"] + b_h["n"]
        n = np.tanh(x @ W["n"] + b_x["n"] + recurrent)
        if self.mistake == "r on x":
            n = np.tanh(r * (x @ W["n"] + b_x["n"]) + h @ U["n"] + b_h["n"])
        if self.mistake == "no tanh":
            n = x @ W["n"] + b_x["n"] + recurrent
        if self.mistake == "z not complementary":
            return n + z * h, c
        return ((1 - z) * h + z * n if self.z_opens_new else (1 - z) * n + z * h), c

    def lstm(self, params: Arrays, x: Array, h: Array, c: Array, W: Any, U: Any, biases: Any) -> tuple[Array, Array]:
        s = ACTIVATIONS[self.gate_activation]
        a = {gate: x @ W[gate] + h @ U[gate] + sum(b[gate] for b in biases) for gate in "ifgo"}
        p = self.peepholes(params)
        i, f, g = s(a["i"] + p["i"] * c), s(a["f"] + p["f"] * c + self.forget_bias), np.tanh(a["g"])
        if self.mistake == "coupled":
            i = 1 - f
        carried = np.tanh(c) if self.mistake == "f * tanh(c)" else c
        new = f * carried + i * g
        if self.cell_clip:
            new = np.where(np.abs(new.real) > self.cell_clip, np.sign(new.real) * self.cell_clip, new)
        o = s(a["o"] + p["o"] * (c if self.mistake == "o reads old c" else new))
        y = o * new if self.mistake == "no tanh on c" else o * np.tanh(new)
        if self.mistake == "tanh outside":
            y = np.tanh(o * new)
        if self.mistake == "output from the old c":
            y = o * np.tanh(c)
        return (y @ params["proj"] if self.projection else y), new

    # ------------------------------------------------------------------------------------------------ the tensors

    def meaning(self, name: str) -> str:
        return "h" if name in ("h", "hidden", "s", "state1") else "c"

    def hidden_size(self, params: Arrays) -> int:
        """H, which only the shapes tell."""
        if self.projection:
            return params["proj"].shape[0]
        if "U" in params:
            return min(params["U"].shape[1:] if self.layout in ("stack", "leading") else params["U"].shape)
        if self.layout.startswith("split"):
            return params[f"U_{self.gates[0]}"].shape[0] if self.layout != "split_hx" else params[f"K_{self.gates[0]}"].shape[1]
        return max(params["K"].shape[1 if self.layout in ("xh", "hx") else 0], 1) // len(self.gates)

    def shapes(self, D: int, H: int) -> dict[str, tuple[int, ...]]:
        k, P = len(self.gates), self.projection or H
        shapes: dict[str, tuple[int, ...]]
        if self.layout in ("columns", "interleaved"):
            shapes = {"W": (D, k * H), "U": (P, k * H)}
        elif self.layout == "rows":
            shapes = {"W": (k * H, D), "U": (k * H, P)}
        elif self.layout in ("xh", "hx"):
            shapes = {"K": (D + P, k * H)}
        elif self.layout in ("xh_rows", "hx_rows"):
            shapes = {"K": (k * H, D + P)}
        elif self.layout == "stack":
            shapes = {"W": (k, D, H), "U": (k, P, H)}
        elif self.layout == "leading":
            shapes = {"W": (1, k * H, D), "U": (1, k * H, P)}
        elif self.layout == "split_hx":
            shapes = {f"K_{gate}": (P + D, H) for gate in self.gates}
        else:
            rows = self.layout == "split_rows"
            shapes = {f"W_{gate}": (H, D) if rows else (D, H) for gate in self.gates}
            shapes |= {f"U_{gate}": (H, P) if rows else (P, H) for gate in self.gates}
        named: dict[str, dict[str, tuple[int, ...]]] = {
            "one": {"b": (k * H,)},
            "two": {"b_x": (k * H,), "b_h": (k * H,)},
            "pair": {"b": (2, k * H)},
            "column": {"b": (k * H, 1)},
        }
        named |= {"end_to_end": {"b": (1, 2 * k * H)}, "n_on_h": {"b": (k * H,), "b_n": (H,)}, "none": {}}
        named |= {"split": {f"b_{gate}": (H,) for gate in self.gates}}
        named |= {"split_two": {f"b{side}_{gate}": (H,) for gate in self.gates for side in "xh"}}
        shapes |= named[self.biases]
        if self.peephole == "split":
            shapes |= {f"p_{gate}": (H,) for gate in "fio"}
        elif self.peephole:
            shapes["p"] = (3, H) if self.peephole.startswith("3 ") else (1, 3 * H)
        if self.projection:
            shapes["proj"] = (H, P)
        return shapes

    def unpacked(self, params: Arrays, D: int, H: int) -> tuple[dict[str, Array], dict[str, Array], list[dict[str, Array]]]:
        """Input weights (D, H), recurrent weights (P, H) and biases (H,) by gate."""
        gates, P = self.gates, self.projection or H
        gates_h = self.gates_h or gates

        def blocks(columns: Array, order: str) -> dict[str, Array]:
            return {gate: columns[..., j * H : (j + 1) * H] for j, gate in enumerate(order)}

        if self.layout == "interleaved":
            W = {gate: params["W"][:, j :: len(gates)] for j, gate in enumerate(gates)}
            U = {gate: params["U"][:, j :: len(gates)] for j, gate in enumerate(gates)}
            return W, U, [{gate: params["b"][j :: len(gates)] for j, gate in enumerate(gates)}]
        if self.layout == "columns":
            W, U = blocks(params["W"], gates), blocks(params["U"], gates_h)
        elif self.layout == "rows":
            W, U = blocks(params["W"].T, gates), blocks(params["U"].T, gates_h)
        elif self.layout == "leading":
            W, U = blocks(params["W"][0].T, gates), blocks(params["U"][0].T, gates_h)
        elif self.layout == "stack":
            W, U = ({gate: params[name][j] for j, gate in enumerate(gates)} for name in "WU")
        elif self.layout == "split_hx":
            W = {gate: params[f"K_{gate}"][P:] for gate in gates}
            U = {gate: params[f"K_{gate}"][:P] for gate in gates}
        elif self.layout.startswith("split"):
            W, U = ({gate: params[f"{name}_{gate}"] for gate in gates} for name in "WU")
            if self.layout == "split_rows":
                W, U = ({gate: value.T for gate, value in weights.items()} for weights in (W, U))
        else:
            K = params["K"].T if self.layout.endswith("rows") else params["K"]
            x, h = (K[:D], K[D:]) if self.layout.startswith("xh") else (K[P:], K[:P])
            W, U = blocks(x, gates), blocks(h, gates)
        return W, U, self.unpacked_biases(params, H)

    def unpacked_biases(self, params: Arrays, H: int) -> list[dict[str, Array]]:
        k, gates = len(self.gates), self.gates
        if self.biases == "none":
            return [dict.fromkeys(gates, np.zeros(H))]
        if self.biases.startswith("split"):
            return [{gate: params[f"b{side}_{gate}"] for gate in gates} for side in ("xh" if self.biases == "split_two" else ("",))]
        rows = {
            "one": lambda: [params["b"]],
            "two": lambda: [params["b_x"], params["b_h"]],
            "pair": lambda: list(params["b"]),
            "column": lambda: [params["b"][:, 0]],
            "end_to_end": lambda: [params["b"][0, : k * H], params["b"][0, k * H :]],
            "n_on_h": lambda: [params["b"]],
        }[self.biases]()
        sets = [{gate: row[j * H : (j + 1) * H] for j, gate in enumerate(gates)} for row in rows]
        return [*sets, {"n": params["b_n"]}] if self.biases == "n_on_h" else sets

    def peepholes(self, params: Arrays) -> dict[str, Any]:
        if not self.peephole:
            return dict.fromkeys("ifo", 0.0)
        if self.peephole == "split":
            return {gate: params[f"p_{gate}"] for gate in "ifo"}
        rows = params["p"] if self.peephole.startswith("3 ") else params["p"].reshape(3, -1)
        return dict(zip(self.peephole.removeprefix("3 "), rows, strict=True))


class Stateless:
    """A variant that always starts from zeros and returns no state."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.init = variant.init

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return self.variant.run(params, xs, {})[0], {}


def subject(implementation: Any, **fields: Any) -> Subject:
    """A Subject around an object of the contract."""
    return Subject(name="Variant", spec="a variant", framework="numpy", kind="cell", implementation=implementation, **fields)
