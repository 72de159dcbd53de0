"""Clipping as its formulas say, as torch does it, at the ends of the range, and with what is not finite."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise, global_norm, unclipped
from bptt.refimpl.types import Array

quick = settings(max_examples=40, deadline=None, derandomize=True)
LIMITED: tuple[tuple[Any, str], ...] = ((clip_by_global_norm, "theta"), (clip_by_global_norm_torch, "theta"), (clip_elementwise, "limit"))
DTYPES = (np.float32, np.float64, np.longdouble)
CLIPS = (*(partial(clip, **{name: 0.1}) for clip, name in LIMITED), unclipped)


def some(seed: int, scale: float = 1.0, dtype: Any = np.float64) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.normal(size=shape)).astype(dtype) for name, shape in {"W": (3, 5), "b": (5,), "none": (0, 2)}.items()}


def flat(grads: dict[str, Array]) -> Array:
    return np.concatenate([g.ravel() for g in grads.values()])


@quick
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e3), st.sampled_from(DTYPES))
def test_the_norm_becomes_theta_and_the_direction_stays(seed: int, theta: float, dtype: Any) -> None:
    grads = some(seed, 10.0, dtype)
    clipped, norm = clip_by_global_norm(grads, theta)
    few = 8 * max(float(np.finfo(dtype).eps), 2.0**-52)  # the norm itself is a float64
    assert norm == pytest.approx(float(np.linalg.norm(flat(grads).astype(np.float64))), rel=few, abs=0)
    assert global_norm(clipped) == pytest.approx(min(theta, norm), rel=few, abs=0)
    assert {name: g.dtype for name, g in clipped.items()} == {name: g.dtype for name, g in grads.items()}
    np.testing.assert_allclose(flat(clipped), flat(grads) * min(1.0, theta / norm), rtol=few)


@quick
@given(st.integers(0, 2**32 - 1), st.floats(1e-7, 1e3), st.floats(1e-7, 1e3))
def test_as_torch_clips(seed: int, theta: float, scale: float) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    grads = some(seed, scale)
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()]
    for clip, of_torch in (
        (clip_by_global_norm_torch, torch.nn.utils.clip_grad_norm_),
        (clip_elementwise, torch.nn.utils.clip_grad_value_),
    ):
        for tensor, g in zip(tensors, grads.values(), strict=True):
            tensor.grad = torch.tensor(g)
        of_torch(tensors, theta)
        ours, _ = clip(grads, theta)
        np.testing.assert_allclose(flat(ours), np.concatenate([t.grad.numpy().ravel() for t in tensors]), rtol=1e-15)


def test_the_two_norms_differ_by_the_millionth_in_torchs_denominator() -> None:
    grads = some(0, 2e-6)
    (exact, norm), (torchs, _) = clip_by_global_norm(grads, 1e-6), clip_by_global_norm_torch(grads, 1e-6)
    np.testing.assert_allclose(flat(torchs), flat(exact) * norm / (norm + 1e-6), rtol=1e-14)
    assert global_norm(torchs) < 0.95 * global_norm(exact)


@quick
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3))
def test_elementwise_holds_each_entry(seed: int, limit: float) -> None:
    grads = some(seed)
    clipped, _ = clip_elementwise(grads, limit)
    for name, g in grads.items():
        np.testing.assert_array_equal(clipped[name], np.minimum(np.maximum(g, -limit), limit))


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise])
def test_small_gradients_are_handed_back_as_they_are(clip: Any) -> None:
    grads = some(1)
    clipped, _ = clip(grads, 1e3)
    assert all(clipped[name] is g for name, g in grads.items())


@pytest.mark.parametrize("clip", CLIPS)
def test_nothing_handed_in_is_changed(clip: Any) -> None:
    grads = some(2)
    before = {name: g.copy() for name, g in grads.items()}
    clip(grads)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, before[name])


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name_and_place(clip: Any, bad: float) -> None:
    grads = some(3)
    grads["W"][1, 4] = bad
    with pytest.raises(ValueError, match=rf"^gradient of W is {bad} at \[1, 4\], but clipping needs finite gradients$"):
        clip(grads)


@pytest.mark.parametrize(("dtype", "power"), [("f4", 30), ("f4", -21), ("f4", -30), ("f8", 200), ("f8", -161), ("f8", -200)])
def test_squares_beyond_the_range_of_the_dtype(dtype: str, power: int) -> None:
    scale = 10.0**power
    grads = some(4, 1.0)
    scaled = {name: (scale * g).astype(dtype) for name, g in grads.items()}
    assert global_norm(scaled) == pytest.approx(scale * global_norm(grads), rel=1e-6, abs=0)
    assert global_norm({"W": np.full((128, 128), scale, dtype)}) == pytest.approx(128 * scale, rel=1e-6, abs=0)
    clipped, _ = clip_by_global_norm(scaled, scale / 100)
    assert global_norm(clipped) == pytest.approx(scale / 100, rel=1e-6, abs=0)


def test_a_norm_beyond_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond float64"):
        clip_by_global_norm({"W": np.full((3, 3), 1.5e308)}, 1.0)


def test_many_entries_in_float32_keep_their_digits() -> None:
    g = np.random.default_rng(5).normal(size=(1000, 1003)).astype(np.float32)
    norm = float(np.linalg.norm(g.astype(np.float64)))
    assert global_norm({"W": g}) == pytest.approx(norm, rel=1e-7, abs=0)
    half = float(np.linalg.norm(g[::2].astype(np.float64)))
    assert global_norm({"W": np.asfortranarray(g), "b": g[::2]}) == pytest.approx(np.hypot(norm, half), rel=1e-7, abs=0)


def test_zero_gradients_stay_zero() -> None:
    clipped, norm = clip_by_global_norm_torch({"W": np.zeros((2, 3))}, 0.01)
    assert norm == 0
    np.testing.assert_array_equal(clipped["W"], np.zeros((2, 3)))


@pytest.mark.parametrize("theta", [0.0, -1.0, np.inf, np.nan])
def test_a_limit_is_a_number_above_zero(theta: float) -> None:
    for clip in (clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise):
        with pytest.raises(ValueError, match="should be a number above 0"):
            clip(some(0), theta)
