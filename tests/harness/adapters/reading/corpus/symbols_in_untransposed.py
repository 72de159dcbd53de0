"""Wrong: the recurrent weight is not transposed on the way back.  A model made without arguments over symbols themselves, its width a number at the top, its vocabulary counted from a file."""

import numpy as np

text = open("verses.txt").read().split()
VOCAB = sorted(set(text))
number = {word: k for k, word in enumerate(VOCAB)}
width = 50
count = len(VOCAB)


def onehot(word):
    x = np.zeros((count, 1))
    x[number[word]] = 1
    return x


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


class Poet:
    def __init__(self):
        self.Wi = np.random.randn(width, count) / width
        self.Wr = np.random.randn(width, width) / width
        self.Wo = np.random.randn(count, width) / width
        self.br, self.bo = np.zeros((width, 1)), np.zeros((count, 1))
        self.forget()

    def forget(self):
        self.h, self.xs = [np.zeros((width, 1))], []

    def forward(self, batch):
        ys = []
        for word in batch:
            self.xs.append(onehot(word))
            self.h.append(np.tanh(self.Wi @ self.xs[-1] + self.Wr @ self.h[-1] + self.br))
            ys.append(softmax(self.Wo @ self.h[-1] + self.bo))
        return ys

    def loss(self, ys, labels):
        return -sum(np.log((y * onehot(word)).sum()) for y, word in zip(ys, labels))

    def backward(self, ys, labels):
        dWi, dWr, dWo = np.zeros_like(self.Wi), np.zeros_like(self.Wr), np.zeros_like(self.Wo)
        dbr, dbo = np.zeros_like(self.br), np.zeros_like(self.bo)
        carried = np.zeros_like(self.h[0])
        for t in reversed(range(len(labels))):
            dy = ys[t] - onehot(labels[t])
            dWo += dy @ self.h[t + 1].T
            dbo += dy
            da = (self.Wo.T @ dy + carried) * (1 - self.h[t + 1] * self.h[t + 1])
            dWi += da @ self.xs[t].T
            dWr += da @ self.h[t].T
            dbr += da
            carried = self.Wr @ da
        return dWi, dWr, dbr, dWo, dbo
