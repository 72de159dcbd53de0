"""A GRU over a whole sequence whose reset gate works after the recurrent product."""

import numpy as np


def sigma(a):
    return 0.5 * (1 + np.tanh(0.5 * a))


class GRUSequence:
    """Blocks in the order reset, update, candidate; h' = (1 - z) n + z h."""

    like = "gru_reset_after"

    def init(self, rng, input_size, hidden_size):
        H = hidden_size
        return {
            "W_x": rng.uniform(-1, 1, (input_size, 3 * H)),
            "W_h": rng.uniform(-1, 1, (H, 3 * H)) / np.sqrt(H),
            "b_x": rng.uniform(-0.5, 0.5, 3 * H),
            "b_h": rng.uniform(-0.5, 0.5, 3 * H),
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["W_h"])))}

    def run(self, params, xs, state):
        h = state["h"]
        H = h.shape[1]
        ys, self.tape = [], []
        for x in xs:
            gx = x @ params["W_x"] + params["b_x"]
            gh = h @ params["W_h"] + params["b_h"]
            r = sigma(gx[:, :H] + gh[:, :H])
            z = sigma(gx[:, H : 2 * H] + gh[:, H : 2 * H])
            m = gh[:, 2 * H :]
            n = np.tanh(gx[:, 2 * H :] + r * m)
            self.tape.append((x, h, r, z, n, m))
            h = (1 - z) * n + z * h
            ys.append(h)
        return np.stack(ys), {"h": h}

    def backward(self, params, xs, state, dys, dfinal_state):
        self.run(params, xs, state)
        grads = {k: np.zeros_like(v) for k, v in params.items()}
        dxs = np.zeros_like(xs)
        dh = dfinal_state["h"]
        for t in reversed(range(len(xs))):
            x, h, r, z, n, m = self.tape[t]
            dh = dh + dys[t]
            da_n = dh * (1 - z) * (1 - n**2)
            da_z = dh * (h - n) * z * (1 - z)
            da_r = da_n * h * r * (1 - r)
            dgx = np.concatenate([da_r, da_z, da_n], axis=1)
            dgh = np.concatenate([da_r, da_z, da_n * r], axis=1)
            grads["W_x"] += x.T @ dgx
            grads["b_x"] += dgx.sum(axis=0)
            grads["W_h"] += h.T @ dgh
            grads["b_h"] += dgh.sum(axis=0)
            dxs[t] = dgh @ params["W_x"].T
            dh = dh * z + dgh @ params["W_h"].T
        return grads, dxs, {"h": dh}
