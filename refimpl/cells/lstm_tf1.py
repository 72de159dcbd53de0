"""The LSTM cell of TensorFlow 1 with all its options: forget bias at run time, peepholes, cell clip, projection, projection clip.

Equations    a_i = x @ W_xi + b_i + h @ W_hi [+ p_i * c]                  i = sigmoid(a_i)
             a_f = x @ W_xf + b_f + h @ W_hf [+ p_f * c] + forget_bias    f = sigmoid(a_f)
             a_g = x @ W_xg + b_g + h @ W_hg                              g = tanh(a_g)
             u   = f * c + i * g
             c'  = clip(u, cell_clip)
             a_o = x @ W_xo + b_o + h @ W_ho [+ p_o * c']                 o = sigmoid(a_o)
             m   = tanh(c')
             q   = o * m
             v   = q @ W_p                       (v = q without projection)
             h'  = clip(v, proj_clip)            (h' = v without projection)          y = h'
Shapes       x (N, D)   c m q and each gate (N, H)   h y (N, P), P = H without projection   p (3, H) for i f o
             W_x (D, 4H)   W_h (P, 4H)   b (4H,)   W_p (H, P)   blocks i f g o
Derivation   h' = clip(v)            dv = dh' * clip'(v)     clip' = 1 inside and on the border, else 0
             v  = q @ W_p            dW_p = q.T @ dv         dq = dv @ W_p.T
             q  = o * m              do = dq * m             dm = dq * o
             o  = sigmoid(a_o)       da_o = do * o * o_bar   with s_bar = 1 - s = sigmoid(-a)
             m  = tanh(c')           dc' += dm * tanh'(c')
             a_o has p_o * c'        dc' += da_o * p_o       dp_o = sum over N of da_o * c'
             c' = clip(u)            du = dc' * clip'(u)
             u  = f * c + i * g      df = du * c             di = du * g      dg = du * i      dc = du * f
             a_i has p_i * c         dc += da_i * p_i        dp_i = sum over N of da_i * c        (f likewise)
             a  = ... + h @ W_h      dW_h = h.T @ da         dh = da @ W_h.T
             x's share of a is projected outside the loop: dax = da
Source       Sak, Senior and Beaufays 2014, arXiv:1402.1128, and the documentation of tf.compat.v1.nn.rnn_cell.LSTMCell.
Variant      peepholes as lstm_peephole; blocks in the order i f g o (TensorFlow's kernel, on [x, h], has i g f o).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bptt.refimpl.activations import clip_real, clip_real_derivative, sigmoid_pair, tanh, tanh_derivative
from bptt.refimpl.cells._common import dtype_of, project_inputs, project_inputs_backward, uniform
from bptt.refimpl.cells.cell import Cell, Outer, Parameter, Share, plain
from bptt.refimpl.types import Array, Params, State, Tape


@dataclass(frozen=True)
class Options:
    """What is switched on.

    projected   the output is projected to P = proj_size; a proj_size of None means half of H, rounded up.  Only `init` looks at
                proj_size: from then on the shape of W_p says what P is.
    """

    forget_bias: float = 1.0
    peepholes: bool = False
    cell_clip: float | None = None
    projected: bool = False
    proj_size: int | None = None
    proj_clip: float | None = None

    def __post_init__(self) -> None:
        if self.proj_size is not None and not self.projected:
            raise ValueError(f"proj_size is {self.proj_size}, but projected is False: a projection size needs projected=True")
        if self.proj_clip is not None and not self.projected:
            raise ValueError(f"proj_clip is {self.proj_clip}, but projected is False: only a projection is clipped")
        for name in ("cell_clip", "proj_clip"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} is {limit}, but should be positive, or None for no clip")


def init(rng: np.random.Generator, input_size: int, hidden_size: int, *, options: Options) -> dict[str, Array]:
    D, H = input_size, hidden_size
    P = (options.proj_size or (H + 1) // 2) if options.projected else H
    shapes: dict[str, tuple[int, ...]] = {"W_x": (D, 4 * H), "W_h": (P, 4 * H), "b": (4 * H,)}
    if options.peepholes:
        shapes["p"] = (3, H)
    if options.projected:
        shapes["W_p"] = (H, P)
    return uniform(rng, shapes, H)


def zero_state(params: Params, batch_size: int) -> dict[str, Array]:
    P, H = params["W_h"].shape[0], params["W_h"].shape[1] // 4
    return {"h": np.zeros((batch_size, P), dtype_of(params)), "c": np.zeros((batch_size, H), dtype_of(params))}


def step(params: Params, ax: Array, state: State, *, options: Options) -> tuple[Array, dict[str, Array], Tape]:
    h_prev, c_prev = state["h"], state["c"]
    H = c_prev.shape[1]
    a = ax + h_prev @ params["W_h"]
    a_i, a_f, a_g, a_o = (a[:, k * H : (k + 1) * H] for k in range(4))
    if options.peepholes:
        p_i, p_f, p_o = params["p"]
        a_i = a_i + p_i * c_prev
        a_f = a_f + p_f * c_prev
    i, i_bar = sigmoid_pair(a_i)
    f, f_bar = sigmoid_pair(a_f + options.forget_bias)
    g = tanh(a_g)
    u = f * c_prev + i * g
    c = u if options.cell_clip is None else clip_real(u, options.cell_clip)
    if options.peepholes:
        a_o = a_o + p_o * c
    o, o_bar = sigmoid_pair(a_o)
    m = tanh(c)
    q = o * m
    v = q @ params["W_p"] if options.projected else q
    h = v if options.proj_clip is None else clip_real(v, options.proj_clip)
    return h, {"h": h, "c": c}, (h_prev, c_prev, a_g, i, i_bar, f, f_bar, g, u, c, o, o_bar, m, q, v)


def step_backward(
    params: Params, tape: Tape, dy: Array, dstate: State, *, options: Options
) -> tuple[Array, dict[str, Array], dict[str, Share]]:
    h_prev, c_prev, a_g, i, i_bar, f, f_bar, g, u, c, o, o_bar, m, q, v = tape
    dparams: dict[str, Share] = {}
    dh = dy + dstate["h"]
    dv = dh if options.proj_clip is None else dh * clip_real_derivative(v, options.proj_clip)
    dq = dv
    if options.projected:
        dq = dv @ params["W_p"].T
        dparams["W_p"] = Outer(q, dv)
    do = dq * m
    dm = dq * o
    da_o = do * o * o_bar
    dc = dstate["c"] + dm * tanh_derivative(c)
    if options.peepholes:
        p_i, p_f, p_o = params["p"]
        dc = dc + da_o * p_o
    du = dc if options.cell_clip is None else dc * clip_real_derivative(u, options.cell_clip)
    df = du * c_prev
    di = du * g
    dg = du * i
    dc_prev = du * f
    da_i = di * i * i_bar
    da_f = df * f * f_bar
    da_g = dg * tanh_derivative(a_g)
    if options.peepholes:
        dc_prev = dc_prev + da_i * p_i + da_f * p_f
        dp_i = (da_i * c_prev).sum(axis=0)
        dp_f = (da_f * c_prev).sum(axis=0)
        dp_o = (da_o * c).sum(axis=0)
        dparams["p"] = np.stack([dp_i, dp_f, dp_o])
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dh_prev = da @ params["W_h"].T
    dparams["W_h"] = Outer(h_prev, da)
    return da, {"h": dh_prev, "c": dc_prev}, dparams


def make(
    options: Options,
    name: str = "lstm_tf1",
    summary: str = "the LSTM cell of TensorFlow 1: adds a forget bias at run time; peepholes, clips, projection",
) -> Cell:
    """The cell with these options."""
    parameters = plain("i", "f", "g", "o")
    parameters += (Parameter("p", "diagonal", ("i", "f", "o"), "peepholes (o reads the new c)"),) if options.peepholes else ()
    parameters += (Parameter("W_p", "projection", (), "output projected to P values"),) if options.projected else ()
    return Cell(
        name=name,
        gates=("i", "f", "g", "o"),
        init=partial(init, options=options),
        zero_state=zero_state,
        project_inputs=project_inputs,
        project_inputs_backward=project_inputs_backward,
        step=partial(step, options=options),
        step_backward=partial(step_backward, options=options),
        summary=summary,
        parameters=parameters,
        states=("h", "c"),
        kind="an LSTM",
        forget="f",
    )


def _with(used: frozenset[str], cell_clip: float | None, proj_clip: float | None) -> Cell:
    """The cell with what is in use; the forget bias is one that is added to `b`, as in other LSTMs."""
    chosen = Options(0.0, "p" in used, cell_clip, "W_p" in used, None, proj_clip)
    return replace(make(chosen), options=_with)


CELL = replace(make(Options()), options=_with)
