"""Mistakes in the backward pass of LSTMs: the plain one, and those lines that it shares with its variants."""

from __future__ import annotations

from bptt.harness.known.cells.gates import (
    blocks_swapped,
    h_of_wrong_step,
    share_of_dh_lost,
    share_of_dx_lost,
    sigmoid_gate,
    tanh_gate,
    transposed_in_dh,
)
from bptt.harness.known.mistake import EVERYWHERE, KnownMistake, Place, of_cell

PLAIN = ("lstm", "lstm_peephole")
TF1 = ("lstm_tf1", "lstm_projected")
ALL = (*PLAIN, *TF1)
NO_PEEPHOLES = ("lstm", *TF1)  # a wrong da_o then stays in gate o within a step; a peephole carries it to c

_BLOCKS = "da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)"
_O_TO_C = 'dc = dstate["c"] + dm * tanh_derivative(c)'


def _cell_state(cells: tuple[str, ...], dc: str) -> tuple[KnownMistake, ...]:
    """Mistakes in the derivatives of c' = f * c + i * g.   dc  what the cell's own lines call the gradient of f * c + i * g"""

    def bug(name: str, before: str, after: str, sentence: str, fix: str, where: Place, found_by: str = "GRD110") -> KnownMistake:
        return of_cell(name, cells, "step_backward", before, after, sentence, fix, where, found_by)

    return (
        bug(
            "df-with-new-c",
            f"df = {dc} * c_prev",
            f"df = {dc} * c",
            "df is built with c_t instead of c_(t-1)",
            "df = dc * c_prev",
            Place(gates="f"),
        ),
        bug(
            "df-with-f",
            f"df = {dc} * c_prev",
            f"df = {dc} * f",
            "df is built with f instead of c_(t-1)",
            "df = dc * c_prev",
            Place(gates="f"),
        ),
        bug("di-with-i", f"di = {dc} * g", f"di = {dc} * i", "di is built with i instead of g", "di = dc * g", Place(gates="i")),
        bug("dg-with-g", f"dg = {dc} * i", f"dg = {dc} * g", "dg is built with g instead of i", "dg = dc * i", Place(gates="g")),
        bug("dg-without-i", f"dg = {dc} * i", f"dg = {dc}", "dg lacks the factor i", "dg = dc * i", Place(gates="g")),
        bug("di-without-g", f"di = {dc} * g", f"di = {dc}", "di lacks the factor g", "di = dc * g", Place(gates="i")),
    )


def _carry(cell: str, before: str, dc: str) -> tuple[KnownMistake, ...]:
    """Mistakes in dc_prev = dc * f, where the line reads `before`."""

    def bug(name: str, factor: str, sentence: str) -> KnownMistake:
        after = before.replace(f"{dc} * f", factor, 1)
        return of_cell(name, (cell,), "step_backward", before, after, sentence, "dc_prev = dc * f", Place(lag=1), "GRD120")

    return (
        bug("dc-without-f", dc, "the gradient that goes back to c_(t-1) is not multiplied by the forget gate f"),
        bug("dc-with-i", f"{dc} * i", "the gradient that goes back to c_(t-1) is multiplied by i instead of by f"),
        bug(
            "dc-with-one-minus-f",
            f"{dc} * (1 - f)",
            "the gradient that goes back to c_(t-1) is multiplied by 1 - f instead of by f",
        ),
        bug(
            "dc-carries-only-dc_next",
            'dstate["c"] * f',
            "the gradient that goes back to c_(t-1) is dc_next * f: the share that enters c_t through h_t is lost",
        ),
    )


def _output(cells: tuple[str, ...], dh: str, o: str) -> tuple[KnownMistake, ...]:
    """Mistakes in the derivatives of h' = o * tanh(c').

    dh  what the cell's own lines call the gradient of o * tanh(c')      o  the gates that a wrong do makes wrong within a step
    """

    def bug(name: str, before: str, after: str, sentence: str, fix: str, where: Place = EVERYWHERE) -> KnownMistake:
        return of_cell(name, cells, "step_backward", before, after, sentence, fix, where)

    do_fix, dc_fix = "do = dh * tanh(c)", "dc = dc_next + dh * o * (1 - tanh(c)**2)"
    not_o = Place(gates="ifg")
    return (
        bug("do-without-tanh", f"do = {dh} * m", f"do = {dh} * c", "do is built with c instead of tanh(c)", do_fix, Place(gates=o)),
        bug(
            "do-with-old-c",
            f"do = {dh} * m",
            f"do = {dh} * tanh(c_prev)",
            "do is built with c_(t-1) instead of c_t",
            do_fix,
            Place(gates=o),
        ),
        bug("do-without-c", f"do = {dh} * m", f"do = {dh}", "do lacks the factor tanh(c)", do_fix, Place(gates=o)),
        bug(
            "dc-without-tanh-derivative",
            _O_TO_C,
            'dc = dstate["c"] + dm',
            "missing derivative of the tanh of c on the way from h to c",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-derivative-not-squared",
            _O_TO_C,
            'dc = dstate["c"] + dm * (1 - m)',
            "derivative of the tanh of c is 1 - tanh(c): the square is missing",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-derivative-of-c",
            _O_TO_C,
            'dc = dstate["c"] + dm * (1 - c * c)',
            "derivative of the tanh of c is 1 - c**2: the tanh inside the square is missing",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-derivative-at-value",
            _O_TO_C,
            'dc = dstate["c"] + dm * tanh_derivative(m)',
            "derivative of the tanh of c taken at tanh(c) instead of at c: the tanh is applied twice",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-derivative-of-old-c",
            _O_TO_C,
            'dc = dstate["c"] + dm * tanh_derivative(c_prev)',
            "derivative of the tanh of c taken at c_(t-1) instead of at c_t",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-sign",
            _O_TO_C,
            'dc = dstate["c"] - dm * tanh_derivative(c)',
            "the share of dc that comes from h has the wrong sign",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-without-o",
            f"dm = {dh} * o",
            f"dm = {dh}",
            "the share of dc that comes from h lacks the output gate o",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-next-not-added",
            _O_TO_C,
            "dc = dm * tanh_derivative(c)",
            "dc lacks dc_next: the gradient that comes back from c_(t+1) is not added",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-without-h",
            _O_TO_C,
            'dc = dstate["c"]',
            "dc lacks the share that comes from h = o * tanh(c)",
            dc_fix,
            not_o,
        ),
        bug(
            "dc-next-inside-tanh",
            _O_TO_C,
            'dc = (dstate["c"] + dm) * tanh_derivative(c)',
            "dc_next is multiplied by the derivative of the tanh of c too; only the share that comes from h may be",
            dc_fix,
            not_o,
        ),
    )


def _all_gates(cells: tuple[str, ...], sigmoid_gates: str) -> tuple[KnownMistake, ...]:
    """The same mistake at several gates at once."""

    def line(gate: str, after: str) -> tuple[str, str]:
        right = f"d{gate} * tanh_derivative(a_{gate})" if gate == "g" else f"d{gate} * {gate} * {gate}_bar"
        return f"da_{gate} = {right}", f"da_{gate} = {after}"

    def bug(name: str, edits: list[tuple[str, str]], sentence: str, fix: str, gates: str) -> KnownMistake:
        (before, after), *also = edits
        return of_cell(name, cells, "step_backward", before, after, sentence, fix, Place(gates=gates), also=tuple(also))

    sigmoids = "da_f = df * f * (1 - f), and i and o the same way"
    return (
        bug(
            "sigmoid-derivatives-missing",
            [line(s, f"d{s}") for s in "ifo"],
            "missing derivative of the sigmoid of i, f and o",
            sigmoids,
            sigmoid_gates,
        ),
        bug(
            "derivatives-missing",
            [line(s, f"d{s}") for s in "ifgo"],
            "missing derivative of every gate",
            sigmoids + ", da_g = dg * (1 - g**2)",
            "",
        ),
        bug(
            "sigmoid-derivatives-at-value",
            [line(s, f"d{s} * np.multiply(*sigmoid_pair({s}))") for s in "ifo"],
            "derivative of the sigmoid of i, f and o taken at the value instead of at a: the sigmoid is applied twice",
            sigmoids,
            sigmoid_gates,
        ),
    )


_LOST_IN_DX = 'return {"W_x": dW_x, "b": db}, dxs'

BUGS = (
    *sigmoid_gate(ALL, "f", Place(gates="f")),
    *sigmoid_gate(ALL, "i", Place(gates="i")),
    *sigmoid_gate(NO_PEEPHOLES, "o", Place(gates="o")),
    *sigmoid_gate(("lstm_peephole",), "o", Place()),
    *tanh_gate(ALL, "g", Place(gates="g")),
    *_all_gates(NO_PEEPHOLES, "ifo"),
    *_all_gates(("lstm_peephole",), ""),
    *_output(("lstm",), "dh", "o"),
    *_output(("lstm_peephole",), "dh", ""),
    *_output(TF1, "dq", "o"),
    *_cell_state(PLAIN, "dc"),
    *_cell_state(TF1, "du"),
    *_carry("lstm", "dc_prev = dc * f", "dc"),
    *_carry("lstm_peephole", "dc_prev = dc * f + da_i * p_i + da_f * p_f", "dc"),
    *_carry("lstm_tf1", "dc_prev = du * f", "du"),
    *_carry("lstm_projected", "dc_prev = du * f", "du"),
    h_of_wrong_step(PLAIN, "Outer(h_prev, da)", "Outer(o * m, da)"),
    h_of_wrong_step(TF1, "Outer(h_prev, da)", "Outer(v, da)"),
    *blocks_swapped(ALL, "ifgo", _BLOCKS, "da = [da_i, da_f, da_g, da_o]"),
    *share_of_dh_lost(ALL, "ifgo", "da"),
    *transposed_in_dh(PLAIN, "ifgo", "da"),
    *share_of_dx_lost(ALL, "ifgo", _LOST_IN_DX),
    of_cell(
        "f-lost-in-dW_h",
        ALL,
        "step_backward",
        "Outer(h_prev, da)",
        "Outer(h_prev, np.concatenate([da_i, 0 * da_f, da_g, da_o], axis=1))",
        "dL/dW_h of gate f is never added up: it stays zero",
        "dW_hf += h_prev.T @ da_f",
        Place("W_h", lag=None),
    ),
)
