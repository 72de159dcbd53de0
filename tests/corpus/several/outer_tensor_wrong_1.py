"""A second-order cell: input and state meet in a third-order tensor."""

import numpy as np


class OuterTensor:
    """a_k = sum_ij x_i h_j M_ijk + sum_i x_i U_ik + v_k h_k + b_k, h' = tanh(a)."""

    def init(self, rng, input_size, hidden_size):
        params = {}
        params["M"] = rng.standard_normal((input_size, hidden_size, hidden_size)) / np.sqrt(input_size * hidden_size)
        params["U"] = rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size)
        params["v"] = rng.uniform(-0.8, 0.8, hidden_size)
        params["b"] = rng.uniform(-0.5, 0.5, hidden_size)
        return params

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["b"].size))}

    def run(self, params, xs, state):
        ys = []
        h = state["h"]
        for x in xs:
            mixed = np.einsum("ni,nj,ijk->nk", x, h, params["M"])
            h = np.tanh(mixed + x @ params["U"] + params["v"] * h + params["b"])
            ys.append(h)
        ys = np.array(ys)
        return ys, {"h": ys[-1]}

    def backward(self, params, xs, state, dys, dfinal_state):
        M, U, v = params["M"], params["U"], params["v"]
        ys, _ = self.run(params, xs, state)
        before = np.concatenate([state["h"][None], ys[:-1]])
        das = np.empty_like(ys)
        dh = dfinal_state["h"]
        for t in range(len(ys) - 1, -1, -1):
            das[t] = (dys[t] + dh) * (1 - ys[t] ** 2)
            dh = np.einsum("nj,ni,ijk->nk", das[t], xs[t], M) + das[t] * v
        dparams = {
            "M": np.einsum("tni,tnj,tnk->ijk", xs, before, das),
            "U": np.einsum("tni,tnk->ik", xs, das),
            "v": np.einsum("tnk,tnk->k", das, ys),
            "b": das.sum(axis=(0, 1)),
        }
        dxs = np.einsum("tnk,tnj,ijk->tni", das, before, M) + np.einsum("tnk,ik->tni", das, U)
        return dparams, dxs, {"h": dh}
