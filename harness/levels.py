"""How much is tried, from least to most."""

from __future__ import annotations

from typing import Literal

Level = Literal["smoke", "standard", "full", "exhaustive"]
LEVELS: tuple[Level, ...] = ("smoke", "standard", "full", "exhaustive")
