"""A subject's passes as graphs of array operations, and exact derivatives from them.

node           the graph: array operations, each with the line of the user's code that it stands in
statements     the text of that line, and of the operands, in the user's own names
operations     values of the operations, and their vector-Jacobian products, in any number system
numpy_arrays   an array type that writes the graph while the user's NumPy code runs
torch_tensors  the same for what torch's dispatcher does
operators      an operator as a cell whose parameters are all of its arrays
replay         the values of a graph again, from other inputs
reverse        the exact gradient: one sweep backwards
passes         a forward or backward pass traced; counts only where its replay gives the untraced outputs bit for bit
"""
