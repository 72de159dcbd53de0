"""Recurrences with states of any shape, as kernels compute them: one published variant a file, and the table of their names.

scan                  what a scan is, and the loop over time
linear_recurrence     h' = a h + u                     selective_scan, rg_lru    gates that depend on the input
decay, gated_linear_attention, delta_rule, gated_delta_rule, rwkv7, mlstm        matrix states
complex_pair, lru, s5    diagonal complex states, on real and imaginary parts    slstm, causal_convolution
"""

from __future__ import annotations

from bptt.refimpl.scans import (
    causal_convolution,
    decay,
    delta_rule,
    gated_delta_rule,
    gated_linear_attention,
    linear_recurrence,
    lru,
    mlstm,
    rg_lru,
    rwkv7,
    s5,
    selective_scan,
    slstm,
)
from bptt.refimpl.scans.scan import Scan

_MODULES = (
    linear_recurrence,
    decay,
    gated_linear_attention,
    delta_rule,
    gated_delta_rule,
    rwkv7,
    mlstm,
    slstm,
    selective_scan,
    lru,
    s5,
    rg_lru,
    causal_convolution,
)
SCANS: dict[str, Scan] = {module.SCAN.name: module.SCAN for module in _MODULES}
