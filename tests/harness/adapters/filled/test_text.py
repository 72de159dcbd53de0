"""The file that `bptt init` writes gives what the reading gives, to the last bit, in every style of the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness import targets
from bptt.harness.adapters.filled.text import written
from bptt.harness.subject import Subject

CORPUS = Path(__file__).parents[1] / "reading" / "corpus"
RIGHT = [p for p in sorted(CORPUS.glob("*.py")) if p.read_text(encoding="utf-8").startswith('"""Right')]


def filled(subject: Subject, target: Path, folder: Path) -> Any:
    text = written(subject.implementation.reading, subject.name, str(target), str(target), ["as read"], type(subject.implementation))
    assert "TODO" not in text
    path = folder / f"filled_{subject.name.lower()}.py"
    path.write_text(text, encoding="utf-8")
    [own] = targets.load(str(path))
    return own


def answers(subject: Subject, params: Any, T: int, N: int) -> list[Any]:
    rng, impl = np.random.default_rng(4), subject.implementation
    state = {s: 0.3 * rng.normal(size=v.shape) for s, v in impl.zero_state(params, N).items()}
    if subject.kind == "network":
        loss, grads = impl.loss(params, *impl.batch(rng, params, T, N), state)
        return [loss, grads]
    xs = rng.normal(size=(T, N, subject.input_sizes[0] if subject.input_sizes else 4))
    ys, final = impl.run(params, xs, state)
    return [ys, final, *impl.backward(params, xs, state, np.ones_like(ys), {s: np.zeros_like(v) for s, v in final.items()})]


@pytest.mark.parametrize("path", RIGHT, ids=lambda p: p.stem)
def test_the_file_gives_what_the_reading_gives(path: Path, tmp_path: Path) -> None:
    for subject in targets.load(str(path)):
        own = filled(subject, path, tmp_path)
        D, H = (subject.input_sizes or (4,))[0], (subject.hidden_sizes or (6,))[0]
        params = own.implementation.init(np.random.default_rng(1), D, H)
        subject.implementation.init(np.random.default_rng(1), D, H)
        N = 1 if subject.batch_sizes == (1,) else 2
        got, wanted = answers(own, params, 4, N), answers(subject, params, 4, N)
        np.testing.assert_equal(got, wanted)
        assert own.batch_sizes == subject.batch_sizes
