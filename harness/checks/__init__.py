"""The properties that a subject is held to, each a generator named as what it states.

evidence   what a check yields          context   what it may ask about its subject          registry   how it is declared and found
forward_first   one fault is said once: what a known mistake in the forward pass does to the other checks
cells/     of a cell, and of what networks share with it: contract, numerics, linearity, gradient, parity, time, batch, lengths
networks/  of networks with their loss inside      operators/  of recurrences with states of any shape
training/  of parts of a training loop
"""
