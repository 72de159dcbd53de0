"""Gradient-flow and training experiments, one a file: what is measured stands beside what theory says it should be."""
