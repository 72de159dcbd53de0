from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import BpttError, ContractError, SubjectError
from bptt.harness.identify.published_cell import closest, identify, nothing_found_reason
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.harness.weights.map import params_to_reference
from bptt.refimpl import CELLS
from bptt.refimpl.cells.lstm_tf1 import Options, make
from bptt.refimpl.unroll import forward
from tests.harness.diagnosis.table import TABLE, WRONG
from tests.harness.identify.variants import Stateless, Variant, subject


class Reference:
    """A reference cell in the form of the plug-in contract."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.init, self.zero_state = cell.init, cell.zero_state

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return forward(self.cell, params, xs, state)[:2]


@pytest.mark.parametrize("name", TABLE)
def test_a_right_implementation_is_named_with_its_convention(name: str) -> None:
    variant, cell, words = TABLE[name]
    found = identify(subject(variant))
    assert found is not None, nothing_found_reason(subject(variant))
    assert found.cell == cell == found.mapping.cell.name
    assert [word for word in words if word not in found.convention] == [], found.convention
    assert found.max_error < 1e-12
    assert found.tried > 0


@pytest.mark.thorough
def test_the_table_has_at_least_thirty_conventions() -> None:
    assert len(TABLE) >= 30
    assert len({identify(subject(variant)).convention for variant, _, _ in TABLE.values()}) >= 30  # type: ignore[union-attr]  # named above


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.parameters])
def test_every_reference_cell_is_named_as_itself(name: str) -> None:
    found = identify(subject(Reference(CELLS[name])), like=name)
    assert found is not None
    assert found.cell == name
    assert found.max_error < 1e-12


@pytest.mark.every(3)
@pytest.mark.parametrize("name", WRONG)
def test_a_cell_that_nobody_published_gets_no_name(name: str) -> None:
    wrong = subject(WRONG[name])
    assert identify(wrong) is None
    assert len(nothing_found_reason(wrong)) > 30


@pytest.mark.parametrize("name", [name for name in WRONG if "o peephole" not in name])
def test_each_mistake_changes_the_outputs(name: str) -> None:
    """Without its mistake the same variant has a name: it is the mistake that was seen, and nothing else."""
    assert identify(subject(replace(WRONG[name], mistake="", gate_activation="sigmoid"))) is not None


def test_an_o_peephole_on_the_old_c_is_what_is_not_found() -> None:
    wrong = WRONG["lstm o peephole on the old c"]
    assert identify(subject(replace(wrong, mistake=""))) is not None
    assert "parameter p[2, :] acts like no bias and no peephole" in nothing_found_reason(subject(wrong))


def test_it_is_named_by_what_the_code_does_and_not_by_what_it_says() -> None:
    class ResetBefore(Variant):
        """A GRU with the reset gate applied before the recurrent product: n = tanh(W x + U (r * h))."""

        like = "gru_reset_before"

    found = identify(subject(ResetBefore("rzn", reset="after"), like="gru_reset_before"), like="gru_reset_before")
    assert found is not None
    assert found.cell == "gru_reset_after"
    assert "reset after the product" in found.convention


def test_closest_says_how_far_off_the_claim_is() -> None:
    after = subject(Variant("zrn", reset="after", z_opens_new=True))
    near, right = closest(after, "gru_reset_before"), closest(after, "gru_reset_after")
    assert near is not None and right is not None
    assert near.cell == "gru_reset_before" and near.max_error > 1e-2
    assert right.cell == "gru_reset_after" and right.max_error < 1e-12
    assert "blocks z r n" in near.convention


def test_closest_is_none_where_the_parameters_are_of_another_family() -> None:
    assert closest(subject(Variant("rzn")), "lstm") is None


@pytest.mark.parametrize("mistake", ["f * tanh(c)", "no tanh on c"])
def test_closest_carries_on_where_the_cell_is_wrong(mistake: str) -> None:
    near = closest(subject(Variant("fgio", mistake=mistake)), "lstm")
    assert near is not None
    assert near.max_error > 1e-3
    assert "blocks f g i o" in near.convention


@pytest.mark.parametrize("name", ["lstm as torch", "lstm as haiku", "gru as torch", "gru as haiku", "gru a tensor a gate", "elman relu"])
def test_a_cell_that_keeps_no_state_is_named_too(name: str) -> None:
    variant, cell, words = TABLE[name]
    found = identify(subject(Stateless(variant)))
    assert found is not None
    assert found.cell == cell
    assert found.mapping.state == {}
    assert all(word in found.convention for word in words)


@pytest.mark.parametrize(
    "name", ["lstm as torch", "gru as haiku", "gru a tensor a gate", "elman as torch", "elman transposed h", "gru one kernel"]
)
@pytest.mark.parametrize(
    "sizes",
    [
        {"square": True},
        {"input_sizes": (4,), "hidden_sizes": (4,)},
        {"input_sizes": (3,), "hidden_sizes": (6,)},
        {"input_sizes": (8,), "hidden_sizes": (2,)},
        {"input_sizes": (10,)},
        {"hidden_sizes": (3,)},
        {"batch_sizes": (1,)},
    ],
    ids=str,
)
def test_sizes_that_cannot_be_chosen(name: str, sizes: dict[str, Any]) -> None:
    variant, cell, words = TABLE[name]
    found = identify(subject(variant, **sizes))
    assert found is not None, nothing_found_reason(subject(variant, **sizes))
    assert found.cell == cell
    assert all(word in found.convention for word in words), found.convention


@pytest.mark.parametrize(
    "name",
    ["lstm as torch", "lstm as tf1 with a clip", "lstm as tf1 with peepholes", "gru as haiku", "gru as torch", "elman as torch"],
)
@pytest.mark.parametrize("seed", range(3))
def test_float32_is_named_within_its_rounding(name: str, seed: int) -> None:
    variant, cell, words = TABLE[name]
    found = identify(subject(variant, dtype="float32"), seed=seed)
    assert found is not None, nothing_found_reason(subject(variant, dtype="float32"), seed)
    assert found.cell == cell
    assert all(word in found.convention for word in words), found.convention
    assert 1e-9 < found.max_error < 2e-5


@pytest.mark.every(4)
@pytest.mark.parametrize("name", [name for name in TABLE if name.startswith(("gru", "lstm as"))])
def test_the_answer_does_not_hang_on_the_seed(name: str) -> None:
    variant = TABLE[name][0]
    assert len({identify(subject(variant), seed=seed).convention for seed in range(10)}) == 1  # type: ignore[union-attr]  # named above


@pytest.mark.parametrize(
    "options",
    [
        Options(cell_clip=0.5),
        Options(cell_clip=30.0),
        Options(projected=True, proj_clip=0.3),
        Options(forget_bias=2.5, peepholes=True, cell_clip=3.0, projected=True, proj_clip=0.7),
    ],
    ids=str,
)
def test_clips_are_found_with_their_limits(options: Options) -> None:
    found = identify(subject(Reference(make(options))))
    assert found is not None
    assert found.cell == "lstm_tf1"
    for words, limit in (("c clipped to", options.cell_clip), ("projection clipped to", options.proj_clip)):
        assert (f"{words} {limit:g}" in found.convention) if limit else (words not in found.convention)


def test_every_lstm_is_an_lstm_tf1_where_it_claims_to_be() -> None:
    variant = TABLE["lstm as haiku"][0]
    found = identify(subject(variant), like="lstm_tf1")
    assert found is not None
    assert found.cell == "lstm_tf1"


class TwoKernels:
    """The GRU of TensorFlow 1: one kernel for both gates, one for the candidate, all on [x, h]; u keeps the old state."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        D, H = input_size, hidden_size
        shapes = {"gates/kernel": (D + H, 2 * H), "gates/bias": (2 * H,), "candidate/kernel": (D + H, H), "candidate/bias": (H,)}
        return {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {"state": np.zeros((batch_size, len(params["candidate/bias"])))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, ys = state["state"], []
        for x in xs:
            a = np.concatenate([x, h], axis=1) @ params["gates/kernel"] + params["gates/bias"]
            r, u = np.split(1 / (1 + np.exp(-a)), 2, axis=1)
            c = np.tanh(np.concatenate([x, r * h], axis=1) @ params["candidate/kernel"] + params["candidate/bias"])
            h = u * h + (1 - u) * c
            ys.append(h)
        return np.stack(ys), {"state": h}


def test_the_gru_of_tensorflow_1_has_two_kernels() -> None:
    found = identify(subject(TwoKernels()))
    assert found is not None, nothing_found_reason(subject(TwoKernels()))
    assert found.convention == (
        "a GRU, reset before the product, z keeps the old state, blocks r z n, two kernels on [x, h] (D+H, 2H) (D+H, H), one bias"
    )


def test_a_bias_of_n_inside_the_reset_is_said_to_be_there() -> None:
    class Inside(Variant):
        def unpacked_biases(self, params: Arrays, H: int) -> list[dict[str, Array]]:
            (bias,) = super().unpacked_biases(params, H)
            return [bias | {"n": np.zeros(H)}, {"n": bias["n"]}]

    found = identify(subject(Inside("rzn")))
    assert found is not None
    assert "one bias, that of n multiplied by r" in found.convention


# ---------------------------------------------------------------------------------------------------- why nothing was found


class SinglePrecisionInside(Variant):
    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        single = [{name: value.astype(np.float32) for name, value in arrays.items()} for arrays in (params, state)]
        ys, final = super().run(single[0], xs.astype(np.float32), single[1])
        return ys.astype(float), {name: value.astype(float) for name, value in final.items()}


class Layers(Variant):
    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {f"{name}_l{k}": np.zeros((batch_size, 5)) for name in "hc" for k in range(2)}


class Unused(Variant):
    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return super().init(rng, input_size, hidden_size) | {"b_forgotten": np.ones(3 * hidden_size)}


class OtherShape(Variant):
    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return super().init(rng, input_size, hidden_size) | {"W_out": np.ones((hidden_size, 17))}


class Readout(Variant):
    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return 2 * ys, final


class FiveBlocks(Variant):
    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {"W": rng.normal(size=(input_size, 5 * hidden_size)), "U": rng.normal(size=(hidden_size, 5 * hidden_size))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, ys = state["h"], []
        for x in xs:
            z, n, m, k, j = np.split(x @ params["W"] + h @ params["U"], 5, axis=1)
            h = h + (np.tanh(n + m * k * j) - h) / (1 + np.exp(-z))
            ys.append(h)
        return np.stack(ys), {"h": h}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {"h": np.zeros((batch_size, params["U"].shape[0]))}


@pytest.mark.parametrize(
    ("implementation", "fields", "words"),
    [
        (Layers("ifgo"), {}, "its states (h_l0, h_l1, c_l0, c_l1) all depend on the same parameters"),
        (Variant("ifgo"), {"bidirectional": True}, "all depend on the same parameters, as those of a single cell do"),
        (Unused("rzn"), {}, "parameter b_forgotten[0:5] has no effect"),
        (OtherShape("rzn"), {}, "parameter 'W_out' of shape (5, 17) is no arrangement of blocks over D=7 inputs and H=5 units"),
        (Readout("rzn"), {}, "none of its final states (h) is its last output"),
        (FiveBlocks("znmkj"), {}, "parameter 'W' of shape (7, 25) is no arrangement of blocks over D=7 inputs and H=5 units"),
        (SinglePrecisionInside("rzn"), {}, "so near that it may compute in a lower precision inside"),
        (WRONG["lstm f * tanh(c)"], {}, "c is not carried on by one factor"),
        (WRONG["gru that ignores r"], {}, "no use of the recurrent weights gives its outputs"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_reason_says_where_the_search_ended(implementation: Any, fields: dict[str, Any], words: str) -> None:
    unknown = subject(implementation, **fields)
    assert identify(unknown) is None
    assert words in nothing_found_reason(unknown)


def test_a_found_cell_has_no_reason() -> None:
    assert nothing_found_reason(subject(Variant("rzn"))) == ""


def test_a_subject_that_writes_into_its_inputs_is_named_all_the_same() -> None:
    class Writes(Variant):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            out = super().run(params, xs, state)
            for array in (*params.values(), xs, *state.values()):
                array[...] = 0
            return out

    assert identify(subject(Writes("rzn"))) is not None


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (None, ContractError, "run returned a NoneType, wanted a pair"),
        ((np.ones((3, 2, 5)), np.ones((2, 5))), ContractError, "final_state"),
        (ZeroDivisionError("no such size"), SubjectError, "ZeroDivisionError: no such size"),
    ],
    ids=["none", "no dict", "raises"],
)
def test_a_subject_that_cannot_be_run_is_an_error_of_the_subject(returned: Any, error: type[BpttError], words: str) -> None:
    class Broken(Variant):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> Any:
            if isinstance(returned, Exception):
                raise returned
            return returned

    with pytest.raises(error, match=words):
        identify(subject(Broken("rzn")))


def test_the_mapping_holds_at_other_sizes() -> None:
    variant = TABLE["lstm as haiku"][0]
    found = identify(subject(variant))
    assert found is not None
    canonical = params_to_reference(found.mapping, variant.init(np.random.default_rng(0), 3, 11))
    assert {name: value.shape for name, value in canonical.items()} == {"W_x": (3, 44), "W_h": (11, 44), "b": (44,)}


class BiasInTheKernel:
    """An LSTM, blocks i f o g, whose bias is a row of its one kernel: first or last, inputs or state first."""

    def __init__(self, order: str) -> None:
        self.order = order

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {"K": rng.normal(scale=0.4, size=(1 + input_size + hidden_size, 4 * hidden_size))}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {name: np.zeros((batch_size, params["K"].shape[1] // 4)) for name in "ch"}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        c, h, ys = state["c"], state["h"], []
        for x in xs:
            parts = {"1": np.ones((len(x), 1)), "x": x, "h": h}
            i, f, o, g = np.split(np.concatenate([parts[key] for key in self.order], axis=1) @ params["K"], 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            ys.append(h)
        return np.stack(ys), {"c": c, "h": h}


@pytest.mark.parametrize("order", ["1xh", "1hx", "xh1", "hx1"])
def test_a_bias_that_is_a_row_of_the_kernel(order: str) -> None:
    found = identify(load(BiasInTheKernel(order))[0])
    assert found is not None and found.cell == "lstm"
    assert f"blocks i f o g, one kernel on [{', '.join(order)}]" in found.convention
    assert "one bias" in found.convention
    carried = params_to_reference(found.mapping, {"K": np.ones((1 + 3 + 4, 16))})  # at other sizes too
    assert {name: value.shape for name, value in carried.items()} == {"W_x": (3, 16), "W_h": (4, 16), "b": (16,)}
