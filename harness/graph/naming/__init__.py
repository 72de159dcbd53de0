"""Which mistake at which edge of the graph gives all of a subject's wrong numbers.

budget   how much may be tried
split    one activation over several gates as one for each
units    operations joined to what a person differentiates in one go; the same place at every step
edits    the mistakes that people make at an edge, and the sweep with some of them in it
point    a subject at one case: its graph, its exact gradients, and those that it gives itself
search   which edits give all of the subject's wrong numbers, at two sizes
backward what the user's backward would give if one of its lines gave something else
place    the line of the user's backward that computes the wrong value
texts    small changes of an expression's text, in the user's own names
mending  that line as it should read, tried until every gradient is right
rewriting any statement of the backward with which, changed a little, gradients are right
words    the cause in one sentence
"""
