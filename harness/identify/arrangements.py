"""The first reading of a subject's shapes under which a published cell gives its outputs."""

from __future__ import annotations

from dataclasses import replace

from bptt.harness.identify.influence import layouts
from bptt.harness.identify.probing import Probe, Unidentified
from bptt.harness.identify.search import Failed, Search, with_like_first
from bptt.harness.weights.map import Identification


def first_that_fits(probe: Probe, like: str | None, seed: int) -> Identification:
    """The cell that the probed subject computes.  Raises Unidentified with the reason of the search that came furthest."""
    deepest = Failed(-1, "")
    tried = 0
    try:
        for interleaved in (False, True):
            for layout in layouts(probe, interleaved):
                if interleaved and not any(reading.interleaved for reading in layout):
                    continue
                search = Search(probe, layout)
                try:
                    found = search.run(with_like_first(like), seed)
                    return replace(found, tried=found.tried + tried)
                except Failed as failure:
                    tried += search.tried
                    deepest = max(deepest, failure, key=lambda f: f.depth)
    except Failed:
        raise
    except Unidentified as unknown:
        raise (deepest if deepest.depth >= 0 else unknown) from None
    raise deepest
