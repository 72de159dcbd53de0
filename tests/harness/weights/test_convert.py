from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Array
from bptt.harness.weights.convention_map import mapping
from bptt.harness.weights.conventions import CONVENTIONS, Convention, convention
from bptt.harness.weights.convert import conventions, convert
from bptt.harness.weights.map import params_to_reference, shape_of
from bptt.refimpl.unroll import forward

LAYER = {name: "_l0" for name in CONVENTIONS if name.startswith("torch.nn.") and CONVENTIONS[name].layered}


def weights(of: Convention, D: int = 3, H: int = 5, P: int = 2, without: tuple[str, ...] = ("W_p",), seed: int = 0) -> dict[str, Array]:
    """Random weights of a convention, nothing zero; without the optional tensors that hold what `without` names."""
    rng = np.random.default_rng(seed)
    names = {name for name, tensor in of.tensors.items() if tensor.needed or tensor.holds not in without}
    shapes = {name: shape_of(words, {"D": D, "H": H, "P": P}) for name, words in mapping(of, names).tensors.items()}
    return {name + LAYER.get(of.name, ""): rng.normal(scale=0.7, size=shape) for name, shape in shapes.items()}


def outputs(of: Convention, params: dict[str, Array], D: int = 3) -> Array:
    bare = {name.removesuffix("_l0"): value for name, value in params.items()}
    over = mapping(of, set(bare))
    carried = params_to_reference(over, bare)
    rng = np.random.default_rng(1)
    state = {name: np.asarray(rng.normal(size=s.shape)) for name, s in over.cell.zero_state(carried, 2).items()}
    return forward(over.cell, carried, rng.normal(size=(4, 2, D)), state)[0]


@pytest.mark.thorough
def test_every_pair_of_conventions_carries_or_says_why_not() -> None:
    carried = refused = 0
    for a, b in product(CONVENTIONS.values(), repeat=2):
        params = weights(a)
        try:
            there = convert(params, a.name, b.name)
        except UsageError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        np.testing.assert_allclose(outputs(b, there), outputs(a, params), rtol=0, atol=1e-13, err_msg=f"{a.name} to {b.name}")
        carried += 1
    assert carried > 300
    assert refused > 1000


@pytest.mark.parametrize("name", CONVENTIONS)
def test_there_and_back_through_itself_is_the_same_bits(name: str) -> None:
    params = weights(CONVENTIONS[name])
    back = convert(params, name, name)
    assert back.keys() == params.keys()
    for tensor, value in params.items():
        np.testing.assert_array_equal(back[tensor], value)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["keras.layers.LSTM", "equinox.nn.LSTMCell", "haste.LSTM"]))
def test_what_is_only_moved_comes_back_at_every_size(D: int, H: int, name: str) -> None:
    params = weights(CONVENTIONS["lstm"], D, H, without=("W_p", "p"))
    back = convert(convert(params, "lstm", name), name, "lstm")
    for tensor, value in params.items():
        np.testing.assert_array_equal(back[tensor], value)


def test_two_biases_of_the_gru_stay_two() -> None:
    params = weights(CONVENTIONS["torch.nn.GRU"])
    back = convert(convert(params, "torch.nn.GRU", "keras.layers.GRU"), "keras.layers.GRU", "torch.nn.GRU")
    for name, value in params.items():
        np.testing.assert_array_equal(back[name], value)


def test_the_forget_bias_is_taken_off_where_it_is_added_at_run_time() -> None:
    params = weights(CONVENTIONS["keras.layers.LSTM"])
    there = convert(params, "keras.layers.LSTM", "tf1.LSTMCell(forget_bias=0.5)")
    np.testing.assert_allclose(there["bias"][10:15], params["bias"][5:10] - 0.5, rtol=1e-15)


def test_z_is_turned_round_for_haiku() -> None:
    params = weights(CONVENTIONS["keras.layers.GRU(reset_after=False)"])
    there = convert(params, "keras.layers.GRU(reset_after=False)", "haiku.GRU")
    np.testing.assert_array_equal(there["w_i"][:, :5], -params["kernel"][:, :5])
    np.testing.assert_array_equal(there["w_i"][:, 5:], params["kernel"][:, 5:])


def test_projections_and_peepholes_travel_where_there_is_a_place() -> None:
    params = weights(CONVENTIONS["tf1.LSTMCell"], without=())
    there = convert(params, "tf1.LSTMCell", "lstm_tf1")
    np.testing.assert_allclose(outputs(convention("lstm_tf1"), there), outputs(convention("tf1.LSTMCell"), params), rtol=0, atol=1e-13)
    with pytest.raises(UsageError, match=r"tf1\.LSTMCell has a peephole .* and torch\.nn\.LSTM has no place for it"):
        convert(params, "tf1.LSTMCell", "torch.nn.LSTM")
    params = weights(CONVENTIONS["tf1.LSTMCell"], without=("p",))
    assert convert(params, "tf1.LSTMCell", "torch.nn.LSTM")["weight_hr_l0"].shape == (2, 5)
    with pytest.raises(UsageError, match=r"has a projection .* and keras\.layers\.LSTM has no place for it"):
        convert(params, "tf1.LSTMCell", "keras.layers.LSTM")


def test_both_directions_and_layers_travel() -> None:
    forward_, reverse = weights(CONVENTIONS["torch.nn.LSTM"]), weights(CONVENTIONS["torch.nn.LSTM"], seed=1)
    both = forward_ | {f"{name}_reverse": value for name, value in reverse.items()}
    onnx = convert(both, "torch.nn.LSTM", "onnx.LSTM")
    assert onnx["W"].shape == (2, 20, 3)
    back = convert(onnx, "onnx.LSTM", "torch.nn.LSTM")
    for name, value in both.items():
        np.testing.assert_array_equal(back[name], value)
    ours = convert(both, "torch.nn.LSTM", "lstm")
    assert set(ours) == {"W_x_l0", "W_h_l0", "b_l0", "W_x_l0_reverse", "W_h_l0_reverse", "b_l0_reverse"}
    with pytest.raises(UsageError, match="holds one layer in one direction, got layer 0, layer 0 reverse; hand over one after the other"):
        convert(both, "torch.nn.LSTM", "keras.layers.LSTM")


@pytest.mark.parametrize(
    ("source", "target", "change", "words"),
    [
        ("torch.nn.LSTN", "lstm", {}, "no convention 'torch.nn.LSTN', did you mean 'torch.nn.LSTM'?"),
        ("tf1.LSTMCell(forgot=1)", "lstm", {}, "no option 'forgot' of tf1.LSTMCell, wanted forget_bias, cell_clip, proj_clip"),
        ("tf1.LSTMCell(forget_bias=x)", "lstm", {}, "forget_bias is 'x', wanted a number"),
        ("tf1.LSTMCell(cell_clip=1)", "lstm", {}, "has cell_clip 1 and lstm has 0"),
        ("keras.layers.LSTM", "lstm", {"kernel": None}, "LSTM lack kernel, wanted kernel, recurrent_kernel, [bias]"),
        ("keras.layers.LSTM", "lstm", {"extra": np.ones(3)}, "weights of keras.layers.LSTM have extra"),
        ("keras.layers.LSTM", "lstm", {"kernel": np.ones((3, 21))}, "'kernel' has shape (3, 21), wanted"),
        ("keras.layers.LSTM", "lstm", {"kernel": np.ones(3)}, "'kernel' has shape (3,), wanted (D, 4H)"),
        ("keras.layers.GRU", "haiku.GRU", {}, "computes gru_reset_after and haiku.GRU computes gru_reset_before"),
        ("torch.nn.RNN", "keras.layers.GRU", {}, "computes elman and keras.layers.GRU computes gru_reset_after"),
    ],
)
def test_what_cannot_be_converted_is_one_clear_line(source: str, target: str, change: dict[str, Array | None], words: str) -> None:
    known = CONVENTIONS.get(source.partition("(")[0], CONVENTIONS["keras.layers.LSTM"])
    given_ = {k: v for k, v in (weights(known) | change).items() if v is not None}
    with pytest.raises((UsageError, ContractError)) as caught:
        convert(given_, source, target)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_door_is_in_harness() -> None:
    assert bptt.convert is convert
    assert bptt.conventions() == conventions()


TORCH = [
    ("torch.nn.LSTM", "LSTM", {}, "lstm"),
    ("torch.nn.LSTM", "LSTM", {"num_layers": 2, "bidirectional": True}, "lstm"),
    ("torch.nn.LSTM", "LSTM", {"proj_size": 2}, "lstm_projected"),
    ("torch.nn.LSTM", "LSTM", {"bias": False}, "lstm"),
    ("torch.nn.GRU", "GRU", {"num_layers": 2}, "gru_reset_after"),
    ("torch.nn.RNN", "RNN", {}, "elman"),
    ("torch.nn.RNN(nonlinearity=relu)", "RNN", {"nonlinearity": "relu"}, "elman_relu"),
]


@pytest.mark.parametrize(("name", "attribute", "args", "cell"), TORCH)
def test_torch_computes_what_the_reference_does_with_its_weights(name: str, attribute: str, args: dict[str, object], cell: str) -> None:
    torch = pytest.importorskip("torch")
    from bptt.refimpl import CELLS
    from bptt.refimpl.stack import Stack, zero_state
    from bptt.refimpl.stack import forward as stack_forward

    torch.manual_seed(0)
    layer = getattr(torch.nn, attribute)(3, 5, **args).double()
    ours = convert({k: v.detach().numpy() for k, v in layer.state_dict().items()}, name, cell)
    depth, both = int(str(args.get("num_layers", 1))), bool(args.get("bidirectional"))
    suffixed = ours if any(k.endswith("_l0") for k in ours) else {f"{k}_l0": v for k, v in ours.items()}
    stack = Stack((CELLS[cell],) * depth, both)
    xs = torch.randn(4, 2, 3, dtype=torch.float64)
    ys, _, _ = stack_forward(stack, suffixed, xs.numpy(), zero_state(stack, suffixed, 2))
    np.testing.assert_allclose(ys, layer(xs)[0].detach().numpy(), rtol=0, atol=1e-12)
    back = convert(suffixed, cell, name)
    with torch.no_grad():
        for key, value in back.items():
            if key in layer.state_dict():
                layer.state_dict()[key].copy_(torch.from_numpy(value))
    np.testing.assert_allclose(layer(xs)[0].detach().numpy(), ys, rtol=0, atol=1e-12)
