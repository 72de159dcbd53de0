"""What was found in published packages and confirmed by a second way.

Each with why it matters, a script that needs that library alone, and the link where it is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Red:
    """A discrepancy.

    found    how bptt says it
    second   by what else it was confirmed
    link     where it is known, "" where it is not
    """

    package: str
    what: str
    why: str
    found: str
    second: str
    script: str
    link: str = ""


REDS: tuple[Red, ...] = (
    Red(
        "torch",
        "the backward of hardsigmoid has a constant of float32 in float64",
        "It multiplies by 1 / 6 as float32 has it, so that every gradient through it is 3e-8 too large; its forward mode has the same "
        "constant, and gradcheck forgives it. A gate of a float64 model has the digits of float32.",
        "GRD135, where no other oracle than differences was asked: dL/dweight_ih of torchrecurrent.SGU by 3e-8.",
        "the slope of a straight line, which is 1 / 6 to the last bit",
        """
import torch

x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
torch.nn.functional.hardsigmoid(x).backward()
print(6 * x.grad.item() - 1)  # 2.98e-08
""",
    ),
    Red(
        "keras",
        "SimpleRNN(dtype='float64') on the torch backend computes in float32",
        "Its weights and its outputs are float64, so that nobody is told: differences of a float64 model have noise of 1e-7. "
        "LSTM and GRU are right, their cells are torch's own there.",
        "NUM150: the object as it is differs from its formula in float64 by 8e-8 of the largest output, rounding explains 4e-15.",
        "a loop in NumPy over the layer's own weights: 1e-7",
        """
import os; os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np

x = np.random.default_rng(0).normal(size=(2, 4, 3))
layer = keras.layers.SimpleRNN(5, dtype="float64")
y = layer(x)
W, U, b = layer.get_weights()
h = np.zeros((2, 5))
for t in range(4):
    h = np.tanh(x[:, t] @ W + h @ U + b)
print(y.dtype, abs(y.detach().numpy() - h).max())  # torch.float64 9.7e-08
""",
        "https://github.com/keras-team/keras/issues/23704",
    ),
    Red(
        "keras",
        "a mask with unroll=True and go_backwards=True raises on the torch backend",
        "Each of the three alone, and each two of them, work: SimpleRNN, LSTM and GRU stop with AttributeError: 'tuple' object has no "
        "attribute 'shape', whatever the mask.",
        "OPT310 (level full): 16 of the 208 comparisons of options and masks raise, the other 192 are what the cell gives step by step; "
        "a warning where the layer that was handed over has other options.",
        "the script below: the list of the mask's steps is turned around as if it were a tensor (keras/src/backend/torch/rnn.py)",
        """
import os; os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np

x, mask = np.ones((2, 4, 3), "float32"), np.ones((2, 4), bool)
for options in ({"unroll": True}, {"go_backwards": True}, {"unroll": True, "go_backwards": True}):
    try:
        print(options, keras.layers.GRU(5, **options)(x, mask=mask).shape)
    except AttributeError as error:
        print(options, "raises", type(error).__name__)  # the last one
""",
    ),
    Red(
        "keras",
        "a Bidirectional layer that is stateful and returns its states raises",
        "Each of the two options works; with both a call stops with TypeError: unsupported operand type(s) for *: 'generator' and 'int', "
        "on every backend.",
        "OPT310 (level full): with stateful=True, return_state=True it raises; a warning where the layer has other options.",
        "the script below: compute_mask of Bidirectional multiplies a generator by 2",
        """
import keras, numpy as np

for options in ({"stateful": True}, {"return_state": True}, {"stateful": True, "return_state": True}):
    try:
        keras.layers.Bidirectional(keras.layers.LSTM(5, **options))(np.ones((2, 4, 3), "float32"))
    except TypeError as error:
        print(options, error)  # the last one
""",
    ),
    Red(
        "keras",
        "reset_state of a stateful RNN over several cells raises",
        "Its states are a list for each cell, which reset_state takes for variables: a stateful stack cannot begin a new sequence.",
        "OPT310 (level full): with stateful=True, no mask it raises AttributeError: 'list' object has no attribute 'assign'.",
        "the script below",
        """
import keras, numpy as np

layer = keras.layers.RNN([keras.layers.LSTMCell(5), keras.layers.GRUCell(4)], stateful=True)
layer(np.ones((2, 4, 3), "float32"))
layer.reset_state()  # AttributeError
""",
    ),
    Red(
        "torchrecurrent",
        "the state of tauGRU is not all that its next step needs",
        "It reads a state of some steps ago, and returns the last one alone: a sequence that is handed over in pieces (truncated "
        "backpropagation, streaming) is not the sequence.",
        "TIM100: outputs of run(0..1) then run(1..2) differ from those of run(0..2).",
        "the script below: 0.05 of outputs up to 1.2",
        """
import torch, torchrecurrent

torch.manual_seed(0)
m, x = torchrecurrent.tauGRU(3, 5), torch.randn(6, 2, 3)
with torch.no_grad():
    ys, *_ = m(x)
    first, state = m(x[:3])
    second, *_ = m(x[3:], state)
print((torch.cat([first, second]) - ys).abs().max())  # 0.051
""",
    ),
    Red(
        "xlstm",
        "gradients of sLSTM are NaN where an input gate is shut at the first step",
        "The vanilla backend cuts its exponentials by torch.minimum(exp(a), 1): where exp overflows the output is right and the derivative "
        "0 * inf. In float32 that is a gate's pre-activation below -88; the layer norm in front of it in a block makes that rare, "
        "a layer by itself has nothing in front of it.",
        "GRD142: dL/dfgate.weight is not finite for inputs of +-10000, with and without the convolution.",
        "the script below, with weights N(0, 0.25) and inputs +-1000: outputs finite and gradients NaN in 5 of 5 draws with each kernel",
        """
import torch
from xlstm import sLSTMLayer, sLSTMLayerConfig

for kernel in (0, 4):
    torch.manual_seed(0)
    layer = sLSTMLayer(sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend="vanilla", conv1d_kernel_size=kernel)).eval()
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.5)
    y = layer(1e3 * torch.randn(2, 4, 8).sign())
    y.sum().backward()
    print(bool(y.isfinite().all()), sum(int(p.grad.isnan().sum()) for p in layer.parameters()))  # True 108, True 94

a = torch.tensor(100.0, requires_grad=True)  # the same in one line
torch.minimum(a.exp(), torch.ones(())).backward()
print(a.grad)  # nan
""",
    ),
    Red(
        "xlstm",
        "gradients of mLSTM are NaN where all input gates so far are shut",
        "Its normaliser is max(|sum|, exp(-m)), and exp(-m) overflows in float32 where m is below -88: the output is 0, which is right, "
        "and the gradient of the gate NaN.",
        "GRD142: dL/dproj_up.weight is not finite for inputs of +-10000.",
        "the script below; others have clamped m there",
        """
import torch
from xlstm.blocks.mlstm.backends import parallel_stabilized_simple

torch.manual_seed(0)
q, k, v = (torch.randn(1, 1, 4, 2) for _ in range(3))
i = torch.full((1, 1, 4, 1), -100.0, requires_grad=True)  # input gates shut
y = parallel_stabilized_simple(q, k, v, i, torch.zeros(1, 1, 4, 1))
y.sum().backward()
print(y.abs().max(), i.grad.flatten())  # 0, nan nan nan nan
""",
        "https://github.com/Benjamin-Walker/structured-linear-cdes/pull/17",
    ),
    Red(
        "minGRU_pytorch",
        "digits of gradients are lost in the logarithms of the parallel form",
        "Where gates are shut (inputs of size 1e4) the gate's weights get gradients of 4e-5 in float64 for what is 0: 1e-9 of the "
        "largest gradient, more in shorter precisions.",
        "GRD142, a warning: it is 1e-03 and not 0e+00, beside gradients of 2e+04.",
        "the sequential form of the same layer, differentiated by autograd, gives 0",
        """
import torch
from minGRU_pytorch import minGRU

torch.manual_seed(0)
m = minGRU(6).double()
x = torch.where(torch.randn(2, 2, 6) > 0, 1e4, -1e4).double()
m(x).sum().backward()
print(m.to_hidden_and_gate.weight.grad[6:].abs().max())  # 4.3e-05; every gate is beyond +-500, where the gradient is 0
""",
    ),
    Red(
        "fla",
        "naive_chunk_hgrn takes sequences of one chunk alone (fla-core 0.5.2 and 0.6.0)",
        "Its log decays are viewed as (B, chunk_size, D), without an axis for the chunks: two chunks end in a RuntimeError. It is a naive "
        "form that tests of kernels are held against.",
        "LIN300 and others at T = 128: shape '[1, 64, 3]' is invalid for input of size 384.",
        "the script below; naive_recurrent_hgrn takes the same arguments",
        """
import torch
from fla.ops.hgrn.naive import naive_chunk_hgrn, naive_recurrent_hgrn

x, g = torch.randn(2, 128, 3), -torch.rand(2, 128, 3)
naive_recurrent_hgrn(x, g)
naive_chunk_hgrn(x, g)  # RuntimeError: shape '[2, 64, 3]' is invalid for input of size 768
""",
    ),
    Red(
        "accelerated_scan",
        "the reference scan raises for sequences of one step",
        "A step-by-step rollout with the training code, or a batch whose longest sequence is one, ends in a RuntimeError about a view.",
        "CON300 at T = 1: shape '[1, 1, 0, 2]' is invalid for input of size 1.",
        "the script below; T = 2, 3, 5 and 8 agree with a loop to 2e-16",
        """
import torch
from accelerated_scan.ref import scan

scan(torch.rand(2, 3, 1), torch.randn(2, 3, 1))  # RuntimeError
""",
    ),
    Red(
        "fla",
        "fused_recurrent_delta_rule cannot go back from an initial state that does not lie in order",
        "A transposed or sliced initial_state that wants a gradient runs forward; backward then ends in a CompilationError (in the "
        "interpreter an InterpreterError). A copy of the state is made in order inside of the forward pass, where nothing wants a "
        "gradient, so that backward makes no array for it and hands the kernel None.",
        "CON330 at T = 1, on a card and in the interpreter: AttributeError: 'NoneType' object has no attribute 'type'.",
        "the script below: the same state in order has a gradient",
        """
import torch
from fla.ops.delta_rule import fused_recurrent_delta_rule

q, k, v = (torch.randn(1, 3, 2, 4, device="cuda", requires_grad=True) for _ in range(3))
beta = torch.rand(1, 3, 2, device="cuda")
state = torch.randn(1, 2, 4, 4, device="cuda", requires_grad=True)
for initial in (state, state.transpose(2, 3)):
    y, last = fused_recurrent_delta_rule(q, k, v, beta, initial_state=initial, output_final_state=True)
    last.sum().backward()  # the second time: CompilationError
""",
    ),
    Red(
        "fla",
        "chunk_hgrn gives no gradient of its initial state, and none from its final one",
        "A state that is learned, or carried over a cut by backpropagation, has no gradient: backward returns None for it and never reads "
        "the cotangent of the final state. fused_recurrent_hgrn, with the same arguments, has both and conforms.",
        "GRD300 and CON350 on a card at T = 1: with the cotangent on the final state alone every gradient is zero.",
        "its source (fla/ops/hgrn/chunk.py, `return dx, dg, None, None`), and the script below",
        """
import torch
from fla.ops.hgrn import chunk_hgrn, fused_recurrent_hgrn

x, g, h0 = (torch.randn(1, *n, device="cuda", requires_grad=True) for n in ((5, 8), (5, 8), (8,)))
for scan in (fused_recurrent_hgrn, chunk_hgrn):
    y, last = scan(x, g, initial_state=h0, output_final_state=True)
    print([d if d is None else d.abs().sum().item() for d in torch.autograd.grad(last.sum(), (x, h0), allow_unused=True)])
""",
    ),
)


def reds(packages: Iterable[str]) -> list[str]:
    """A paragraph for each of these packages."""
    wanted = set(packages)
    return [_paragraph(red) for red in REDS if red.package in wanted]


def _paragraph(red: Red) -> str:
    link = f" ([reported]({red.link}))" if red.link else ""
    said = f"{red.why} Found by {red.found} Confirmed by {red.second}."
    return f"**{red.package}: {red.what}**{link}. {said}\n\n```text\n{red.script.strip()}\n```\n"
