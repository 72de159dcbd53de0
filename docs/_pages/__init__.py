"""Pages of the site that are made from the code each time it is built: `hooks` is what mkdocs loads.

formulas     LaTeX, and the equations of docstrings, as MathML      cells      a page for each reference cell and recurrence
checks       a page for each check: what `bptt explain` prints      mistakes   a page for each known mistake
python       a page of the Python interface                             runs       reports and pictures of runs made now
snippets     files, changes and commands of a page, done
"""
