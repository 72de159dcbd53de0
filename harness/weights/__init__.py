"""How a subject's parameters lie over those of a published cell, and weights carried from one layout into another.

map            the map itself                     shapes           which blocks a tensor can be made of
conventions    layouts of published code          convention_map   such a layout as a map
libraries      whose layout a map is
transfer       weights from one map into another, block by block
mirror         the reference in a subject's clothes                sentence   a map in words
files          tensors from a file               handed           weights as frameworks hand them out
convert        `bptt.convert`
"""
