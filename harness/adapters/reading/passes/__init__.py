"""Forward passes that run, and backward passes beside them.

drawing    numbers that a call draws, as of dropout
form       what a reading of a forward pass says         handing    arguments as the author's functions take them
results    what came back, by its places                 forward    which forward passes run
assumed    a loss that no line says                      clips      a cut of gradients, found and lifted
running    a reading of a backward pass, and its run     sources    which of its arguments is what
gradients  where each gradient comes out                 losses     the loss that stands inside
backward   which backward passes run beside a forward pass
"""
