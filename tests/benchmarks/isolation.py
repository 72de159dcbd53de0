"""What a process of its own costs a target, once the fork server stands: `python -m tests.benchmarks.isolation`.

The same checks of the same target, with and without a process of its own, by turns; the least of each, which a busy machine disturbs least.
"""

from __future__ import annotations

import sys
import time

from bptt.harness.run.runner import check

TARGETS = ("refimpl:elman", "examples/numpy_gru.py:GRU", "torch.nn:GRU")


def seconds(target: str, isolate: bool) -> float:
    began = time.perf_counter()
    found = check(target, level="smoke", select=["CON100", "CON110", "LIN100"], isolate=isolate)
    assert found.exit_code == 0, found.text()
    return time.perf_counter() - began


def main(repeats: int) -> None:
    print(f"{'target':32}{'own process':>14}{'this one':>12}{'difference':>12}   seconds, least of {repeats}")
    for target in TARGETS:
        for isolate in (True, False):
            seconds(target, isolate)
        pairs = [(seconds(target, True), seconds(target, False)) for _ in range(repeats)]
        own, here = map(min, zip(*pairs, strict=True))
        print(f"{target:32}{own:14.3f}{here:12.3f}{own - here:12.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
