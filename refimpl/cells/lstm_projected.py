"""LSTM whose output is projected to P values before it is fed back.

Equations    a_k = x @ W_xk + b_k + h @ W_hk     for the blocks k = i, f, g, o
             i = sigmoid(a_i)     f = sigmoid(a_f)     g = tanh(a_g)     o = sigmoid(a_o)
             c' = f * c + i * g
             m  = tanh(c')
             h' = (o * m) @ W_p                  y = h'
Shapes       c and each gate (N, H)   h y (N, P)   W_x (D, 4H)   W_h (P, 4H)   b (4H,)   W_p (H, P)   blocks i f g o
Derivation   that of lstm_tf1 with a projection, no forget bias at run time, no peepholes and no clips
Source       Sak, Senior and Beaufays 2014, arXiv:1402.1128.
Variant      lstm with a projection: the cell of torch.nn.LSTM(..., proj_size=P).
"""

from __future__ import annotations

from bptt.refimpl.cells.lstm_tf1 import Options, make

CELL = make(
    Options(forget_bias=0.0, projected=True),
    name="lstm_projected",
    summary="LSTM whose output is projected to fewer values and then fed back",
)
