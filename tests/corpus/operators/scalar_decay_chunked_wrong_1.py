"""A state space with one scalar decay a head that depends on the input, in chunks of 16."""

import numpy as np

CHUNK = 16


class ScalarDecayChunked:
    """S = exp(-dt A) S + dt B x', y = S' C + D x with A = exp(A_log)."""

    layout = {
        "x": "N T heads P",
        "dt": "N T heads",
        "B": "N T S",
        "C": "N T S",
        "s": "N heads S P",
        "y": "N T heads P",
    }
    sizes = {"heads": (2, 1), "P": (2, 3), "S": (3, 2)}
    params_layout = {"A_log": "heads", "D": "heads"}
    chunks = (CHUNK,)

    def init(self, rng, sizes):
        return {"A_log": rng.uniform(-2, 0.5, sizes["heads"]), "D": rng.standard_normal(sizes["heads"])}

    def inputs(self, rng, params, T, N, sizes):
        return {
            "x": rng.standard_normal((N, T, sizes["heads"], sizes["P"])),
            "dt": rng.uniform(0.05, 0.6, (N, T, sizes["heads"])),
            "B": rng.standard_normal((N, T, sizes["S"])),
            "C": rng.standard_normal((N, T, sizes["S"])),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["S"], sizes["P"]))}

    @staticmethod
    def _decays(A, dt):
        b = -A * np.cumsum(dt, axis=1)
        L = dt.shape[1]
        later = np.tri(L, dtype=bool)[None, :, :, None]
        inner = np.exp(np.where(later, b[:, :, None] - b[:, None, :], -np.inf))
        return inner, np.exp(b), np.exp(b[:, -1:] - b)

    def _forward(self, params, inputs, s):
        A = np.exp(params["A_log"])
        ys, states = [], [s]
        for lo in range(0, inputs["x"].shape[1], CHUNK):
            x, dt, B, C = (inputs[name][:, lo : lo + CHUNK] for name in ("x", "dt", "B", "C"))
            inner, head, tail = self._decays(A, dt)
            xd = x * dt[..., None]
            att = np.einsum("nts,njs->ntj", C, B)[..., None] * inner
            y = np.einsum("ntjh,njhp->nthp", att, xd) + np.einsum("nts,nth,nhsp->nthp", C, head, s)
            ys.append(y + params["D"][:, None] * x)
            s = head[:, -1, :, None, None] * s + np.einsum("njs,njh,njhp->nhsp", B, tail, xd)
            states.append(s)
        return np.concatenate(ys, axis=1), states

    def run(self, params, inputs, state):
        y, states = self._forward(params, inputs, state["s"])
        return {"y": y}, {"s": states[-1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        A = np.exp(params["A_log"])
        _, states = self._forward(params, inputs, state["s"])
        d = {name: np.zeros(value.shape) for name, value in inputs.items()}
        dA = np.zeros(A.shape)
        ds = dfinal_state["s"]
        for c in range(len(states) - 2, -1, -1):
            part = slice(c * CHUNK, (c + 1) * CHUNK)
            x, dt, B, C = (inputs[name][:, part] for name in ("x", "dt", "B", "C"))
            dy, s = doutputs["y"][:, part], states[c]
            inner, head, tail = self._decays(A, dt)
            xd = x * dt[..., None]
            dots = np.einsum("nts,njs->ntj", C, B)
            datt = np.einsum("nthp,njhp->ntjh", dy, xd) * inner
            dxd = np.einsum("ntj,ntjh,nthp->njhp", dots, inner, dy) + np.einsum("njs,njh,nhsp->njhp", B, tail, ds)
            read = np.einsum("nth,nthp,nhsp->nths", head, dy, s)
            wrote = np.einsum("njh,njhp,nhsp->njhs", tail, xd, ds)
            d["C"][:, part] = np.einsum("ntjh,njs->nts", datt, B) + read.sum(axis=2)
            d["B"][:, part] = np.einsum("ntjh,nts->njs", datt, C) + wrote.sum(axis=2)
            moved = dots[..., None] * datt
            db = moved.sum(axis=2) - moved.sum(axis=1)
            db += np.einsum("nths,nts->nth", read, C) - np.einsum("njhs,njs->njh", wrote, B)
            db[:, -1] += (ds * states[c + 1]).sum(axis=(-1, -2))
            dlog = np.cumsum(db[:, ::-1], axis=1)[:, ::-1]
            d["x"][:, part] = dxd * dt[..., None] + params["D"][:, None] * dy
            d["dt"][:, part] = -A * dlog
            dA -= (dlog * dt).sum(axis=(0, 1))
            ds = head[:, -1, :, None, None] * ds + np.einsum("nts,nth,nthp->nhsp", C, head, dy)
        dD = (doutputs["y"] * inputs["x"]).sum(axis=(0, 1, 3))
        return {"A_log": dA * A, "D": dD}, d, {"s": ds}
