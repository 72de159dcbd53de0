"""Wrong: the gate has the derivative of another.  Gradients are called as their weights are, with _d behind, and go through a cut as one tuple."""

import numpy as np

hidden_size = 6


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def clip_gradient_norm(grads, max_norm=0.25):
    total = np.sqrt(sum(np.sum(np.power(g, 2)) for g in grads))
    coefficient = max_norm / (total + 1e-6)
    if coefficient < 1:
        for g in grads:
            g *= coefficient
    return grads


def forward_rnn(inputs, h_prev, params):
    W_x, W_h, W_g, W_v, b_h, b_v = params
    h_s, g_s, output_s = [h_prev], [], []
    for x in inputs:
        g = 1 / (1 + np.exp(-(W_g @ x)))
        h_prev = np.tanh(W_x @ x + W_h @ h_prev + b_h) * g
        g_s.append(g)
        h_s.append(h_prev)
        output_s.append(softmax(W_v @ h_prev + b_v))
    return h_s, g_s, output_s


def backward_rnn(inputs, h, g, outputs, targets, params):
    W_x, W_h, W_g, W_v, b_h, b_v = params
    W_x_d, W_h_d, W_g_d, W_v_d, b_h_d, b_v_d = (np.zeros_like(p) for p in params)
    dh_next = np.zeros_like(h[0])
    loss = 0
    for t in reversed(range(len(outputs))):
        loss += -np.sum(np.log(outputs[t]) * targets[t])
        dv = np.copy(outputs[t])
        dv[np.argmax(targets[t])] -= 1
        W_v_d += dv @ h[t + 1].T
        b_v_d += dv
        dh = W_v.T @ dv + dh_next
        kept = h[t + 1] / g[t]
        da = dh * g[t] * (1 - kept**2)
        W_g_d += (dh * kept * (1 - g[t] ** 2)) @ inputs[t].T
        W_x_d += da @ inputs[t].T
        W_h_d += da @ h[t].T
        b_h_d += da
        dh_next = W_h.T @ da
    grads = W_x_d, W_h_d, W_g_d, W_v_d, b_h_d, b_v_d
    grads = clip_gradient_norm(grads)
    return loss, grads
