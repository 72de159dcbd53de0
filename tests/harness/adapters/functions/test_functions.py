"""Functions over tensors and arrays are understood without a word of their author's, and judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable

from bptt.harness.adapters.functions import adapt, axes
from bptt.harness.adapters.functions.calling import Call
from bptt.harness.adapters.functions.documented import called
from bptt.harness.adapters.triton import COMPILED
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import RunHandle, check
from bptt.harness.targets import load

TORCH = Path(__file__).with_name("torch_functions.py")
NUMPY = Path(__file__).with_name("numpy_functions.py")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("leaky", {"a": "K", "x": "T N K", "h": "N K", "y": "T N K"}),
        ("recurrent", {"q": "N T heads K", "v": "N T heads V", "gk": "N T heads K", "initial_state": "N heads K V", "y": "N T heads V"}),
        ("chunked", {"q": "N T heads K", "v": "N T heads V", "g": "N T heads K", "initial_state": "N heads K V", "y": "N T heads V"}),
        ("another", {"q": "N heads T K", "v": "N heads T V", "decay": "N heads T K", "h0": "N heads K V", "y": "N heads T V"}),
        ("Scan", {"a": "N T K", "u": "N T K", "h0": "N K", "y": "N T K"}),
        ("selective", {"u": "N K T", "A": "K S", "B": "N S T", "D": "K", "y": "N K T"}),
        ("Weighted", {"w": "K", "x": "N T K", "y": "N T K"}),
        ("Documented", {"w": "K", "x": "N T K", "y": "N T K"}),
        ("short_alone", {"z": "N T K", "u": "N T K", "h0": "N K", "y": "N T K"}),
        ("slots", {"k": "N T K", "v": "N T V", "s": "N T K"}),
        ("stabilised", {"x": "N T heads K", "f": "N T heads K", "initial_m": "N heads K", "y": "N T heads K"}),
        ("with_a_table", {"x": "N T K", "a": "N T K", "y": "N T K"}),
        ("backwards_in_time", {"a": "T N heads K", "u": "T N heads K", "y": "T N heads K"}),
    ],
)
def test_axes_are_found_by_running(name: str, wanted: dict[str, str]) -> None:
    (subject,) = load(f"{TORCH}:{name}")
    assert subject.operator is not None
    found = {k: " ".join(v) for k, v in subject.operator.layout.items()}
    assert subject.operator.reverse == (name == "backwards_in_time")
    assert {k: found[k] for k in wanted} == wanted


def test_a_final_state_goes_on_whatever_axes_of_one_entry_it_has() -> None:
    run = check(f"{TORCH}:stabilised", isolate=False, level="smoke")
    assert run.ok, run.text()
    assert run["TIM300"].status == "passed"


def test_an_optional_array_that_changes_nothing_is_left_out() -> None:
    run = check(f"{TORCH}:with_a_table", isolate=False, level="smoke")
    assert run.ok, run.text()
    (subject,) = load(f"{TORCH}:with_a_table")
    assert any((fact.what, fact.why) == ("bias", "left out (None)") for fact in subject.detected)
    assert "call: bias" in subject.undriven


def test_an_optional_array_that_changes_nothing_and_gets_a_gradient_is_wrong() -> None:
    run = check(f"{TORCH}:with_an_idle_bias", isolate=False, select=["GRD300"])
    assert run["GRD300"].status == "failed", run.text()
    finding = run["GRD300"].finding
    assert finding is not None and finding.where.tensor == "bias"


def test_a_computation_in_float32_is_widened_and_said_to_be() -> None:
    (subject,) = load(f"{TORCH}:recurrent")
    assert subject.dtype == "float64"
    assert any("widened" in fact.why for fact in subject.detected)


def test_where_some_arrays_are_cast_alone_all_are_widened() -> None:
    (subject,) = load(f"{TORCH}:cast_in_parts")
    assert subject.dtype == "float64"
    assert check(f"{TORCH}:cast_in_parts", isolate=False, level="smoke").ok


def test_what_rounding_decides_is_not_judged() -> None:
    with pytest.raises(UsageError, match="no numbers for a, x were found with which its results are more than rounding"):
        load(f"{TORCH}:chaotic")


def test_what_does_not_recur_is_no_operator() -> None:
    with pytest.raises(UsageError, match="along none of its axes"):
        load(f"{TORCH}:pointwise")


def judged(target: str, like: str | None = None, select: tuple[str, ...] = ("GRD300", "GRD310", "CON350", "PAR300")) -> RunHandle:
    return check(target, like=like, isolate=False, select=select, block=False)


@pytest.mark.thorough
def test_what_takes_short_numbers_alone_is_judged_in_long_ones_and_said_to_be() -> None:
    (subject,) = load(f"{TORCH}:short_alone")
    assert any("takes bfloat16 alone" in fact.why for fact in subject.detected)
    assert check(f"{TORCH}:short_alone", isolate=False, select=("GRD300", "GRD310", "NUM300")).ok
    finding = check(f"{TORCH}:short_alone_and_detached", isolate=False, select=("GRD300",))["GRD300"].finding
    assert finding is not None
    assert "no gradient at all comes back from final h0" in finding.causes[0].hypothesis


def test_an_axis_that_is_called_time_and_is_not_causal_is_a_finding() -> None:
    assert [r.check for r in check(f"{TORCH}:centred", isolate=False, select=("TIM310",)).failed] == ["TIM310"]


@pytest.mark.thorough
@pytest.mark.parametrize("like", [f"{TORCH}:recurrent", "gated_linear_attention"])
def test_a_right_function_conforms_to_another_and_to_the_published_one(like: str) -> None:
    run = judged(f"{TORCH}:chunked", like)
    assert run.ok
    assert run["PAR300"].status == "passed"


@pytest.mark.thorough
def test_another_with_a_mistake_is_told_apart() -> None:
    run = judged(f"{TORCH}:another", f"{TORCH}:chunked")
    assert [r.check for r in run.failed] == ["PAR300"]
    assert run["PAR300"].finding is not None
    assert run["PAR300"].finding.headline == "y differ from those of chunked"


def test_a_backward_that_leaves_out_the_final_state_is_wrong() -> None:
    assert judged(f"{TORCH}:Scan").ok
    run = judged(f"{TORCH}:ScanWithoutFinal", select=("GRD300",))
    assert run["GRD300"].finding is not None
    assert "final h0 only" in str(run["GRD300"].metrics["scope"])


def test_a_state_without_a_gradient_is_disconnected() -> None:
    run = judged(f"{TORCH}:cut", select=("CON350",))
    assert run["CON350"].finding is not None
    assert "no dL/dinitial_state" in run["CON350"].finding.headline
    assert "disconnected" in run["CON350"].finding.headline


def test_functions_of_numpy_are_held_against_their_other_halves() -> None:
    assert judged(f"{NUMPY}:decay_scan").ok
    run = judged(f"{NUMPY}:linear_attention_fwd", select=("GRD300",))
    assert run["GRD300"].finding is not None
    assert run["GRD300"].finding.headline == "dL/dv is wrong"


@pytest.mark.thorough
def test_lengths_that_a_function_takes_are_found_and_a_result_over_pairs_of_steps_is_passed_over() -> None:
    (subject,) = load(f"{TORCH}:in_whole_chunks")
    assert subject.operator is not None
    assert subject.operator.multiple == 8 and "y2" not in subject.operator.layout
    assert judged(f"{TORCH}:in_whole_chunks", select=("CON300", "GRD310")).ok


def test_a_function_that_raises_at_two_of_its_own_chunks_is_wrong() -> None:
    run = judged(f"{TORCH}:one_chunk_alone", select=("LIN300",))
    finding = run["LIN300"].finding
    assert finding is not None and "is invalid for input of size" in finding.headline


def test_a_size_that_never_changes_is_taken_for_no_axis() -> None:
    (subject,) = load(f"{TORCH}:with_both_sums")
    assert subject.operator is not None and "y2" not in subject.operator.layout
    assert judged(f"{TORCH}:with_both_sums", select=("CON300", "GRD310")).ok


@pytest.mark.parametrize("dtype", ["", "bfloat16"])
def test_arrays_keep_their_strides_in_another_type(dtype: str) -> None:
    call = Call(torch.add, (), torch=True, dtype=dtype)
    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    for laid in (plain[:, ::2], plain.T, np.broadcast_to(plain[0], (3, 6)), plain[:0, ::2]):
        found = call._tensor(laid)
        assert found.stride() == tuple(s // 4 for s in laid.strides)
        np.testing.assert_array_equal(found.float().numpy(), laid)
        in_order = found.as_strided((found.numel(),), (1,)).float()  # as a kernel reads that takes it to be in order
        assert found.is_contiguous() or not np.array_equal(in_order.numpy(), laid.ravel())


def test_where_each_size_is_compiled_anew_the_sizes_that_were_found_are_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapt, "compiling", lambda device: True)
    (subject,) = load(f"{TORCH}:Scan")
    assert subject.operator is not None and {len(sizes) for sizes in subject.operator.sizes.values()} == {1}
    assert any(fact.what == COMPILED and "K 7" in fact.why for fact in subject.detected)


@pytest.mark.parametrize("name", ["Weighted", "short_alone_and_detached"])
def test_the_shapes_of_a_kernel_are_those_under_which_its_two_passes_hang_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (wanted,) = load(f"{TORCH}:{name}")
    monkeypatch.setattr(axes, "compiling", lambda device: True)
    (subject,) = load(f"{TORCH}:{name}")
    assert subject.operator is not None and wanted.operator is not None
    assert subject.operator.layout == wanted.operator.layout


def test_arrays_that_their_author_calls_complex_are_complex() -> None:
    (subject,) = load(f"{TORCH}:Rotating")
    assert any("lam, u complex" in fact.why for fact in subject.detected)
    assert judged(f"{TORCH}:Rotating", select=("GRD300", "GRD310")).ok
    finding = judged(f"{TORCH}:RotatingWithoutConjugate", select=("GRD310",))["GRD310"].finding
    assert finding is not None and finding.where.tensor == "lam"


@pytest.mark.parametrize(
    ("words", "complex_ones"),
    [
        ("u (T, N, H) complex, lam (H,) complex", {"u", "lam"}),
        ("lam, b: complex of shape (H,); u: (B, T, H)", {"lam", "b"}),
        ("u: (B, T, H), real\nlam: (H,) complex eigenvalues", {"lam"}),
        ("u: (B, T, H)", set()),
    ],
)
def test_words_say_which_arrays_are_complex(words: str, complex_ones: set[str]) -> None:
    assert called("complex", words, ["u", "lam", "b"]) == complex_ones


def test_a_function_is_held_against_its_slow_form_beside_it() -> None:
    run = judged(f"{TORCH}:chunk_decay", select=("PAR300",))
    assert run["PAR300"].finding is not None and "naive_decay" in run["PAR300"].finding.headline
    assert load(f"{TORCH}:naive_decay")[0].operator.other is None  # type: ignore[union-attr]  # an operator


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (("parallel_scan", "sequential_scan"), True),
        (("scan_blelloch", "scan_reference"), True),
        (("scan_fast", "mix_slow"), False),
        (("reversed_scan", "naive_scan"), False),
    ],
)
def test_the_slow_form_of_a_scan_is_told_by_its_name(names: tuple[str, str], held: bool, tmp_path: Path) -> None:
    text = "".join(
        f"def {name}(x, a):\n    if x.shape[1] == 0:\n        return {name}(x, a)\n    h, hs = torch.zeros_like(x[:, 0]), []\n"
        "    for t in range(x.shape[1]):\n        h = a[:, t] * h + x[:, t]\n        hs.append(h)\n    return torch.stack(hs, 1)\n\n\n"
        for name in names
    )
    (tmp_path / "ops.py").write_text(f"import torch\n\n\n{text}")
    (subject,) = load(f"{tmp_path / 'ops.py'}:{names[0]}")
    assert subject.operator is not None and (subject.operator.other is not None) == held


def test_a_file_of_functions_over_tensors_alone_is_checked_whole(tmp_path: Path) -> None:
    (tmp_path / "ops.py").write_text(
        "import torch\n\n\ndef decay(x, a):\n    h, hs = torch.zeros_like(x[:, 0]), []\n    for t in range(x.shape[1]):\n"
        "        h = a[:, t] * h + x[:, t]\n        hs.append(h)\n    return torch.stack(hs, 1)\n"
    )
    assert [subject.spec.rpartition(":")[2] for subject in load(str(tmp_path / "ops.py"))] == ["decay"]


def test_that_autograd_is_judged_and_no_backward_of_its_author_is_said(tmp_path: Path) -> None:
    (tmp_path / "ops.py").write_text(
        "import torch\n\n\ndef decay_fwd(x, a):\n    h, hs = torch.zeros_like(x[:, 0]), []\n    for t in range(x.shape[1]):\n"
        "        h = a[:, t] * h + x[:, t]\n        hs.append(h)\n    return torch.stack(hs, 1)\n\n\n"
        "def decay_bwd(x, a, y, dy):\n    return dy, dy\n"
    )
    (subject,) = load(f"{tmp_path / 'ops.py'}:decay_fwd")
    assert any("decay_bwd" in each for each in subject.undriven)


def test_the_line_of_a_functions_own_backward_is_named() -> None:
    finding = judged(f"{TORCH}:OneMinus", select=("GRD310",))["GRD310"].finding
    assert finding is not None and finding.causes[0].source is not None
    assert TORCH.read_text().splitlines()[finding.causes[0].source.line - 1].strip() == "g = g * (1 - a[:, t])"
    assert finding.causes[0].fix == "g = g * (a[:, t])"


def test_that_no_check_asks_for_the_gradient_of_a_gradient_is_said() -> None:
    (subject,) = load(f"{TORCH}:Scan")
    assert subject.undriven == ("the gradient of its gradient (double backward)",)
    members = {"forward": staticmethod(lambda ctx, x: x), "backward": staticmethod(once_differentiable(lambda ctx, dy: dy))}
    assert adapt._of_second_order(type("Once", (torch.autograd.Function,), members)) == ()
