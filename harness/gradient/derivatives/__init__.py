"""Exact derivatives of a subject's forward pass.

tangent         directions in which inputs move, and how outputs follow          blocks   the blocks of entries that are judged together
oracle          the best that a subject allows: complex_step, forward mode, differences (extrapolation, stepwise)
every_entry     every entry of every gradient: step_jacobians, jacobian_columns and low_rank on slopes
multiprecision  fifty digits                    distance   how far two arrays are apart
"""
