"""How published implementations lay out their weights: the names of `convert`.

Sources: the code of torch 2.13, keras 3.15, flax 0.12, equinox 0.13, haiku 0.0.17, haste 0.5, TensorFlow 1 (rnn_cell_impl.py), and the
ONNX operator specification (LSTM, GRU and RNN, opset 14 and later).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bptt.harness.errors import UsageError
from bptt.harness.words import did_you_mean
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell


@dataclass(frozen=True)
class Tensor:
    """One tensor of a convention.

    shape   in words, with leading axes of length one or two kept: "4H D", "1 4H D", "2 3H", "D+H 4H"
    holds   what it is made of: "x", "h", "xh" (inputs first), "b", "b_x", "b_h", "p", "W_p"
    blocks  the gates in their order along the axis of units; of several rows "zrn zrn"
    needed  False: a weight dict may leave it out, and the cell then lacks it
    rows    units come first: (4H, D), and W x is computed; else (D, 4H), and x W
    """

    shape: str
    holds: str
    blocks: str
    needed: bool = True
    rows: bool = False


@dataclass(frozen=True)
class Convention:
    """A published layout.

    negated      gates whose pre-activation has the other sign: a z that opens the new state is 1 minus one that keeps the old
    forget_bias  added to a_f at run time
    layered      names end in _l0, _l1, _l0_reverse: one dict may hold a whole stack
    """

    name: str
    cell: str
    tensors: Mapping[str, Tensor]
    negated: str = ""
    forget_bias: float = 0.0
    layered: bool = False
    options: Mapping[str, float] = field(default_factory=dict)


def _lstm(name: str, tensors: Mapping[str, Tensor], **more: object) -> Convention:
    return Convention(name, "lstm", tensors, **more)  # type: ignore[arg-type]  # the fields of Convention, as they are named there


def _torch(count: int, blocks: str, biases: tuple[str, str]) -> dict[str, Tensor]:
    units = "H" if count == 1 else f"{count}H"
    return {
        "weight_ih": Tensor(f"{units} D", "x", blocks, rows=True),
        "weight_hh": Tensor(f"{units} H", "h", blocks, rows=True),
        "bias_ih": Tensor(units, biases[0], blocks, needed=False),
        "bias_hh": Tensor(units, biases[1], blocks, needed=False),
    }


def _keras(units: str, blocks: str, bias: Tensor) -> dict[str, Tensor]:
    return {"kernel": Tensor(f"D {units}", "x", blocks), "recurrent_kernel": Tensor(f"H {units}", "h", blocks), "bias": bias}


def _onnx(count: int, blocks: str, biases: tuple[str, str]) -> dict[str, Tensor]:
    units = "H" if count == 1 else f"{count}H"
    both = f"1 {2 * count}H"
    return {
        "W": Tensor(f"1 {units} D", "x", blocks, rows=True),
        "R": Tensor(f"1 {units} H", "h", blocks, rows=True),
        "B": Tensor(both, "+".join(biases), f"{blocks} {blocks}", needed=False),
    }


def _each(
    gates: Mapping[str, str], x: str, h: str, x_bias: str | None, h_bias: Mapping[str, str], bias: tuple[str, str]
) -> dict[str, Tensor]:
    """One Dense a gate, as linen has it; gates: their letter -> ours, h_bias: those of the recurrent Dense that have one."""
    found: dict[str, Tensor] = {}
    for theirs, ours in gates.items():
        found[f"{x}{theirs}/kernel"] = Tensor("D H", "x", ours)
        found[f"{h}{theirs}/kernel"] = Tensor("H H", "h", ours)
        if x_bias is not None:
            found[f"{x}{theirs}/bias"] = Tensor("H", bias[0], ours)
        if theirs in h_bias:
            found[f"{h}{theirs}/bias"] = Tensor("H", bias[1], ours)
    return found


def _tf1_lstm() -> dict[str, Tensor]:
    diagonal = {f"w_{gate}_diag": Tensor("H", "p", gate, needed=False) for gate in "ifo"}
    projection = {"projection/kernel": Tensor("H P", "W_p", "", needed=False)}
    return {"kernel": Tensor("D+H 4H", "xh", "igfo"), "bias": Tensor("4H", "b", "igfo"), **diagonal, **projection}


#: The cell of TensorFlow 1 as it is made without arguments; a clip of 0 is none.
_TF1_OPTIONS = {"forget_bias": 1.0, "cell_clip": 0.0, "proj_clip": 0.0}
_LSTM_BIASES, _GRU_BIASES = ("b", "b"), ("b_x", "b_h")
_PROJECTION = {"weight_hr": Tensor("P H", "W_p", "", needed=False, rows=True)}
_LINEN_LSTM = _each({"i": "i", "f": "f", "g": "g", "o": "o"}, "i", "h", None, {g: g for g in "ifgo"}, ("", "b"))
_LINEN_GRU = _each({"r": "r", "z": "z", "n": "n"}, "i", "h", "", {"n": "n"}, _GRU_BIASES)

_ALL = (
    _lstm("torch.nn.LSTM", _torch(4, "ifgo", _LSTM_BIASES) | _PROJECTION, layered=True),
    _lstm("torch.nn.LSTMCell", _torch(4, "ifgo", _LSTM_BIASES)),
    _lstm("keras.layers.LSTM", _keras("4H", "ifgo", Tensor("4H", "b", "ifgo", needed=False))),
    _lstm("flax.linen.LSTMCell", _LINEN_LSTM),
    _lstm("flax.linen.OptimizedLSTMCell", _LINEN_LSTM),
    _lstm("flax.nnx.LSTMCell", {name.replace("if/", "if_/"): tensor for name, tensor in _LINEN_LSTM.items()}),
    _lstm(
        "flax.nnx.OptimizedLSTMCell",
        {
            "dense_i/kernel": Tensor("D 4H", "x", "ifgo"),
            "dense_h/kernel": Tensor("H 4H", "h", "ifgo"),
            "dense_h/bias": Tensor("4H", "b", "ifgo"),
        },
    ),
    _lstm(
        "equinox.nn.LSTMCell",
        {
            "weight_ih": Tensor("4H D", "x", "ifgo", rows=True),
            "weight_hh": Tensor("4H H", "h", "ifgo", rows=True),
            "bias": Tensor("4H", "b", "ifgo", needed=False),
        },
    ),
    _lstm("haiku.LSTM", {"linear/w": Tensor("D+H 4H", "xh", "igfo"), "linear/b": Tensor("4H", "b", "igfo")}, forget_bias=1.0),
    _lstm("tf1.LSTMCell", _tf1_lstm(), forget_bias=1.0, options=_TF1_OPTIONS),
    _lstm("tf1.BasicLSTMCell", {k: v for k, v in _tf1_lstm().items() if v.needed}, forget_bias=1.0, options={"forget_bias": 1.0}),
    _lstm("onnx.LSTM", _onnx(4, "iofg", _LSTM_BIASES) | {"P": Tensor("1 3H", "p", "iof", needed=False)}),
    _lstm("haste.LSTM", _keras("4H", "igfo", Tensor("4H", "b", "igfo"))),
    Convention("torch.nn.GRU", "gru_reset_after", _torch(3, "rzn", _GRU_BIASES), layered=True),
    Convention("torch.nn.GRUCell", "gru_reset_after", _torch(3, "rzn", _GRU_BIASES)),
    Convention("keras.layers.GRU", "gru_reset_after", _keras("3H", "zrn", Tensor("2 3H", "b_x+b_h", "zrn zrn", needed=False))),
    Convention("keras.layers.GRU(reset_after=False)", "gru_reset_before", _keras("3H", "zrn", Tensor("3H", "b_x", "zrn", needed=False))),
    Convention("flax.linen.GRUCell", "gru_reset_after", _LINEN_GRU),
    Convention(
        "flax.nnx.GRUCell",
        "gru_reset_after",
        {
            "dense_i/kernel": Tensor("D 3H", "x", "rzn"),
            "dense_i/bias": Tensor("3H", "b_x", "rzn"),
            "dense_h/kernel": Tensor("H 3H", "h", "rzn"),
        },
    ),
    Convention(
        "equinox.nn.GRUCell",
        "gru_reset_after",
        {
            "weight_ih": Tensor("3H D", "x", "rzn", rows=True),
            "weight_hh": Tensor("3H H", "h", "rzn", rows=True),
            "bias": Tensor("3H", "b_x", "rzn", needed=False),
            "bias_n": Tensor("H", "b_h", "n", needed=False),
        },
    ),
    Convention(
        "haiku.GRU",
        "gru_reset_before",
        {"w_i": Tensor("D 3H", "x", "zrn"), "w_h": Tensor("H 3H", "h", "zrn"), "b": Tensor("3H", "b_x", "zrn")},
        negated="z",
    ),
    Convention("onnx.GRU", "gru_reset_before", _onnx(3, "zrn", _GRU_BIASES)),
    Convention("onnx.GRU(linear_before_reset=1)", "gru_reset_after", _onnx(3, "zrn", _GRU_BIASES)),
    Convention(
        "tf1.GRUCell",
        "gru_reset_before",
        {
            "gates/kernel": Tensor("D+H 2H", "xh", "rz"),
            "gates/bias": Tensor("2H", "b_x", "rz"),
            "candidate/kernel": Tensor("D+H H", "xh", "n"),
            "candidate/bias": Tensor("H", "b_x", "n"),
        },
    ),
    Convention("torch.nn.RNN", "elman", _torch(1, "h", _LSTM_BIASES), layered=True),
    Convention("torch.nn.RNN(nonlinearity=relu)", "elman_relu", _torch(1, "h", _LSTM_BIASES), layered=True),
    Convention("torch.nn.RNNCell", "elman", _torch(1, "h", _LSTM_BIASES)),
    Convention("torch.nn.RNNCell(nonlinearity=relu)", "elman_relu", _torch(1, "h", _LSTM_BIASES)),
    Convention("keras.layers.SimpleRNN", "elman", _keras("H", "h", Tensor("H", "b", "h", needed=False))),
    Convention(
        "flax.linen.SimpleCell",
        "elman",
        {"i/kernel": Tensor("D H", "x", "h"), "i/bias": Tensor("H", "b", "h"), "h/kernel": Tensor("H H", "h", "h")},
    ),
    Convention(
        "flax.nnx.SimpleCell",
        "elman",
        {"dense_i/kernel": Tensor("D H", "x", "h"), "dense_i/bias": Tensor("H", "b", "h"), "dense_h/kernel": Tensor("H H", "h", "h")},
    ),
    Convention(
        "haiku.VanillaRNN",
        "elman_relu",
        {
            "linear/w": Tensor("D H", "x", "h"),
            "linear/b": Tensor("H", "b", "h"),
            "linear_1/w": Tensor("H H", "h", "h"),
            "linear_1/b": Tensor("H", "b", "h", needed=False),
        },
    ),
    Convention("onnx.RNN", "elman", _onnx(1, "h", _LSTM_BIASES)),
)


_HOLDS = {"W_x": "x", "W_h": "h"}


def _canonical(cell: Cell) -> Convention:
    """Our own layout: the cell's parameters, and beside them what others of its kind have and it can do without."""
    alike = {p.name: p for other in CELLS.values() if same_but_for_options(cell, other) for p in other.parameters}
    own = {p.name: p for p in cell.parameters}
    tensors = {
        name: Tensor(p.shape(False), _HOLDS.get(name, name), (" " if p.role == "diagonal" else "").join(p.gates), needed=name in own)
        for name, p in (own | alike).items()
    }
    forget_bias, options = (1.0, _TF1_OPTIONS) if cell.options is not None else (0.0, {})
    return Convention(cell.name, cell.name, tensors, forget_bias=forget_bias, layered=True, options=options)


def same_but_for_options(one: Cell, other: Cell) -> bool:
    """Whether two cells compute the same but for what a peephole, a projection or an option adds."""
    return one.name == other.name or (bool(one.kind) and (one.kind, one.traits) == (other.kind, other.traits))


CONVENTIONS: dict[str, Convention] = {c.name: c for c in (*(_canonical(cell) for cell in CELLS.values() if cell.parameters), *_ALL)}


def convention(name: str) -> Convention:
    """The published convention of this name, with options in brackets: "tf1.LSTMCell(forget_bias=0)".

    Raises UsageError, with the nearest name, where there is none.
    """
    spelled = re.sub(r"\s", "", name)
    if spelled in CONVENTIONS:
        return CONVENTIONS[spelled]
    base, bracket, inside = spelled.partition("(")
    known = CONVENTIONS.get(base)
    if known is None or not bracket:
        known_names = ", ".join(CONVENTIONS)
        raise UsageError(f"no convention {name!r}{did_you_mean(name, CONVENTIONS) or f', known are {known_names}'}")
    given: dict[str, float] = {}
    for part in inside.rstrip(")").split(","):
        key, _, value = part.partition("=")
        if key not in known.options:
            wanted = ", ".join(known.options) or ", ".join(n for n in CONVENTIONS if n.startswith(base + "(")) or "none"
            raise UsageError(f"convention {name!r}: no option {key!r} of {base}, wanted {wanted}")
        try:
            given[key] = float(value)
        except ValueError:
            raise UsageError(f"convention {name!r}: {key} is {value!r}, wanted a number") from None
    return replace(known, name=spelled, forget_bias=given.get("forget_bias", known.forget_bias), options={**known.options, **given})
