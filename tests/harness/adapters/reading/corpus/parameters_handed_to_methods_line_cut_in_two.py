"""Wrong, half of the sum that is carried back stands in a line of its own: methods that are handed a dict of parameters."""

import numpy as np


def squash(v):
    return 1 / (1 + np.exp(-v))


class Writer:
    def __init__(self):
        np.random.seed(0)

    def initialize_parameters(self, n_c, n_x, n_y):
        return {
            "Wu": np.random.randn(n_c, n_c + n_x) * 0.1,
            "Wc": np.random.randn(n_c, n_c + n_x) * 0.1,
            "Wy": np.random.randn(n_y, n_c) * 0.1,
            "bu": np.zeros((n_c, 1)),
            "bc": np.zeros((n_c, 1)),
            "by": np.zeros((n_y, 1)),
        }

    def gated_step_forward(self, xt, c_prev, parameters):
        both = np.vstack([c_prev, xt])
        u = squash(parameters["Wu"] @ both + parameters["bu"])
        new = np.tanh(parameters["Wc"] @ both + parameters["bc"])
        c = u * new + (1 - u) * c_prev
        e = np.exp(parameters["Wy"] @ c + parameters["by"])
        return c, e / e.sum(), u, new, both

    def gated_forward(self, X, Y, c0, parameters):
        c, p, u, new, both, loss = {-1: np.copy(c0)}, {}, {}, {}, {}, 0
        for t in range(len(X)):
            x = np.zeros((self.vocab_size, 1))
            x[X[t]] = 1
            c[t], p[t], u[t], new[t], both[t] = self.gated_step_forward(x, c[t - 1], parameters)
            loss -= np.log(p[t][Y[t], 0])
        return loss, (c, p, u, new, both)

    def gated_step_backward(self, dy, gradients, parameters, cache):
        c, c_prev, u, new, both = cache
        n_c = c.shape[0]
        gradients["dWy"] += dy @ c.T
        gradients["dby"] += dy
        dc = parameters["Wy"].T @ dy + gradients["dc_next"]
        dnew = dc * u * (1 - new**2)
        du = dc * (new - c_prev) * u * (1 - u)
        gradients["dWc"] += dnew @ both.T
        gradients["dbc"] += dnew
        gradients["dWu"] += du @ both.T
        gradients["dbu"] += du
        back = parameters["Wc"].T @ dnew
        +parameters["Wu"].T @ du
        gradients["dc_next"] = back[:n_c] + dc * (1 - u)
        return gradients

    def gated_backward(self, X, Y, parameters, cache):
        c, p, u, new, both = cache
        gradients = {f"d{k}": np.zeros_like(v) for k, v in parameters.items()}
        gradients["dc_next"] = np.zeros_like(c[0])
        for t in reversed(range(len(X))):
            dy = np.copy(p[t])
            dy[Y[t]] -= 1
            gradients = self.gated_step_backward(dy, gradients, parameters, (c[t], c[t - 1], u[t], new[t], both[t]))
        return gradients, c

    def train(self, text, n_c=50):
        letters = sorted(set(text))
        self.vocab_size = len(letters)
        parameters = self.initialize_parameters(n_c, self.vocab_size, self.vocab_size)
        for _ in range(1000):
            loss, cache = self.gated_forward([0, 1], [1, 2], np.zeros((n_c, 1)), parameters)
            self.gated_backward([0, 1], [1, 2], parameters, cache)
