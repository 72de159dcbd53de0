"""An LSTM over a whole sequence, one fused matrix, buffers laid out before the loop."""

import numpy as np


class LSTMSequence:
    """Blocks in the order input, forget, candidate, output."""

    like = "lstm"

    def init(self, rng, input_size, hidden_size):
        H = hidden_size
        return {
            "W_x": rng.standard_normal((input_size, 4 * H)) / np.sqrt(input_size),
            "W_h": rng.standard_normal((H, 4 * H)) / np.sqrt(H),
            "b": rng.standard_normal(4 * H) * 0.3,
        }

    def zero_state(self, params, batch_size):
        H = params["W_h"].shape[0]
        return {"h": np.zeros((batch_size, H)), "c": np.zeros((batch_size, H))}

    def _forward(self, params, xs, state):
        T, N, _ = xs.shape
        H = params["W_h"].shape[0]
        hs = np.zeros((T + 1, N, H))
        cs = np.zeros((T + 1, N, H))
        gates = np.zeros((T, N, 4 * H))
        hs[0], cs[0] = state["h"], state["c"]
        for t in range(T):
            a = xs[t] @ params["W_x"] + hs[t] @ params["W_h"] + params["b"]
            gates[t] = 1 / (1 + np.exp(-a))
            gates[t, :, 2 * H : 3 * H] = np.tanh(a[:, 2 * H : 3 * H])
            i, f, g, o = np.split(gates[t], 4, axis=1)
            cs[t + 1] = f * cs[t] + i * g
            hs[t + 1] = o * np.tanh(cs[t + 1])
        return hs, cs, gates

    def run(self, params, xs, state):
        hs, cs, _ = self._forward(params, xs, state)
        return hs[1:], {"h": hs[-1], "c": cs[-1]}

    def backward(self, params, xs, state, dys, dfinal_state):
        hs, cs, gates = self._forward(params, xs, state)
        T = len(xs)
        dW_x = np.zeros_like(params["W_x"])
        dW_h = np.zeros_like(params["W_h"])
        db = np.zeros_like(params["b"])
        dxs = np.zeros_like(xs)
        dh_next = dfinal_state["h"]
        dc_next = dfinal_state["c"]
        for t in reversed(range(T)):
            i, f, g, o = np.split(gates[t], 4, axis=1)
            dh = dys[t] + dh_next
            tc = np.tanh(cs[t + 1])
            do = dh * tc
            dc = dh * o * (1 - tc**2)
            di = dc * g
            df = dc * cs[t]
            dg = dc * i
            da = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
            dW_x += xs[t].T @ da
            dW_h += hs[t].T @ da
            db += da.sum(axis=0)
            dxs[t] = da @ params["W_x"].T
            dh_next = da @ params["W_h"].T
            dc_next = dc * i
        return {"W_x": dW_x, "W_h": dW_h, "b": db}, dxs, {"h": dh_next, "c": dc_next}
