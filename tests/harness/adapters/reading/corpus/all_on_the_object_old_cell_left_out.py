"""Wrong: the forget gate's gradient is built with the new cell.  A step that gives nothing back: states, and every gradient, stay on the object."""

import numpy as np


class LSTM_cell:
    def __init__(self, hidden_size, input_size):
        self.H = hidden_size
        self.Wx = np.random.randn(input_size, 4 * hidden_size) * 0.1
        self.Wh = np.random.randn(hidden_size, 4 * hidden_size) * 0.1
        self.b = np.zeros((1, 4 * hidden_size))
        self.dWx = np.zeros_like(self.Wx)

    def lstm_cell_forward(self, c_input, h_input, x_input):
        self.c_input, self.h_input, self.x_input = c_input, h_input, x_input
        A = np.dot(x_input, self.Wx) + np.dot(h_input, self.Wh) + self.b
        f, i, g, o = (A[:, k * self.H : (k + 1) * self.H] for k in range(4))
        self.ft, self.it, self.ot = (1 / (1 + np.exp(-a)) for a in (f, i, o))
        self.ctt = np.tanh(g)
        self.c_next = self.ft * c_input + self.it * self.ctt
        self.h_next = self.ot * np.tanh(self.c_next)

    def lstm_cell_backward(self, dc_next, dh_next):
        dc = dc_next + dh_next * self.ot * (1 - np.tanh(self.c_next) ** 2)
        df = dc * self.c_next * self.ft * (1 - self.ft)
        di = dc * self.ctt * self.it * (1 - self.it)
        dg = dc * self.it * (1 - self.ctt**2)
        do = dh_next * np.tanh(self.c_next) * self.ot * (1 - self.ot)
        dA = np.hstack((df, di, dg, do))
        self.dWh = np.dot(self.h_input.T, dA)
        self.dWx = np.dot(self.x_input.T, dA)
        self.db = dA.sum(axis=0)
        self.dx_prev = np.dot(dA, self.Wx.T)
        self.dh_prev = np.dot(dA, self.Wh.T)
        self.dc_prev = dc * self.ft
