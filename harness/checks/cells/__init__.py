"""Checks of cells, in the order in which they run.

contract (repeated)    numerics    linearity    gradients (lags)    second_order    parity    time (windows, directions)    batch    lengths
torch_modules          what else a gradient of torch can depend on
"""
