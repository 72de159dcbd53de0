"""Mistakes in the peepholes of an LSTM and in the projection of its output."""

from __future__ import annotations

from bptt.harness.known.mistake import KnownMistake, Place, of_cell

_PEEPHOLE = ("lstm_peephole",)
_PROJECTED = ("lstm_projected",)


def _bug(
    name: str,
    before: str,
    after: str,
    sentence: str,
    fix: str,
    where: Place,
    found_by: str = "GRD110",
    also: tuple[tuple[str, str], ...] = (),
) -> KnownMistake:
    return of_cell(name, _PEEPHOLE, "step_backward", before, after, sentence, fix, where, found_by, also=also)


_CARRY = "dc_prev = dc * f + da_i * p_i + da_f * p_f"
_CARRY_FIX = "dc_prev = dc * f + da_i * p_i + da_f * p_f"

BUGS = (
    _bug(
        "p_o-lost-in-dc",
        "dc = dc + da_o * p_o",
        "dc = dc + 0",
        "dc lacks the share that comes through the peephole of o",
        "dc += da_o * p_o",
        Place(gates="ifg"),
    ),
    _bug(
        "p_o-carried-to-old-c",
        "dc = dc + da_o * p_o",
        "dc = dc + 0 * p_o",
        "the share of the peephole of o goes to c_(t-1) instead of to c_t",
        "dc += da_o * p_o before df, di, dg are taken",
        Place(gates="ifg"),
        also=((_CARRY, _CARRY + " + da_o * p_o"),),
    ),
    _bug(
        "p_i-lost-in-dc",
        _CARRY,
        "dc_prev = dc * f + da_f * p_f",
        "dc_prev lacks the share that comes through the peephole of i",
        _CARRY_FIX,
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "p_f-lost-in-dc",
        _CARRY,
        "dc_prev = dc * f + da_i * p_i",
        "dc_prev lacks the share that comes through the peephole of f",
        _CARRY_FIX,
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "peepholes-lost-in-dc",
        _CARRY,
        "dc_prev = dc * f",
        "dc_prev lacks the shares that come through the peepholes of i and f",
        _CARRY_FIX,
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "p_i-p_f-swapped-in-dc",
        _CARRY,
        "dc_prev = dc * f + da_i * p_f + da_f * p_i",
        "the peepholes of i and f stand in each other's place on the way back to c_(t-1)",
        _CARRY_FIX,
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "dp_o-with-old-c",
        "dp_o = (da_o * c).sum(axis=0)",
        "dp_o = (da_o * c_prev).sum(axis=0)",
        "dL/dp_o is built with c_(t-1); o looks at c_t",
        "dp_o += (da_o * c).sum(axis=0)",
        Place("p", lag=None),
    ),
    _bug(
        "dp_i-with-new-c",
        "dp_i = (da_i * c_prev).sum(axis=0)",
        "dp_i = (da_i * c).sum(axis=0)",
        "dL/dp_i is built with c_t; i looks at c_(t-1)",
        "dp_i += (da_i * c_prev).sum(axis=0)",
        Place("p", lag=None),
    ),
    _bug(
        "dp_f-with-new-c",
        "dp_f = (da_f * c_prev).sum(axis=0)",
        "dp_f = (da_f * c).sum(axis=0)",
        "dL/dp_f is built with c_t; f looks at c_(t-1)",
        "dp_f += (da_f * c_prev).sum(axis=0)",
        Place("p", lag=None),
    ),
    _bug(
        "dp-without-c",
        "np.stack([dp_i, dp_f, dp_o])",
        "np.stack([da_i.sum(axis=0), da_f.sum(axis=0), da_o.sum(axis=0)])",
        "dL/dp lacks the factor c: it is the gradient of a bias",
        "dp_i += (da_i * c_prev).sum(axis=0), and f and o the same way",
        Place("p", lag=None),
    ),
    _bug(
        "dp-i-f-swapped",
        "np.stack([dp_i, dp_f, dp_o])",
        "np.stack([dp_f, dp_i, dp_o])",
        "dL/dp_i and dL/dp_f stand in each other's place",
        "dp = [dp_i, dp_f, dp_o]",
        Place("p", lag=None),
    ),
    _bug(
        "dp-mean-over-batch",
        "np.stack([dp_i, dp_f, dp_o])",
        "np.stack([dp_i, dp_f, dp_o]) / len(c)",
        "dL/dp is the mean over the batch instead of the sum",
        "dp_i += (da_i * c_prev).sum(axis=0)",
        Place("p", lag=None),
    ),
    of_cell(
        "dW_p-with-c",
        _PROJECTED,
        "step_backward",
        'dparams["W_p"] = Outer(q, dv)',
        'dparams["W_p"] = Outer(m, dv)',
        "dL/dW_p is built with tanh(c): the output gate o is missing",
        "dW_p += (o * tanh(c)).T @ dh",
        Place("W_p", lag=None),
    ),
)
