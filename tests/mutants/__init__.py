"""Mutation testing: one change in the source at a time, and whether the tests that reach its line notice.

operators   the changes: each is an edit of the syntax tree, so that lines keep their numbers
swap        a mutant inside a function: its code is put in the place of the old one, and nothing is imported anew
switch/     one at the top of a file: the import system hands out the changed module, in this process and in those that it starts
forks       many pieces of work at a time, each in a process forked from one that has imported all that does not change
reach       which test reaches which line, and how long it takes
judge       one mutant against the tests that reach it
session     one pytest session that has collected everything, from which tests are run in forked processes
store       what is known of each mutant, a line as it is known: a run that is stopped goes on where it was
equivalent  mutants that no test can kill, each with the argument why
table       killed and survived, with the interval of the share
__main__    `python -m tests.mutants --sample 500 --seed 0 --jobs 2 -o build/mutants`

mutmut copies the sources into a folder of its own and cosmic-ray edits files in place, one after the other: neither follows
packages that are mapped to another name, nor chooses tests by the line that they reach.
"""
