"""Equinox modules that are called like its LSTMCell and GRUCell: cell(x (D,), state); class, instance or factory.

Equinox itself is never imported here: an object can only be one of its modules if somebody has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from bptt.harness.adapters.frameworks import concerns
from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """`obj` as a Subject, None where it is no Equinox module, class or factory of one.

    args    keywords for the constructor; sizes among them are fixed
    Raises UsageError, in one line, where it is one but cannot be built or called.
    """
    if "equinox" not in sys.modules or not concerns(obj, "equinox"):
        return None
    from bptt.harness.adapters.jax.equinox_subject import subject_of  # imports jax and equinox

    return subject_of(obj, spec, args)
