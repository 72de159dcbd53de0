from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from bptt.harness.adapters.torch.adapt import adapt  # noqa: E402  # after the skip
from bptt.harness.identify.published_cell import identify, nothing_found_reason  # noqa: E402
from bptt.harness.subject import Subject  # noqa: E402

GRU_WORDS = ("reset after the product", "z keeps the old state", "blocks r z n", "weights as rows (3H, D)", "two biases")
LSTM_WORDS = ("blocks i f g o", "weights as rows (4H, D)", "two biases", "forget bias 0")


def adapted(name: str, **args: Any) -> Subject:
    subject = adapt(getattr(torch.nn, name), f"torch.nn:{name}", args)
    assert subject is not None
    return subject


@pytest.mark.parametrize(
    ("name", "args", "cell", "words"),
    [
        ("LSTM", {}, "lstm", LSTM_WORDS),
        ("LSTM", {"input_size": 3, "hidden_size": 4}, "lstm", LSTM_WORDS),
        ("LSTM", {"input_size": 4, "hidden_size": 4}, "lstm", LSTM_WORDS),
        ("LSTM", {"input_size": 3, "hidden_size": 4, "bias": False}, "lstm", ("no bias",)),
        (
            "LSTM",
            {"input_size": 3, "hidden_size": 4, "proj_size": 2},
            "lstm_projected",
            (*LSTM_WORDS, "output projected to P values"),
        ),
        ("LSTMCell", {}, "lstm", LSTM_WORDS),
        ("GRU", {}, "gru_reset_after", GRU_WORDS),
        ("GRU", {"input_size": 6, "hidden_size": 2, "batch_first": True}, "gru_reset_after", GRU_WORDS),
        ("GRUCell", {}, "gru_reset_after", GRU_WORDS),
        ("RNN", {}, "elman", ("an Elman cell (tanh)", "weights as rows (H, D)", "two biases")),
        ("RNN", {"nonlinearity": "relu"}, "elman_relu", ("an Elman cell (relu)",)),
        ("RNN", {"input_size": 5, "hidden_size": 5}, "elman", ("weights as rows (H, D)",)),
        ("RNNCell", {}, "elman", ("an Elman cell (tanh)",)),
    ],
)
def test_torchs_own_cells_are_named(name: str, args: dict[str, Any], cell: str, words: tuple[str, ...]) -> None:
    subject = adapted(name, **args)
    found = identify(subject)
    assert found is not None, nothing_found_reason(subject)
    assert found.cell == cell
    assert [word for word in words if word not in found.convention] == [], found.convention
    assert found.max_error < 1e-12
