"""Why a gradient is wrong, once it is: from the numbers to a cause, a line and its mend, in this order.

wrong        a wrong gradient, with all that is known of it
patterns     what its numbers say by themselves
replay       the reference on the subject's own weights, with known mistakes in it; `candidates` says which are tried
directions, lengths, network   mistakes of bidirectional layers, of sequences with lengths, of a model with its loss inside
narrowing    where else the gradient is right; `confirmed` asks for every pattern again, in other numbers
steps        a step function on the way forward, where nothing else explains the numbers
explain      all of it together: the causes, most certain first
advice, fixes, lines, excerpts   what is said of them: what to write, in the user's own words, on which line
"""
