"""Wrong: the output gate lacks its derivative.  An LSTM over module globals, a step forward and a step back as functions, gradients kept in globals of their own."""

import numpy as np

lines = open("input.txt", "r").read()
alphabet = list(set(lines))
X_size = len(alphabet)
H_size = 100
T_steps = 25
Z_size = H_size + X_size

W_f = np.random.randn(H_size, Z_size) * 0.1 + 0.5
W_i = np.random.randn(H_size, Z_size) * 0.1 + 0.5
W_g = np.random.randn(H_size, Z_size) * 0.1
W_o = np.random.randn(H_size, Z_size) * 0.1 + 0.5
W_y = np.random.randn(X_size, H_size) * 0.1
b_f, b_i, b_g, b_o = (np.zeros((H_size, 1)) for _ in range(4))
b_y = np.zeros((X_size, 1))
dW_f, dW_i, dW_g, dW_o, dW_y = (np.zeros_like(w) for w in (W_f, W_i, W_g, W_o, W_y))
db_f, db_i, db_g, db_o, db_y = (np.zeros_like(w) for w in (b_f, b_i, b_g, b_o, b_y))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def step(x, h_prev, c_prev):
    z = np.vstack((h_prev, x))
    f, i, o = sigmoid(W_f @ z + b_f), sigmoid(W_i @ z + b_i), sigmoid(W_o @ z + b_o)
    g = np.tanh(W_g @ z + b_g)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    e = np.exp(W_y @ h + b_y)
    return z, f, i, g, c, o, h, e / e.sum()


def step_back(target, dh_next, dc_next, c_prev, z, f, i, g, c, o, h, p):
    global dW_f, dW_i, dW_g, dW_o, dW_y, db_f, db_i, db_g, db_o, db_y
    dy = p.copy()
    dy[target] -= 1
    dW_y += dy @ h.T
    db_y += dy
    dh = W_y.T @ dy + dh_next
    da_o = dh * np.tanh(c) * (1 - o)
    dc = dc_next + dh * o * (1 - np.tanh(c) ** 2)
    da_g, da_i, da_f = dc * i * (1 - g**2), dc * g * i * (1 - i), dc * c_prev * f * (1 - f)
    dW_o += da_o @ z.T
    dW_g += da_g @ z.T
    dW_i += da_i @ z.T
    dW_f += da_f @ z.T
    db_o += da_o
    db_g += da_g
    db_i += da_i
    db_f += da_f
    dz = W_f.T @ da_f + W_i.T @ da_i + W_g.T @ da_g + W_o.T @ da_o
    return dz[:H_size], f * dc


def forward_backward(inputs, targets, h_prev, c_prev):
    assert len(inputs) == T_steps
    kept, h, c, loss = [], h_prev, c_prev, 0
    for t in range(T_steps):
        x = np.zeros((X_size, 1))
        x[inputs[t]] = 1
        kept.append((c, *step(x, h, c)))
        c, h = kept[-1][5], kept[-1][7]
        loss += -np.log(kept[-1][8][targets[t], 0])
    for grad in (dW_f, dW_i, dW_g, dW_o, dW_y, db_f, db_i, db_g, db_o, db_y):
        grad.fill(0)
    dh, dc = np.zeros_like(h), np.zeros_like(c)
    for t in reversed(range(T_steps)):
        dh, dc = step_back(targets[t], dh, dc, *kept[t])
    return loss, h, c


state = np.zeros((H_size, 1)), np.zeros((H_size, 1))
while True:
    loss, *state = forward_backward([0] * T_steps, [0] * T_steps, *state)
