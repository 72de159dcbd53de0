"""Why a gradient is wrong in any cell: the subject's own forward pass as a graph, and mistakes as edits of its backward sweep.

tracing   a subject's passes as graphs of array operations, each with the line of the user's code that it stands in
naming    which mistake at which edge of the graph gives all of the subject's wrong numbers, and its sentence
shapes    why a gradient has another shape
explain   all of it: the causes of a wrong gradient
"""
