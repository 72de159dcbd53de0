"""Checks of operators: plan (lengths and sizes), form, linearity, gradients, time, rows, parity, in the order in which they run."""
