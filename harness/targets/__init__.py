"""From what a user names to subjects.

In the order in which they are used:

importing     a file, a notebook, a script that trains or a module, imported; what a name in it stands for
slow_form     functions over tensors beside one another, and which is the slow form of which
one_object    one object: by the first adapter that takes it, else read as it stands
whole_file    every subject of a file that was named whole, and what is said of the rest of it
subjects      `load`: whatever a target string, an object, its arguments and --like say
"""

from bptt.harness.targets.subjects import load, parse_args, readings
from bptt.harness.targets.whole_file import PartlyUnderstoodError

__all__ = ["PartlyUnderstoodError", "load", "parse_args", "readings"]
