"""Mistakes in what stands around the cells: layers, directions, lengths, dropout masks.

backward   between layers and directions, on the way back      forward    the same on the way there
lengths    sequences that end early, both ways                 dropout    masks between layers, both ways
"""
