"""Parts of a training loop: clipping, two optimisers, perplexity, dropout masks and a rule for the learning rate.

Each says what it claims to be (`like`), and is held against the published formula.

    bptt check examples/training_parts.py
    bptt check examples/training_parts.py:clip
"""

import numpy as np


def clip(grads, threshold):
    """Gradient clipping by the global norm."""
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    if norm > threshold:
        return {name: g * (threshold / norm) for name, g in grads.items()}
    return grads


clip.like = "clip_global_norm"


class Momentum:
    """Gradient descent with momentum, in place."""

    like = "momentum"

    def __init__(self, lr=0.1, momentum=0.9):
        self.lr, self.momentum = lr, momentum
        self.v = {}

    def step(self, params, grads):
        for name, p in params.items():
            self.v[name] = self.momentum * self.v.get(name, 0) + grads[name]
            p -= self.lr * self.v[name]


class Adam:
    """Adam; new parameters come back."""

    like = "adam"

    def __init__(self, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.t, self.m, self.v = 0, {}, {}

    def step(self, params, grads):
        self.t += 1
        new = {}
        for name, p in params.items():
            g = grads[name]
            self.m[name] = self.beta1 * self.m.get(name, 0) + (1 - self.beta1) * g
            self.v[name] = self.beta2 * self.v.get(name, 0) + (1 - self.beta2) * g**2
            m_hat = self.m[name] / (1 - self.beta1**self.t)
            v_hat = self.v[name] / (1 - self.beta2**self.t)
            new[name] = p - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return new


def perplexity(losses, counts):
    """Of the mean losses of batches, each with so many symbols."""
    return np.exp(np.sum(losses * counts) / np.sum(counts))


perplexity.like = "perplexity"


def dropout_mask(rng, shape, p):
    """0 with probability p, else 1 / (1 - p)."""
    return (rng.random(shape) >= p) / (1 - p)


dropout_mask.like = "dropout"


def quarter_on_plateau(losses, lr):
    """A quarter of the learning rate after an evaluation that is not the best so far."""
    return lr / 4 if losses[-1] >= min(losses[:-1], default=np.inf) else lr


quarter_on_plateau.like = "divide_on_plateau"
