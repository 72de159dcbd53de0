"""Mistakes in the backward pass of both GRUs."""

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
from bptt.harness.known.mistake import KnownMistake, Place, of_cell

AFTER = ("gru_reset_after",)
BEFORE = ("gru_reset_before",)
BOTH = (*AFTER, *BEFORE)

_H = "z_bar * n + z * h_prev"


def _bug(
    name: str,
    cells: tuple[str, ...],
    before: str,
    after: str,
    sentence: str,
    fix: str,
    where: Place,
    found_by: str = "GRD110",
    also: tuple[tuple[str, str], ...] = (),
) -> KnownMistake:
    return of_cell(name, cells, "step_backward", before, after, sentence, fix, where, found_by, also=also)


_DZ, _DZ_FIX = "dz = dh * (h_prev - n)", "dz = dh * (h_prev - n)"
_DN, _DN_FIX = "dn = dh * z_bar", "dn = dh * (1 - z)"
_Z_PATH_FIX = "dh_prev = dh * z + ..."

UPDATE = (
    _bug("dz-sign", BOTH, _DZ, "dz = dh * (n - h_prev)", "dz has the wrong sign: n - h instead of h - n", _DZ_FIX, Place(gates="z")),
    _bug("dz-without-n", BOTH, _DZ, "dz = dh * h_prev", "dz lacks the candidate: h instead of h - n", _DZ_FIX, Place(gates="z")),
    _bug("dz-without-h", BOTH, _DZ, "dz = -dh * n", "dz lacks the old state: -n instead of h - n", _DZ_FIX, Place(gates="z")),
    _bug("dz-with-sum", BOTH, _DZ, "dz = dh * (h_prev + n)", "dz is built with h + n instead of h - n", _DZ_FIX, Place(gates="z")),
    _bug("dz-with-new-h", BOTH, _DZ, f"dz = dh * ({_H} - n)", "dz is built with h_t instead of h_(t-1)", _DZ_FIX, Place(gates="z")),
    _bug("dn-with-z", BOTH, _DN, "dn = dh * z", "dn is multiplied by z instead of by 1 - z", _DN_FIX, Place(gates="rn")),
    _bug("dn-without-z", BOTH, _DN, "dn = dh", "dn lacks the factor 1 - z", _DN_FIX, Place(gates="rn")),
)


def _z_path(cells: tuple[str, ...], rest: str) -> tuple[KnownMistake, ...]:
    """Mistakes in the share dh * z of dh_prev."""
    before = f"dh_prev = dh * z + {rest}"
    where = Place(lag=1)
    return (
        _bug(
            "z-path-lost",
            cells,
            before,
            f"dh_prev = {rest}",
            "dL/dh of the step before lacks the direct path z * h",
            _Z_PATH_FIX,
            where,
            "GRD120",
        ),
        _bug(
            "z-path-with-one-minus-z",
            cells,
            before,
            f"dh_prev = dh * z_bar + {rest}",
            "on the direct path to the step before dh is multiplied by 1 - z instead of by z",
            _Z_PATH_FIX,
            where,
            "GRD120",
        ),
        _bug(
            "z-path-without-z",
            cells,
            before,
            f"dh_prev = dh + {rest}",
            "on the direct path to the step before dh is not multiplied by z",
            _Z_PATH_FIX,
            where,
            "GRD120",
        ),
        _bug(
            "only-z-path",
            cells,
            before,
            "dh_prev = dh * z",
            "dL/dh of the step before has only the direct path z * h: nothing comes back through the gates",
            f"dh_prev = dh * z + {rest}",
            where,
            "GRD120",
        ),
    )


_DR, _DR_FIX = "dr = da_n * ah_n", "dr = da_n * (h_prev @ W_hn + b_hn)"
_DAH = "dah_n = da_n * r"

RESET_AFTER = (
    *_z_path(AFTER, 'dah @ params["W_h"].T'),
    _bug(
        "dr-past-the-tanh",
        AFTER,
        _DR,
        "dr = dn * ah_n",
        "dr skips the derivative of the tanh of n: it is built with dn instead of da_n",
        _DR_FIX,
        Place(gates="r"),
    ),
    _bug("dr-with-h", AFTER, _DR, "dr = da_n * h_prev", "dr is built with h instead of h @ W_hn + b_hn", _DR_FIX, Place(gates="r")),
    _bug(
        "dr-with-n",
        AFTER,
        _DR,
        "dr = da_n * n",
        "dr is built with the candidate n instead of h @ W_hn + b_hn",
        _DR_FIX,
        Place(gates="r"),
    ),
    _bug(
        "dr-with-a_n",
        AFTER,
        _DR,
        "dr = da_n * a_n",
        "dr is built with the whole pre-activation of n instead of its recurrent part",
        _DR_FIX,
        Place(gates="r"),
    ),
    _bug(
        "dr-without-bias",
        AFTER,
        _DR,
        'dr = da_n * (ah_n - params["b_h"][2 * H :])',
        "dr lacks the recurrent bias of n: h @ W_hn instead of h @ W_hn + b_hn",
        _DR_FIX,
        Place(gates="r"),
    ),
    _bug(
        "r-lost-in-dn",
        AFTER,
        _DAH,
        "dah_n = da_n",
        "r is missing on the way from n to W_hn, b_hn and h",
        "dah_n = da_n * r",
        Place("all", lag=1),
    ),
    _bug(
        "r-inverted-in-dn",
        AFTER,
        _DAH,
        "dah_n = da_n * (1 - r)",
        "1 - r stands in the place of r on the way from n to W_hn, b_hn and h",
        "dah_n = da_n * r",
        Place("all", lag=1),
    ),
    _bug(
        "n-lost-in-dh",
        AFTER,
        'dah @ params["W_h"].T',
        'dah[:, : 2 * H] @ params["W_h"][:, : 2 * H].T',
        "dL/dh of the step before lacks the share that comes through n",
        "dh_prev += (da_n * r) @ W_hn.T",
        Place(lag=1),
        "GRD120",
    ),
    *share_of_dh_lost(AFTER, "rz", "dah"),
    *transposed_in_dh(AFTER, "rzn", "dah"),
    _bug(
        "r-lost-in-db_hn",
        AFTER,
        "RowSum(dah)",
        "RowSum(dax)",
        "dL/db_hn lacks the factor r",
        "db_hn += (da_n * r).sum(axis=0)",
        Place("b_h", lag=None),
    ),
    _bug(
        "r-lost-in-dW_hn",
        AFTER,
        "Outer(h_prev, dah)",
        "Outer(h_prev, dax)",
        "dL/dW_hn lacks the factor r",
        "dW_hn += h_prev.T @ (da_n * r)",
        Place("W_h", lag=None),
    ),
    _bug(
        "r-lost-in-dW_hn-and-db_hn",
        AFTER,
        "Outer(h_prev, dah)",
        "Outer(h_prev, dax)",
        "dL/dW_hn and dL/db_hn lack the factor r",
        "dW_hn += h_prev.T @ (da_n * r); db_hn += (da_n * r).sum(axis=0)",
        Place("W_h b_h", lag=None),
        also=(("RowSum(dah)", "RowSum(dax)"),),
    ),
    _bug(
        "r-twice-in-dW_hn",
        AFTER,
        "Outer(h_prev, dah)",
        "Outer(h_prev, np.concatenate([da_r, da_z, dah_n * r], axis=1))",
        "dL/dW_hn has the factor r twice, as if the reset came before the product",
        "dW_hn += h_prev.T @ (da_n * r)",
        Place("W_h", lag=None),
    ),
    _bug(
        "r-leaks-into-dx",
        AFTER,
        'return dax, {"h": dh_prev}',
        'return dah, {"h": dh_prev}',
        "dL/dW_xn, dL/db_xn and dL/dx have the factor r, which belongs to the recurrent part only",
        "dW_xn += x.T @ da_n",
        Place("W_x b_x xs", "n"),
    ),
    h_of_wrong_step(AFTER, "Outer(h_prev, dah)", "Outer(s_bar[:, H:] * n + z * h_prev, dah)"),
)

_DQ = "dq = da_n @ W_h[:, 2 * H :].T"
_DH_BEFORE = "dh * z + dq * r + da_rz @ W_h[:, : 2 * H].T"
_DR_BEFORE, _DR_BEFORE_FIX = "dr = dq * h_prev", "dr = (da_n @ W_hn.T) * h_prev"

RESET_BEFORE = (
    *_z_path(BEFORE, "dq * r + da_rz @ W_h[:, : 2 * H].T"),
    _bug("dr-with-q", BEFORE, _DR_BEFORE, "dr = dq * q", "dr is built with r * h instead of h", _DR_BEFORE_FIX, Place(gates="r")),
    _bug(
        "dr-without-weights",
        BEFORE,
        _DR_BEFORE,
        "dr = da_n * h_prev",
        "dr is not carried through the recurrent weights of n",
        _DR_BEFORE_FIX,
        Place(gates="r"),
    ),
    _bug(
        "dr-past-the-tanh",
        BEFORE,
        _DR_BEFORE,
        "dr = (dn @ W_h[:, 2 * H :].T) * h_prev",
        "dr skips the derivative of the tanh of n: it is built with dn instead of da_n",
        _DR_BEFORE_FIX,
        Place(gates="r"),
    ),
    _bug(
        "dr-with-n",
        BEFORE,
        _DR_BEFORE,
        "dr = dq * n",
        "dr is built with the candidate n instead of h",
        _DR_BEFORE_FIX,
        Place(gates="r"),
    ),
    _bug(
        "dr-as-reset-after",
        BEFORE,
        _DR_BEFORE,
        "dr = da_n * (h_prev @ W_h[:, 2 * H :])",
        "dr is that of a GRU with the reset after the product",
        _DR_BEFORE_FIX,
        Place(gates="r"),
    ),
    _bug(
        "reset-lost-in-dh",
        BEFORE,
        _DH_BEFORE,
        _DH_BEFORE.replace("dq * r", "dq"),
        "r is missing on the way from n back to h",
        "dh_prev += (da_n @ W_hn.T) * r",
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "reset-inverted-in-dh",
        BEFORE,
        _DH_BEFORE,
        _DH_BEFORE.replace("dq * r", "dq * (1 - r)"),
        "1 - r stands in the place of r on the way from n back to h",
        "dh_prev += (da_n @ W_hn.T) * r",
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "reset-before-weights-in-dh",
        BEFORE,
        _DH_BEFORE,
        _DH_BEFORE.replace("dq * r", "(da_n * r) @ W_h[:, 2 * H :].T"),
        "on the way from n back to h, r is multiplied before the recurrent weights instead of after",
        "dh_prev += (da_n @ W_hn.T) * r",
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "n-lost-in-dh",
        BEFORE,
        _DH_BEFORE,
        _DH_BEFORE.replace("dq * r + ", ""),
        "dL/dh of the step before lacks the share that comes through n",
        "dh_prev += (da_n @ W_hn.T) * r",
        Place(lag=1),
        "GRD120",
    ),
    _bug(
        "n-weights-not-transposed",
        BEFORE,
        _DQ,
        "dq = da_n @ W_h[:, 2 * H :]",
        "the recurrent weights of gate n are not transposed on the way back to h",
        "dq = da_n @ W_hn.T",
        Place(gates="r"),
    ),
    *share_of_dh_lost(BEFORE, "rz", "da_rz", "W_h[:, : 2 * H]"),
    *transposed_in_dh(BEFORE, "rz", "da_rz", "W_h[:, : 2 * H]"),
    _bug(
        "dW_hn-without-r",
        BEFORE,
        "Outer(q, da_n)",
        "Outer(h_prev, da_n)",
        "dL/dW_hn is built with h instead of r * h",
        "dW_hn += (r * h_prev).T @ da_n",
        Place("W_h", lag=None),
    ),
    _bug(
        "dW_hn-with-n",
        BEFORE,
        "Outer(q, da_n)",
        "Outer(r * n, da_n)",
        "dL/dW_hn is built with r * n instead of r * h",
        "dW_hn += (r * h_prev).T @ da_n",
        Place("W_h", lag=None),
    ),
    h_of_wrong_step(
        BEFORE,
        "Columns((Outer(h_prev, da_rz), Outer(q, da_n)))",
        "Columns((Outer(s_bar[:, H:] * n + z * h_prev, da_rz), Outer(r * (s_bar[:, H:] * n + z * h_prev), da_n)))",
    ),
    _bug(
        "h-t-in-dW_h-of-gates",
        BEFORE,
        "Outer(h_prev, da_rz)",
        "Outer(s_bar[:, H:] * n + z * h_prev, da_rz)",
        "dL/dW_hr and dL/dW_hz are built with h_t instead of h_(t-1)",
        "dW_hz += h_prev.T @ da_z",
        Place("W_h", lag=None),
    ),
)

BUGS = (
    *sigmoid_gate(BOTH, "r", Place(gates="r")),
    # The flipped sign of z's derivative gives the same numbers as that of dz: n - h for h - n, the likelier one, stands below.
    *(bug for bug in sigmoid_gate(BOTH, "z", Place(gates="z")) if bug.name != "z-derivative-sign"),
    *tanh_gate(BOTH, "n", Place(gates="rn")),
    *(
        of_cell(
            f"{name}-missing",
            BOTH,
            "step_backward",
            "da_r = dr * r * r_bar",
            "da_r = dr",
            sentence,
            fix,
            Place(gates=gates),
            also=(("da_z = dz * z * z_bar", "da_z = dz"), *also),
        )
        for name, sentence, fix, gates, also in (
            (
                "sigmoid-derivatives",
                "missing derivative of the sigmoid of r and z",
                "da_z = dz * z * (1 - z), and r the same way",
                "rz",
                (),
            ),
            (
                "derivatives",
                "missing derivative of every gate",
                "da_z = dz * z * (1 - z), r the same way, da_n = dn * (1 - n**2)",
                "",
                (("da_n = dn * tanh_derivative(a_n)", "da_n = dn"),),
            ),
        )
    ),
    *UPDATE,
    *RESET_AFTER,
    *RESET_BEFORE,
    *blocks_swapped(AFTER, "rzn", "dax = np.concatenate([da_r, da_z, da_n], axis=1)", "dax = [da_r, da_z, da_n]", "W_x b_x xs"),
    *blocks_swapped(BEFORE, "rz", "da_rz = np.concatenate([da_r, da_z], axis=1)", "da = [da_r, da_z, da_n]"),
    *share_of_dx_lost(AFTER, "rzn", 'return {"W_x": dW_x, "b_x": db_x}, dxs'),
    *share_of_dx_lost(BEFORE, "rzn", 'return {"W_x": dW_x, "b_x": db, "b_h": db.copy()}, dxs'),
)
