"""Why a gradient is wrong in any cell: the subject's own forward pass as a graph, and mistakes as edits of its backward sweep.

node         the graph: array operations, each with the line of the user's code that it stands in
statements   the text of that line, and of the operands, in the user's own names
operations   values of the operations, and their vector-Jacobian products, in any number system
trace_numpy  an array type that writes the graph while the user's NumPy code runs
trace        a subject's forward or backward pass traced; counts only where its replay gives the untraced outputs bit for bit
replay       the values of a graph again, from other inputs
reverse      the exact gradient: one sweep backwards; and the same sweep with one of its edges edited
split        one activation over several gates as one for each
units        operations joined to what a person differentiates in one go; the same place at every step
edits        the mistakes that people make at an edge
search       which edits give all of the subject's wrong numbers, at two sizes
place        the line of the user's backward that computes the wrong value
words        the cause in one sentence
explain      all of it: the causes of a wrong gradient
"""
