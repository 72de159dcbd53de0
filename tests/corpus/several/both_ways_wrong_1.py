"""Two readers, one from each end, whose states are merged by a product with a sigmoid."""

import numpy as np


def _read(xs, h0, W, R, b):
    hs = [h0]
    for x in xs:
        hs.append(np.tanh(x @ W + hs[-1] @ R + b))
    return np.array(hs)


def _read_backward(xs, hs, dhs, dlast, W, R):
    dW, dR, db = np.zeros_like(W), np.zeros_like(R), np.zeros(W.shape[1])
    dxs = np.zeros_like(xs)
    carry = dlast.copy()
    for t in range(len(xs) - 1, -1, -1):
        da = (dhs[t] + carry) * (1 - hs[t + 1] ** 2)
        dW += xs[t].T @ da
        dR = hs[t].T @ da
        db += da.sum(axis=0)
        dxs[t] = da @ W.T
        carry = da @ R.T
    return dW, dR, db, dxs, carry


class BothWays:
    """y_t = f_t sigmoid(b_t), where f reads from the left and b from the right."""

    exempt = {"causal": "one of the readers starts at the end"}

    def init(self, rng, input_size, hidden_size):
        params = {}
        for side in ("f", "b"):
            params["W_" + side] = rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size)
            params["R_" + side] = rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size)
            params["b_" + side] = rng.standard_normal(hidden_size) * 0.2
        return params

    def zero_state(self, params, batch_size):
        zeros = np.zeros((batch_size, params["b_f"].size))
        return {"f": zeros, "b": zeros.copy()}

    def run(self, params, xs, state):
        f = _read(xs, state["f"], params["W_f"], params["R_f"], params["b_f"])
        b = _read(xs[::-1], state["b"], params["W_b"], params["R_b"], params["b_b"])
        ys = f[1:] / (1 + np.exp(-b[1:][::-1]))
        return ys, {"f": f[-1], "b": b[-1]}

    def backward(self, params, xs, state, dys, dfinal_state):
        f = _read(xs, state["f"], params["W_f"], params["R_f"], params["b_f"])
        b = _read(xs[::-1], state["b"], params["W_b"], params["R_b"], params["b_b"])
        s = 1 / (1 + np.exp(-b[1:][::-1]))
        df = dys * s
        db = dys * f[1:] * s * (1 - s)
        dW_f, dR_f, db_f, dxs_f, df0 = _read_backward(xs, f, df, dfinal_state["f"], params["W_f"], params["R_f"])
        dW_b, dR_b, db_b, dxs_b, db0 = _read_backward(xs[::-1], b, db[::-1], dfinal_state["b"], params["W_b"], params["R_b"])
        dxs = dxs_f + dxs_b
        dparams = {"W_f": dW_f, "R_f": dR_f, "b_f": db_f, "W_b": dW_b, "R_b": dR_b, "b_b": db_b}
        return dparams, dxs, {"f": df0, "b": db0}
