"""Right: parameters in an object that functions have for a default, gradients beside their weights, and one function that goes both ways."""

import numpy as np

text = open("poems.txt").read()
letters = sorted(set(text))
vocab_size = len(letters)
hidden_size = 48


class Param:
    def __init__(self, value):
        self.v = value
        self.d = np.zeros_like(value)


class Parameters:
    def __init__(self):
        self.W = Param(np.random.randn(hidden_size, hidden_size + vocab_size) * 0.1)
        self.b = Param(np.zeros((hidden_size, 1)))
        self.V = Param(np.random.randn(vocab_size, hidden_size) * 0.1)
        self.e = Param(np.zeros((vocab_size, 1)))


parameters = Parameters()


def clear(p=parameters):
    for each in (p.W, p.b, p.V, p.e):
        each.d.fill(0)


def forward(x, h_prev, p=parameters):
    assert x.shape == (vocab_size, 1)
    z = np.vstack((h_prev, x))
    h = np.tanh(p.W.v @ z + p.b.v)
    e = np.exp(p.V.v @ h + p.e.v)
    return z, h, e / np.sum(e)


def backward(target, dh_next, z, h, y, p=parameters):
    dv = np.copy(y)
    dv[target] -= 1
    p.V.d += dv @ h.T
    p.e.d += dv
    da = (p.V.v.T @ dv + dh_next) * (1 - h**2)
    p.W.d += da @ z.T
    p.b.d += da
    return (p.W.v.T @ da)[:hidden_size]


def forward_backward(inputs, targets, h_prev):
    clear()
    kept, loss, h = [], 0, np.copy(h_prev)
    for t in range(len(inputs)):
        x = np.zeros((vocab_size, 1))
        x[inputs[t]] = 1
        z, h, y = forward(x, h)
        kept.append((z, h, y))
        loss += -np.log(y[targets[t], 0])
    dh_next = np.zeros_like(h)
    for t in reversed(range(len(inputs))):
        dh_next = backward(targets[t], dh_next, *kept[t])
    return loss, h


while True:
    print(forward_backward([0, 1], [1, 2], np.zeros((hidden_size, 1))))
