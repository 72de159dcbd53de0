"""One process for each target, so that nothing of one target reaches another: modules, patches, environment, folder, crashes.

In the order in which a target goes through it:

limits        what a target may use
pickling, fingerprint, parcels      a target as JSON: its place where it is found again, else its code
frames        messages that cannot be mistaken for those of another process
server        a process that has imported what every target needs and has run nothing; each target is a fork of it
keeper, processes      beside each target: forwards what it prints, holds it to its limits, ends it with all that descends from it
worker        the target's own process: loads, judges, tells
starting      all that from the outside, and a fresh process where a fork is not there or not safe
following     the events of one target; what it means that its process was lost
remote        the same on the workers of a dask scheduler
"""
