"""Keras layers on its torch or jax backend: SimpleRNN, LSTM, GRU, Bidirectional, RNN(cell), cells of one's own; class, instance, factory.

Keras itself is never imported here: an object can only be one of its layers if somebody has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from bptt.harness.adapters.frameworks import concerns
from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """`obj` as a Subject, None where it is no Keras layer, class or factory of one.

    args    keywords for the constructor; `units` among them is fixed.  RNN takes {"cell": "LSTMCell"}, Bidirectional {"layer": "GRU"}
    Raises UsageError, in one line, where it is one but cannot be built, keeps no state, or runs on another backend.
    """
    if "keras" not in sys.modules or not concerns(obj, "keras"):
        return None
    from bptt.harness.adapters.keras.subject import subject_of  # imports keras and torch

    return subject_of(obj, spec, args)
