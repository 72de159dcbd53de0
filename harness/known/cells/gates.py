"""Mistakes that can be made at every gate alike: its derivative, its place among the blocks, its share of dh."""

from __future__ import annotations

import re
from itertools import combinations

from bptt.harness.known.mistake import KnownMistake, Place, of_cell


def sigmoid_gate(cells: tuple[str, ...], gate: str, where: Place, name: str | None = None) -> tuple[KnownMistake, ...]:
    """Mistakes in da_s = ds * s * (1 - s), the line that the reference writes as `da_s = ds * s * s_bar`."""
    s = gate
    line, fix = f"da_{s} = d{s} * {s} * {s}_bar", f"da_{s} = d{s} * {s} * (1 - {s})"

    def bug(kind: str, after: str, sentence: str) -> KnownMistake:
        return of_cell(f"{name or s}-{kind}", cells, "step_backward", line, f"da_{s} = {after}", sentence, fix, where)

    return (
        bug("derivative-missing", f"d{s}", f"missing derivative of the sigmoid of {s}"),
        bug(
            "derivative-only-s",
            f"d{s} * {s}",
            f"derivative of the sigmoid of {s} has lost a factor: {s} instead of {s} (1 - {s})",
        ),
        bug(
            "derivative-only-one-minus-s",
            f"d{s} * {s}_bar",
            f"derivative of the sigmoid of {s} has lost a factor: 1 - {s} instead of {s} (1 - {s})",
        ),
        bug("derivative-sign", f"-d{s} * {s} * {s}_bar", f"sign of the derivative of the sigmoid of {s} is flipped"),
        bug("derivative-of-tanh", f"d{s} * (1 - {s} * {s})", f"derivative of tanh, 1 - {s}**2, at the sigmoid of {s}"),
        bug(
            "derivative-at-value",
            f"d{s} * np.multiply(*sigmoid_pair({s}))",
            f"derivative of the sigmoid of {s} taken at the value {s} instead of at a_{s}: the sigmoid is applied twice",
        ),
        bug("derivative-squared", f"d{s} * ({s} * {s}_bar) ** 2", f"derivative of the sigmoid of {s} is applied twice"),
        bug("without-gradient", f"0 * d{s}", f"gate {s} gets no gradient"),
    )


def tanh_gate(cells: tuple[str, ...], gate: str, where: Place) -> tuple[KnownMistake, ...]:
    """Mistakes in da_n = dn * (1 - n**2), the line that the reference writes as `da_n = dn * tanh_derivative(a_n)`."""
    n = gate
    line, fix = f"da_{n} = d{n} * tanh_derivative(a_{n})", f"da_{n} = d{n} * (1 - {n}**2)"

    def bug(kind: str, after: str, sentence: str) -> KnownMistake:
        return of_cell(f"{n}-{kind}", cells, "step_backward", line, f"da_{n} = {after}", sentence, fix, where)

    return (
        bug("derivative-missing", f"d{n}", f"missing derivative of the tanh of {n}"),
        bug("derivative-not-squared", f"d{n} * (1 - {n})", f"derivative of the tanh of {n} is 1 - {n}: the square is missing"),
        bug("derivative-plus", f"d{n} * (1 + {n} * {n})", f"derivative of the tanh of {n} is 1 + {n}**2 instead of 1 - {n}**2"),
        bug("derivative-sign", f"-d{n} * tanh_derivative(a_{n})", f"sign of the derivative of the tanh of {n} is flipped"),
        bug(
            "derivative-of-pre-activation",
            f"d{n} * (1 - a_{n} * a_{n})",
            f"derivative of the tanh of {n} is 1 - a_{n}**2: the pre-activation instead of the value {n}",
        ),
        bug(
            "derivative-at-value",
            f"d{n} * tanh_derivative({n})",
            f"derivative of the tanh of {n} taken at the value {n} instead of at a_{n}: the tanh is applied twice",
        ),
        bug("derivative-of-sigmoid", f"d{n} * {n} * (1 - {n})", f"derivative of the sigmoid, {n} (1 - {n}), at the tanh of {n}"),
        bug("derivative-squared", f"d{n} * tanh_derivative(a_{n}) ** 2", f"derivative of the tanh of {n} is applied twice"),
        bug("without-gradient", f"0 * d{n}", f"gate {n} gets no gradient"),
    )


def blocks_swapped(cells: tuple[str, ...], gates: str, before: str, result: str, where: str = "all") -> tuple[KnownMistake, ...]:
    """Two blocks of `before` (the line that lays the gates' gradients side by side) in each other's place."""
    found = []
    for one, other in combinations(gates, 2):
        found.append(
            of_cell(
                f"{one}-{other}-swapped",
                cells,
                "step_backward",
                before,
                _swapped(before, f"da_{one}", f"da_{other}"),
                f"the gradients of gates {one} and {other} stand in each other's block",
                f"{result}: the blocks in the order of the forward pass",
                Place(where, one + other),
            )
        )
    return tuple(found)


def _swapped(text: str, one: str, other: str) -> str:
    return re.sub(rf"\b({one}|{other})\b", lambda match: other if match[0] == one else one, text)


def share_of_dh_lost(cells: tuple[str, ...], gates: str, da: str, W: str = 'params["W_h"]', names: str = "") -> tuple[KnownMistake, ...]:
    """dh_prev without one gate's da_k @ W_hk.T.   da  the array of all gates' columns, of which `{da} @ {W}.T` is the product"""
    before = f"{da} @ {W}.T"
    found = []
    for k, gate in enumerate(gates):
        columns = _columns(k, gate)
        found.append(
            of_cell(
                f"{gate}-lost-in-dh",
                cells,
                "step_backward",
                before,
                f"{before} - {da}{columns} @ {W}{columns}.T",
                f"dL/dh of the step before lacks the share that comes through gate {gate}",
                f"dh_prev += da_{gate} @ W_h{gate}.T",
                Place(names or "all", lag=1),
                "GRD120",
            )
        )
    return tuple(found)


def _columns(k: int, gate: str) -> str:
    """The k-th block of columns, as wide as the gate's own array: not every cell's code has a name for H."""
    return f"[:, {k} * {gate}.shape[1] : {k + 1} * {gate}.shape[1]]"


def transposed_in_dh(cells: tuple[str, ...], gates: str, da: str, W: str = 'params["W_h"]') -> tuple[KnownMistake, ...]:
    """dh_prev with da_k @ W_hk where da_k @ W_hk.T should stand, for each gate and for all of them."""
    before = f"{da} @ {W}.T"
    columns = [_columns(k, gate) for k, gate in enumerate(gates)]
    whole = " + ".join(f"{da}{c} @ {W}{c}" for c in columns)
    one = tuple(
        of_cell(
            f"{gate}-weights-not-transposed",
            cells,
            "step_backward",
            before,
            f"{before} - {da}{c} @ {W}{c}.T + {da}{c} @ {W}{c}",
            f"the recurrent weights of gate {gate} are not transposed on the way back to h",
            f"dh_prev += da_{gate} @ W_h{gate}.T",
            Place(lag=1),
            "GRD120",
        )
        for gate, c in zip(gates, columns, strict=True)
    )
    return (
        of_cell(
            "weights-not-transposed",
            cells,
            "step_backward",
            before,
            whole,
            "the recurrent weights of no gate are transposed on the way back to h",
            "dh_prev = da @ W_h.T",
            Place(lag=1),
            "GRD120",
        ),
        *one,
    )


def share_of_dx_lost(cells: tuple[str, ...], gates: str, result: str) -> tuple[KnownMistake, ...]:
    """dxs without one gate's da_k @ W_xk.T.   result  the line that returns dxs"""
    found = []
    for k, gate in enumerate(gates):
        columns = f"[..., {k} * H : {k + 1} * H]"
        found.append(
            of_cell(
                f"{gate}-lost-in-dx",
                cells,
                "project_inputs_backward",
                result,
                f'H = daxs.shape[2] // {len(gates)}\nW_x = params["W_x"]\ndxs = dxs - daxs{columns} @ W_x{columns}.T\n{result}',
                f"dL/dx lacks the share that comes through gate {gate}",
                f"dx += da_{gate} @ W_x{gate}.T",
                Place("xs"),
                "GRD120",
            )
        )
    return tuple(found)


def h_of_wrong_step(cells: tuple[str, ...], before: str, after: str, where: str = "W_h") -> KnownMistake:
    """dW_h with h_t where h_(t-1) should stand."""
    return of_cell(
        "h-t-in-dW_h",
        cells,
        "step_backward",
        before,
        after,
        "dL/dW_h is built with h_t instead of h_(t-1)",
        "dW_h += h_prev.T @ da",
        Place(where, lag=None),
    )
