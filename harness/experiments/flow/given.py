"""A user's own weights and own sequences, from files.

weights   a file that harness/weights/files.py reads: tensors under the names of the subject's parameters, perhaps with a prefix
          ("rnn.weight_hh_l0"); others are left aside
data      .npy of sequences, time first: (T, N, D), or (T, D) for a single one
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from bptt.harness.call.drawing import init
from bptt.harness.cases import Case, admissible, generator
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.subject import Array, Subject

#: How a sequence file is said to be wanted.
SEQUENCES = "wanted a .npy of numbers, time first: (T, N, D), or (T, D) for a single sequence"


def data(path: str) -> Array:
    """Sequences (T, N, D) in float64.  Raises UsageError."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--data: {path} cannot be read ({' '.join(str(error).split())[:200]}), {SEQUENCES}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.ndim not in (2, 3) or 0 in found.shape:
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
        raise UsageError(f"--data: {path} holds {what}, {SEQUENCES}")
    if not np.all(np.isfinite(found)):
        raise UsageError(f"--data: {path} holds numbers that are not finite, {SEQUENCES}")
    return np.asarray(found if found.ndim == 3 else found[:, None], dtype=np.float64)


def fingerprint(*paths: str) -> str:
    """Of what the files hold: points measured with other content are other points."""
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths if path)).hexdigest()[:16]


def fitted(subject: Subject, given: Mapping[str, Array], D: int | None) -> tuple[dict[str, Array], int, int]:
    """The subject's parameters with the values of the file, and the sizes D and H at which they fit.

    D   the width of the inputs, where sequences say it.  Raises UsageError where a parameter is missing, or no sizes fit.
    """
    widths = sorted({n for value in given.values() for n in value.shape} | {1})
    sizes = [(d, h) for d, h in product([D] if D else widths, sorted({*widths, *(n // k for n in widths for k in (2, 3, 4))})) if h > 0]
    names: dict[str, str] | None = None
    template: dict[str, Array] = {}
    for d, h in sizes:
        case = admissible(subject, Case(1, 1, d, h, "initial"))
        try:
            template = init(subject, generator(case, "params"), case)
        except BpttError:  # sizes that it does not take
            continue
        names = _names(template, given)
        if all(given[names[k]].shape == template[k].shape for k in template):
            return {k: given[names[k]].astype(template[k].dtype) for k in template}, case.D, case.H
    raise UsageError(f"--weights: no sizes D and H fit: {_shapes(subject, template, given, names or {})}")


def _names(wanted: Mapping[str, Array], given: Mapping[str, Array]) -> dict[str, str]:
    """Each parameter's name in the file: its own, or the only one that ends with it."""
    found = {}
    for name in wanted:
        ends = [other for other in given if other == name] or [other for other in given if other.endswith(("." + name, "/" + name))]
        if len(ends) != 1:
            many = f"{len(ends)} of them: {', '.join(ends[:4])}" if ends else f"the file has {', '.join(sorted(given)[:8])}"
            raise UsageError(f"--weights: no single tensor for the parameter {name!r} ({many}), wanted {', '.join(wanted)}")
        found[name] = ends[0]
    return found


def _shapes(subject: Subject, template: Mapping[str, Array], given: Mapping[str, Array], names: Mapping[str, str]) -> str:
    theirs = ", ".join(f"{k} {given[names[k]].shape}" for k in template if k in names)
    ours = ", ".join(f"{k} {template[k].shape}" for k in template)
    return f"got {theirs or 'nothing'}; {subject.name} has for example {ours}"
