"""Flax cells and nn.RNN, of linen and of nnx, and cells of one's own with initialize_carry; class, instance or factory.

Flax itself is never imported here: an object can only be one of its modules if somebody has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from bptt.harness.adapters.frameworks import concerns
from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """`obj` as a Subject, None where it is no Flax module, class or factory of one.

    args    keywords for the constructor; sizes among them are fixed.  RNN takes {"cell": "GRUCell"}
    Raises UsageError, in one line, where it is one but cannot be built or called.
    """
    if "flax" not in sys.modules or not concerns(obj, "flax"):
        return None
    from bptt.harness.adapters.jax.flax_subject import subject_of  # imports jax and flax

    return subject_of(obj, spec, args)
