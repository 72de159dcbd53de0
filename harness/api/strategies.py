"""Hypothesis strategies for tests of one's own cells.

@hypothesis.given(case=bptt.harness.api.strategies.cases(subject))
def test_my_property(case): ...
"""

from __future__ import annotations

from bptt.harness.cases import strategy as cases

__all__ = ["cases"]
