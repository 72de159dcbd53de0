"""Mistakes in the forward pass, and what looks like one and is somebody's convention (`published`).

Backpropagation through a wrong forward pass is consistent with it: no gradient check sees these, only the published cell beside it.
"""

from __future__ import annotations

from bptt.harness.known.mistake import KnownMistake, of_cell

ELMAN = ("elman", "elman_relu", "elman_sigmoid")
LSTM = ("lstm", "lstm_peephole")
GRU = ("gru_reset_after", "gru_reset_before")
EVERY = (*ELMAN, "elman_linear", *LSTM, *GRU)


def _bug(
    name: str,
    cells: tuple[str, ...],
    before: str,
    after: str,
    sentence: str,
    fix: str,
    published: str = "",
    function: str = "step",
    also: tuple[tuple[str, str], ...] = (),
) -> KnownMistake:
    return of_cell(name, cells, function, before, after, sentence, fix, found_by="PAR100", kind="forward", also=also, published=published)


_C, _M, _H, _G = "c = f * c_prev + i * g", "m = tanh(c)", "h = o * m", "g = tanh(a_g)"
_C_FIX, _H_FIX = "c = f * c_prev + i * g", "h = o * np.tanh(c)"


def _lstm(name: str, before: str, after: str, sentence: str, fix: str, published: str = "") -> KnownMistake:
    return _bug(name, LSTM, before, after, sentence, fix, published)


_LSTM = (
    _lstm("c-of-tanh-c", _C, "c = f * tanh(c_prev) + i * g", "f multiplies tanh(c_(t-1)) and not c_(t-1)", _C_FIX),
    _lstm("h-without-tanh", _M, "m = c", "h is o * c: the tanh of c is missing", _H_FIX, "Greff et al. 2017, NOAF"),
    _lstm(
        "g-with-sigmoid", _G, "g = sigmoid_pair(a_g)[0]", "the candidate g goes through a sigmoid and not through tanh", "g = np.tanh(a_g)"
    ),
    _lstm("g-without-tanh", _G, "g = a_g", "the candidate g has no tanh", "g = np.tanh(a_g)", "Greff et al. 2017, NIAF"),
    _lstm("g-with-relu", _G, "g = np.where(a_g > 0, a_g, 0)", "the candidate g goes through a relu", "g = np.tanh(a_g)"),
    _bug(
        "relu-for-tanh",
        LSTM,
        _G,
        "g = np.where(a_g > 0, a_g, 0)",
        "relu stands for both tanh",
        "g = np.tanh(a_g) and h = o * np.tanh(c)",
        'keras activation="relu"',
        also=((_M, "m = np.where(c > 0, c, 0)"),),
    ),
    _lstm("m-with-sigmoid", _M, "m = sigmoid_pair(c)[0]", "h is o * sigmoid(c)", _H_FIX),
    _lstm("m-of-old-c", _M, "m = tanh(c_prev)", "h is built with the old c_(t-1)", _H_FIX),
    _lstm("h-plus-h", _H, "h = o * m + h_prev", "h_(t-1) is added to the new h", _H_FIX, "a residual connection"),
    _lstm("h-with-tanh-of-gate", _H, "h = tanh(o * c)", "h is tanh(o * c): the tanh is around the product", _H_FIX),
    _lstm(
        "coupled-gates",
        _C,
        "c = f * c_prev + (1 - f) * g",
        "1 - f stands for the input gate",
        _C_FIX,
        "Greff et al. 2017, CIFG; ONNX input_forget",
    ),
    _lstm("no-forget-gate", _C, "c = c_prev + i * g", "c_(t-1) is not multiplied by f", _C_FIX, "Hochreiter and Schmidhuber 1997"),
    _lstm("no-input-gate", _C, "c = f * c_prev + g", "g is not multiplied by i", _C_FIX, "Greff et al. 2017, NIG"),
    _lstm("no-output-gate", _H, "h = m", "tanh(c) is not multiplied by o", _H_FIX, "Greff et al. 2017, NOG"),
    _lstm("f-reversed", _C, "c = (1 - f) * c_prev + i * g", "1 - f stands where f should", _C_FIX),
    _lstm("i-reversed", _C, "c = f * c_prev + (1 - i) * g", "1 - i stands where i should", _C_FIX),
    _lstm("o-reversed", _H, "h = (1 - o) * m", "1 - o stands where o should", _H_FIX),
    _lstm("c-of-new-g-squared", _C, "c = f * c_prev + i * i * g", "i is multiplied in twice", _C_FIX),
    _lstm("i-plus-g", _C, "c = f * c_prev + (i + g)", "i + g stands where i * g should: a sum in the place of a product", _C_FIX),
    _lstm("o-plus-m", _H, "h = o + m", "h is o + tanh(c): a sum in the place of a product", _H_FIX),
    _lstm("c-halved", _C, "c = 0.5 * (f * c_prev + i * g)", "c is an average of its two parts and not their sum", _C_FIX),
)
_HARD_KERAS, _HARD_TORCH = "np.clip(0.2 * a + 0.5, 0, 1)", "np.clip(a / 6 + 0.5, 0, 1)"


def _hard(name: str, formula: str, where: str) -> tuple[KnownMistake, ...]:
    sentence, fix = f"its gates are hard sigmoids, {formula.removeprefix('np.')}", "1 / (1 + np.exp(-a))"
    pair = "s, s_bar = sigmoid_pair({})"
    gru_after, gru_before = "ax[:, : 2 * H] + ah[:, : 2 * H]", "ax[:, : 2 * H] + h_prev @ W_h[:, : 2 * H]"
    made = []
    for cell, argument in (("lstm", "a"), ("gru_reset_after", gru_after), ("gru_reset_before", gru_before)):
        after = f"s = {formula.replace('(a ', f'(({argument}) ').replace(' a ', f' ({argument}) ')}\ns_bar = 1 - s"
        made.append(_bug(name, (cell,), pair.format(argument), after, sentence, fix, where))
    return tuple(made)


_GATES = (
    *_hard("hard-sigmoid-of-keras", _HARD_KERAS, 'keras recurrent_activation="hard_sigmoid" before version 3'),
    *_hard("hard-sigmoid-of-torch", _HARD_TORCH, "torch.nn.Hardsigmoid, keras 3"),
    _bug(
        "o-with-bias-and-weights-of-f",
        ("lstm",),
        "i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 3 * H :]",
        "i, f, o = s[:, :H], s[:, H : 2 * H], s[:, H : 2 * H]",
        "o is computed with the block of f",
        "o = sigmoid(a_o)",
    ),
    _bug(
        "f-with-block-of-i",
        ("lstm",),
        "i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 3 * H :]",
        "i, f, o = s[:, :H], s[:, :H], s[:, 3 * H :]",
        "f is computed with the block of i",
        "f = sigmoid(a_f)",
    ),
    _bug(
        "o-without-sigmoid",
        ("lstm",),
        _H,
        "h = a[:, 3 * H :] * m",
        "o has no sigmoid",
        "o = sigmoid(a_o)",
    ),
    _bug("o-with-tanh", ("lstm",), _H, "h = tanh(a[:, 3 * H :]) * m", "o goes through tanh and not through a sigmoid", "o = sigmoid(a_o)"),
)
_PEEPHOLE = (
    _bug(
        "o-peephole-on-old-c",
        ("lstm_peephole",),
        "o, o_bar = sigmoid_pair(a[:, 3 * H :] + p_o * c)",
        "o, o_bar = sigmoid_pair(a[:, 3 * H :] + p_o * c_prev)",
        "the peephole of o reads the old c_(t-1)",
        "o = sigmoid(a_o + p_o * c)",
        "Graves 2013 in some ports, haste",
    ),
    _bug(
        "o-peephole-after-sigmoid",
        ("lstm_peephole",),
        "o, o_bar = sigmoid_pair(a[:, 3 * H :] + p_o * c)",
        "o, o_bar = sigmoid_pair(a[:, 3 * H :])\no = o + p_o * c",
        "the peephole of o is added after the sigmoid",
        "o = sigmoid(a_o + p_o * c)",
    ),
    _bug(
        "i-peephole-on-h",
        ("lstm_peephole",),
        "i, i_bar = sigmoid_pair(a[:, :H] + p_i * c_prev)",
        "i, i_bar = sigmoid_pair(a[:, :H] + p_i * h_prev)",
        "the peephole of i reads h and not c",
        "i = sigmoid(a_i + p_i * c_prev)",
    ),
)

_NEW = "h = z_bar * n + z * h_prev"
_GRU = (
    _bug("h-without-1-minus-z", GRU, _NEW, "h = n + z * h_prev", "n is not multiplied by 1 - z", "h = (1 - z) * n + z * h_prev"),
    _bug("h-without-z", GRU, _NEW, "h = z_bar * n + h_prev", "h_(t-1) is not multiplied by z", "h = (1 - z) * n + z * h_prev"),
    _bug("h-forgets", GRU, _NEW, "h = z_bar * n", "the share z * h_(t-1) is missing", "h = (1 - z) * n + z * h_prev"),
    _bug("h-both-with-z", GRU, _NEW, "h = z * n + z * h_prev", "z multiplies both n and h_(t-1)", "h = (1 - z) * n + z * h_prev"),
    _bug(
        "n-with-sigmoid",
        GRU,
        "n = tanh(a_n)",
        "n = sigmoid_pair(a_n)[0]",
        "n goes through a sigmoid and not through tanh",
        "n = np.tanh(a_n)",
    ),
    _bug(
        "n-with-relu",
        GRU,
        "n = tanh(a_n)",
        "n = np.where(a_n > 0, a_n, 0)",
        "n goes through a relu",
        "n = np.tanh(a_n)",
        'keras activation="relu"; Ravanelli et al. 2018',
    ),
    _bug("n-without-tanh", GRU, "n = tanh(a_n)", "n = a_n", "n has no tanh", "n = np.tanh(a_n)"),
    _bug(
        "h-through-tanh",
        GRU,
        _NEW,
        "h = tanh(z_bar * n + z * h_prev)",
        "the new h goes through tanh once more",
        "h = (1 - z) * n + z * h_prev",
    ),
    _bug(
        "reset-ignored",
        ("gru_reset_after",),
        "a_n = ax[:, 2 * H :] + r * ah_n",
        "a_n = ax[:, 2 * H :] + ah_n",
        "the candidate n ignores the reset gate r",
        "a_n = x @ W_xn + b_xn + r * (h @ W_hn + b_hn)",
    ),
    _bug(
        "reset-on-x-too",
        ("gru_reset_after",),
        "a_n = ax[:, 2 * H :] + r * ah_n",
        "a_n = r * (ax[:, 2 * H :] + ah_n)",
        "r multiplies the share of x too",
        "a_n = x @ W_xn + b_xn + r * (h @ W_hn + b_hn)",
    ),
    _bug(
        "reset-reversed",
        GRU,
        "r, z, z_bar = s[:, :H], s[:, H:], s_bar[:, H:]",
        "r, z, z_bar = s_bar[:, :H], s[:, H:], s_bar[:, H:]",
        "1 - r stands where r should",
        "r = sigmoid(a_r)",
    ),
    _bug(
        "z-for-r",
        GRU,
        "r, z, z_bar = s[:, :H], s[:, H:], s_bar[:, H:]",
        "r, z, z_bar = s[:, H:], s[:, H:], s_bar[:, H:]",
        "z is used as the reset gate",
        "r = sigmoid(a_r)",
    ),
    _bug(
        "reset-twice",
        ("gru_reset_before",),
        "q = r * h_prev",
        "q = r * r * h_prev",
        "r is multiplied in twice",
        "q = r * h_prev",
    ),
)

_ELMAN = (
    _bug(
        "h-outside-tanh",
        ("elman",),
        "h = tanh(a)",
        "h = tanh(ax) + (a - ax)",
        "h @ W_h is added outside of the tanh",
        "h = np.tanh(x @ W_x + h @ W_h + b)",
    ),
    _bug(
        "residual",
        ("elman",),
        "h = tanh(a)",
        "h = tanh(a) + h_prev",
        "h_(t-1) is added to the new h",
        "h = np.tanh(a)",
        "a residual connection",
    ),
    _bug(
        "residual-inside",
        ("elman",),
        "h = tanh(a)",
        "h = tanh(a + h_prev)",
        "h_(t-1) is added inside of the tanh",
        "h = np.tanh(a)",
        "flax.linen.SimpleCell(residual=True)",
    ),
    _bug("tanh-twice", ("elman",), "h = tanh(a)", "h = tanh(tanh(a))", "tanh is applied twice", "h = np.tanh(a)"),
    _bug(
        "leaky",
        ("elman",),
        "h = tanh(a)",
        "h = 0.5 * h_prev + 0.5 * tanh(a)",
        "h is half the old and half the new state",
        "h = np.tanh(a)",
        "a leaky integrator with rate 0.5",
    ),
)


_STEP = "ys[t], state, tape = cell.step(params, axs[t], state)"
_LOOP_FIX = "y_t, state = step(x_t, state), with the state of the step before"


def _loop(
    name: str, before: str, after: str, sentence: str, cells: tuple[str, ...] = EVERY, fix: str = _LOOP_FIX, published: str = ""
) -> KnownMistake:
    also = (("tapes = []", "tapes, start = [], state"),) if "start[" in after else ()
    return _bug(name, cells, before, after, sentence, fix, published, "forward", also)


_PROJECT = "axs = cell.project_inputs(params, xs)"
_LOOPS = (
    _loop(
        "every-step-reads-h0",
        _STEP,
        _STEP.replace("state)", '{**state, "h": start["h"]})'),
        "every step reads the initial h0 and not h_(t-1)",
    ),
    _loop(
        "every-step-reads-c0",
        _STEP,
        _STEP.replace("state)", '{**state, "c": start["c"]})'),
        "every step reads the initial c0 and not c_(t-1)",
        LSTM,
    ),
    _loop(
        "state-reset-every-step",
        _STEP,
        _STEP.replace("state)", "{name: np.zeros_like(s) for name, s in state.items()})"),
        "every step starts from zeros: no state is carried on, and the initial one is not used",
        (*LSTM, *GRU),
    ),
    _loop("first-input-at-every-step", _STEP, _STEP.replace("axs[t]", "axs[0]"), "every step reads the first input x_0", fix="x_t = xs[t]"),
    _loop(
        "inputs-one-step-late",
        _PROJECT,
        "axs = cell.project_inputs(params, np.concatenate([xs[:1], xs[:-1]]))",
        "step t reads x_(t-1)",
        fix="x_t = xs[t]",
    ),
    _loop(
        "reads-backwards",
        "for t in range(len(xs)):",
        "for t in reversed(range(len(xs))):",
        "it reads the sequence from the last step to the first",
        fix="for t in range(T)",
        published="a reverse layer, outputs in the order of time",
    ),
    _loop(
        "reads-backwards-outputs-too",
        _PROJECT,
        "axs = cell.project_inputs(params, xs[::-1])",
        "it reads the sequence from the last step to the first and gives the outputs in that order",
        fix="for t in range(T)",
        published="keras go_backwards=True",
    ),
    _loop(
        "bias-at-the-first-step-only",
        _PROJECT,
        f'{_PROJECT}\naxs = np.concatenate([axs[:1], axs[1:] - params["b"]])',
        "the bias is added at the first step only",
        (*ELMAN, "elman_linear", *LSTM),
        "a = x_t @ W_x + h @ W_h + b at every step",
    ),
    _loop(
        "no-bias-at-the-first-step",
        _PROJECT,
        f'{_PROJECT}\naxs = np.concatenate([axs[:1] - params["b"], axs[1:]])',
        "the bias is left out at the first step",
        (*ELMAN, "elman_linear", *LSTM),
        "a = x_t @ W_x + h @ W_h + b at every step",
    ),
)

#: Likelier ones first; those of one step before those of the loop.
BUGS: tuple[KnownMistake, ...] = (*_LSTM, *_GATES, *_PEEPHOLE, *_GRU, *_ELMAN, *_LOOPS)
