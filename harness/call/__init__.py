"""The one boundary to foreign code: a subject's methods are called here, and what comes back is brought into one form.

guard     whatever a subject's own code raises becomes an error with the user's line
cell      run and backward of a cell
network   a network with its loss inside, seen as a cell whose only output is its loss
"""
