"""torch's own recurrent modules as subjects, held against torch itself."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from bptt.harness.adapters.torch.adapt import adapt  # noqa: E402 - torch comes first, or the whole module is skipped
from bptt.harness.errors import ContractError, UsageError  # noqa: E402 - as above
from bptt.harness.subject import Subject  # noqa: E402 - as above

T, N, D, H = 5, 2, 3, 7

LAYERS = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("RNN", {"num_layers": 2, "bidirectional": True, "bias": False}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 4}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 4}),
    ("LSTM", {"batch_first": True, "num_layers": 2, "dropout": 0.5}),
    ("GRU", {}),
    ("GRU", {"num_layers": 2, "bidirectional": True, "batch_first": True}),
]
CELLS = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTMCell", {}),
    ("LSTMCell", {"bias": False}),
    ("GRUCell", {}),
]


def named(case: tuple[str, dict[str, Any]]) -> str:
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


def subject_of(obj: object, args: dict[str, object] | None = None, spec: str = "spec") -> Subject:
    subject = adapt(obj, spec, args)
    assert subject is not None
    return subject


def drawn(subject: Subject, d: int = D, h: int = H, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    params = subject.implementation.init(rng, d, h)
    state = {k: np.asarray(0.5 * rng.normal(size=v.shape)) for k, v in subject.implementation.zero_state(params, N).items()}
    return params, rng.normal(size=(T, N, d)), state


def dot_test(subject: Subject, d: int = D, h: int = H, seed: int = 0) -> float:
    """|<v, J u> - <J^T v, u>| relative to it: J u by complex step (forward mode where torch takes no complex numbers)."""
    params, xs, state = drawn(subject, d, h, seed)
    rng = np.random.default_rng(seed + 1)
    u, u_xs, u_state = ({k: np.asarray(rng.normal(size=v.shape)) for k, v in a.items()} for a in (params, {"xs": xs}, state))
    like = u, u_xs["xs"], u_state
    ys, final = subject.implementation.run(params, xs, state)
    dys, dfinal = rng.normal(size=ys.shape), {k: np.asarray(rng.normal(size=v.shape)) for k, v in final.items()}
    if "forward_ad" in subject.capabilities:
        ys_dot, final_dot = subject.implementation.run_tangent(params, xs, state, *like)
    else:
        e = 1e-30j
        ys_e, final_e = subject.implementation.run(
            {k: v + e * like[0][k] for k, v in params.items()},
            xs + e * like[1],
            {k: v + e * like[2][k] for k, v in state.items()},
        )
        ys_dot, final_dot = ys_e.imag / 1e-30, {k: v.imag / 1e-30 for k, v in final_e.items()}
    dparams, dxs, dstate = subject.implementation.backward(params, xs, state, dys, dfinal)
    forward = np.sum(ys_dot * dys) + sum(np.sum(final_dot[k] * dfinal[k]) for k in final)
    backward = sum(np.sum(u[k] * dparams[k]) for k in params) + np.sum(like[1] * dxs)
    backward += sum(np.sum(u_state[k] * dstate[k]) for k in state)
    return float(abs(forward - backward) / abs(forward))


def stacked(state: dict[str, Any], letter: str) -> Any:
    return torch.stack([torch.from_numpy(v) for k, v in state.items() if k.startswith(letter)])


@pytest.mark.parametrize("case", LAYERS, ids=named)
def test_a_layer_gives_what_torch_gives(case: tuple[str, dict[str, Any]]) -> None:
    kind, args = case
    subject = subject_of(getattr(torch.nn, kind), args)
    params, xs, state = drawn(subject)
    module = getattr(torch.nn, kind)(D, H, dtype=torch.float64, **args).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in params.items()})
    first = args.get("batch_first", False)
    x = torch.from_numpy(xs)
    start = (stacked(state, "h"), stacked(state, "c")) if kind == "LSTM" else stacked(state, "h")
    with torch.no_grad():
        ys, end = module(x.transpose(0, 1) if first else x, start)
    got_ys, got_end = subject.implementation.run(params, xs, state)
    np.testing.assert_allclose(got_ys, (ys.transpose(0, 1) if first else ys).numpy(), rtol=1e-13, atol=1e-15)
    for letter, wanted in zip("hc", end if kind == "LSTM" else (end,), strict=False):
        np.testing.assert_allclose(stacked(got_end, letter), wanted, rtol=1e-13, atol=1e-15)
    assert subject.bidirectional is args.get("bidirectional", False)


@pytest.mark.parametrize("case", CELLS, ids=named)
def test_a_cell_is_unrolled_over_time(case: tuple[str, dict[str, Any]]) -> None:
    kind, args = case
    subject = subject_of(getattr(torch.nn, kind), args)
    params, xs, state = drawn(subject)
    layer = getattr(torch.nn, kind.removesuffix("Cell"))(D, H, dtype=torch.float64, **args)
    layer.load_state_dict({f"{k}_l0": torch.from_numpy(v) for k, v in params.items()})
    start = tuple(torch.from_numpy(v)[None] for v in state.values())
    with torch.no_grad():
        ys, end = layer(torch.from_numpy(xs), start if kind == "LSTMCell" else start[0])
    got_ys, got_end = subject.implementation.run(params, xs, state)
    np.testing.assert_allclose(got_ys, ys, rtol=1e-13, atol=1e-15)
    for got, wanted in zip(got_end.values(), end if kind == "LSTMCell" else (end,), strict=True):
        np.testing.assert_allclose(got, wanted[0], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("case", LAYERS + CELLS, ids=named)
def test_backward_is_the_transpose_of_the_forward_pass(case: tuple[str, dict[str, Any]]) -> None:
    subject = subject_of(getattr(torch.nn, case[0]), case[1])
    assert dot_test(subject) < 1e-12
    assert dot_test(subject, 4, 5, seed=1) < 1e-12


@pytest.mark.parametrize("case", [("GRU", {"num_layers": 2, "bidirectional": True}), ("LSTMCell", {})], ids=named)
def test_forward_mode_agrees_with_complex_steps(case: tuple[str, dict[str, Any]]) -> None:
    subject = subject_of(getattr(torch.nn, case[0]), case[1])
    params, xs, state = drawn(subject)
    e = 1e-30j
    ys, final = subject.implementation.run({k: v + e * v for k, v in params.items()}, xs + e * xs, state)
    ys_dot, final_dot = subject.implementation.run_tangent(params, xs, state, params, xs, {})
    np.testing.assert_allclose(ys_dot, ys.imag / 1e-30, rtol=1e-12, atol=1e-14)
    for name in final:
        np.testing.assert_allclose(final_dot[name], final[name].imag / 1e-30, rtol=1e-12, atol=1e-14)


def test_relu_takes_no_complex_numbers_and_has_forward_mode_instead() -> None:
    subject = subject_of(torch.nn.RNN, {"nonlinearity": "relu"})
    params, xs, state = drawn(subject)
    assert "forward_ad" in subject.capabilities
    with pytest.raises(NotImplementedError, match="complex"):
        subject.implementation.run(params, xs.astype(complex), state)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_results_have_the_dtype_of_the_params(dtype: str) -> None:
    subject = subject_of(torch.nn.LSTM)
    params, xs, state = drawn(subject)
    state = {k: v.astype("float32") for k, v in state.items()}
    ys, final = subject.implementation.run({k: v.astype(dtype) for k, v in params.items()}, xs.astype("float32"), state)
    assert {ys.dtype, *(v.dtype for v in final.values())} == {np.dtype(dtype)}


def test_no_other_dtype_is_taken_for_one_that_torch_has() -> None:
    subject = subject_of(torch.nn.GRU)
    params, xs, state = drawn(subject)
    if np.dtype(np.longdouble) == np.dtype(np.float64):
        pytest.skip("longdouble is float64 here")
    with pytest.raises(TypeError, match="torch has no other"):
        subject.implementation.run(params, xs.astype(np.longdouble), state)
    with pytest.raises(TypeError, match="wanted real numbers"):
        subject.implementation.backward(params, xs.astype(complex), state, xs, {})


def test_complex_overflow_is_an_error_not_nan() -> None:
    subject = subject_of(torch.nn.GRU)
    params, xs, state = drawn(subject)
    with pytest.raises(RuntimeError, match=r"no finite numbers in torch\.complex128"):
        subject.implementation.run({k: 1e4 * v + 1e-30j for k, v in params.items()}, xs, state)


def test_init_follows_the_generator_and_leaves_torchs_alone() -> None:
    before = torch.get_rng_state()
    subject = subject_of(torch.nn.GRU)
    first, again, other = (subject.implementation.init(np.random.default_rng(seed), D, H) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() is torch.float32


def test_values_changed_in_place_are_seen_and_nothing_given_is_changed() -> None:
    subject = subject_of(torch.nn.GRU)
    params, xs, state = drawn(subject)
    given = {k: v.copy() for k, v in params.items()}, xs.copy(), {k: v.copy() for k, v in state.items()}
    ys, final = subject.implementation.run(params, xs, state)
    first = subject.implementation.backward(params, xs, state, ys, final)
    again = subject.implementation.backward(params, xs, state, ys, final)
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_equal((params, xs, state), given)
    params["weight_hh_l0"] *= 2
    assert not np.allclose(ys, subject.implementation.run(params, xs, state)[0])


def test_read_only_and_strided_arrays_are_taken() -> None:
    subject = subject_of(torch.nn.GRU)
    params, xs, state = drawn(subject)
    odd = {k: np.asfortranarray(v) for k, v in params.items()}
    for value in odd.values():
        value.flags.writeable = False
    wide = np.repeat(xs, 2, axis=2)[:, ::-1, ::2][:, ::-1]
    np.testing.assert_array_equal(subject.implementation.run(odd, wide, state)[0], subject.implementation.run(params, xs, state)[0])


def test_an_instance_has_its_sizes_and_stays_as_it_is() -> None:
    module = torch.nn.LSTM(3, 4).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    subject = subject_of(module)
    assert (subject.input_sizes, subject.hidden_sizes) == ((3,), (4,))
    params, xs, state = drawn(subject, 3, 4)
    np.testing.assert_array_equal(params["weight_hh_l0"], before["weight_hh_l0"].numpy().astype(float))
    subject.implementation.backward({k: 2 * v for k, v in params.items()}, xs, state, *subject.implementation.run(params, xs, state))
    assert module.training
    assert all(torch.equal(value, before[name]) and value.dtype == torch.float32 for name, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


@pytest.mark.parametrize(
    "factory",
    [
        functools.partial(torch.nn.GRU, 3, 4),
        functools.partial(torch.nn.GRU, input_size=3, hidden_size=4),
        lambda: torch.nn.GRU(3, 4),
    ],
    ids=["positions", "keywords", "lambda"],
)
def test_a_factory_may_fix_the_sizes(factory: object) -> None:
    subject = subject_of(factory)
    assert (subject.name, subject.input_sizes, subject.hidden_sizes) == ("nn.GRU", (3,), (4,))
    assert dot_test(subject, 3, 4) < 1e-12


def test_a_factory_may_leave_the_sizes_open() -> None:
    for factory in (lambda a, b: torch.nn.GRU(a, b), functools.partial(torch.nn.GRU, num_layers=2)):
        subject = subject_of(factory)
        assert subject.input_sizes is subject.hidden_sizes is None
        assert dot_test(subject) < 1e-12


def test_args_fix_sizes() -> None:
    subject = subject_of(torch.nn.LSTM, {"input_size": 3, "hidden_size": 4})
    assert (subject.input_sizes, subject.hidden_sizes) == ((3,), (4,))
    subject = subject_of(torch.nn.LSTM, {"hidden_size": 4})
    assert (subject.input_sizes, subject.hidden_sizes) == (None, (4,))


def test_sizes_that_the_constructor_refuses_are_left_out() -> None:
    subject = subject_of(torch.nn.LSTM, {"proj_size": 4})
    assert subject.hidden_sizes is not None
    assert min(subject.hidden_sizes) == 5


@pytest.mark.parametrize(
    ("obj", "args", "name"),
    [
        (torch.nn.LSTM, {}, "nn.LSTM"),
        (torch.nn.GRU, {"num_layers": 2, "bidirectional": True}, "nn.GRU[2 layers, bidirectional]"),
        (torch.nn.RNN, {"nonlinearity": "relu"}, "nn.RNN[relu]"),
        (torch.nn.LSTM, {"proj_size": 2, "batch_first": True}, "nn.LSTM[projection 2, batch first]"),
        (torch.nn.GRUCell, {"bias": False}, "nn.GRUCell[no bias]"),
    ],
)
def test_names_say_what_is_special(obj: object, args: dict[str, object], name: str) -> None:
    assert subject_of(obj, args).name == name


def test_states_and_gates_carry_layer_and_direction() -> None:
    subject = subject_of(torch.nn.GRU(3, 4, num_layers=2, bidirectional=True))
    params, _, state = drawn(subject, 3, 4)
    assert list(state) == ["h_l0", "h_l0_reverse", "h_l1", "h_l1_reverse"]
    assert subject.regions(params)
    where = [(r.gate, r.layer, r.direction, r.index) for r in subject.regions(params) if r.tensor == "weight_hh_l1_reverse"]
    assert where == [(gate, 1, "reverse", (slice(4 * k, 4 * k + 4), slice(None))) for k, gate in enumerate("rzn")]


@pytest.mark.parametrize("case", LAYERS + CELLS, ids=named)
def test_the_gates_cover_every_parameter_once(case: tuple[str, dict[str, Any]]) -> None:
    subject = subject_of(getattr(torch.nn, case[0]), case[1])
    params, _, _ = drawn(subject)
    covered = {name: np.zeros(value.shape) for name, value in params.items()}
    for region in subject.implementation.regions(params):
        covered[region.tensor][region.index] += 1
    assert all(np.all(count == 1) for count in covered.values())


def test_the_gates_are_in_torchs_order() -> None:
    """With a large forget bias, and no input, c stays: the block called f is the forget gate."""
    subject = subject_of(torch.nn.LSTM)
    params, xs, state = drawn(subject)
    region = next(r for r in subject.implementation.regions(params) if r.tensor == "bias_ih_l0" and r.gate == "f")
    shut = {name: np.zeros_like(value) for name, value in params.items()}
    shut["bias_ih_l0"][region.index] = 50.0
    _, final = subject.implementation.run(shut, xs, state)
    np.testing.assert_allclose(final["c"], state["c"], rtol=1e-12)


def test_params_of_other_shapes_are_refused() -> None:
    subject = subject_of(torch.nn.GRU)
    with pytest.raises(ContractError, match=r"got params w \(2, 2\), wanted those of an init"):
        subject.implementation.zero_state({"w": np.zeros((2, 2))}, 1)
    params, xs, _ = drawn(subject)
    with pytest.raises(ContractError, match=r"state: got \[\], wanted 'h' too"):
        subject.implementation.run(params, xs, {})


def test_bad_arguments_are_told_in_one_line() -> None:
    with pytest.raises(UsageError) as told:
        adapt(torch.nn.GRU, "torch.nn:GRU", {"layers": 2})
    assert str(told.value) == (
        "torch.nn:GRU: nn.GRU(input_size=11, hidden_size=13, layers=2) raised TypeError: "
        "RNNBase.__init__() got an unexpected keyword argument 'layers', wanted a torch.nn.Module of these sizes"
    )
    with pytest.raises(UsageError, match=r"^x: got hidden_size = 'big', wanted a whole number of at least 1$"):
        adapt(torch.nn.GRU, "x", {"hidden_size": "big"})
    with pytest.raises(UsageError, match=r"^x: got args \['bias'\] for an instance, wanted none \(its sizes are fixed\)$"):
        adapt(torch.nn.GRU(3, 4), "x", {"bias": False})


@pytest.mark.parametrize("obj", [object(), 3, "nn.LSTM", dict, lambda a, b: {}, len, np.tanh], ids=lambda obj: type(obj).__name__)
def test_other_things_are_not_taken(obj: object) -> None:
    assert adapt(obj, "x", None) is None


def test_torch_is_not_imported_for_other_things() -> None:
    code = "import sys; from bptt.harness.adapters.torch.adapt import adapt; "
    code += "assert adapt(dict, 'x') is None; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
