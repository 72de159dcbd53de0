"""A file of equations as a cell, in this order: `read` (the text), `shapes` (its parameters), `graph` (values, gradients), `adapt`."""
