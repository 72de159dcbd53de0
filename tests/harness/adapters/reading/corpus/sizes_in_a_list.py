"""Right: a step over a text that trains inside, sizes of layers in a list, states in another; what it returns is the last states."""

import numpy as np


class Stack:
    def __init__(self, input_size, output_size, hidden_sizes):
        self.hidden_sizes = hidden_sizes
        sizes = [input_size, *hidden_sizes]
        self.inner = [np.random.randn(a, b) * 0.3 for a, b in zip(sizes, hidden_sizes)]
        self.across = [np.random.randn(b, b) * 0.3 for b in hidden_sizes]
        self.biases = [np.zeros((1, b)) for b in hidden_sizes]
        self.W_out, self.b_out = np.random.randn(hidden_sizes[-1], output_size) * 0.3, np.zeros((1, output_size))
        self.hidden_states = [np.zeros((1, b)) for b in hidden_sizes]

    def step(self, inputs, targets, learning_rate):
        inputs = [np.array(x).reshape(1, -1) for x in inputs]
        targets = [np.array(t).reshape(1, -1) for t in targets]
        self.hidden_states = [np.zeros((1, b)) for b in self.hidden_sizes]
        past, ps, loss = [self.hidden_states], [], 0
        for x, target in zip(inputs, targets):
            values, old = [x], self.hidden_states
            for W, R, b, h in zip(self.inner, self.across, self.biases, old):
                values.append(np.tanh(values[-1] @ W + h @ R + b))
            self.hidden_states = values[1:]
            e = np.exp(values[-1] @ self.W_out + self.b_out)
            ps.append(e / e.sum())
            past.append(values)
            loss += -np.log(ps[-1][0][np.argmax(target)])
        later = [np.zeros_like(h) for h in self.hidden_states]
        dinner, dacross, dbiases = ([np.zeros_like(W) for W in each] for each in (self.inner, self.across, self.biases))
        dW_out, db_out = np.zeros_like(self.W_out), np.zeros_like(self.b_out)
        for t in reversed(range(len(inputs))):
            d = ps[t] - np.eye(targets[t].size)[[np.argmax(targets[t])]]
            dW_out += past[t + 1][-1].T @ d
            db_out += d
            d = d @ self.W_out.T
            for k in reversed(range(len(self.inner))):
                h = past[t + 1][k + 1]
                before = past[t][k + 1] if t > 0 else np.zeros_like(h)
                draw = (1 - h**2) * (d + later[k])
                dinner[k] += past[t + 1][k].T @ draw
                dacross[k] += before.T @ draw
                dbiases[k] += draw
                later[k] = draw @ self.across[k].T
                d = draw @ self.inner[k].T
        for W, dW in zip([*self.inner, *self.across, *self.biases], [*dinner, *dacross, *dbiases]):
            W -= learning_rate * dW
        self.W_out -= learning_rate * dW_out
        self.b_out -= learning_rate * db_out
        return self.hidden_states
