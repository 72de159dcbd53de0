# mypy: ignore-errors
# Objects stand here as users write them, without types.
"""Forms in which people hold a recurrent cell: what is taken, as what, and whether the verdict is right.   Skips per framework.

Each row makes its object as a user would.  `taken` is the framework that the subject is said to be of, or words of the one line in which
it is refused; `cell` is how the convention of the published cell begins that it is, "" where it is none.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import bptt
from bptt.harness.errors import UsageError

os.environ.setdefault("KERAS_BACKEND", "torch")
#: What is asked of each: its shapes and dtypes, the object as it is, its gradient, and whether the rows of a batch mix.
ASKED = ["CON110", "CON120", "CON130", "CON150", "CON160", "CON170", "NUM150", "LIN100", "LIN110", "GRD110", "BAT100"]
#: Tried on every change; the others are slow.
QUICK = ("torch.nn.LSTM class", "torch complex state cell", "torch state first", "torch bf16", "onnx two layers", "torch matrix state",
         "torch.jit.script cell", "torch step with its parameters bound")  # fmt: skip
FORMS: list[Any] = []
Make = Callable[[], Any]


def form(name: str, needs: str) -> Callable[[Make], Make]:
    def kept(make: Make) -> Make:
        marks = [] if name in QUICK else [pytest.mark.slow]
        FORMS.append(pytest.param(name, needs, make, id=name, marks=marks))
        return make

    return kept


@form("linen.GRUCell class", "flax")
def made_1() -> Any:
    from flax import linen

    return linen.GRUCell


@form("linen.LSTMCell instance", "flax")
def made_2() -> Any:
    from flax import linen

    return linen.LSTMCell(features=7)


@form("linen factory noargs", "flax")
def made_3() -> Any:
    from flax import linen

    def make():
        return linen.GRUCell(features=7)

    return make


@form("linen.RNN instance", "flax")
def made_4() -> Any:
    from flax import linen

    return linen.RNN(linen.LSTMCell(7))


@form("linen.RNN lambda noargs", "flax")
def made_5() -> Any:
    from flax import linen

    return lambda: linen.RNN(linen.GRUCell(7))


@form("linen.Bidirectional", "flax")
def made_6() -> Any:
    from flax import linen

    return linen.Bidirectional(linen.RNN(linen.LSTMCell(7)), linen.RNN(linen.LSTMCell(7)))


@form("linen.MGUCell", "flax")
def made_7() -> Any:
    from flax import linen

    return linen.MGUCell


@form("linen.ConvLSTMCell", "flax")
def made_8() -> Any:
    from flax import linen

    return linen.ConvLSTMCell(features=4, kernel_size=(3, 3))


@form("nnx module holding RNN", "flax")
def made_9() -> Any:
    from flax import nnx

    class Model(nnx.Module):
        def __init__(self, din=3, hidden=7, *, rngs):
            self.rnn = nnx.RNN(nnx.GRUCell(din, hidden, rngs=rngs))
            self.out = nnx.Linear(hidden, 4, rngs=rngs)

        def __call__(self, x):
            return self.out(self.rnn(x))

    return Model


@form("eqx scan module", "equinox")
def made_10() -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    class RNN(eqx.Module):
        cell: eqx.nn.GRUCell

        def __init__(self, in_size, hidden_size, *, key):
            self.cell = eqx.nn.GRUCell(in_size, hidden_size, key=key)

        def __call__(self, xs):
            def f(h, x):
                h = self.cell(x, h)
                return h, h

            return jax.lax.scan(f, jnp.zeros(self.cell.hidden_size), xs)[1]

    return RNN


@form("hk.LSTM class", "haiku")
def made_11() -> Any:
    import haiku as hk

    return hk.LSTM


@form("keras.GRU last only", "keras")
def made_12() -> Any:
    import keras

    return keras.layers.GRU(7)


@form("keras Sequential", "keras")
def made_13() -> Any:
    import keras

    return keras.Sequential([keras.layers.Input((None, 3)), keras.layers.LSTM(7, return_sequences=True), keras.layers.Dense(4)])


@form("keras Functional", "keras")
def made_14() -> Any:
    import keras

    i = keras.layers.Input((None, 3))
    h = keras.layers.GRU(7, return_sequences=True)(i)
    o = keras.layers.Dense(2)(h)
    return keras.Model(i, o)


@form("keras subclass", "keras")
def made_15() -> Any:
    import keras

    class M(keras.Model):
        def __init__(self, units=7):
            super().__init__()
            self.rnn = keras.layers.LSTM(units, return_sequences=True)
            self.d = keras.layers.Dense(3)

        def call(self, x):
            return self.d(self.rnn(x))

    return M


@form("keras.GRU float16 policy", "keras")
def made_16() -> Any:
    import keras

    return keras.layers.GRU(7, dtype="float16")


@form("torch nn.Sequential", "torch")
def made_17() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LSTM(5, 7))


@form("torch.jit.script of nn.LSTM", "torch")
def made_18() -> Any:
    import torch

    return torch.jit.script(torch.nn.LSTM(3, 7))  # torch itself cannot call it: it has forward__0 and forward__1


@form("torch.jit.script cell", "torch")
def made_50() -> Any:
    import torch

    return torch.jit.script(torch.nn.GRUCell(3, 7))


@form("torch.jit.trace layer", "torch")
def made_51() -> Any:
    import torch

    return torch.jit.trace(torch.nn.LSTM(3, 7), (torch.zeros(4, 2, 3),))


@form("torch.compile eager", "torch")
def made_20() -> Any:
    import torch

    return torch.compile(torch.nn.GRUCell(3, 7), backend="eager")


@form("torch bf16", "torch")
def made_21() -> Any:
    import torch

    return torch.nn.GRU(3, 7).to(torch.bfloat16)


@form("torch f16", "torch")
def made_22() -> Any:
    import torch

    return torch.nn.LSTM(3, 7).half()


@form("torch fn", "torch")
def made_23() -> Any:
    import torch

    def gru(x, h, w, u, b):
        return torch.tanh(x @ w + h @ u + b)

    return gru


@form("torch complex LRU", "torch")
def made_24() -> Any:
    import torch

    class LRU(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.nu = torch.nn.Parameter(torch.rand(hidden_size))
            self.th = torch.nn.Parameter(torch.rand(hidden_size))
            self.B = torch.nn.Parameter(torch.randn(hidden_size, input_size, dtype=torch.cfloat) * 0.3)
            self.C = torch.nn.Parameter(torch.randn(input_size, hidden_size, dtype=torch.cfloat) * 0.3)

        def forward(self, x):  # N T D
            lam = torch.exp(torch.complex(-torch.exp(self.nu), torch.exp(self.th)))
            h = torch.zeros(x.shape[0], lam.shape[0], dtype=self.B.dtype)
            ys = []
            for t in range(x.shape[1]):
                h = lam * h + x[:, t].to(self.B.dtype) @ self.B.T
                ys.append((h @ self.C.T).real)
            return torch.stack(ys, 1)

    return LRU


@form("torch complex state cell", "torch")
def made_25() -> Any:
    import torch

    class URNN(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.hidden_size = hidden_size
            self.W = torch.nn.Parameter(torch.randn(hidden_size, input_size, dtype=torch.cfloat) * 0.3)
            self.ph = torch.nn.Parameter(torch.rand(hidden_size))

        def forward(self, x, h):
            h = torch.polar(torch.ones_like(self.ph), self.ph) * h + x.to(self.W.dtype) @ self.W.T
            return h.real, h

    return URNN


@form("torch 0-d param", "torch")
def made_26() -> Any:
    import torch

    class Leaky(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(0.5))
            self.l = torch.nn.Linear(input_size, hidden_size)
            self.r = torch.nn.Linear(hidden_size, hidden_size)

        def forward(self, x, h):
            return (1 - torch.sigmoid(self.a)) * h + torch.sigmoid(self.a) * torch.tanh(self.l(x) + self.r(h))

    return Leaky


@form("torch three states tuple", "torch")
def made_27() -> Any:
    import torch

    class C3(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.l = torch.nn.Linear(input_size + hidden_size, 3 * hidden_size)

        def forward(self, x, state):
            h, c, n = state
            i, f, z = self.l(torch.cat([x, h], -1)).chunk(3, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
            n = torch.sigmoid(f) * n + torch.sigmoid(i)
            h = torch.tanh(c) * n
            return h, (h, c, n)

    return C3


@form("torch matrix state", "torch")
def made_28() -> Any:
    import torch

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.q = torch.nn.Linear(input_size, hidden_size)
            self.k = torch.nn.Linear(input_size, hidden_size)
            self.v = torch.nn.Linear(input_size, hidden_size)

        def forward(self, x, S):
            S = 0.9 * S + self.k(x)[:, :, None] * self.v(x)[:, None, :]
            return torch.einsum("nk,nkv->nv", self.q(x), S), S

    return M


@form("torch dict state", "torch")
def made_29() -> Any:
    import torch

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.c = torch.nn.LSTMCell(input_size, hidden_size)

        def forward(self, x, state):
            h, c = self.c(x, (state["h"], state["c"]))
            return h, {"h": h, "c": c}

    return M


@form("torch namedtuple state", "torch")
def made_30() -> Any:
    import torch

    class S(typing.NamedTuple):
        h: torch.Tensor
        c: torch.Tensor

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.c = torch.nn.LSTMCell(input_size, hidden_size)

        def forward(self, x, state):
            h, c = self.c(x, (state.h, state.c))
            return h, S(h, c)

    return M


@form("torch state first", "torch")
def made_31() -> Any:
    import torch

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.c = torch.nn.GRUCell(input_size, hidden_size)

        def forward(self, h, x):
            return self.c(x, h)

    return M


@form("torch lengths arg packed inside", "torch")
def made_32() -> Any:
    import torch

    class Enc(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.r = torch.nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=True)

        def forward(self, x, lengths):
            p = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, h = self.r(p)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
            return y, h

    return Enc


@form("torch mask arg", "torch")
def made_33() -> Any:
    import torch

    class Enc(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.c = torch.nn.GRUCell(input_size, hidden_size)

        def forward(self, x, mask=None):
            h = x.new_zeros(x.shape[0], self.c.hidden_size)
            ys = []
            for t in range(x.shape[1]):
                n = self.c(x[:, t], h)
                if mask is not None:
                    n = torch.where(mask[:, t, None], n, h)
                h = n
                ys.append(h)
            return torch.stack(ys, 1), h

    return Enc


@form("torch factory import inside", "torch")
def made_35() -> Any:
    def make():
        from torch import nn

        return nn.GRU(3, 7)

    return make


@form("torchrecurrent.MGUCell", "torch")
def made_36() -> Any:
    import torchrecurrent

    return torchrecurrent.MGUCell


@form("ncps CfC", "ncps")
def made_37() -> Any:
    import ncps.torch as n

    return n.CfC


@form("ncps LTC", "ncps")
def made_38() -> Any:
    import ncps.torch as n

    return n.LTC(3, 7)


@form("minGRU", "minGRU_pytorch")
def made_39() -> Any:
    from minGRU_pytorch import minGRU

    return minGRU


@form("mambapy Mamba", "mambapy")
def made_40() -> Any:
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=8, n_layers=1))


@form("xlstm sLSTM", "xlstm")
def made_41() -> Any:
    from xlstm import sLSTMLayer, sLSTMLayerConfig

    return sLSTMLayer(sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend="vanilla", conv1d_kernel_size=0))


@form("torch.nn.LSTM class", "torch")
def made_42() -> Any:
    import torch

    return torch.nn.LSTM


@form("torch.nn.GRU two layers both ways", "torch")
def made_43() -> Any:
    import torch

    return torch.nn.GRU(3, 5, num_layers=2, bidirectional=True)


@form("torch.nn.LSTM projection", "torch")
def made_44() -> Any:
    import torch

    return torch.nn.LSTM(3, 5, proj_size=2)


@form("torch partial", "torch")
def made_45() -> Any:
    import torch

    return functools.partial(torch.nn.GRUCell, 3)


@form("torch.nn.RNN relu float64", "torch")
def made_46() -> Any:
    import torch

    return torch.nn.RNN(3, 5, nonlinearity="relu").double()


@form("torch lambda n", "torch")
def made_47() -> Any:
    import torch

    return lambda n: torch.nn.LSTMCell(3, n)


@form("onnx plain LSTM", "onnx")
def made_48() -> Any:
    pytest.importorskip("onnx")
    from tests.harness.adapters.onnx.test_onnx import model, runnable

    return runnable(model("LSTM"))


@form("onnx two layers", "onnx")
def made_49() -> Any:
    pytest.importorskip("onnx")
    from tests.harness.adapters.onnx.test_onnx import two_layers

    return two_layers()


@form("torch matrix state of two heads", "torch")
def made_52() -> Any:
    import torch

    class Heads(torch.nn.Module):
        def __init__(self, input_size, hidden_size, heads=2):
            super().__init__()
            self.q, self.k, self.v = (torch.nn.Linear(input_size, heads * hidden_size) for _ in range(3))
            self.heads = heads

        def forward(self, x, S):
            q, k, v = (of(x).view(len(x), self.heads, -1) for of in (self.q, self.k, self.v))
            S = 0.9 * S + k[..., :, None] * v[..., None, :]
            return torch.einsum("nhk,nhkv->nhv", q, S).flatten(1), S

    return Heads


@form("torch matrix state and what normalises it", "torch")
def made_53() -> Any:
    import torch

    class Normalised(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.q, self.k, self.v = (torch.nn.Linear(input_size, hidden_size) for _ in range(3))

        def forward(self, x, S, n):
            q, k, v = self.q(x), torch.exp(0.3 * self.k(x)), self.v(x)
            S, n = 0.9 * S + k[:, :, None] * v[:, None, :], 0.9 * n + k
            return torch.einsum("nk,nkv->nv", q, S) / (1 + (q * n).sum(-1, keepdim=True) ** 2), S, n

    return Normalised


@form("torch dataclass state", "torch")
def made_54() -> Any:
    import torch

    @dataclasses.dataclass
    class State:
        h: torch.Tensor
        c: torch.Tensor

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.c = torch.nn.LSTMCell(input_size, hidden_size)

        def forward(self, x, state: State):
            h, c = self.c(x, (state.h, state.c))
            return h, State(h, c)

    M.forward.__annotations__["state"] = State  # a class of this function: its name alone is no use to anybody
    return M


@form("torch list of states", "torch")
def made_55() -> Any:
    import torch

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.cells = torch.nn.ModuleList([torch.nn.GRUCell(input_size, hidden_size), torch.nn.GRUCell(hidden_size, hidden_size)])

        def forward(self, x, states):
            new = []
            for cell, h in zip(self.cells, states, strict=True):
                x = cell(x, h)
                new.append(x)
            return x, new

    return M


@form("torch by keyword alone", "torch")
def made_56() -> Any:
    import torch

    class M(torch.nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.c = torch.nn.GRUCell(input_size, hidden_size)

        def forward(self, *, x, h):
            return self.c(x, h)

    return M


@dataclasses.dataclass
class Configuration:
    input_size: int = 3
    hidden_size: int = 7
    bias: bool = True


@form("torch configuration object", "torch")
def made_57() -> Any:
    import torch

    class M(torch.nn.Module):
        def __init__(self, config: Configuration):
            super().__init__()
            self.c = torch.nn.GRUCell(config.input_size, config.hidden_size, config.bias)

        def forward(self, x, h):
            return self.c(x, h)

    return M


@form("torch parametrised weights", "torch")
def made_58() -> Any:
    import torch

    return torch.nn.utils.parametrizations.weight_norm(torch.nn.GRUCell(3, 7), "weight_hh")


@form("torch frozen weights", "torch")
def made_59() -> Any:
    import torch

    made = torch.nn.LSTM(3, 7)
    made.weight_hh_l0.requires_grad_(False)
    return made


def bound(torch):
    drawn = torch.Generator().manual_seed(0)
    return {"W": torch.randn(3, 7, generator=drawn) / 2, "U": torch.randn(7, 7, generator=drawn) / 4, "b": torch.zeros(7)}


@form("torch step with its parameters bound", "torch")
def made_60() -> Any:
    import torch

    def step(params, x, h):
        return torch.tanh(x @ params["W"] + h @ params["U"] + params["b"])

    return functools.partial(step, bound(torch))


@form("torch layer with weights by keyword", "torch")
def made_61() -> Any:
    import torch

    def layer(xs, h, w, u, b):
        ys = []
        for x in xs:
            h = torch.tanh(x @ w + h @ u + b)
            ys.append(h)
        return torch.stack(ys), h

    params = bound(torch)
    return functools.partial(layer, w=params["W"], u=params["U"], b=params["b"])


@form("torch.func.functional_call", "torch")
def made_62() -> Any:
    import torch

    module = torch.nn.GRUCell(3, 7)
    return functools.partial(lambda params, x, h: torch.func.functional_call(module, params, (x, h)), dict(module.named_parameters()))


@form("torch.func.vmap", "torch")
def made_63() -> Any:
    import torch

    def one(params, x, h):
        return torch.tanh(x @ params["W"] + h @ params["U"] + params["b"])

    return functools.partial(torch.func.vmap(one, in_dims=(None, 0, 0)), bound(torch))


@form("JAX step with its parameters bound", "jax")
def made_64() -> Any:
    return functools.partial(jax_step, jax_params())


def jax_step(params, h, x):
    import jax.numpy as jnp

    return jnp.tanh(x @ params["W"] + h @ params["U"] + params["b"])


def jax_params():
    import jax
    import jax.numpy as jnp

    W, U = (jax.random.normal(jax.random.key(k), shape) / 4 for k, shape in enumerate([(3, 7), (7, 7)]))
    return {"W": W, "U": U, "b": jnp.zeros(7)}


@form("JAX jitted step", "jax")
def made_65() -> Any:
    import jax

    return functools.partial(jax.jit(jax_step), jax_params())


@form("JAX jitted layer", "jax")
def made_66() -> Any:
    import jax
    import jax.numpy as jnp

    @jax.jit
    def layer(params, xs):
        def body(h, x):
            h = jax_step(params, h, x)
            return h, h

        return jax.lax.scan(body, jnp.zeros((xs.shape[1], 7)), xs)[1]

    return functools.partial(layer, jax_params())


@form("hk.transform of dynamic_unroll", "haiku")
def made_67() -> Any:
    import haiku as hk

    def unrolled(xs):
        core = hk.DeepRNN([hk.LSTM(5), hk.GRU(4)])
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    return hk.without_apply_rng(hk.transform(unrolled))


@form("hk.VanillaRNN class", "haiku")
def made_68() -> Any:
    import haiku as hk

    return hk.VanillaRNN


@form("eqx instance", "equinox")
def made_69() -> Any:
    import equinox as eqx
    import jax

    return eqx.nn.LSTMCell(3, 7, key=jax.random.key(0))


@form("eqx.filter_jit", "equinox")
def made_70() -> Any:
    import equinox as eqx
    import jax

    return eqx.filter_jit(eqx.nn.GRUCell(3, 7, key=jax.random.key(0)))


@form("eqx matrix state", "equinox")
def made_71() -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    class Linear(eqx.Module):
        q: eqx.nn.Linear
        k: eqx.nn.Linear
        v: eqx.nn.Linear

        def __init__(self, input_size, hidden_size, *, key):
            self.q, self.k, self.v = (eqx.nn.Linear(input_size, hidden_size, key=each) for each in jax.random.split(key, 3))

        def __call__(self, x, S):
            S = 0.9 * S + jnp.outer(self.k(x), self.v(x))
            return self.q(x) @ S, S

    return Linear


@form("nnx.Bidirectional class", "flax")
def made_72() -> Any:
    from flax import nnx

    return nnx.Bidirectional


@form("nnx instance", "flax")
def made_73() -> Any:
    from flax import nnx

    return nnx.GRUCell(3, 7, rngs=nnx.Rngs(0))


@form("linen module with a Dense behind its RNN", "flax")
def made_74() -> Any:
    from flax import linen

    class Model(linen.Module):
        hidden: int = 7

        @linen.compact
        def __call__(self, x):
            return linen.Dense(4)(linen.RNN(linen.GRUCell(self.hidden))(x))

    return Model


@form("linen cell of one's own with a dict as its state", "flax")
def made_75() -> Any:
    import jax.numpy as jnp
    from flax import linen

    class Cell(linen.RNNCellBase):
        features: int = 7

        @linen.compact
        def __call__(self, state, x):
            h = jnp.tanh(linen.Dense(self.features)(x) + linen.Dense(self.features, use_bias=False)(state["h"]))
            return {"h": h, "n": 0.5 * state["n"] + h}, h

        def initialize_carry(self, rng, input_shape):
            zero = jnp.zeros((*input_shape[:-1], self.features))
            return {"h": zero, "n": zero}

        @property
        def num_feature_axes(self):
            return 1

    return Cell


@form("keras RNN around a cell of one's own", "keras")
def made_76() -> Any:
    import keras

    class Cell(keras.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = self.state_size = units

        def build(self, shape):
            self.k = self.add_weight(shape=(shape[-1], self.units), name="k")
            self.r = self.add_weight(shape=(self.units, self.units), name="r")
            self.built = True

        def call(self, x, states):
            h = keras.ops.tanh(keras.ops.matmul(x, self.k) + keras.ops.matmul(states[0], self.r))
            return h, [h]

    return keras.layers.RNN(Cell(7), return_sequences=True)


@form("keras.Bidirectional", "keras")
def made_77() -> Any:
    import keras

    return keras.layers.Bidirectional(keras.layers.GRU(5, return_sequences=True))


@form("keras stacked cells", "keras")
def made_78() -> Any:
    import keras

    return keras.layers.RNN([keras.layers.LSTMCell(5), keras.layers.GRUCell(4)], return_sequences=True)


@form("keras stateful", "keras")
def made_79() -> Any:
    import keras

    return keras.layers.GRU(5, stateful=True, return_sequences=True)


@form("keras factory with the import inside", "keras")
def made_80() -> Any:
    def make():
        import keras

        return keras.layers.LSTM(7, return_sequences=True)

    return make


@form("onnx bytes", "onnx")
def made_81() -> Any:
    pytest.importorskip("onnx")
    from tests.harness.adapters.onnx.test_onnx import model, runnable

    return runnable(model("GRU", linear_before_reset=1)).SerializeToString()


#: name: what it is taken as, and the published cell that it is; or "refused" and words of the line.
EXPECTED = {
    "linen.GRUCell class": ("flax", "a GRU"),
    "linen.LSTMCell instance": ("flax", "an LSTM"),
    "linen factory noargs": ("flax", "a GRU"),
    "linen.RNN instance": ("flax", "an LSTM"),
    "linen.RNN lambda noargs": ("flax", "a GRU"),
    "linen.Bidirectional": ("flax", "a bidirectional LSTM layer"),
    "linen.MGUCell": ("flax", ""),
    "linen.ConvLSTMCell": ("refused", "a first run of ConvLSTMCell raised Value"),
    "nnx module holding RNN": ("flax", ""),
    "eqx scan module": ("equinox", "a GRU"),
    "hk.LSTM class": ("haiku", "an LSTM"),
    "keras.GRU last only": ("keras", "a GRU"),
    "keras Sequential": ("keras", ""),
    "keras Functional": ("keras", ""),
    "keras subclass": ("keras", ""),
    "keras.GRU float16 policy": ("keras", "a GRU"),
    "torch nn.Sequential": ("torch", ""),
    "torch.jit.script of nn.LSTM": ("refused", "has no attribute 'forward'"),
    "torch.jit.script cell": ("torch", "a GRU"),
    "torch.jit.trace layer": ("torch", "an LSTM"),
    "torch.compile eager": ("torch", "a GRU"),
    "torch bf16": ("torch", "a GRU"),
    "torch f16": ("torch", "an LSTM"),
    "torch fn": ("refused", "besides its sizes"),
    "torch complex LRU": ("torch", ""),
    "torch complex state cell": ("torch", ""),
    "torch 0-d param": ("torch", ""),
    "torch three states tuple": ("torch", ""),
    "torch matrix state": ("torch", ""),
    "torch matrix state of two heads": ("torch", ""),
    "torch matrix state and what normalises it": ("torch", ""),
    "torch dataclass state": ("torch", "an LSTM"),
    "torch list of states": ("torch", "a stack of 2 GRU"),
    "torch by keyword alone": ("torch", "a GRU"),
    "torch configuration object": ("torch", "a GRU"),
    "torch parametrised weights": ("torch", ""),
    "torch frozen weights": ("torch", ""),
    "torch step with its parameters bound": ("torch", "an Elman"),
    "torch layer with weights by keyword": ("torch", "an Elman"),
    "torch.func.functional_call": ("torch", "a GRU"),
    "torch.func.vmap": ("torch", "an Elman"),
    "torch dict state": ("torch", "an LSTM"),
    "torch namedtuple state": ("torch", "an LSTM"),
    "torch state first": ("torch", "a GRU"),
    "torch lengths arg packed inside": ("torch", ""),
    "torch mask arg": ("torch", "a GRU"),
    "torch factory import inside": ("torch", "a GRU"),
    "torchrecurrent.MGUCell": ("torch", "a minimal gated unit"),
    "ncps CfC": ("torch", ""),
    "ncps LTC": ("torch", ""),
    "minGRU": ("torch", ""),
    "mambapy Mamba": ("torch", ""),
    "xlstm sLSTM": ("torch", ""),
    "torch.nn.LSTM class": ("torch", "an LSTM"),
    "torch.nn.GRU two layers both ways": ("torch", "a stack of 2 bidirectional GRU"),
    "torch.nn.LSTM projection": ("torch", "an LSTM"),
    "torch partial": ("torch", "a GRU"),
    "torch.nn.RNN relu float64": ("torch", "an Elman cell"),
    "torch lambda n": ("torch", "an LSTM"),
    "onnx plain LSTM": ("onnx", "an LSTM"),
    "onnx two layers": ("onnx", ""),
    "JAX step with its parameters bound": ("jax", "an Elman"),
    "JAX jitted step": ("jax", "an Elman"),
    "JAX jitted layer": ("jax", "an Elman"),
    "hk.transform of dynamic_unroll": ("jax", ""),
    "hk.VanillaRNN class": ("haiku", "an Elman cell (relu)"),
    "eqx instance": ("equinox", "an LSTM"),
    "eqx.filter_jit": ("equinox", "a GRU"),
    "eqx matrix state": ("equinox", ""),
    "nnx.Bidirectional class": ("flax", "a bidirectional LSTM layer"),
    "nnx instance": ("flax", "a GRU"),
    "linen module with a Dense behind its RNN": ("flax", ""),
    "linen cell of one's own with a dict as its state": ("flax", ""),
    "keras RNN around a cell of one's own": ("keras", "an Elman"),
    "keras.Bidirectional": ("keras", "a bidirectional GRU layer"),
    "keras stacked cells": ("keras", ""),
    "keras stateful": ("keras", "a GRU"),
    "keras factory with the import inside": ("keras", "an LSTM"),
    "onnx bytes": ("onnx", "a GRU"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("name", "needs", "make"), FORMS)
def test_what_is_named_is_what_is_judged(name: str, needs: str, make: Make) -> None:
    pytest.importorskip("torchrecurrent" if name.startswith("torchrecurrent") else needs)
    taken, words = EXPECTED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a framework says while it makes the object
        made = make()
    if taken == "refused":
        with pytest.raises(UsageError, match=words) as refused:
            bptt.check(made, isolate=False, level="smoke", select=ASKED)
        assert "\n" not in str(refused.value)
        return
    run = bptt.check(made, isolate=False, level="smoke", select=ASKED)
    target = run.run.targets[0]
    assert run.ok, run.text()
    assert target.framework == taken
    assert (target.identified.convention if target.identified else "").startswith(words)
    assert (target.identified is None) is (words == "")


def test_every_form_has_a_row_of_what_is_expected() -> None:
    assert {param.id for param in FORMS} == set(EXPECTED)
