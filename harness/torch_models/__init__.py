"""The reference's networks in torch, with our weights in them: what lockstep and experiments hold the reference against.

layers     torch.nn's own layers from one table of weights, parameters by our names, sequences with lengths
networks   the networks that are built of them, each with its loss
trainer    a step of training: torch's differentiation, clipping and optimisers
"""
