"""The pages' own code stands in docs/_pages, which is no package of bptt."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
