"""Arrays and the dicts of them that everything here is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Params = Mapping[str, Array]
State = Mapping[str, Array]
Tape = tuple[Array, ...]
