"""Checks of parts of a training loop: parts (what holds for all of them), clips, optimisers, measures."""
