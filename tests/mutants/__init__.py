"""Mutation testing: one change in the source at a time, and whether the tests that reach its line notice.

operators   the changes: each is an edit of the syntax tree, so that lines keep their numbers
switch/     a mutant switched on: the import system hands out the changed module, in this process and in those that it starts
forks       many pieces of work at a time, each in a process forked from one that has imported NumPy, torch and pytest
reach       which test reaches which line, and how long it takes
judge       one mutant against the tests that reach it
table       killed and survived, with the interval of the share
__main__    `python -m tests.mutants --sample 500 --seed 0 --jobs 16 --seconds 480 -o build/mutants`

mutmut copies the sources into a folder of its own and cosmic-ray edits files in place, one after the other: neither follows
packages that are mapped to another name, nor chooses tests by the line that they reach.
"""
