"""Linear attention in which several query heads share one group of keys, values and memory."""

import numpy as np


class SharedKeys:
    """S_g = a_g S_g + k_g v_g' with a_g = sigmoid(alpha_g); head h reads the memory of group h // per."""

    layout = {"q": "N T groups per K", "k": "N T groups K", "v": "N T groups V", "s": "N groups K V", "y": "N T groups per V"}
    sizes = {"groups": (2, 1, 3), "per": (2, 3), "K": (3, 2), "V": (2, 3)}
    params_layout = {"alpha": "groups"}

    def init(self, rng, sizes):
        return {"alpha": rng.uniform(0, 3, sizes["groups"])}

    def inputs(self, rng, params, T, N, sizes):
        G, P, K, V = sizes["groups"], sizes["per"], sizes["K"], sizes["V"]
        return {
            "q": rng.standard_normal((N, T, G, P, K)),
            "k": rng.standard_normal((N, T, G, K)),
            "v": rng.standard_normal((N, T, G, V)),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["groups"], sizes["K"], sizes["V"]))}

    def _memory(self, params, inputs, s):
        a = 1 / (1 + np.exp(-params["alpha"]))
        kv = np.einsum("ntgk,ntgv->tngkv", inputs["k"], inputs["v"])
        memory = np.empty((len(kv) + 1, *s.shape))
        memory[0] = s
        for t in range(len(kv)):
            memory[t + 1] = a[:, None, None] * memory[t] + kv[t]
        return a, memory

    def run(self, params, inputs, state):
        _, memory = self._memory(params, inputs, state["s"])
        return {"y": np.einsum("ntgpk,tngkv->ntgpv", inputs["q"], memory[1:])}, {"s": memory[-1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        a, memory = self._memory(params, inputs, state["s"])
        q, k, v, dy = inputs["q"], inputs["k"], inputs["v"], doutputs["y"]
        dmemory = np.zeros(memory.shape)
        for p in range(q.shape[3]):
            dmemory[1:] = np.einsum("ntgk,ntgv->tngkv", q[:, :, :, p], dy[:, :, :, p])
        dmemory[-1] += dfinal_state["s"]
        for t in range(len(memory) - 2, -1, -1):
            dmemory[t] += a[:, None, None] * dmemory[t + 1]
        dq = np.einsum("ntgpv,tngkv->ntgpk", dy, memory[1:])
        dk = np.einsum("tngkv,ntgv->ntgk", dmemory[1:], v)
        dv = np.einsum("tngkv,ntgk->ntgv", dmemory[1:], k)
        da = np.einsum("tngkv,tngkv->g", dmemory[1:], memory[:-1])
        return {"alpha": da * a * (1 - a)}, {"q": dq, "k": dk, "v": dv}, {"s": dmemory[0]}
