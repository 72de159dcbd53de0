"""A diagonal state space whose complex state is kept as a real and an imaginary part."""

import numpy as np


class DiagonalPair:
    """z = lam z + B x with lam = exp(-exp(nu)) (cos th + i sin th), y = Re(C z) + D x; one channel has its own state."""

    layout = {"x": "N T M", "re": "N M", "im": "N M", "y": "N T M"}
    sizes = {"M": (3, 5)}
    params_layout = {"nu": "M", "th": "M", "b_re": "M", "b_im": "M", "c_re": "M", "c_im": "M", "d": "M"}

    def init(self, rng, sizes):
        M = sizes["M"]
        params = {name: rng.standard_normal(M) for name in ("b_re", "b_im", "c_re", "c_im", "d")}
        params["nu"] = rng.uniform(-3, 0, M)
        params["th"] = rng.uniform(0.1, 2, M)
        return params

    def inputs(self, rng, params, T, N, sizes):
        return {"x": rng.standard_normal((N, T, sizes["M"]))}

    def zero_state(self, params, N, sizes):
        return {"re": np.zeros((N, sizes["M"])), "im": np.zeros((N, sizes["M"]))}

    @staticmethod
    def _lam(params):
        r = np.exp(-np.exp(params["nu"]))
        return r * np.cos(params["th"]), r * np.sin(params["th"])

    def _trajectory(self, params, x, state):
        l_re, l_im = self._lam(params)
        re, im = [state["re"]], [state["im"]]
        for t in range(x.shape[1]):
            r, i = re[-1], im[-1]
            re.append(l_re * r - l_im * i + params["b_re"] * x[:, t])
            im.append(l_im * r + l_re * i + params["b_im"] * x[:, t])
        return np.stack(re, 1), np.stack(im, 1)

    def run(self, params, inputs, state):
        re, im = self._trajectory(params, inputs["x"], state)
        y = params["c_re"] * re[:, 1:] - params["c_im"] * im[:, 1:] + params["d"] * inputs["x"]
        return {"y": y}, {"re": re[:, -1], "im": im[:, -1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        x, dy = inputs["x"], doutputs["y"]
        re, im = self._trajectory(params, x, state)
        l_re, l_im = self._lam(params)
        g = {name: np.zeros_like(value) for name, value in params.items()}
        dl_re, dl_im = np.zeros_like(l_re), np.zeros_like(l_im)
        dx = params["d"] * dy
        dre, dim = dfinal_state["re"], dfinal_state["im"]
        for t in range(x.shape[1] - 1, -1, -1):
            dre = dre + params["c_re"] * dy[:, t]
            dim = dim - params["c_im"] * dy[:, t]
            dl_re += (dre * re[:, t] + dim * im[:, t]).sum(axis=0)
            dl_im += (dim * re[:, t] - dre * im[:, t]).sum(axis=0)
            g["b_re"] += (dre * x[:, t]).sum(axis=0)
            g["b_im"] += (dim * x[:, t]).sum(axis=0)
            dx[:, t] += params["b_re"] * dre + params["b_im"] * dim
            dre, dim = l_re * dre - l_im * dim, l_re * dim + l_im * dre
        g["c_re"] = (dy * re[:, 1:]).sum(axis=(0, 1))
        g["c_im"] = -(dy * im[:, 1:]).sum(axis=(0, 1))
        g["d"] = (dy * x).sum(axis=(0, 1))
        g["nu"] = -np.exp(params["nu"]) * (dl_re * l_re + dl_im * l_im)
        g["th"] = dl_im * l_re - dl_re * l_im
        return g, {"x": dx}, {"re": dre, "im": dim}
