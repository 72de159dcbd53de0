"""Mistakes in the clipping of gradients, as plain functions of gradients and threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bptt.harness.known.mistake import KnownMistake, of_part
from bptt.harness.subject import Answer, Array, Arrays
from bptt.harness.training.oracle import Hyper, clipped

Clipping = Callable[[Arrays, float], dict[str, Array]]
_GLOBAL = "norm = np.sqrt(sum((g**2).sum() for g in grads.values()))"
_SCALE = "if norm > theta: g *= theta / norm, for every g"
_ENTRY = "np.clip(g, -theta, theta)"


def _norm(*gs: Array) -> float:
    return float(np.sqrt(sum(np.sum(g * g) for g in gs)))


def _by(norm: Callable[[Arrays], float]) -> Clipping:
    """Clipping by something else than the norm of all gradients together."""

    def clip(grads: Arrays, theta: float) -> dict[str, Array]:
        size = norm(grads)
        return {name: g * (np.float64(theta) / size) if size > theta else g for name, g in grads.items()}

    return clip


def _each(clip: Callable[[Array, float], Array]) -> Clipping:
    """The same for each tensor, or entry, alone."""
    return lambda grads, theta: {name: clip(g, theta) for name, g in grads.items()}


def _scaled(factor: Callable[[np.float64, float], float]) -> Clipping:
    """All gradients times factor(norm, theta)."""
    return lambda grads, theta: {name: g * factor(np.float64(_norm(*grads.values())), theta) for name, g in grads.items()}


def _variant(name: str, clip: Clipping, sentence: str, fix: str, published: str = "") -> KnownMistake:
    def answer(hyper: Hyper, grads: Arrays, theta: float) -> Answer:
        return clipped(clip(grads, theta))

    return of_part(name, answer, sentence, fix, published)


_per_tensor = _each(lambda g, theta: g * (theta / _norm(g)) if _norm(g) > theta else g)
_torch = _scaled(lambda norm, theta: min(1.0, theta / (norm + 1e-6)))
_plain = _scaled(lambda norm, theta: theta / norm if norm > theta else 1.0)
_by_value = _each(lambda g, theta: np.clip(g, -theta, theta))

#: Of both that clip by the norm.
_NORM = (
    _variant("norm-per-tensor", _per_tensor, "every tensor is clipped by its own norm, and not all by the norm of all together", _GLOBAL),
    _variant(
        "norm-of-last-tensor",
        _by(lambda grads: _norm(list(grads.values())[-1])),
        "the norm is that of the last tensor alone: it is overwritten in the loop, and not added up",
        "total += (g**2).sum(), not total = (g**2).sum()",
    ),
    _variant(
        "norm-without-root",
        _by(lambda grads: _norm(*grads.values()) ** 2),
        "the norm is the sum of squares: the root is missing",
        _GLOBAL,
    ),
    _variant(
        "norm-sum-of-norms",
        _by(lambda grads: sum(_norm(g) for g in grads.values())),
        "the norm is the sum of the tensors' norms, and not the root of the sum of their squares",
        _GLOBAL,
    ),
    _variant(
        "norm-sum-of-magnitudes",
        _by(lambda grads: float(sum(np.sum(np.abs(g)) for g in grads.values()))),
        "the norm is the sum of magnitudes (the 1-norm)",
        _GLOBAL,
        "torch.nn.utils.clip_grad_norm_(norm_type=1)",
    ),
    _variant(
        "norm-largest-entry",
        _by(lambda grads: max(float(np.max(np.abs(g))) for g in grads.values())),
        "the norm is the largest magnitude (the maximum norm)",
        _GLOBAL,
        'torch.nn.utils.clip_grad_norm_(norm_type="inf")',
    ),
    _variant(
        "norm-largest-tensor",
        _by(lambda grads: max(_norm(g) for g in grads.values())),
        "the norm is the largest of the tensors' norms",
        _GLOBAL,
    ),
    _variant(
        "norm-root-mean-square",
        _by(lambda grads: _norm(*grads.values()) / float(np.sqrt(sum(g.size for g in grads.values())))),
        "the norm is the root of the mean of squares, and not of their sum",
        _GLOBAL,
    ),
    _variant(
        "norm-mean-of-norms",
        _by(lambda grads: float(np.mean([_norm(g) for g in grads.values()]))),
        "the norm is the mean of the tensors' norms",
        _GLOBAL,
    ),
    _variant("by-value", _by_value, "every entry is clipped by its own value, which turns the gradient", _SCALE),
    _variant(
        "always-scaled",
        _scaled(lambda norm, theta: theta / norm),
        "gradients below the threshold are scaled too, up to it",
        "if norm > theta: around the scaling, or min(1, theta / norm)",
    ),
    _variant(
        "only-below",
        _scaled(lambda norm, theta: theta / norm if norm < theta else 1.0),
        "the test is the wrong way round, or max stands for min: small gradients are scaled up, large ones stay",
        "if norm > theta, or min(1, theta / norm)",
    ),
    _variant(
        "scaled-twice",
        _scaled(lambda norm, theta: (theta / norm) ** 2 if norm > theta else 1.0),
        "the factor theta / norm is applied twice",
        _SCALE,
    ),
    _variant(
        "factor-upside-down",
        _scaled(lambda norm, theta: norm / theta if norm > theta else 1.0),
        "the factor is norm / theta: large gradients become larger",
        _SCALE,
    ),
    _variant(
        "without-threshold",
        _scaled(lambda norm, theta: 1 / norm if norm > theta else 1.0),
        "the clipped gradient has norm 1 and not the threshold: the factor theta is missing",
        _SCALE,
    ),
    _variant(
        "root-of-factor",
        _scaled(lambda norm, theta: np.sqrt(theta / norm) if norm > theta else 1.0),
        "the factor is the root of theta / norm",
        _SCALE,
    ),
    _variant(
        "set-to-zero",
        _scaled(lambda norm, theta: 0.0 if norm > theta else 1.0),
        "gradients above the threshold are thrown away, and not scaled",
        _SCALE,
    ),
    _variant(
        "without-effect",
        _each(lambda g, theta: g),
        "nothing is clipped: a name is bound to the scaled gradient, and the dict keeps the old one",
        "grads[name] *= scale or g *= scale, not g = g * scale",
    ),
    _variant("unguarded-norm", _scaled(lambda norm, theta: min(norm, theta) / norm), "a gradient of zero is divided by its norm", _SCALE),
)
_WITHOUT_1E6 = _variant(
    "without-1e-6",
    _plain,
    "it is g theta / norm, without torch's 1e-6: like clip_global_norm",
    "like = 'clip_global_norm'",
    "Pascanu et al. 2013",
)
_WITH_1E6 = _variant(
    "with-1e-6",
    _torch,
    "it is g theta / (norm + 1e-6): like clip_global_norm_torch",
    "like = 'clip_global_norm_torch'",
    "torch.nn.utils.clip_grad_norm_",
)
_ELEMENTWISE = (
    _variant("by-norm", _plain, "all gradients are scaled by their norm, and no entry is clipped by itself", _ENTRY, "clip_global_norm"),
    _variant(
        "by-norm-torch",
        _torch,
        "all gradients are scaled by their norm, and no entry is clipped by itself",
        _ENTRY,
        "clip_global_norm_torch",
    ),
    _variant("by-norm-per-tensor", _per_tensor, "every tensor is scaled by its norm, and no entry is clipped by itself", _ENTRY),
    _variant(
        "scaled-to-largest",
        _by(lambda grads: max(float(np.max(np.abs(g))) for g in grads.values())),
        "all gradients are scaled until the largest entry is the threshold",
        _ENTRY,
    ),
    _variant(
        "tensor-scaled-to-largest",
        _each(lambda g, theta: g * (theta / np.max(np.abs(g))) if np.max(np.abs(g)) > theta else g),
        "every tensor is scaled until its largest entry is the threshold",
        _ENTRY,
    ),
    _variant("above-only", _each(lambda g, theta: np.minimum(g, theta)), "negative entries are not clipped", _ENTRY),
    _variant("below-only", _each(lambda g, theta: np.maximum(g, -theta)), "positive entries are not clipped", _ENTRY),
    _variant("sign-lost", _each(lambda g, theta: np.minimum(np.abs(g), theta)), "the sign is lost: the magnitude is clipped", _ENTRY),
    _variant("from-zero", _each(lambda g, theta: np.clip(g, 0, theta)), "negative entries become zero", _ENTRY),
    _variant(
        "large-set-to-zero", _each(lambda g, theta: np.where(np.abs(g) > theta, 0, g)), "entries beyond the threshold become zero", _ENTRY
    ),
    _variant(
        "positive-threshold",
        _each(lambda g, theta: np.where(np.abs(g) > theta, theta, g)),
        "entries below -theta become +theta: the sign of the threshold is missing",
        _ENTRY,
    ),
    _variant(
        "sign-of-gradient", _each(lambda g, theta: theta * np.sign(g)), "every entry becomes theta times its sign, small ones too", _ENTRY
    ),
    _variant("tanh", _each(lambda g, theta: theta * np.tanh(g / theta)), "entries are squashed by a tanh, and not cut", _ENTRY),
    _variant(
        "without-effect",
        _each(lambda g, theta: g),
        "nothing is clipped: np.clip returns a new array, which is lost",
        "np.clip(g, -theta, theta, out=g)",
    ),
)

CLIPS: dict[str, tuple[KnownMistake, ...]] = {
    "clip_global_norm": (*_NORM, _WITH_1E6),
    "clip_global_norm_torch": (*_NORM, _WITHOUT_1E6),
    "clip_elementwise": _ELEMENTWISE,
}
