"""What came of the mutants, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

from tests.mutants.judge import Judged


def interval(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of k in n (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if not n:
        return 0.0, 1.0
    centre, spread = (k + z * z / 2) / (n + z * z), z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def as_json(judged: Sequence[Judged], **facts: Any) -> dict[str, Any]:
    counts = Counter(j.verdict for j in judged)
    asked = len(judged) - counts["not tried"] - counts["error"]
    low, high = interval(counts["killed"], asked)
    share = {"killed": counts["killed"], "of": asked, "share": counts["killed"] / max(asked, 1), "low": low, "high": high}
    return {**facts, "counts": dict(counts), **share, "mutants": [asdict(j) for j in judged]}


def as_text(judged: Sequence[Judged], root: Path, **facts: Any) -> str:
    """A row a file, the sum, and every mutant that is not killed."""
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    lines += [f"{'file':40}{'killed':>8}{'of':>6}{'share':>8}   95 %"]
    by_file: dict[str, list[Judged]] = {}
    for j in judged:
        by_file.setdefault(str(Path(j.mutant.file).relative_to(root)), []).append(j)
    lines += [_row(file, by_file[file]) for file in sorted(by_file)] + [_row("all", list(judged)), ""]
    for verdict in ("survived", "not reached", "error", "not tried"):
        those = sorted((j for j in judged if j.verdict == verdict), key=lambda j: (j.mutant.file, j.mutant.line, j.mutant.index))
        lines += [f"{verdict}: {len(those)}"] if those else []
        for j in those if verdict != "not tried" else []:
            place = f"{Path(j.mutant.file).relative_to(root)}:{j.mutant.line}"
            lines += [f"  {place:44} #{j.mutant.index:<4}{j.mutant.before}  ->  {j.mutant.after}"]
            lines += [f"  {'':44} {j.tried} of {j.of} tests{', ' * bool(j.by)}{j.by}"]
    return "".join(f"{line}\n" for line in lines)


def _row(name: str, judged: Sequence[Judged]) -> str:
    asked = [j for j in judged if j.verdict not in ("not tried", "error")]
    killed = sum(j.verdict == "killed" for j in asked)
    low, high = interval(killed, len(asked))
    return f"{name:40}{killed:8}{len(asked):6}{killed / max(len(asked), 1):8.1%}   {low:.0%} to {high:.0%}"
