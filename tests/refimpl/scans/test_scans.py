"""Every scan: its backward pass at 50 digits, by complex step, in every number system, and its chunk form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.refimpl.scans import SCANS
from bptt.refimpl.scans.scan import Arrays, Scan, backward, default_sizes, forward, forward_in_chunks, shape, zero_state
from bptt.refimpl.types import Array
from tests.refimpl.multiprecision import exact
from tests.refimpl.proof import one_random_direction, worst_along

every_scan = pytest.mark.parametrize("scan", list(SCANS.values()), ids=list(SCANS))
in_chunks = pytest.mark.parametrize("scan", [scan for scan in SCANS.values() if scan.chunk], ids=[n for n, s in SCANS.items() if s.chunk])


def case(scan: Scan, T: int, N: int, seed: int = 3) -> tuple[dict[str, Array], dict[str, Array]]:
    """All that L depends on, and the cotangents, both by name."""
    rng, sizes = np.random.default_rng(seed), default_sizes(scan)
    params = scan.init(rng, sizes)
    inputs = {**params, **scan.draw(rng, params, T, N, sizes), **scan.start(rng, params, N, sizes)}
    cotangents = {name: rng.normal(size=shape(scan, name, {**sizes, "T": T, "N": N})) for name in (*scan.outputs, *scan.states)}
    return inputs, cotangents


def parts(scan: Scan, arrays: Arrays) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    return tuple({name: arrays[name] for name in names} for names in (scan.params, scan.inputs, scan.states))  # type: ignore[return-value]  # three of them


def loss(scan: Scan, arrays: Arrays, cotangents: Arrays) -> Any:
    ys, final, _ = forward(scan, *parts(scan, arrays))
    results = {**ys, **final}
    return sum((cotangents[name] * results[name]).sum() for name in cotangents)


def gradients(scan: Scan, arrays: Arrays, cotangents: Arrays) -> dict[str, Array]:
    params, inputs, state = parts(scan, arrays)
    _, _, tapes = forward(scan, params, inputs, state)
    dys, dfinal = {n: cotangents[n] for n in scan.outputs}, {n: cotangents[n] for n in scan.states}
    dparams, dinputs, dstate = backward(scan, params, tapes, dys, dfinal)
    return {**dparams, **dinputs, **dstate}


@every_scan
def test_backward_equals_the_difference_quotient_at_50_digits(scan: Scan) -> None:
    inputs, cotangents = case(scan, T=3, N=2)
    precise, weights = {n: exact(a) for n, a in inputs.items()}, {n: exact(a) for n, a in cotangents.items()}
    hand = gradients(scan, precise, weights)
    rng = np.random.default_rng(8)
    error, where = worst_along(one_random_direction(inputs, rng), lambda moved: loss(scan, moved, weights), precise, hand)
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


def test_the_proof_finds_a_mistake() -> None:
    scan = SCANS["gated_delta_rule"]

    def wrong(
        params: Arrays, tape: tuple[Array, ...], dy: Arrays, dstate: Arrays
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        dx, dprev, dparams = scan.step_backward(params, tape, dy, dstate)
        return {**dx, "beta": dx["beta"] * (1 + exact(np.array(1e-25)))}, dprev, dparams

    inputs, cotangents = case(scan, T=2, N=1)
    precise, weights = {n: exact(a) for n, a in inputs.items()}, {n: exact(a) for n, a in cotangents.items()}
    planted = replace(scan, step_backward=wrong)
    hand = gradients(planted, precise, weights)
    assert (hand["beta"] != gradients(scan, precise, weights)["beta"]).any()
    error, where = worst_along(
        one_random_direction(inputs, np.random.default_rng(8)), lambda moved: loss(planted, moved, weights), precise, hand
    )
    assert error > 1e-30
    assert where == "dL/dbeta"


@every_scan
def test_backward_equals_the_complex_step(scan: Scan) -> None:
    inputs, cotangents = case(scan, T=7, N=2)
    hand = gradients(scan, inputs, cotangents)
    for name, a in inputs.items():
        quotient = np.empty(a.shape)
        for index in np.ndindex(a.shape):
            z = a.astype(complex)
            z[index] += 1e-30j
            quotient[index] = np.imag(loss(scan, {**inputs, name: z}, cotangents)) / 1e-30
        error = np.abs(hand[name] - quotient).max() / np.abs(quotient).max()
        assert error < 1e-12, f"dL/d{name}: relative error {error:.1e}"


@every_scan
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
def test_results_have_the_dtype_and_the_shapes_of_the_layout(scan: Scan, dtype: type) -> None:
    T, N = 3, 2
    inputs, cotangents = case(scan, T, N)
    if dtype is object:
        inputs, cotangents = {n: exact(a) for n, a in inputs.items()}, {n: exact(a) for n, a in cotangents.items()}
    inputs, cotangents = {n: a.astype(dtype) for n, a in inputs.items()}, {n: a.astype(dtype) for n, a in cotangents.items()}
    ys, final, _ = forward(scan, *parts(scan, inputs))
    sizes = {**default_sizes(scan), "T": T, "N": N}
    results = {**ys, **final}
    for name, result in {**results, **gradients(scan, inputs, cotangents)}.items():
        assert result.dtype == dtype, name
        assert result.shape == shape(scan, name, sizes), name


@in_chunks
@pytest.mark.parametrize("size", [1, 2, 4, 7, 16])
def test_the_chunk_form_equals_the_steps(scan: Scan, size: int) -> None:
    inputs, _ = case(scan, T=7, N=2)
    ys, final, _ = forward(scan, *parts(scan, inputs))
    chunked, last = forward_in_chunks(scan, *parts(scan, inputs), size)
    for name, value in {**ys, **final}.items():
        np.testing.assert_allclose({**chunked, **last}[name], value, rtol=1e-12, atol=1e-13, err_msg=name)


@every_scan
def test_two_halves_are_the_whole(scan: Scan) -> None:
    inputs, _ = case(scan, T=6, N=2)
    params, xs, state = parts(scan, inputs)
    ys, final, _ = forward(scan, params, xs, state)
    first, between, _ = forward(scan, params, {n: x[:, :4] for n, x in xs.items()}, state)
    second, last, _ = forward(scan, params, {n: x[:, 4:] for n, x in xs.items()}, between)
    for name in scan.outputs:
        np.testing.assert_array_equal(np.concatenate([first[name], second[name]], axis=1), ys[name])
    for name in scan.states:
        np.testing.assert_array_equal(last[name], final[name])


@every_scan
def test_it_runs_from_zeros(scan: Scan) -> None:
    inputs, _ = case(scan, T=3, N=2)
    params, xs, _ = parts(scan, inputs)
    ys, final, _ = forward(scan, params, xs, zero_state(scan, 2, default_sizes(scan)))
    assert all(np.isfinite(a).all() for a in {**ys, **final}.values())


def test_the_special_cases_are_special_cases() -> None:
    """No decay is linear attention; equal gates of all rows are one gate; beta without a decay is the delta rule."""
    decay, inputs = SCANS["decay"], case(SCANS["decay"], T=5, N=2)[0]
    plain = {**inputs, "g": np.zeros_like(inputs["g"])}
    ys, final, _ = forward(decay, *parts(decay, plain))
    sums = np.cumsum(inputs["k"][..., :, None] * inputs["v"][..., None, :], axis=1) + inputs["S"][:, None]
    np.testing.assert_allclose(ys["y"], (sums * inputs["q"][..., None]).sum(axis=-2), rtol=1e-13)
    np.testing.assert_allclose(final["S"], sums[:, -1], rtol=1e-13)

    rows = SCANS["gated_linear_attention"]
    same = {**inputs, "g": np.repeat(inputs["g"][..., None], inputs["k"].shape[-1], axis=-1)}
    np.testing.assert_array_equal(forward(rows, *parts(rows, same))[0]["y"], forward(decay, *parts(decay, inputs))[0]["y"])

    gated, delta = SCANS["gated_delta_rule"], SCANS["delta_rule"]
    inputs = case(gated, T=5, N=2)[0]
    np.testing.assert_array_equal(
        forward(gated, *parts(gated, {**inputs, "g": np.zeros_like(inputs["g"])}))[0]["y"], forward(delta, *parts(delta, inputs))[0]["y"]
    )


def test_mlstm_does_not_depend_on_its_stabiliser() -> None:
    """C, n and m stand for C exp(m) and n exp(m): a shift of m that C and n make good changes no output."""
    scan = SCANS["mlstm"]
    inputs, _ = case(scan, T=5, N=2)
    shifted = {**inputs, "m": inputs["m"] + 1.5, "C": inputs["C"] * np.exp(-1.5), "n": inputs["n"] * np.exp(-1.5)}
    np.testing.assert_allclose(forward(scan, *parts(scan, shifted))[0]["y"], forward(scan, *parts(scan, inputs))[0]["y"], rtol=1e-12)


def test_lru_and_s5_are_the_complex_recurrences() -> None:
    for name in ("lru", "s5"):
        scan = SCANS[name]
        p, _ = case(scan, T=4, N=2)
        if name == "lru":
            eigenvalue = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
            factor = np.sqrt(1 - np.abs(eigenvalue) ** 2)
        else:
            continuous = -np.exp(p["decay"]) + 1j * p["omega"]
            eigenvalue = np.exp(continuous * np.exp(p["log_step"]))
            factor = (eigenvalue - 1) / continuous
        h, B, C = p["p"] + 1j * p["q"], p["B_re"] + 1j * p["B_im"], p["C_re"] + 1j * p["C_im"]
        ys = forward(scan, *parts(scan, p))[0]["y"]
        for t in range(4):
            x = p["x"][:, t]
            h = eigenvalue * h + factor * (x @ B)
            np.testing.assert_allclose(ys[:, t], (h @ C).real + p["skip"] * x, rtol=1e-12)


def test_chunks_are_refused_where_there_are_none() -> None:
    inputs, _ = case(SCANS["rwkv7"], T=3, N=1)
    with pytest.raises(ValueError, match="rwkv7 has no chunk form"):
        forward_in_chunks(SCANS["rwkv7"], *parts(SCANS["rwkv7"], inputs), 2)


@every_scan
def test_its_page_is_complete(scan: Scan) -> None:
    import importlib

    page = importlib.import_module(f"bptt.refimpl.scans.{scan.name}").__doc__ or ""
    for part in ("Equations", "Shapes", "Derivation", "Source", "Variant"):
        assert f"\n{part} " in page, part
    assert set(scan.layout) == {*scan.inputs, *scan.outputs, *scan.states, *scan.params}
