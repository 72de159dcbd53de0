"""Checks of networks with their loss inside: loss and its gradients, dependence on what is to be predicted, shifts of targets, options."""
