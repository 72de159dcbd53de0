"""Keras layers and cells: `adapt` takes them, `build` makes one of a size, `layer` and `jax` run it on its two backends."""
