"""torch modules: nn.RNN, nn.LSTM, nn.GRU, their cells, and any nn.Module that is called like them; as class, instance or factory.

torch itself is never imported here: an object can only be a torch module if somebody has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """`obj` as a Subject, None where it is no torch module, class or factory of one.

    args    keywords for the constructor; sizes among them are fixed
    Raises UsageError, in one line, where it is one but cannot be built or called.
    """
    if "torch" not in sys.modules:
        return None
    from bptt.harness.adapters.torch.subject import subject_of  # imports torch

    return subject_of(obj, spec, args)
