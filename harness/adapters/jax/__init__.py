"""Cells and layers in JAX: Flax (linen and nnx) and Equinox; `run` differentiates a pure function over a sequence."""
