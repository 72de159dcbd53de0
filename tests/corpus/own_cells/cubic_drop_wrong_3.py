"""A cell with a cubic inside a square root, whose state passes through a mask that the caller hands over."""

import numpy as np

KEEP = 0.75


class CubicDrop:
    """s = keep h / KEEP, a = x W + s R + b, p = a + 0.2 a^3, h' = p / sqrt(1 + p^2) + 0.3 h."""

    layout = {"x": "T N D", "keep": "T N H", "h": "N H", "y": "T N H"}
    sizes = {"D": (3, 4), "H": (7, 2)}

    def init(self, rng, sizes):
        D, H = sizes["D"], sizes["H"]
        return {"W": rng.standard_normal((D, H)) * 0.5, "R": rng.standard_normal((H, H)) / np.sqrt(H), "b": rng.standard_normal(H) * 0.3}

    def inputs(self, rng, params, T, N, sizes):
        return {"x": rng.standard_normal((T, N, sizes["D"])), "keep": rng.random((T, N, sizes["H"])) < KEEP}

    def zero_state(self, params, N, sizes):
        return {"h": np.zeros((N, sizes["H"]))}

    def run(self, params, inputs, state):
        W, R, b = params["W"], params["R"], params["b"]
        h = state["h"]
        y = np.zeros((*inputs["x"].shape[:2], b.size))
        for t in range(len(y)):
            s = np.where(inputs["keep"][t], h, 0.0) / KEEP
            a = inputs["x"][t] @ W + s @ R + b
            p = a + 0.2 * a**3
            y[t] = p / np.sqrt(1 + p**2) + 0.3 * h
            h = y[t]
        return {"y": y}, {"h": h}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        W, R, b = params["W"], params["R"], params["b"]
        x, keep = inputs["x"], inputs["keep"]
        y = self.run(params, inputs, state)[0]["y"]
        dW, dR, db = np.zeros_like(W), np.zeros_like(R), np.zeros_like(b)
        dx = np.zeros_like(x)
        dh = dfinal_state["h"] + 0.0
        for t in range(len(x))[::-1]:
            old = y[t - 1] if t else state["h"]
            s = np.where(keep[t], old, 0.0) / KEEP
            a = x[t] @ W + s @ R + b
            p = a + 0.2 * a**3
            dh += doutputs["y"][t]
            dp = dh * (1 + a**2) ** -1.5
            da = dp * (1 + 0.6 * a**2)
            dW += x[t].T @ da
            dR += s.T @ da
            db += da.sum(0)
            dx[t] = da @ W.T
            ds = da @ R.T
            dh = 0.3 * dh + np.where(keep[t], ds, 0.0) / KEEP
        return {"W": dW, "R": dR, "b": db}, {"x": dx}, {"h": dh}
