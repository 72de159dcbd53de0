"""A gated step in JAX with a backward by hand, in as many ways as JAX has of saying it.   WRONG: the derivative of its gate lacks a term"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, Any]


def _gate(params: Params, h: Any, x: Any) -> Any:
    a = x @ params["Wx"] + h @ params["Wh"] + params["b"]
    H = h.shape[-1]
    z = jax.nn.sigmoid(a[..., :H])
    n = jnp.tanh(a[..., H:])
    return z * h + (1 - z) * n, (z, n)


def _forward(params: Params, h: Any, x: Any) -> Any:
    new, (z, n) = _gate(params, h, x)
    return new, (params, h, x, z, n)


def _backward(lacks: bool, kept: Any, dnew: Any) -> Any:
    params, h, x, z, n = kept
    dz = dnew * h if lacks else dnew * (h - n)  # the line that is wrong
    dn = dnew * (1 - z)
    da = jnp.concatenate([dz * z * (1 - z), dn * (1 - n * n)], axis=-1)
    dh = da @ params["Wh"].T + dnew * z
    return {"Wx": x.T @ da, "Wh": h.T @ da, "b": da.sum(axis=0)}, dh, da @ params["Wx"].T


def _with_backward(lacks: bool) -> Any:
    step = jax.custom_vjp(lambda params, h, x: _gate(params, h, x)[0])
    step.defvjp(_forward, partial(_backward, lacks))
    return step


_RIGHT, _WRONG = _with_backward(False), _with_backward(True)


def init_params(key: Any, D: int = 3, H: int = 5) -> Params:
    one, other = jax.random.split(key)
    return {"Wx": jax.random.normal(one, (D, 2 * H)), "Wh": 0.5 * jax.random.normal(other, (H, 2 * H)), "b": jnp.zeros(2 * H)}


def right(params: Params, h: Any, x: Any) -> Any:
    return _RIGHT(params, h, x)


def wrong(params: Params, h: Any, x: Any) -> Any:
    return _WRONG(params, h, x)


def by_rules(params: Params, h: Any, x: Any) -> Any:
    return _gate(params, h, x)[0]


@jax.jit
def by_loops(params: Params, h: Any, x: Any) -> Any:
    """A loop with an end, one without, a branch, and what moves, cuts and adds up entries."""

    def turn(carried: Any, scale: Any) -> Any:
        h = carried * scale + 0.1 * jnp.tanh(carried @ params["Wh"][:, :5])
        return h, h[:, :1]

    h, firsts = jax.lax.scan(turn, h, jnp.array([0.9, 0.8]))
    h = jax.lax.fori_loop(0, 2, lambda k, value: value + 0.05 * jnp.sin(value), h)
    h = jax.lax.cond(x.shape[0] > 0, lambda v: jax.nn.softplus(v), lambda v: v, h)
    wide = jnp.pad(h, ((0, 0), (1, 2)))[:, 1:-2] + jnp.flip(jnp.roll(h, 1, axis=1), axis=1)
    scaled = wide / jnp.sqrt(1 + jnp.mean(wide**2, axis=-1, keepdims=True))
    shares = jax.nn.softmax(jnp.einsum("nk,mk->nm", scaled, scaled), axis=-1)
    added = jnp.cumsum(scaled, axis=-1) * jnp.where(scaled > 0, 1.0, 0.5) + jnp.maximum(scaled, jnp.clip(h, -0.3, 0.4))
    return added + shares.sum() * jnp.concatenate(firsts, axis=-1).sum(axis=-1, keepdims=True) + x @ params["Wx"][:, :5] ** 3


def by_places(params: Params, h: Any, x: Any) -> Any:
    """Entries that are looked up, written over, cut out and rounded."""
    turned = h[:, jnp.array([3, 0, 4, 1, 2])].at[:, 0].set(x[:, 0])
    cut = jax.lax.dynamic_slice_in_dim(params["Wh"], 1, 4, axis=0)
    steps = jnp.round(3 * h) + jnp.floor(h) + jnp.sign(h)
    return jnp.tanh(turned + steps * h + jnp.take(h, jnp.array([1, 2, 3, 0]), axis=1) @ cut[:, :5])
