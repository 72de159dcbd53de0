"""Wrong: the state before the first step is taken for the last."""

import numpy as np


class RNNLayer:
    def __init__(self, U, W, B, dim):
        self.U, self.W, self.B, self.dim = U, W, B, dim

    def forward(self, xlist):
        self.xlist, self.slist = xlist, []
        s = np.zeros(self.dim)
        for x in xlist:
            s = np.tanh(self.U @ x + self.W @ s + self.B)
            self.slist.append(s)

    def bptt(self, dslist):
        dU, dW, dB = np.zeros_like(self.U), np.zeros_like(self.W), np.zeros_like(self.B)
        carried, dxlist = np.zeros(self.dim), []
        for t in reversed(range(len(self.xlist))):
            before = self.slist[t - 1]
            da = (dslist[t] + carried) * (1 - self.slist[t] ** 2)
            dU += np.outer(da, self.xlist[t])
            dW += np.outer(da, before)
            dB += da
            dxlist.insert(0, self.U.T @ da)
            carried = self.W.T @ da
        return dxlist, dU, dW, dB
